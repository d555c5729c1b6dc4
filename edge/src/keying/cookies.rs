//! The cookies that a site keys: the only ones that reach its origin.
//!
//! A cookie counts only as `name=value` with the name byte for byte: whatever a server might read as that name besides
//! (white space before `=`, other case, quotes over `;`) does not go on, so nobody reads it.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// The values of the cookie `name`, in their order: servers take the first or the last.
pub(super) fn values<'f>(fields: &'f HeaderMap, name: &'f str) -> impl Iterator<Item = &'f [u8]> {
    let lines = fields.get_all(COOKIE).iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')).filter_map(move |pair| {
        let rest = pair.trim_ascii().strip_prefix(name.as_bytes())?;
        rest.strip_prefix(b"=")
    })
}

/// Leaves only the cookies of these names, in the order of `names`, as one line; no line when there are none.
pub(super) fn retain(names: &[String], fields: &mut HeaderMap) {
    let mut kept = Vec::new();
    for name in names {
        for value in values(fields, name) {
            if !kept.is_empty() {
                kept.extend_from_slice(b"; ");
            }
            kept.extend_from_slice(name.as_bytes());
            kept.push(b'=');
            kept.extend_from_slice(value);
        }
    }
    fields.remove(COOKIE);
    // What was a field's value in parts is one joined.
    if let Some(value) = HeaderValue::from_bytes(&kept).ok().filter(|value| !value.is_empty()) {
        fields.insert(COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        type Row<'a> = (&'a str, &'a [&'a [u8]], Option<&'a [u8]>);
        let rows: [Row<'_>; 13] = [
            ("no cookie at all", &[], None),
            ("none of ours", &[b"sid=1; x=lang=de"], None),
            ("ours alone", &[b"lang=de"], Some(b"lang=de")),
            ("ours among others", &[b"sid=1; lang=de; x"], Some(b"lang=de")),
            ("in one order", &[b"theme=dark; lang=de"], Some(b"lang=de; theme=dark")),
            ("two of one name keep their order", &[b"lang=de; sid=1; lang=en"], Some(b"lang=de; lang=en")),
            ("several lines, as in HTTP/2", &[b"theme=dark", b"sid=1", b"lang=de"], Some(b"lang=de; theme=dark")),
            ("white space around", &[b" lang=de ;theme=dark\t"], Some(b"lang=de; theme=dark")),
            ("white space within the name", &[b"lang =de"], None),
            ("another case", &[b"Lang=de"], None),
            ("no value, and none at all", &[b"lang=; theme"], Some(b"lang=")),
            ("quotes hide nothing", &[b"lang=\"a; sid=1; b\""], Some(b"lang=\"a")),
            ("any bytes", &[b"lang=caf\xe9;=;;=x"], Some(b"lang=caf\xe9")),
        ];
        for (name, lines, wanted) in rows {
            let mut fields = HeaderMap::new();
            for line in lines {
                fields.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
            }
            retain(&["lang".to_owned(), "theme".to_owned()], &mut fields);
            let left: Vec<&[u8]> = fields.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
            assert_eq!(left, wanted.into_iter().collect::<Vec<_>>(), "{name}");
        }
    }
}
