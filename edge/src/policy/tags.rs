//! Tags: names that an origin gives an answer, to purge it by. Vendors spell them in two ways, and groups (RFC 9875) count
//! as tags, too:
//!
//! ```text
//! Surrogate-Key: a b      separated by white space
//! Cache-Tag: a, b c       separated by commas; a tag may hold spaces within
//! Cache-Groups: "a", "b"  a List of Strings
//! ```
//!
//! Tags are compared byte by byte: case matters.

use std::collections::HashSet;

use http::{HeaderMap, HeaderName};

use super::groups::{self, CACHE_GROUPS};

/// Of Fastly and others.
pub const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
/// Of Cloudflare and others.
pub const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// Bytes of one tag.
pub const TAG_MAX: usize = 1024;

/// How many tags of an answer count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagLimits {
    /// Tags.
    pub count: usize,
    /// Their bytes in all.
    pub bytes: usize,
}

/// The tags of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags {
    /// Each once, in the order of the fields above.
    pub tags: Vec<Vec<u8>>,
    /// Whether there were more than the limits allow, or one longer than [`TAG_MAX`].
    pub truncated: bool,
}

impl Tags {
    /// The tags that `headers` name. What is beyond the limits is left out from the first tag that does not fit; a tag that
    /// is too long is left out alone. Half a tag would be another one.
    pub fn of(headers: &HeaderMap, limits: TagLimits) -> Self {
        let groups = groups::groups(headers, &CACHE_GROUPS);
        let keys = lines(headers, SURROGATE_KEY).flat_map(|line| line.split(u8::is_ascii_whitespace));
        let tags = lines(headers, CACHE_TAG).flat_map(|line| line.split(|byte| *byte == b','));
        let named = keys.chain(tags).map(<[u8]>::trim_ascii).filter(|tag| !tag.is_empty());
        let (mut found, mut seen, mut bytes) = (Self::default(), HashSet::new(), 0);
        for tag in named.chain(groups.iter().map(String::as_bytes)) {
            if seen.contains(tag) {
                continue;
            }
            if tag.len() > TAG_MAX {
                found.truncated = true;
                continue;
            }
            bytes += tag.len();
            if found.tags.len() == limits.count || bytes > limits.bytes {
                found.truncated = true;
                break;
            }
            seen.insert(tag);
            found.tags.push(tag.to_vec());
        }
        found
    }
}

fn lines(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    headers.get_all(name).iter().map(http::HeaderValue::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const LIMITS: TagLimits = TagLimits { count: 100, bytes: 10_000 };

    fn of(fields: &[(&HeaderName, &[u8])], limits: TagLimits) -> (Vec<String>, bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        let found = Tags::of(&headers, limits);
        (found.tags.iter().map(|tag| String::from_utf8_lossy(tag).into_owned()).collect(), found.truncated)
    }

    #[test]
    fn table() {
        type Row<'a> = (&'a str, &'a [(&'a HeaderName, &'a [u8])], &'a [&'a str]);
        let (key, tag, group) = (&SURROGATE_KEY, &CACHE_TAG, &CACHE_GROUPS);
        let rows: &[Row<'_>] = &[
            ("none", &[], &[]),
            ("keys", &[(key, b"a b\tc")], &["a", "b", "c"]),
            ("white space around", &[(key, b"  a   b ")], &["a", "b"]),
            ("a comma is part of a key", &[(key, b"a,b c")], &["a,b", "c"]),
            ("tags", &[(tag, b"a, b,c")], &["a", "b", "c"]),
            ("a space within a tag", &[(tag, b"a b, c")], &["a b", "c"]),
            ("empty tags", &[(tag, b",, a,")], &["a"]),
            ("groups", &[(group, b"\"a\", \"b c\"")], &["a", "b c"]),
            ("an empty group", &[(group, b"\"\"")], &[""]),
            ("no groups", &[(group, b"a")], &[]),
            ("several lines", &[(key, b"a"), (key, b"b")], &["a", "b"]),
            ("all three, each once", &[(tag, b"b, a"), (key, b"a c"), (group, b"\"c\", \"d\"")], &["a", "c", "b", "d"]),
            ("case matters", &[(key, b"a A")], &["a", "A"]),
            ("UTF-8", &[(tag, "größe".as_bytes())], &["größe"]),
        ];
        for (name, fields, wanted) in rows {
            assert_eq!(of(fields, LIMITS), (wanted.iter().map(ToString::to_string).collect(), false), "{name}");
        }
    }

    #[test]
    fn limits() {
        let key = &SURROGATE_KEY;
        let limits = |count, bytes| TagLimits { count, bytes };
        let some = |tags: &[&str], truncated| (tags.iter().map(ToString::to_string).collect::<Vec<_>>(), truncated);
        assert_eq!(of(&[(key, b"a b c")], limits(3, 99)), some(&["a", "b", "c"], false));
        assert_eq!(of(&[(key, b"a b c")], limits(2, 99)), some(&["a", "b"], true));
        assert_eq!(of(&[(key, b"a b a b")], limits(2, 99)), some(&["a", "b"], false), "each counts once");
        assert_eq!(of(&[(key, b"aa bb c")], limits(9, 3)), some(&["aa"], true), "no half tag, and none behind it");
        assert_eq!(of(&[(key, b"a")], limits(0, 0)), some(&[], true));
        let long = [&b"a "[..], &[b'x'; TAG_MAX + 1], b" b"].concat();
        assert_eq!(of(&[(key, &long)], LIMITS), some(&["a", "b"], true));
        // 64 KiB of tags.
        let many: Vec<String> = (0..8192).map(|n| format!("t{n:06}")).collect();
        let (tags, truncated) = of(&[(key, many.join(" ").as_bytes())], limits(1000, 16 << 10));
        assert_eq!((tags.as_slice(), truncated), (&many[..1000], true));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(
            key in "[ -~]{0,60}", tag in "[ -~]{0,60}", group in "[\"a-c, ]{0,20}", count in 0usize..8, bytes in 0usize..40,
        ) {
            let fields = [(&SURROGATE_KEY, key.as_bytes()), (&CACHE_TAG, tag.as_bytes()), (&CACHE_GROUPS, group.as_bytes())];
            let (tags, _) = of(&fields, TagLimits { count, bytes });
            prop_assert!(tags.len() <= count && tags.iter().map(String::len).sum::<usize>() <= bytes);
            let (all, truncated) = of(&fields, LIMITS);
            prop_assert!(!truncated && all.starts_with(&tags));
        }
    }
}
