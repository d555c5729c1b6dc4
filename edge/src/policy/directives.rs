//! Cache-Control, parsed as RFC 9111 section 5.2 says: case-insensitive names, token and quoted arguments, several
//! lines, empty list elements, unknown directives ignored. Never by looking for substrings.

use std::time::Duration;

use http::HeaderMap;
use http::header::{CACHE_CONTROL, PRAGMA};

/// RFC 9111 section 1.2.2: a value too large "MUST be considered to be either the value 2147483648 (2^31) or the
/// greatest positive integer it can conveniently represent".
const DELTA_MAX: u64 = 1 << 31;

/// The directives of a response that concern a shared cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache`, with or without field names: the qualified form is read as the unqualified one, as section
    /// 5.2.2.4 allows.
    pub no_cache: bool,
    /// `private`, likewise (section 5.2.2.7).
    pub private: bool,
    /// `public`.
    pub public: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `max-age`; an argument that is no number counts as zero, "cache recipients are encouraged to consider
    /// responses that have invalid freshness information to be stale" (section 4.2.1).
    pub max_age: Option<Duration>,
    /// `s-maxage`, likewise.
    pub s_maxage: Option<Duration>,
    /// `stale-while-revalidate` (RFC 5861 section 3).
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error` (RFC 5861 section 4).
    pub stale_if_error: Option<Duration>,
}

/// The directives of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache`, or `Pragma: no-cache` without any Cache-Control (section 5.4).
    pub no_cache: bool,
    /// `only-if-cached`.
    pub only_if_cached: bool,
    /// `max-age`.
    pub max_age: Option<Duration>,
    /// `min-fresh`.
    pub min_fresh: Option<Duration>,
    /// `max-stale`: the allowed staleness, the longest there is when it has no argument.
    pub max_stale: Option<Duration>,
}

impl ResponseDirectives {
    /// Of the Cache-Control lines in `headers`.
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        each(headers, |name, argument| match name {
            "no-store" => found.no_store = true,
            "no-cache" => found.no_cache = true,
            "private" => found.private = true,
            "public" => found.public = true,
            "must-revalidate" => found.must_revalidate = true,
            "proxy-revalidate" => found.proxy_revalidate = true,
            // Section 4.2.1: of several values "either the first occurrence should be used or the response should be
            // considered stale".
            "max-age" => found.max_age = found.max_age.or(Some(seconds(argument).unwrap_or_default())),
            "s-maxage" => found.s_maxage = found.s_maxage.or(Some(seconds(argument).unwrap_or_default())),
            "stale-while-revalidate" => {
                found.stale_while_revalidate = found.stale_while_revalidate.or(seconds(argument));
            }
            "stale-if-error" => found.stale_if_error = found.stale_if_error.or(seconds(argument)),
            _ => {}
        });
        found
    }

    /// Whether a stale answer must not be used without asking the origin (sections 4.2.4, 5.2.2.2, 5.2.2.8 and
    /// 5.2.2.10: s-maxage implies proxy-revalidate for a shared cache).
    pub fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.no_cache || self.s_maxage.is_some()
    }
}

impl RequestDirectives {
    /// Of the Cache-Control and Pragma lines in `headers`.
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        if !headers.contains_key(CACHE_CONTROL) {
            // Section 5.4: "When the Cache-Control header field is also present in a request, Pragma is ignored".
            let pragma = headers.get_all(PRAGMA).iter().filter_map(|value| value.to_str().ok());
            found.no_cache =
                pragma.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case("no-cache"));
            return found;
        }
        each(headers, |name, argument| match name {
            "no-store" => found.no_store = true,
            "no-cache" => found.no_cache = true,
            "only-if-cached" => found.only_if_cached = true,
            "max-age" => found.max_age = found.max_age.or(seconds(argument)),
            "min-fresh" => found.min_fresh = found.min_fresh.or(seconds(argument)),
            "max-stale" => {
                let any = Duration::from_secs(DELTA_MAX);
                found.max_stale = found.max_stale.or(if argument.is_none() { Some(any) } else { seconds(argument) });
            }
            _ => {}
        });
        found
    }
}

