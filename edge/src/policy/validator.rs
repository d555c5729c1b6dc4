//! Conditional requests: the client's against what we hold, ours to the origin, and what a 304 changes
//! (RFC 9110 section 13, RFC 9111 sections 4.3 and 3.2).

use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
    SET_COOKIE, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::freshness;

/// Whether the client already has what we hold, so that 304 is the answer.
///
/// "A recipient MUST ignore If-Modified-Since if the request contains an If-None-Match header field" (RFC 9110
/// section 13.1.3).
pub fn client_has_it(request: &HeaderMap, stored: &HeaderMap) -> bool {
    if request.contains_key(IF_NONE_MATCH) {
        let tags = request.get_all(IF_NONE_MATCH).iter().flat_map(|line| tags(line.as_bytes()));
        let own = stored.get(ETAG).map(|tag| opaque(tag.as_bytes()));
        return tags.into_iter().any(|tag| match tag {
            b"*" => true,
            tag => own == Some(opaque(tag)),
        });
    }
    let Some(since) = freshness::date(request, IF_MODIFIED_SINCE) else { return false };
    // Without Last-Modified the date of the answer stands in (RFC 9111 section 4.3.2).
    let modified = freshness::date(stored, LAST_MODIFIED).or_else(|| freshness::date(stored, http::header::DATE));
    modified.is_some_and(|modified| modified <= since)
}

/// The tags of one If-None-Match line. Commas and obs-text may stand inside a tag; `*` stands for any.
fn tags(line: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut rest = line;
    loop {
        rest = trim_separators(rest);
        let start = rest.strip_prefix(b"W/").unwrap_or(rest);
        match start.split_first() {
            None => return found,
            Some((b'*', _)) if start.len() == rest.len() => {
                found.push(&rest[..1]);
                rest = &rest[1..];
            }
            Some((b'"', after)) => {
                let Some(end) = after.iter().position(|b| *b == b'"') else { return found };
                let length = rest.len() - after.len() + end + 1;
                found.push(&rest[..length]);
                rest = &rest[length..];
            }
            // Not an entity-tag: what follows cannot be told apart, so the line ends here.
            Some(_) => return found,
        }
    }
}

fn trim_separators(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|b| !matches!(b, b',' | b' ' | b'\t')).unwrap_or(bytes.len());
    &bytes[start..]
}

/// The tag without its weakness: If-None-Match compares weakly (RFC 9110 section 13.1.2).
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// Whether two ETags are strong and equal (RFC 9110 section 8.8.3.2).
pub fn strongly_equal(a: &HeaderValue, b: &HeaderValue) -> bool {
    a == b && a.as_bytes().starts_with(b"\"")
}

/// Makes `request` ask the origin whether what we hold still holds. False when it has no validator.
pub fn make_conditional(request: &mut HeaderMap, stored: &HeaderMap) -> bool {
    request.remove(IF_NONE_MATCH);
    request.remove(IF_MODIFIED_SINCE);
    if let Some(tag) = stored.get(ETAG) {
        request.insert(IF_NONE_MATCH, tag.clone());
    }
    if let Some(modified) = stored.get(LAST_MODIFIED) {
        request.insert(IF_MODIFIED_SINCE, modified.clone());
    }
    stored.contains_key(ETAG) || stored.contains_key(LAST_MODIFIED)
}

/// Whether a 304 is about what we hold: it names no other ETag (RFC 9111 section 4.3.4).
pub fn confirms(not_modified: &HeaderMap, stored: &HeaderMap) -> bool {
    match (not_modified.get(ETAG), stored.get(ETAG)) {
        (Some(new), Some(old)) => opaque(new.as_bytes()) == opaque(old.as_bytes()),
        (Some(_), None) => false,
        (None, _) => true,
    }
}

