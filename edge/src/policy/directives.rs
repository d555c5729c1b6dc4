//! Cache-Control, parsed as RFC 9111 section 5.2 says: case-insensitive names, token and quoted arguments, several
//! lines, empty list elements, unknown directives ignored. Never by looking for substrings.
//!
//! What is malformed is read the safe way: a restriction holds whatever stands behind it, a lifetime must be written as
//! the grammar says, else it is zero.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, HeaderName, HeaderValue};

/// RFC 9111 section 1.2.2: a value too large "MUST be considered to be either the value 2147483648 (2^31) or the
/// greatest positive integer it can conveniently represent".
pub(super) const DELTA_MAX: u64 = 1 << 31;

/// The directives of a response that concern a shared cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache` for the whole answer.
    pub no_cache: bool,
    /// The fields that `no-cache="a, b"` names: only they must not be reused (section 5.2.2.4).
    pub no_cache_fields: Vec<HeaderName>,
    /// `private` for the whole answer.
    pub private: bool,
    /// The fields that `private="a, b"` names: only they must not be stored (section 5.2.2.7).
    pub private_fields: Vec<HeaderName>,
    /// `public`.
    pub public: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `must-understand`.
    pub must_understand: bool,
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
    /// `stale-if-error` (RFC 5861 section 4).
    pub stale_if_error: Option<Duration>,
}

/// What stands behind a directive's name.
#[derive(Debug, Clone)]
pub(super) enum Argument<'a> {
    /// Nothing.
    None,
    /// The text, without quotes.
    Text(Cow<'a, str>),
    /// White space where the grammar has none, or half a quoted string.
    Malformed,
}

impl ResponseDirectives {
    /// Of the Cache-Control lines in `headers`.
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        each(headers, |name, argument| found.take(name, argument));
        found
    }

    /// One more directive; `name` in lower case.
    pub(super) fn take(&mut self, name: &str, argument: Argument<'_>) {
        match name {
            "no-store" => self.no_store = true,
            "no-cache" => qualified(argument, &mut self.no_cache, &mut self.no_cache_fields),
            "private" => qualified(argument, &mut self.private, &mut self.private_fields),
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "must-understand" => self.must_understand = true,
            // Section 4.2.1: of several values "either the first occurrence should be used or the response should be
            // considered stale".
            "max-age" => self.max_age = self.max_age.or(Some(seconds(argument).unwrap_or_default())),
            "s-maxage" => self.s_maxage = self.s_maxage.or(Some(seconds(argument).unwrap_or_default())),
            "stale-while-revalidate" => {
                self.stale_while_revalidate = self.stale_while_revalidate.or(seconds(argument));
            }
            "stale-if-error" => self.stale_if_error = self.stale_if_error.or(seconds(argument)),
            _ => {}
        }
    }

    /// Whether a stale answer must not be used without asking the origin (sections 4.2.4, 5.2.2.2, 5.2.2.8 and
    /// 5.2.2.10: s-maxage implies proxy-revalidate for a shared cache).
    pub fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.no_cache || self.s_maxage.is_some()
    }
}

/// The qualified form limits the directive to the fields it names. The token form names one: "recipients .. ought to
/// accept both forms". One that cannot be read counts as unqualified.
fn qualified(argument: Argument<'_>, whole: &mut bool, fields: &mut Vec<HeaderName>) {
    let Argument::Text(list) = argument else {
        *whole = true;
        return;
    };
    let names: Result<Vec<HeaderName>, _> =
        list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::parse).collect();
    match names {
        Ok(names) if !names.is_empty() => fields.extend(names),
        Ok(_) | Err(_) => *whole = true,
    }
}

impl RequestDirectives {
    /// The same without what makes a cache ask the origin about what is fresh.
    #[must_use]
    pub fn unforced(&self) -> Self {
        Self { no_cache: false, max_age: None, min_fresh: None, ..self.clone() }
    }

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
            "stale-if-error" => found.stale_if_error = found.stale_if_error.or(seconds(argument)),
            "min-fresh" => found.min_fresh = found.min_fresh.or(seconds(argument)),
            "max-stale" => {
                let any = Duration::from_secs(DELTA_MAX);
                let limit = if matches!(argument, Argument::None) { Some(any) } else { seconds(argument) };
                found.max_stale = found.max_stale.or(limit);
            }
            _ => {}
        });
        found
    }
}

