//! Which of a URL's stored answers a request selects (RFC 9111 section 4.1).

use http::header::{ACCEPT_ENCODING, VARY};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The field names of an answer's Vary lines: lower case, sorted, without repetition. `Vary: *` is never stored, so
/// it does not come here.
pub fn vary_of(response: &HeaderMap) -> Vec<HeaderName> {
    let lines = response.get_all(VARY).iter().filter_map(|line| line.to_str().ok());
    let mut names: Vec<HeaderName> =
        lines.flat_map(|line| line.split(',')).filter_map(|name| name.trim().parse().ok()).collect();
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    names
}

/// What a request selects by: for each name the values of all its lines. An absent field differs from an empty one.
///
/// ```text
/// ( name ':' ( '-' | '=' value (',' value)* ) '\n' )*
/// ```
pub fn selecting_text(vary: &[HeaderName], request: &HeaderMap) -> Vec<u8> {
    let mut text = Vec::with_capacity(64);
    for name in vary {
        text.extend_from_slice(name.as_str().as_bytes());
        text.push(b':');
        let mut lines = request.get_all(name).iter().peekable();
        text.push(if lines.peek().is_some() { b'=' } else { b'-' });
        let mut separator: &[u8] = b"";
        for line in lines {
            text.extend_from_slice(separator);
            text.extend_from_slice(line.as_bytes().trim_ascii());
            separator = b",";
        }
        // A field value cannot hold a newline.
        text.push(b'\n');
    }
    text
}

/// Rewrites Accept-Encoding to one canonical form, so that browsers that say the same in other words share variants.
/// The origin is sent the same form: what is keyed is what is forwarded.
///
/// Lower case, one line, no white space, sorted; weights stay as they are but for `;q=1`, which says nothing.
pub fn canonicalize_accept_encoding(request: &mut HeaderMap) {
    let lines: Option<Vec<&str>> = request.get_all(ACCEPT_ENCODING).iter().map(|line| line.to_str().ok()).collect();
    let Some(lines) = lines.filter(|lines| !lines.is_empty()) else { return };
    let mut codings: Vec<String> = lines
        .iter()
        .flat_map(|line| line.split(','))
        .map(|coding| coding.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase())
        .filter(|coding| !coding.is_empty())
        .map(|coding| match coding.split_once(";q=") {
            Some((name, weight)) if matches!(weight.trim_end_matches('0'), "1" | "1.") => name.to_owned(),
            _ => coding,
        })
        .collect();
    codings.sort();
    codings.dedup();
    if let Ok(value) = HeaderValue::from_str(&codings.join(",")) {
        request.insert(ACCEPT_ENCODING, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn names_are_united() {
        let names = vary_of(&map(&[("vary", "Accept-Language, accept"), ("vary", ", ACCEPT")]));
        assert_eq!(names, ["accept", "accept-language"]);
    }

    #[test]
    fn selection() {
        let names = vary_of(&map(&[("vary", "x, y")]));
        let text = |pairs: &[(&'static str, &str)]| selecting_text(&names, &map(pairs));
        assert_ne!(text(&[("x", "1")]), text(&[("y", "1")]), "which field has it matters");
        assert_ne!(text(&[]), text(&[("x", "")]), "absent differs from empty");
        assert_eq!(text(&[("x", "1"), ("x", "2")]), text(&[("x", "1,2")]), "lines join as a list");
        assert_eq!(text(&[("x", "1"), ("z", "9")]), text(&[("x", "1")]), "other fields do not matter");
    }

    #[test]
    fn accept_encoding_in_other_words() {
        let canonical = |value: &str| {
            let mut request = map(&[("accept-encoding", value)]);
            canonicalize_accept_encoding(&mut request);
            request[ACCEPT_ENCODING].to_str().unwrap().to_owned()
        };
        assert_eq!(canonical("gzip, deflate, br"), canonical("br,GZIP ,deflate;q=1.0"));
        assert_ne!(canonical("gzip;q=0"), canonical("gzip"));
        assert_ne!(canonical("gzip;q=0.1"), canonical("gzip"));
        let mut nothing = HeaderMap::new();
        canonicalize_accept_encoding(&mut nothing);
        assert!(nothing.is_empty(), "an absent field stays absent");
    }
}