/// Calls `take` with every directive's lower-cased name and its unquoted argument.
fn each(headers: &HeaderMap, mut take: impl FnMut(&str, Option<&str>)) {
    for line in headers.get_all(CACHE_CONTROL) {
        // Bytes beyond ASCII can only stand in quoted arguments, which are numbers or field names here.
        let text = String::from_utf8_lossy(line.as_bytes());
        for item in split_list(&text) {
            let (name, argument) = match item.split_once('=') {
                Some((name, argument)) => (name.trim_end(), Some(argument.trim_start())),
                None => (item, None),
            };
            let argument =
                argument.map(|text| text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text));
            take(&name.to_ascii_lowercase(), argument);
        }
    }
}

/// The elements of a comma-separated list; commas inside quoted strings do not separate, empty elements are left out.
pub fn split_list(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' => return !quoted,
            _ => {}
        }
        false
    })
    .map(str::trim)
    .filter(|item| !item.is_empty())
}

/// `delta-seconds` (section 1.2.2): digits only, capped.
fn seconds(argument: Option<&str>) -> Option<Duration> {
    let digits = argument.filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))?;
    // All digits but too many of them for 64 bits: larger than any cap.
    Some(Duration::from_secs(digits.parse::<u64>().unwrap_or(DELTA_MAX).min(DELTA_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn lines(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CACHE_CONTROL, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn response(values: &[&str]) -> ResponseDirectives {
        ResponseDirectives::parse(&lines(values))
    }

    fn secs(n: u64) -> Option<Duration> {
        Some(Duration::from_secs(n))
    }

    #[test]
    fn max_age() {
        let rows: [(&str, &[&str], Option<Duration>); 14] = [
            ("plain", &["max-age=60"], secs(60)),
            ("names are case-insensitive", &["MAX-AGE=60"], secs(60)),
            ("quoted form", &["max-age=\"60\""], secs(60)),
            ("among others", &["public, max-age=60 ,x"], secs(60)),
            ("empty elements", &[", ,max-age=60,,"], secs(60)),
            ("several lines", &["public", "max-age=60"], secs(60)),
            ("first of two", &["max-age=1, max-age=60"], secs(1)),
            ("no argument is stale", &["max-age"], secs(0)),
            ("negative is stale", &["max-age=-1"], secs(0)),
            ("fraction is stale", &["max-age=1.5"], secs(0)),
            ("overflow is capped", &["max-age=99999999999999999999999"], secs(1 << 31)),
            ("not a substring of another name", &["x-max-age=60"], None),
            ("not inside a quoted string", &["x=\"a, max-age=60\""], None),
            ("escaped quote inside a quoted string", &["x=\"a\\\", max-age=60\""], None),
        ];
        for (name, values, wanted) in rows {
            assert_eq!(response(values).max_age, wanted, "{name}");
        }
    }

    #[test]
    fn qualified_forms_count_as_unqualified() {
        assert!(response(&["no-cache=\"set-cookie, x\""]).no_cache);
        assert!(response(&["private=\"x\""]).private);
    }

    #[test]
    fn request_directives() {
        let parse = |values: &[&str]| RequestDirectives::parse(&lines(values));
        assert_eq!(parse(&["max-stale"]).max_stale, secs(1 << 31));
        assert_eq!(parse(&["max-stale=5"]).max_stale, secs(5));
        assert_eq!(parse(&["max-stale=x"]).max_stale, None);
        assert!(parse(&["only-if-cached"]).only_if_cached);

        let mut pragma = HeaderMap::new();
        pragma.insert(PRAGMA, HeaderValue::from_static("x, No-Cache"));
        assert!(RequestDirectives::parse(&pragma).no_cache);
        pragma.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=9"));
        assert!(!RequestDirectives::parse(&pragma).no_cache);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut headers = HeaderMap::new();
                headers.insert(CACHE_CONTROL, value);
                let found = ResponseDirectives::parse(&headers);
                prop_assert!(found.max_age.unwrap_or_default() <= Duration::from_secs(DELTA_MAX));
            }
        }
    }
}