/// The stored header with what a 304 brings: "the cache MUST add each header field in the provided response to the
/// stored response, replacing field values that are already present", but for those of the body and of the connection
/// (RFC 9111 section 3.2), and for cookies, which are one client's.
pub fn updated(stored: &HeaderMap, not_modified: &HeaderMap) -> HeaderMap {
    let mut result = stored.clone();
    let stays = |name: &HeaderName| {
        [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_RANGE, TRANSFER_ENCODING, CONNECTION, ETAG, SET_COOKIE]
            .contains(name)
    };
    for name in not_modified.keys().filter(|name| !stays(name)) {
        result.remove(name);
        for value in not_modified.get_all(name) {
            result.append(name.clone(), value.clone());
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    #[test]
    fn conditions() {
        const JAN: &str = "Thu, 01 Jan 2026 00:00:00 GMT";
        const FEB: &str = "Sun, 01 Feb 2026 00:00:00 GMT";
        let stored = map(&[("etag", "\"a,b\""), ("last-modified", JAN)]);
        let weak = map(&[("etag", "W/\"a\"")]);
        type Row<'a> = (&'a str, &'a [(&'static str, &'a str)], &'a HeaderMap, bool);
        let rows: [Row<'_>; 13] = [
            ("no condition", &[], &stored, false),
            ("same tag with a comma inside", &[("if-none-match", "\"a,b\"")], &stored, true),
            ("weak form of the same tag", &[("if-none-match", "W/\"a,b\"")], &stored, true),
            ("against a weak tag", &[("if-none-match", "\"a\"")], &weak, true),
            ("in a list", &[("if-none-match", "\"x\", W/\"y\" , \"a,b\"")], &stored, true),
            ("on the second line", &[("if-none-match", "\"x\""), ("if-none-match", "\"a,b\"")], &stored, true),
            ("star", &[("if-none-match", "*")], &stored, true),
            ("another tag", &[("if-none-match", "\"c\"")], &stored, false),
            ("part of the tag", &[("if-none-match", "\"a\"")], &stored, false),
            ("unquoted", &[("if-none-match", "a,b")], &stored, false),
            (
                "If-None-Match wins over the date",
                &[("if-none-match", "\"c\""), ("if-modified-since", FEB)],
                &stored,
                false,
            ),
            ("not modified since", &[("if-modified-since", JAN)], &stored, true),
            ("invalid date", &[("if-modified-since", "yesterday")], &stored, false),
        ];
        for (name, request, stored, wanted) in rows {
            assert_eq!(client_has_it(&map(request), stored), wanted, "{name}");
        }
    }

    #[test]
    fn a_304_updates_what_it_may() {
        let stored = map(&[("etag", "\"a\""), ("content-length", "5"), ("x", "old"), ("keep", "1")]);
        let fresh = map(&[
            ("content-length", "0"),
            ("x", "new"),
            ("x", "newer"),
            ("cache-control", "max-age=9"),
            ("set-cookie", "a=b"),
        ]);
        let result = updated(&stored, &fresh);
        assert_eq!(result["content-length"], "5");
        assert_eq!(result["keep"], "1");
        assert!(!result.contains_key("set-cookie"));
        assert_eq!(result["cache-control"], "max-age=9");
        assert_eq!(result.get_all("x").iter().collect::<Vec<_>>(), ["new", "newer"]);
    }

    #[test]
    fn a_304_for_something_else_is_told_apart() {
        let stored = map(&[("etag", "\"a\"")]);
        assert!(confirms(&map(&[]), &stored));
        assert!(confirms(&map(&[("etag", "W/\"a\"")]), &stored));
        assert!(!confirms(&map(&[("etag", "\"b\"")]), &stored));
        assert!(!confirms(&map(&[("etag", "\"b\"")]), &map(&[])));
    }

    proptest! {
        #[test]
        fn any_tag_list_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            for tag in tags(&bytes) {
                prop_assert!(tag == b"*" || tag.ends_with(b"\""));
            }
        }
    }
}
