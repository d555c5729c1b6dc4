//! Which field governs an answer: the first valid one of CDN-Cache-Control (RFC 9213), Surrogate-Control (the W3C's Edge
//! Architecture note) and Cache-Control. A targeted field replaces Cache-Control and Expires wholly.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use serde::Serialize;
use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};

use super::directives::{Argument, DELTA_MAX, ResponseDirectives, split_list};

/// RFC 9213 section 3.1.
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
/// The Edge Architecture note, section 2.2.
pub const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");

/// The field that governs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Cache-Control and Expires.
    CacheControl,
    /// CDN-Cache-Control alone.
    CdnCacheControl,
    /// Surrogate-Control alone.
    SurrogateControl,
}

/// What governs an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// The directives.
    pub directives: ResponseDirectives,
    /// Where they stand.
    pub source: Source,
}

impl Control {
    /// Of an answer's header. `device` is what we call ourselves in Surrogate-Capability.
    ///
    /// "The cache MUST select the first (in target list order) field with a valid, non-empty value and use its value to
    /// determine the caching policy for the response, and it MUST ignore the Cache-Control and Expires header fields in
    /// that response, unless no valid, non-empty value is available from the listed header fields" (RFC 9213
    /// section 2.2).
    pub fn of(headers: &HeaderMap, device: &str) -> Self {
        if let Some(directives) = targeted(headers) {
            return Self { directives, source: Source::CdnCacheControl };
        }
        if let Some(directives) = surrogate(headers, device) {
            return Self { directives, source: Source::SurrogateControl };
        }
        Self { directives: ResponseDirectives::parse(headers), source: Source::CacheControl }
    }
}

/// All lines of a field as one text; `None` when there is none, or not ASCII.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Result<Vec<&str>, _> = headers.get_all(name).iter().map(|line| line.to_str()).collect();
    lines.ok().filter(|lines| !lines.is_empty()).map(|lines| lines.join(", "))
}

/// "If a targeted field in a given response is empty, or a parsing error is encountered, that field MUST be ignored by
/// the cache" (RFC 9213 section 2.1).
fn targeted(headers: &HeaderMap) -> Option<ResponseDirectives> {
    let text = joined(headers, &CDN_CACHE_CONTROL)?;
    let dictionary = Parser::new(&text).parse::<Dictionary>().ok().filter(|members| !members.is_empty())?;
    let mut found = ResponseDirectives::default();
    for (name, member) in &dictionary {
        // "Implementations SHOULD NOT consume values that violate these inferred constraints"; "Parameters received on
        // directives are to be ignored" (section 2.1).
        let ListEntry::Item(Item { bare_item, .. }) = member else { continue };
        let argument = match bare_item {
            BareItem::Boolean(true) => Argument::None,
            BareItem::Integer(number) if i64::from(*number) >= 0 => Argument::Text(number.to_string().into()),
            BareItem::String(text) => Argument::Text(text.as_str().into()),
            BareItem::Token(text) => Argument::Text(text.as_str().into()),
            _ => continue,
        };
        let fits = match name.as_str() {
            "max-age" | "s-maxage" | "stale-while-revalidate" | "stale-if-error" => {
                matches!(bare_item, BareItem::Integer(_))
            }
            "no-cache" | "private" => !matches!(bare_item, BareItem::Integer(_)),
            _ => matches!(bare_item, BareItem::Boolean(true)),
        };
        if fits {
            found.take(name.as_str(), argument);
        }
    }
    Some(found)
}

/// `no-store`, and `max-age=N` or `max-age=N+M`: fresh for N seconds and of use for M more. A directive with the name of
/// another device behind a semicolon is not for us; when none is, the field is as good as absent.
fn surrogate(headers: &HeaderMap, device: &str) -> Option<ResponseDirectives> {
    let text = joined(headers, &SURROGATE_CONTROL)?;
    let mut found = ResponseDirectives::default();
    let mut any = false;
    for item in split_list(&text) {
        let (directive, target) = match item.split_once(';') {
            Some((directive, target)) => (directive.trim_end(), Some(target.trim())),
            None => (item, None),
        };
        if target.is_some_and(|target| target != device) {
            continue;
        }
        let (name, argument) = match directive.split_once('=') {
            Some((name, argument)) => (name, Some(argument)),
            None => (directive, None),
        };
        match (name.to_ascii_lowercase().as_str(), argument) {
            ("no-store", None) => (found.no_store, any) = (true, true),
            ("max-age", Some(argument)) => {
                let Some((fresh, extension)) = delta(argument) else { continue };
                any = true;
                found.max_age = found.max_age.or(Some(fresh));
                found.stale_while_revalidate = found.stale_while_revalidate.or(extension);
                found.stale_if_error = found.stale_if_error.or(extension);
            }
            _ => {}
        }
    }
    any.then_some(found)
}

