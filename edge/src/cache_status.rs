//! The Cache-Status field (RFC 9211): what the cache did, for whoever looks. It is a Structured Field List.

use std::fmt::Write;

use http::{HeaderMap, HeaderValue, StatusCode};
use sfv::TokenRef;

use crate::headers::{CACHE_STATUS, Identity, Text};
use crate::policy::structured;

/// Why a request went to the origin (RFC 9211 section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// Configured or remembered not to use the cache.
    Bypass,
    /// The method.
    Method,
    /// Nothing is stored for the URL.
    UriMiss,
    /// Something is, but not for this request.
    VaryMiss,
    /// What is stored is stale.
    Stale,
    /// What is stored is a part, and not all that is asked for.
    Partial,
    /// The request's own directives.
    Request,
}

impl Forward {
    fn token(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
            Self::Partial => "partial",
            Self::Request => "request",
        }
    }
}

/// One member of the list: this cache's.
#[derive(Debug, Clone, Default)]
pub struct CacheStatus {
    /// Served from the store without asking: then nothing is said of a forward request.
    pub hit: bool,
    /// Why the origin was asked.
    pub forward: Option<Forward>,
    /// What the origin answered, when that is not what the client gets.
    pub forward_status: Option<StatusCode>,
    /// Whether the answer is being stored.
    pub stored: bool,
    /// Whether the fetch was another request's.
    pub collapsed: bool,
    /// Seconds of freshness left; negative when stale.
    pub ttl: Option<i64>,
    /// A word on why, for those who may see it.
    pub detail: Option<&'static str>,
}

impl CacheStatus {
    /// From the store.
    pub fn hit(ttl: i64) -> Self {
        Self { hit: true, ttl: Some(ttl), ..Self::default() }
    }

    /// From the origin.
    pub fn forward(why: Forward) -> Self {
        Self { forward: Some(why), ..Self::default() }
    }

    /// Adds this cache's member behind those of caches closer to the origin. `key` is shown only to those who may see
    /// more, and so is `detail` (RFC 9211 section 6).
    pub fn add_to(&self, headers: &mut HeaderMap, identity: &Identity, key: Option<&str>) {
        begin(headers, identity);
        if let Some(begun) = headers.get_mut(CACHE_STATUS) {
            *begun = self.completed(begun, key);
        }
    }

    /// The field where the member was begun before.
    pub fn completed(&self, begun: &HeaderValue, key: Option<&str>) -> HeaderValue {
        let mut text = Text::from(begun.as_bytes());
        // Writing to a text cannot fail.
        let _infallible = self.write(&mut text, key);
        text.value().unwrap_or_else(|_| begun.clone())
    }

    fn write(&self, text: &mut Text, key: Option<&str>) -> std::fmt::Result {
        // A member has either hit or fwd (RFC 9211 section 2.1), and the rest on a forward request only with fwd.
        let forward = self.forward.filter(|_| !self.hit);
        if self.hit {
            text.write_str("; hit")?;
        }
        if let Some(forward) = forward {
            write!(text, "; fwd={}", forward.token())?;
            if let Some(status) = self.forward_status {
                write!(text, "; fwd-status={}", status.as_u16())?;
            }
        }
        if let Some(ttl) = self.ttl {
            write!(text, "; ttl={}", ttl.clamp(-INTEGER_MAX, INTEGER_MAX))?;
        }
        if forward.is_some() && self.stored {
            text.write_str("; stored")?;
        }
        if forward.is_some() && self.collapsed {
            text.write_str("; collapsed")?;
        }
        if let Some(key) = key {
            text.write_str("; key=")?;
            write_string(text, key)?;
            match self.detail {
                Some(detail) if TokenRef::from_str(detail).is_ok() => write!(text, "; detail={detail}")?,
                Some(detail) => {
                    text.write_str("; detail=")?;
                    write_string(text, detail)?;
                }
                None => {}
            }
        }
        Ok(())
    }
}

/// Begins this cache's member: its name, behind the members of caches closer to the origin.
///
/// "When adding a value to the Cache-Status header field, caches SHOULD preserve the existing field value" (RFC 9211
/// section 2). One that is not a List is dropped all the same: whoever parses the field would have to ignore all of it, and
/// our member with it (RFC 9651 section 4.2).
pub fn begin(headers: &mut HeaderMap, identity: &Identity) {
    let mut text = String::with_capacity(64);
    if structured::list(headers, &CACHE_STATUS).is_some_and(|before| !before.is_empty()) {
        for line in headers.get_all(CACHE_STATUS).iter().filter_map(|line| line.to_str().ok()) {
            text.push_str(line);
            text.push_str(", ");
        }
    }
    text.push_str(&identity.name);
    match HeaderValue::try_from(text) {
        Ok(value) => drop(headers.insert(CACHE_STATUS, value)),
        Err(_) => drop(headers.remove(CACHE_STATUS)),
    }
}

/// The largest Integer of a Structured Field (RFC 9651 section 3.3.1).
const INTEGER_MAX: i64 = 999_999_999_999_999;

