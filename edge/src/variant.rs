//! Which of a URL's stored answers a request selects (RFC 9111 section 4.1).

use http::header::VARY;
use http::{HeaderMap, HeaderName};

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

/// What a request selects by: for each name the values of all its lines, byte for byte as the origin gets them. An absent
/// field differs from an empty one. Where lines may be joined, [`crate::canonical`] has joined them.
///
/// ```text
/// ( name ':' ( '-' | '=' value (CR value)* ) LF )*
/// ```
pub fn selecting_text(vary: &[HeaderName], forwarded: &HeaderMap) -> Vec<u8> {
    let mut text = Vec::with_capacity(64);
    for name in vary {
        text.extend_from_slice(name.as_str().as_bytes());
        text.push(b':');
        let mut lines = forwarded.get_all(name).iter().peekable();
        text.push(if lines.peek().is_some() { b'=' } else { b'-' });
        // A field value can hold neither CR nor LF.
        let mut separator: &[u8] = b"";
        for line in lines {
            text.extend_from_slice(separator);
            text.extend_from_slice(line.as_bytes());
            separator = b"\r";
        }
        text.push(b'\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::canonicalize;
    use http::HeaderValue;

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
        let names = vary_of(&map(&[("vary", "x, y, user-agent")]));
        let text = |pairs: &[(&'static str, &str)]| {
            let mut fields = map(pairs);
            canonicalize(&mut fields);
            selecting_text(&names, &fields)
        };
        assert_ne!(text(&[("x", "1")]), text(&[("y", "1")]), "which field has it matters");
        assert_ne!(text(&[]), text(&[("x", "")]), "absent differs from empty");
        assert_eq!(text(&[("x", "1"), ("x", "2")]), text(&[("x", "1, 2")]), "lines join as a list");
        assert_ne!(text(&[("x", "1,2")]), text(&[("x", "1 ,  2")]), "nobody knows whether white space matters");
        assert_ne!(
            text(&[("user-agent", "1"), ("user-agent", "2")]),
            text(&[("user-agent", "1, 2")]),
            "but where there is no list"
        );
        assert_eq!(text(&[("x", "1"), ("z", "9")]), text(&[("x", "1")]), "other fields do not matter");
    }
}