/// `N` or `N+M`.
fn delta(text: &str) -> Option<(Duration, Option<Duration>)> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| Duration::from_secs(text.parse::<u64>().unwrap_or(DELTA_MAX).min(DELTA_MAX)))
    };
    match text.split_once('+') {
        Some((fresh, extension)) => Some((number(fresh)?, Some(number(extension)?))),
        None => Some((number(text)?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn max_age(pairs: &[(&'static str, &str)]) -> (Source, Option<u64>) {
        let control = Control::of(&map(pairs), "nearcast-fra");
        (control.source, control.directives.max_age.map(|age| age.as_secs()))
    }

    #[test]
    fn who_governs() {
        use Source::{CacheControl, CdnCacheControl, SurrogateControl};
        const OWN: (&str, &str) = ("cache-control", "max-age=1");
        const SURROGATE: (&str, &str) = ("surrogate-control", "max-age=2");
        let cdn = |value: &'static str| ("cdn-cache-control", value);
        let surrogate = |value: &'static str| ("surrogate-control", value);
        let rows = [
            ("nothing targeted", vec![OWN], (CacheControl, Some(1))),
            ("the CDN's", vec![OWN, cdn("max-age=3")], (CdnCacheControl, Some(3))),
            ("the CDN's before the surrogate's", vec![SURROGATE, OWN, cdn("max-age=3")], (CdnCacheControl, Some(3))),
            ("the surrogate's", vec![OWN, SURROGATE], (SurrogateControl, Some(2))),
            ("wholly", vec![OWN, cdn("must-revalidate")], (CdnCacheControl, None)),
            ("empty", vec![OWN, cdn("")], (CacheControl, Some(1))),
            ("not a dictionary", vec![OWN, cdn("max-age=3, &&&")], (CacheControl, Some(1))),
            ("white space around the equals sign", vec![OWN, cdn("max-age =3")], (CacheControl, Some(1))),
            ("keys are lower case", vec![OWN, cdn("Max-Age=3")], (CacheControl, Some(1))),
            ("a string is no number", vec![OWN, cdn("max-age=\"3\"")], (CdnCacheControl, None)),
            ("a decimal is none either", vec![OWN, cdn("max-age=3.5")], (CdnCacheControl, None)),
            ("negative", vec![OWN, cdn("max-age=-3")], (CdnCacheControl, None)),
            ("parameters are ignored", vec![OWN, cdn("max-age=3;x=1")], (CdnCacheControl, Some(3))),
            ("unknown directives are ignored", vec![OWN, cdn("x=?0, max-age=3, y=(1 2)")], (CdnCacheControl, Some(3))),
            ("several lines", vec![cdn("public"), cdn("max-age=3")], (CdnCacheControl, Some(3))),
            ("overflow is capped", vec![cdn("max-age=999999999999999")], (CdnCacheControl, Some(DELTA_MAX))),
            ("for us by name", vec![OWN, surrogate("max-age=2;nearcast-fra")], (SurrogateControl, Some(2))),
            ("for another device", vec![OWN, surrogate("max-age=2;other")], (CacheControl, Some(1))),
            ("strict, too", vec![OWN, surrogate("max-age =2")], (CacheControl, Some(1))),
            ("but for case", vec![OWN, surrogate("MAX-AGE=2")], (SurrogateControl, Some(2))),
            ("nothing that we know", vec![OWN, surrogate("content=\"ESI/1.0\"")], (CacheControl, Some(1))),
        ];
        for (name, pairs, wanted) in rows {
            assert_eq!(max_age(&pairs), wanted, "{name}");
        }
    }

    #[test]
    fn more_than_lifetimes() {
        let of = |name: &'static str, value: &str| Control::of(&map(&[(name, value)]), "d").directives;
        let found = of("cdn-cache-control", "no-store, private=\"x\", no-cache, max-age=1, stale-if-error=5");
        assert!(found.no_store && found.no_cache && !found.private);
        assert_eq!((found.private_fields.len(), found.stale_if_error), (1, Some(Duration::from_secs(5))));
        assert!(!of("cdn-cache-control", "no-store=?0, no-cache=1").no_store);
        let found = of("surrogate-control", "max-age=10+20");
        assert_eq!(found.stale_while_revalidate, Some(Duration::from_secs(20)));
        assert!(of("surrogate-control", "no-store").no_store);
        assert!(!of("surrogate-control", "no-store-remote").no_store);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(cdn in proptest::collection::vec(any::<u8>(), 0..80), other in "[ -~]{0,60}") {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&cdn) {
                headers.insert(CDN_CACHE_CONTROL, value);
            }
            headers.insert(SURROGATE_CONTROL, HeaderValue::from_str(&other).unwrap());
            let control = Control::of(&headers, "d");
            prop_assert!(control.directives.max_age.unwrap_or_default() <= Duration::from_secs(DELTA_MAX));
        }

        /// A field that is not a dictionary changes nothing at all.
        #[test]
        fn what_cannot_be_parsed_is_as_good_as_absent(text in "[a-z0-9=,;\" ?&-]{1,40}") {
            let own = map(&[("cache-control", "max-age=7, private")]);
            let mut both = own.clone();
            both.insert(CDN_CACHE_CONTROL, HeaderValue::from_str(&text).unwrap());
            if Parser::new(&text).parse::<Dictionary>().is_err() {
                prop_assert_eq!(Control::of(&both, "d"), Control::of(&own, "d"));
            }
        }
    }
}