/// A String (RFC 9651 section 3.3.3), without what it cannot hold.
fn write_string(text: &mut Text, content: &str) -> std::fmt::Result {
    text.write_char('"')?;
    for c in content.chars().filter(|c| (' '..='~').contains(c)) {
        if matches!(c, '"' | '\\') {
            text.write_char('\\')?;
        }
        text.write_char(c)?;
    }
    text.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sfv::{BareItem, FieldType, Item, List, ListEntry, Parser};

    fn show(status: &CacheStatus, key: Option<&str>, before: &[&[u8]]) -> String {
        let identity = Identity::new("nearcast-fra", "");
        let mut headers = HeaderMap::new();
        for value in before {
            headers.append(CACHE_STATUS, HeaderValue::from_bytes(value).unwrap());
        }
        status.add_to(&mut headers, &identity, key);
        headers[CACHE_STATUS].to_str().unwrap().to_owned()
    }

    #[test]
    fn members() {
        let miss = CacheStatus { stored: true, detail: Some("x"), ..CacheStatus::forward(Forward::UriMiss) };
        assert_eq!(show(&CacheStatus::hit(59), None, &[]), "nearcast-fra; hit; ttl=59");
        assert_eq!(show(&miss, None, &[b"a; hit", b"b"]), "a; hit, b, nearcast-fra; fwd=uri-miss; stored");
        let shown = show(&miss, Some("http://h/\"\\é"), &[]);
        assert_eq!(shown, "nearcast-fra; fwd=uri-miss; stored; key=\"http://h/\\\"\\\\\"; detail=x");
        let words = CacheStatus { detail: Some("two words"), ..CacheStatus::forward(Forward::Partial) };
        assert_eq!(show(&words, Some("k"), &[]), "nearcast-fra; fwd=partial; key=\"k\"; detail=\"two words\"");
        let both = CacheStatus { hit: true, stored: true, collapsed: true, ..CacheStatus::forward(Forward::Stale) };
        assert_eq!(show(&both, None, &[]), "nearcast-fra; hit");
        assert_eq!(show(&CacheStatus::hit(i64::MIN), None, &[]), "nearcast-fra; hit; ttl=-999999999999999");
    }

    #[test]
    fn members_of_others() {
        let ours = "nearcast-fra; hit; ttl=1";
        let rows: [(&str, &[&[u8]], &str); 10] = [
            ("a list", &[b"a;hit, \"b c\";  fwd=miss"], "a;hit, \"b c\";  fwd=miss, "),
            ("a comma in a string", &[b"\"a, b\""], "\"a, b\", "),
            ("parameters of others", &[b"a; x=?0; y=:eHg=:"], "a; x=?0; y=:eHg=:, "),
            ("nothing", &[b""], ""),
            ("blanks", &[b"  "], ""),
            ("an open string", &[b"\"a"], ""),
            ("no list", &[b"a b"], ""),
            ("a bad line spoils the good one", &[b"a; hit", b"b; fwd="], ""),
            ("a trailing comma", &[b"a; hit,"], ""),
            ("not ASCII", &["ä".as_bytes()], ""),
        ];
        for (name, before, kept) in rows {
            assert_eq!(show(&CacheStatus::hit(1), None, before), format!("{kept}{ours}"), "{name}");
        }
    }

    fn forwards() -> impl Strategy<Value = Forward> {
        prop_oneof![
            Just(Forward::Bypass),
            Just(Forward::Method),
            Just(Forward::UriMiss),
            Just(Forward::VaryMiss),
            Just(Forward::Stale),
            Just(Forward::Partial),
            Just(Forward::Request),
        ]
    }

    fn statuses() -> impl Strategy<Value = CacheStatus> {
        let times = (any::<bool>(), proptest::option::of(forwards()), proptest::option::of(any::<i64>()));
        let details = prop_oneof![Just(None), Just(Some("no-store")), Just(Some("a \"b\" \\ é")), Just(Some(""))];
        (times, proptest::option::of(100u16..1000), any::<(bool, bool)>(), details).prop_map(
            |((hit, forward, ttl), status, (stored, collapsed), detail)| {
                let forward_status = status.map(|status| StatusCode::from_u16(status).unwrap());
                CacheStatus { hit, forward, forward_status, stored, collapsed, ttl, detail }
            },
        )
    }

    proptest! {
        #[test]
        fn what_we_emit_is_a_list_whose_last_member_is_ours(
            status in statuses(),
            key in proptest::option::of(".{0,20}"),
            before in proptest::collection::vec("([a-c]{1,3}(; ?(hit|fwd=stale|ttl=-1|key=\"x, y\"))?)(, ?)?|[a-c\",;= (]{0,8}", 0..3),
        ) {
            let lines: Vec<&[u8]> = before.iter().map(String::as_bytes).collect();
            let shown = show(&status, key.as_deref(), &lines);
            let list = List::parse(Parser::new(&shown)).unwrap();
            let Some(ListEntry::Item(Item { bare_item, params })) = list.last() else { panic!("{shown}") };
            prop_assert_eq!(bare_item.as_token().unwrap().as_str(), "nearcast-fra");
            let name = |name: &str| params.get(name);
            prop_assert_eq!(name("hit").and_then(BareItem::as_boolean), status.hit.then_some(true));
            prop_assert!(name("hit").is_none() || name("fwd").is_none());
            prop_assert_eq!(name("fwd").is_some(), status.forward.is_some() && !status.hit);
            prop_assert_eq!(name("ttl").is_some(), status.ttl.is_some());
            prop_assert_eq!(name("key").and_then(BareItem::as_string).is_some(), key.is_some());
            prop_assert_eq!(name("detail").is_some(), key.is_some() && status.detail.is_some());
            let joined = before.join(", ");
            let kept = List::parse(Parser::new(&joined)).unwrap_or_default();
            prop_assert_eq!(&list[..list.len() - 1], kept.as_slice());
        }
    }
}