/// Calls `take` with every directive's lower-cased name and its argument.
fn each(headers: &HeaderMap, mut take: impl FnMut(&str, Argument<'_>)) {
    for line in headers.get_all(CACHE_CONTROL) {
        // Bytes beyond ASCII can only stand in quoted arguments, which are numbers or field names here.
        let text = String::from_utf8_lossy(line.as_bytes());
        for item in split_list(&text) {
            let (name, argument) = match item.split_once('=') {
                Some((name, argument)) => (name.trim_end(), read_argument(name, argument)),
                None => (item, Argument::None),
            };
            take(&name.to_ascii_lowercase(), argument);
        }
    }
}

/// `cache-directive = token [ "=" ( token / quoted-string ) ]` (section 5.2): no white space around the equals sign.
fn read_argument<'a>(name: &str, argument: &'a str) -> Argument<'a> {
    if name.ends_with([' ', '\t']) || argument.starts_with([' ', '\t']) {
        return Argument::Malformed;
    }
    match argument.strip_prefix('"') {
        None => Argument::Text(argument.into()),
        Some(rest) => rest.strip_suffix('"').map_or(Argument::Malformed, |text| Argument::Text(unescaped(text))),
    }
}

/// "Recipients that process the value of a quoted-string MUST handle a quoted-pair as if it were replaced by the octet
/// following the backslash" (RFC 9110 section 5.6.4).
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text.into();
    }
    let mut escaped = false;
    let keep = |c: &char| {
        escaped = *c == '\\' && !escaped;
        !escaped
    };
    text.chars().filter(keep).collect::<String>().into()
}

/// The Cache-Control of `headers` without what it says of lifetimes; `None` when nothing is left.
pub fn without_lifetimes(headers: &HeaderMap) -> Option<HeaderValue> {
    const LIFETIMES: [&str; 4] = ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"];
    let lines: Vec<&str> = headers.get_all(CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok()).collect();
    let is_lifetime = |item: &&str| {
        let name = item.split('=').next().unwrap_or_default().trim();
        LIFETIMES.iter().any(|lifetime| name.eq_ignore_ascii_case(lifetime))
    };
    let rest: Vec<&str> = lines.iter().flat_map(|line| split_list(line)).filter(|item| !is_lifetime(item)).collect();
    HeaderValue::from_str(&rest.join(", ")).ok().filter(|rest| !rest.is_empty())
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
fn seconds(argument: Argument<'_>) -> Option<Duration> {
    let Argument::Text(digits) = argument else { return None };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // All digits but too many of them for 64 bits: larger than any cap.
    Some(Duration::from_secs(digits.parse::<u64>().unwrap_or(DELTA_MAX).min(DELTA_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let rows: [(&str, &[&str], Option<Duration>); 20] = [
            ("plain", &["max-age=60"], secs(60)),
            ("names are case-insensitive", &["MAX-AGE=60"], secs(60)),
            ("quoted form", &["max-age=\"60\""], secs(60)),
            ("quoted pairs", &["max-age=\"\\6\\0\""], secs(60)),
            ("among others", &["public, max-age=60 ,x"], secs(60)),
            ("empty elements", &[", ,max-age=60,,"], secs(60)),
            ("several lines", &["public", "max-age=60"], secs(60)),
            ("first of two", &["max-age=1, max-age=60"], secs(1)),
            ("no argument is stale", &["max-age"], secs(0)),
            ("negative is stale", &["max-age=-1"], secs(0)),
            ("fraction is stale", &["max-age=1.5"], secs(0)),
            ("overflow is capped", &["max-age=99999999999999999999999"], secs(1 << 31)),
            ("white space before the equals sign", &["max-age =60"], secs(0)),
            ("white space behind it", &["max-age= 60"], secs(0)),
            ("single quotes are no quotes", &["max-age='60'"], secs(0)),
            ("half a quoted string", &["max-age=\"60"], secs(0)),
            ("leading zeros", &["max-age=0060"], secs(60)),
            ("not a substring of another name", &["x-max-age=60"], None),
            ("not inside a quoted string", &["x=\"a, max-age=60\""], None),
            ("escaped quote inside a quoted string", &["x=\"a\\\", max-age=60\""], None),
        ];
        for (name, values, wanted) in rows {
            assert_eq!(response(values).max_age, wanted, "{name}");
        }
    }

    #[test]
    fn qualified_forms_name_fields() {
        let found = response(&["no-cache=\"Set-Cookie, x\", private=y"]);
        assert_eq!((found.no_cache, found.private), (false, false));
        assert_eq!(found.no_cache_fields, ["set-cookie", "x"]);
        assert_eq!(found.private_fields, ["y"]);
        for unreadable in ["private=\"a b\"", "private=\"\"", "private=", "private =\"x\"", "private=\"x"] {
            assert!(response(&[unreadable]).private, "{unreadable}");
        }
        assert!(response(&["no-cache=\"x\"", "no-cache"]).no_cache, "both forms");
    }

    #[test]
    fn what_is_left_without_lifetimes() {
        let left = |values: &[&str]| without_lifetimes(&lines(values)).map(|rest| rest.to_str().unwrap().to_owned());
        assert_eq!(
            left(&["public, Max-Age=5", "x=\"a, max-age=1\", s-maxage=3"]).as_deref(),
            Some("public, x=\"a, max-age=1\"")
        );
        assert_eq!(left(&["max-age=5, stale-if-error=1"]), None);
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
