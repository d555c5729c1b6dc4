//! Conditional requests: the client's against what we hold, ours to the origin, and what a 304 changes
//! (RFC 9110 section 13, RFC 9111 sections 4.3 and 3.2).

use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use nearcast_shared::clock::Timestamp;

use super::freshness;

/// Whether the client already has what we hold, so that 304 is the answer.
///
/// "A recipient MUST ignore If-Modified-Since if the request contains an If-None-Match header field" (RFC 9110
/// section 13.1.3).
pub fn client_has_it(request: &HeaderMap, stored: &HeaderMap, now: Timestamp) -> bool {
    if request.contains_key(IF_NONE_MATCH) {
        let tags = request.get_all(IF_NONE_MATCH).iter().flat_map(|line| tags(line.as_bytes()));
        let own = stored.get(ETAG).map(|tag| opaque(tag.as_bytes()));
        return tags.into_iter().any(|tag| match tag {
            b"*" => true,
            tag => own == Some(opaque(tag)),
        });
    }
    let Some(since) = freshness::date(request, IF_MODIFIED_SINCE, now) else { return false };
    // Without Last-Modified the date of the answer stands in (RFC 9111 section 4.3.2).
    let modified =
        freshness::date(stored, LAST_MODIFIED, now).or_else(|| freshness::date(stored, http::header::DATE, now));
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

/// Whether both headers carry the same strong validator (RFC 9110 sections 8.8.1 and 8.8.2.2): the same strong ETag, or
/// without any ETag the same Last-Modified, at least a second older than both answers' Date.
pub fn same_strong(a: &HeaderMap, b: &HeaderMap, now: Timestamp) -> bool {
    match (a.get(ETAG), b.get(ETAG)) {
        (Some(a), Some(b)) => strongly_equal(a, b),
        (None, None) => strong_date(a, now).is_some_and(|date| strong_date(b, now) == Some(date)),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// The strong validator for If-Range, if there is one.
pub fn for_if_range(stored: &HeaderMap, now: Timestamp) -> Option<HeaderValue> {
    match stored.get(ETAG) {
        Some(tag) => is_strong(tag).then(|| tag.clone()),
        None => strong_date(stored, now).and_then(|_| stored.get(LAST_MODIFIED).cloned()),
    }
}

/// Last-Modified, when what changed within its second would have been seen.
fn strong_date(headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    let modified = freshness::date(headers, LAST_MODIFIED, now)?;
    let date = freshness::date(headers, http::header::DATE, now)?;
    (modified.seconds() < date.seconds()).then_some(modified)
}

/// Whether it is a strong entity-tag.
pub fn is_strong(tag: &HeaderValue) -> bool {
    let bytes = tag.as_bytes();
    bytes.len() >= 2 && bytes.starts_with(b"\"") && bytes.ends_with(b"\"")
}

/// Makes `request` ask the origin whether what we hold still holds: the selected answer `stored`, or one of `others` by
/// its tag. False when there is no validator.
///
/// "A cache .. SHOULD generate .. If-None-Match .. using the relevant entity tags from all the stored responses" (RFC 9111
/// section 4.3.1).
pub fn make_conditional(request: &mut HeaderMap, stored: Option<&HeaderMap>, others: &[HeaderValue]) -> bool {
    /// Bytes of tags beyond which some are left out: an origin's own limits are not far.
    const TAGS_MAX: usize = 4096;
    request.remove(IF_NONE_MATCH);
    request.remove(IF_MODIFIED_SINCE);
    let mut tags: Vec<u8> = Vec::new();
    let own = stored.and_then(|stored| stored.get(ETAG));
    for tag in own.into_iter().chain(others.iter().filter(|tag| Some(*tag) != own)) {
        if !tags.is_empty() {
            if tags.len() + tag.len() > TAGS_MAX {
                break;
            }
            tags.extend_from_slice(b", ");
        }
        tags.extend_from_slice(tag.as_bytes());
    }
    let mut conditional = false;
    if let Some(tags) = HeaderValue::from_bytes(&tags).ok().filter(|tags| !tags.is_empty()) {
        request.insert(IF_NONE_MATCH, tags);
        conditional = true;
    }
    if let Some(modified) = stored.and_then(|stored| stored.get(LAST_MODIFIED)) {
        request.insert(IF_MODIFIED_SINCE, modified.clone());
        conditional = true;
    }
    conditional
}

/// Whether a 304 says which answer it is about.
pub fn names_one(not_modified: &HeaderMap) -> bool {
    not_modified.contains_key(ETAG) || not_modified.contains_key(LAST_MODIFIED)
}

/// Whether a 304 is about what we hold (RFC 9111 section 4.3.4): a strong validator must be the same, a weak one must
/// correspond. One without the tag that we asked about, which it should have, is about what we asked for, when that was
/// one answer.
pub fn confirms(not_modified: &HeaderMap, stored: &HeaderMap, now: Timestamp) -> bool {
    match (not_modified.get(ETAG), stored.get(ETAG)) {
        (Some(new), Some(old)) => new == old || (!is_strong(new) && opaque(new.as_bytes()) == opaque(old.as_bytes())),
        (Some(_), None) => false,
        (None, _) => !not_modified.contains_key(LAST_MODIFIED) || same_date(not_modified, stored, now),
    }
}

/// Whether both were last modified at the same time, in whichever form of date.
fn same_date(a: &HeaderMap, b: &HeaderMap, now: Timestamp) -> bool {
    let date = |headers| freshness::date(headers, LAST_MODIFIED, now);
    a.get(LAST_MODIFIED) == b.get(LAST_MODIFIED) || (date(a).is_some() && date(a) == date(b))
}

/// Whether the answer to a HEAD is about what is stored, so that its header may be taken over: "matching values for any
/// received validator fields .. and, if the HEAD response has a Content-Length header field, the value of Content-Length
/// matches" (RFC 9111 section 4.3.5).
pub fn head_matches(head: &HeaderMap, stored: &HeaderMap, length: u64, now: Timestamp) -> bool {
    // One that says nothing of the body renews nothing: anyone could keep a page as it is for ever.
    let says_something = [ETAG, LAST_MODIFIED, CONTENT_LENGTH].iter().any(|name| head.contains_key(name));
    says_something
        && head.get(ETAG).is_none_or(|tag| stored.get(ETAG) == Some(tag))
        && (!head.contains_key(LAST_MODIFIED) || same_date(head, stored, now))
        && (!head.contains_key(CONTENT_LENGTH) || crate::headers::content_length(head) == Some(length))
}

/// The stored header with what a 304 brings: "the cache MUST add each header field in the provided response to the
/// stored response, replacing field values that are already present", but for those that the stored body depends upon and
/// Content-Length (RFC 9111 section 3.2). Hop-by-hop fields are gone before.
pub fn updated(stored: &HeaderMap, not_modified: &HeaderMap) -> HeaderMap {
    let mut result = stored.clone();
    let stays = |name: &HeaderName| {
        [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_RANGE, ETAG].contains(name) || name == "content-md5"
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

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

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
            assert_eq!(client_has_it(&map(request), stored, NOW), wanted, "{name}");
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
            ("content-md5", "x"),
        ]);
        let result = updated(&stored, &fresh);
        assert_eq!(result["content-length"], "5");
        assert_eq!(result["keep"], "1");
        assert!(!result.contains_key("content-md5"));
        assert_eq!(result["cache-control"], "max-age=9");
        assert_eq!(result.get_all("x").iter().collect::<Vec<_>>(), ["new", "newer"]);
    }

    #[test]
    fn a_304_for_something_else_is_told_apart() {
        let stored = map(&[("etag", "\"a\""), ("last-modified", "x")]);
        let rows = [
            ("no validator", map(&[]), true),
            ("the same", map(&[("etag", "\"a\"")]), true),
            ("its weak form", map(&[("etag", "W/\"a\"")]), true),
            ("another", map(&[("etag", "\"b\"")]), false),
            ("no tag and another date", map(&[("last-modified", "y")]), false),
            ("no tag and the same date", map(&[("last-modified", "x")]), true),
        ];
        for (name, not_modified, wanted) in rows {
            assert_eq!(confirms(&not_modified, &stored, NOW), wanted, "{name}");
        }
        assert!(!confirms(&map(&[("etag", "\"b\"")]), &map(&[]), NOW));
        let dated = map(&[("last-modified", "x")]);
        assert!(confirms(&dated, &dated, NOW) && !confirms(&map(&[("last-modified", "y")]), &dated, NOW));
        assert!(
            !confirms(&map(&[("etag", "\"a\"")]), &map(&[("etag", "W/\"a\"")]), NOW),
            "a strong one must be the same"
        );
    }

    #[test]
    fn all_tags_are_asked_about() {
        let stored = map(&[("etag", "\"a\""), ("last-modified", "x")]);
        let others = ["\"b\"", "\"a\"", "W/\"c\""].map(HeaderValue::from_static);
        let mut request = map(&[("if-none-match", "\"mine\"")]);
        assert!(make_conditional(&mut request, Some(&stored), &others));
        assert_eq!(request[IF_NONE_MATCH], "\"a\", \"b\", W/\"c\"");
        assert_eq!(request[IF_MODIFIED_SINCE], "x");
        assert!(!make_conditional(&mut request, None, &[]));
        assert!(request.is_empty());
    }

    #[test]
    fn strong_validators() {
        const JAN: &str = "Thu, 01 Jan 2026 00:00:00 GMT";
        const FEB: &str = "Sun, 01 Feb 2026 00:00:00 GMT";
        let dated = map(&[("last-modified", JAN), ("date", FEB)]);
        let rows = [
            ("tags", map(&[("etag", "\"a\"")]), map(&[("etag", "\"a\"")]), true),
            ("weak tags", map(&[("etag", "W/\"a\"")]), map(&[("etag", "W/\"a\"")]), false),
            ("unquoted", map(&[("etag", "a")]), map(&[("etag", "a")]), false),
            ("dates", dated.clone(), dated.clone(), true),
            ("too close to tell", map(&[("last-modified", JAN), ("date", JAN)]), dated.clone(), false),
            ("a tag and a date", map(&[("etag", "\"a\"")]), dated, false),
            ("nothing", map(&[]), map(&[]), false),
        ];
        for (name, a, b, wanted) in rows {
            assert_eq!(same_strong(&a, &b, NOW), wanted, "{name}");
            assert!(!wanted || for_if_range(&a, NOW) == for_if_range(&b, NOW), "{name}");
        }
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
