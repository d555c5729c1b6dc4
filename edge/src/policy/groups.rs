//! Groups of answers that are invalidated together (RFC 9875).

use http::{HeaderMap, HeaderName};
use sfv::ListEntry;

use super::structured;

/// The groups that an answer belongs to (RFC 9875 section 2).
pub const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
/// The groups that an answer to an unsafe request invalidates (RFC 9875 section 3).
pub const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// Groups of one field that count: as many as the RFC wants to be supported at least.
pub const GROUPS_MAX: usize = 128;
/// Characters of a group that counts.
pub const GROUP_MAX: usize = 128;

/// The groups that one of the two fields names, in its order and each once.
///
/// Both are "a List of Strings", and their parameters say nothing to us. A field that is not such a list is ignored. Longer
/// groups than [`GROUP_MAX`], and those beyond [`GROUPS_MAX`], are left out.
pub fn groups(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let mut groups: Vec<String> = Vec::new();
    for member in structured::list(headers, name).unwrap_or_default() {
        let ListEntry::Item(item) = member else { return Vec::new() };
        let Some(group) = item.bare_item.as_string() else { return Vec::new() };
        let counts = group.as_str().len() <= GROUP_MAX && groups.len() < GROUPS_MAX;
        if counts && !groups.iter().any(|known| known == group.as_str()) {
            groups.push(group.as_str().to_owned());
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;
    use sfv::{FieldType, Item, List};

    fn of(lines: &[&[u8]]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_GROUPS, HeaderValue::from_bytes(line).unwrap());
        }
        groups(&headers, &CACHE_GROUPS)
    }

    #[test]
    fn table() {
        type Row<'a> = (&'a str, &'a [&'a [u8]], &'a [&'a str]);
        let rows: &[Row<'_>] = &[
            ("absent", &[], &[]),
            ("one", &[b"\"a\""], &["a"]),
            ("several", &[b"\"a\", \"b\",\t\"c\""], &["a", "b", "c"]),
            ("several lines", &[b"\"a\"", b"\"b\", \"c\""], &["a", "b", "c"]),
            ("twice", &[b"\"a\", \"b\", \"a\""], &["a", "b"]),
            ("case matters", &[b"\"a\", \"A\""], &["a", "A"]),
            ("parameters", &[b"\"a\";revalidate;x=1, \"b\";y=\"z, \\\"q\\\"\""], &["a", "b"]),
            ("escapes", &[b"\"a\\\"b\\\\\""], &["a\"b\\"]),
            ("a comma within", &[b"\"a, b\""], &["a, b"]),
            ("an empty group", &[b"\"\""], &[""]),
            ("an empty field", &[b""], &[]),
            ("a token spoils all", &[b"\"a\", b"], &[]),
            ("an integer spoils all", &[b"\"a\", 1"], &[]),
            ("an inner list spoils all", &[b"\"a\", (\"b\")"], &[]),
            ("a trailing comma", &[b"\"a\","], &[]),
            ("an empty element", &[b"\"a\",, \"b\""], &[]),
            ("an open string", &[b"\"a"], &[]),
            ("an open string closed on another line", &[b"\"a", b"b\""], &["a, b"]),
            ("a bad line spoils all", &[b"\"a\"", b"\"b"], &[]),
            ("another escape", &[b"\"\\a\""], &[]),
            ("not ASCII", &["\"ä\"".as_bytes()], &[]),
            ("not UTF-8", &[b"\"\xff\""], &[]),
        ];
        for (name, lines, wanted) in rows {
            assert_eq!(of(lines), *wanted, "{name}");
        }
    }

    #[test]
    fn bounds() {
        let many: Vec<String> = (0..200).map(|n| format!("\"{n}\"")).collect();
        let found = of(&[many.join(", ").as_bytes()]);
        assert_eq!((found.len(), found[0].as_str(), found[127].as_str()), (GROUPS_MAX, "0", "127"));
        let (fits, too_long) = ("x".repeat(GROUP_MAX), "y".repeat(GROUP_MAX + 1));
        assert_eq!(of(&[format!("\"{too_long}\", \"{fits}\"").as_bytes()]), [fits]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(lines in proptest::collection::vec("[\"a-c,;=()\\\\ ]{0,20}", 0..4)) {
            let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
            let found = of(&lines);
            prop_assert!(found.len() <= GROUPS_MAX && found.iter().all(|group| group.len() <= GROUP_MAX));
        }

        #[test]
        fn what_is_written_is_read(written in proptest::collection::vec("[ -~]{0,20}", 0..10)) {
            let item = |group: &String| Item::new(sfv::String::try_from(group.clone()).unwrap()).into();
            let list: List = written.iter().map(item).collect();
            let found = of(&[list.serialize().unwrap_or_default().as_bytes()]);
            prop_assert!(written.iter().all(|group| found.contains(group)));
            prop_assert!(found.iter().all(|group| written.contains(group)));
        }
    }
}
