//! How long an answer is fresh, and how old it is (RFC 9111 section 4.2).

use std::borrow::Cow;
use std::time::Duration;

use http::header::{AGE, DATE, EXPIRES, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};
use nearcast_shared::clock::Timestamp;

use super::control::{Control, Source};
use super::rules::Ruling;

/// When an exchange with the origin took place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// When the request was sent.
    pub request_time: Timestamp,
    /// When the answer's header was complete.
    pub response_time: Timestamp,
}

/// The operator's bounds on lifetimes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Of any lifetime.
    pub lifetime_max: Duration,
    /// Of a heuristic one.
    pub heuristic_max: Duration,
    /// Of a heuristic one of an error.
    pub heuristic_error_max: Duration,
}

/// How long an answer is fresh, and what says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifetime {
    /// How long.
    pub duration: Duration,
    /// Who says so.
    pub by: By,
}

/// What decided a lifetime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// `s-maxage`.
    SMaxage,
    /// `max-age`.
    MaxAge,
    /// Expires.
    Expires,
    /// Ten percent of the time since Last-Modified.
    Heuristic,
    /// Nobody: it is stale from the start.
    Nobody,
    /// The operator's rule of that name.
    Rule(Box<str>),
}

impl std::fmt::Display for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SMaxage => f.write_str("s-maxage"),
            Self::MaxAge => f.write_str("max-age"),
            Self::Expires => f.write_str("Expires"),
            Self::Heuristic => f.write_str("a tenth of the time since Last-Modified"),
            Self::Nobody => f.write_str("nobody"),
            Self::Rule(name) => write!(f, "rule `{name}`"),
        }
    }
}

/// Statuses that RFC 9110 section 15.1 calls heuristically cacheable, without 206, which is stored elsewhere if at all.
pub fn is_heuristic(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Whether the answer says itself how long it is fresh.
pub fn is_explicit(headers: &HeaderMap, control: &Control) -> bool {
    let said = &control.directives;
    let expires = control.source == Source::CacheControl && headers.contains_key(EXPIRES);
    said.s_maxage.is_some() || said.max_age.is_some() || expires
}

/// The freshness lifetime (section 4.2.1): s-maxage, else max-age, else Expires minus Date, else the operator's, else a
/// heuristic. A forced lifetime of the operator goes before all.
pub fn lifetime(
    status: StatusCode,
    headers: &HeaderMap,
    control: &Control,
    ruling: &Ruling<'_>,
    exchange: Exchange,
    bounds: Bounds,
) -> Lifetime {
    let (duration, by) = if let Some((duration, rule)) = ruling.forced() {
        (duration, By::Rule(rule.name.as_str().into()))
    } else if let Some(duration) = control.directives.s_maxage {
        (duration, By::SMaxage)
    } else if let Some(duration) = control.directives.max_age {
        (duration, By::MaxAge)
    } else if let Some(duration) = expires(headers, control, exchange) {
        (duration, By::Expires)
    } else if let Some((duration, rule)) = ruling.ttl.and_then(|rule| Some((rule.ttl?, rule))) {
        (duration, By::Rule(rule.name.as_str().into()))
    } else {
        let duration = heuristic(status, headers, control, exchange, bounds);
        (duration, if duration.is_zero() { By::Nobody } else { By::Heuristic })
    };
    Lifetime { duration: duration.min(bounds.lifetime_max), by }
}

/// "A cache recipient MUST interpret invalid date formats, especially the value "0", as representing a time in the past"
/// (section 5.3); several Expires lines are invalid, too.
fn expires(headers: &HeaderMap, control: &Control, exchange: Exchange) -> Option<Duration> {
    if control.source != Source::CacheControl {
        return None;
    }
    let expires = single_date(headers, EXPIRES, exchange.response_time)?;
    let date = date(headers, DATE, exchange.response_time).unwrap_or(exchange.response_time);
    Some(expires.map_or(Duration::ZERO, |expires| expires.since(date)))
}

/// Ten percent of the time since the last modification (section 4.2.2), capped; errors are kept briefly.
fn heuristic(
    status: StatusCode,
    headers: &HeaderMap,
    control: &Control,
    exchange: Exchange,
    bounds: Bounds,
) -> Duration {
    // "A cache MUST NOT use heuristics .. unless .. the status code is defined as heuristically cacheable .. or the
    // response has been explicitly marked as cacheable (e.g., with a public response directive)".
    if !is_heuristic(status) && !control.directives.public {
        return Duration::ZERO;
    }
    let Some(modified) = date(headers, LAST_MODIFIED, exchange.response_time) else { return Duration::ZERO };
    let date = date(headers, DATE, exchange.response_time).unwrap_or(exchange.response_time);
    let failed = status.is_client_error() || status.is_server_error();
    let max = if failed { bounds.heuristic_error_max } else { bounds.heuristic_max };
    (date.since(modified) / 10).min(max)
}

/// The age of an answer when its header was complete (section 4.2.3, `corrected_initial_age`).
pub fn initial_age(headers: &HeaderMap, exchange: Exchange) -> Duration {
    let apparent = match date(headers, DATE, exchange.response_time) {
        Some(date) => exchange.response_time.since(date),
        None => Duration::ZERO,
    };
    let delay = exchange.response_time.since(exchange.request_time);
    apparent.max(age_value(headers) + delay)
}

/// The age now (section 4.2.3, `current_age`). When the clock says that an answer is yet to come, it was set back, and
/// nobody knows how long the answer has been here: then it is older than any lifetime.
pub fn current_age(initial: Duration, exchange: Exchange, now: Timestamp) -> Duration {
    /// Clocks are adjusted by less all the time.
    const ADJUSTMENT: Duration = Duration::from_secs(10);
    if exchange.response_time.since(now) > ADJUSTMENT {
        return Duration::from_secs(1 << 31);
    }
    initial + now.since(exchange.response_time)
}

/// The Age field: the first value of the first line; an invalid one is ignored (section 5.1).
fn age_value(headers: &HeaderMap) -> Duration {
    let first = headers.get(AGE).and_then(|value| value.to_str().ok());
    let first = first.and_then(|text| text.split(',').next()).map(str::trim);
    let digits = first.filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    digits.map_or(Duration::ZERO, |digits| Duration::from_secs(digits.parse().unwrap_or(1 << 31).min(1 << 31)))
}

/// A date field, when there is a valid one.
pub fn date(headers: &HeaderMap, name: http::HeaderName, now: Timestamp) -> Option<Timestamp> {
    single_date(headers, name, now).flatten()
}

/// `None`: no such field; `Some(None)`: an invalid one, or several.
fn single_date(headers: &HeaderMap, name: http::HeaderName, now: Timestamp) -> Option<Option<Timestamp>> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    if lines.next().is_some() {
        return Some(None);
    }
    Some(first.to_str().ok().and_then(|text| parse_date(text, now)))
}

/// An HTTP-date in any of its three forms (RFC 9110 section 5.6.7), strictly as the grammar says.
pub fn parse_date(text: &str, now: Timestamp) -> Option<Timestamp> {
    /// Bytes of the longest: `Wednesday, 01-Jan-70 00:00:00 GMT`.
    const LONGEST: usize = 33;
    let text = text.trim_ascii();
    if text.len() > LONGEST {
        return None;
    }
    // The grammar has a leap second, of which clocks like ours know nothing: it is the next minute's first.
    let (usual, leap) = match text.contains(":60 ") {
        true => (Cow::Owned(text.replacen(":60 ", ":59 ", 1)), 1000),
        false => (Cow::Borrowed(text), 0),
    };
    let full = full_year(&usual, now).map_or(usual, Cow::Owned);
    let time = httpdate::parse_http_date(&full).or_else(|_| httpdate::parse_http_date(&in_usual_case(&full))).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp(Timestamp::from_seconds(i64::try_from(since.as_secs()).ok()?).0 + leap))
}

/// "Although all date formats are specified to be case-sensitive, a cache recipient SHOULD match the field value
/// case-insensitively" (RFC 9111 section 4.2).
fn in_usual_case(text: &str) -> String {
    let mut within = false;
    let cased = text.chars().map(|c| {
        let c = if within { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
        within = c.is_ascii_alphabetic();
        c
    });
    let cased: String = cased.collect();
    cased.strip_suffix("Gmt").map(|rest| format!("{rest}GMT")).unwrap_or(cased)
}

/// The form with a two-digit year as the one with four. "Recipients of a timestamp value in rfc850-date format, which uses a
/// two-digit year, MUST interpret a timestamp that appears to be more than 50 years in the future as representing the
/// most recent year in the past that had the same last two digits."
fn full_year(text: &str, now: Timestamp) -> Option<String> {
    const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    // It alone has these, and most dates are of another form.
    if !text.contains('-') {
        return None;
    }
    let (day_name, rest) = text.split_once(", ")?;
    let (date, time) = rest.split_once(' ')?;
    let [day, month, short] = date.split('-').collect::<Vec<_>>().try_into().ok()?;
    if !DAYS.iter().any(|day| day.eq_ignore_ascii_case(day_name)) || short.len() != 2 {
        return None;
    }
    let today = httpdate::fmt_http_date(now.to_system_time());
    let this_year: u32 = today.get(12..16)?.parse().ok()?;
    let short: u32 = short.bytes().all(|b| b.is_ascii_digit()).then(|| short.parse().ok())??;
    let year = this_year - this_year % 100 + short;
    let year = if year > this_year + 50 { year - 100 } else { year };
    Some(format!("{}, {day} {month} {year} {time}", day_name.get(..3)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use nearcast_shared::config::Rule;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const BOUNDS: Bounds = Bounds {
        lifetime_max: Duration::from_secs(1 << 31),
        heuristic_max: Duration::from_secs(86_400),
        heuristic_error_max: Duration::from_secs(60),
    };
    const AT_ONCE: Exchange = Exchange { request_time: NOW, response_time: NOW };

    fn at(seconds: i64) -> String {
        httpdate::fmt_http_date(Timestamp(NOW.0 + seconds * 1000).to_system_time())
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn lifetime_of(status: u16, pairs: &[(&'static str, &str)]) -> u64 {
        let map = headers(pairs);
        let (status, control) = (StatusCode::from_u16(status).unwrap(), Control::of(&map, "d"));
        lifetime(status, &map, &control, &Ruling::default(), AT_ONCE, BOUNDS).duration.as_secs()
    }

    #[test]
    fn lifetimes() {
        let (now, hour, past) = (at(0), at(3600), at(-36_000));
        type Row<'a> = (&'a str, u16, &'a [(&'static str, &'a str)], u64);
        let rows: [Row<'_>; 15] = [
            ("max-age", 200, &[("cache-control", "max-age=60")], 60),
            ("s-maxage wins over max-age", 200, &[("cache-control", "max-age=60, s-maxage=5")], 5),
            (
                "max-age wins over Expires",
                200,
                &[("cache-control", "max-age=60"), ("expires", &hour), ("date", &now)],
                60,
            ),
            ("Expires minus Date", 200, &[("expires", &hour), ("date", &now)], 3600),
            ("Expires minus the answer's own Date", 200, &[("expires", &now), ("date", &past)], 36_000),
            ("Expires: 0", 200, &[("expires", "0"), ("last-modified", &past)], 0),
            ("Expires in the past", 200, &[("expires", &past), ("date", &now)], 0),
            ("two Expires", 200, &[("expires", &hour), ("expires", &hour), ("date", &now)], 0),
            ("a tenth since Last-Modified", 200, &[("last-modified", &past), ("date", &now)], 3600),
            ("no heuristic for 500", 500, &[("last-modified", &past), ("date", &now)], 0),
            (
                "public allows the heuristic",
                500,
                &[("last-modified", &past), ("date", &now), ("cache-control", "public")],
                60,
            ),
            ("404 briefly", 404, &[("last-modified", &past), ("date", &now)], 60),
            ("a targeted field replaces Expires", 200, &[("expires", &hour), ("cdn-cache-control", "public")], 0),
            ("and max-age", 200, &[("cache-control", "max-age=60"), ("cdn-cache-control", "max-age=5")], 5),
            ("nothing said", 200, &[], 0),
        ];
        for (name, status, pairs, wanted) in rows {
            assert_eq!(lifetime_of(status, pairs), wanted, "{name}");
        }
    }

    #[test]
    fn years_of_two_digits() {
        let at = |text: &str| parse_date(text, NOW).map(|date| httpdate::fmt_http_date(date.to_system_time()));
        let rows = [
            ("this century", "Thursday, 01-Jan-26 00:00:00 GMT", Some("Thu, 01 Jan 2026 00:00:00 GMT")),
            ("43 years ahead", "Wednesday, 01-Jan-70 00:00:00 GMT", Some("Wed, 01 Jan 2070 00:00:00 GMT")),
            ("50 years ahead", "Friday, 01-Jan-77 00:00:00 GMT", Some("Fri, 01 Jan 2077 00:00:00 GMT")),
            (
                "in the past rather than 51 years ahead",
                "Sunday, 01-Jan-78 00:00:00 GMT",
                Some("Sun, 01 Jan 1978 00:00:00 GMT"),
            ),
            ("another weekday", "Monday, 01-Jan-26 00:00:00 GMT", None),
            ("a short weekday", "Thu, 01-Jan-26 00:00:00 GMT", None),
            ("other case", "THURSDAY, 01-jan-26 00:00:00 gmt", Some("Thu, 01 Jan 2026 00:00:00 GMT")),
            ("several leap seconds", "Thu, 01 Jan 2026 :60 :60 :60 GMT", None),
            ("signs", "Thursday, 01-Jan-+6 00:00:00 GMT", None),
            ("a leap second", "Thu, 01 Jan 2026 23:59:60 GMT", Some("Fri, 02 Jan 2026 00:00:00 GMT")),
        ];
        for (name, text, wanted) in rows {
            assert_eq!(at(text).as_deref(), wanted, "{name}");
        }
    }

    #[test]
    fn rules_and_answers() {
        let rule = Rule { name: "r".to_owned(), ttl: Some(Duration::from_secs(7)), ..Rule::default() };
        let forced = Rule { force: true, ..rule.clone() };
        let of = |rule: &Rule, pairs: &[(&'static str, &str)]| {
            let map = headers(pairs);
            let ruling = Ruling { ttl: Some(rule), ..Ruling::default() };
            let found = lifetime(StatusCode::OK, &map, &Control::of(&map, "d"), &ruling, AT_ONCE, BOUNDS);
            (found.duration.as_secs(), found.by)
        };
        let said = [("cache-control", "max-age=60")];
        assert_eq!(of(&rule, &said), (60, By::MaxAge), "the answer's own word goes before a default");
        assert_eq!(
            of(&rule, &[("last-modified", &at(-36_000))]),
            (7, By::Rule("r".into())),
            "which goes before a guess"
        );
        assert_eq!(of(&forced, &said), (7, By::Rule("r".into())));
    }

    #[test]
    fn ages() {
        let slow = Exchange { request_time: Timestamp(NOW.0 - 2_000), response_time: NOW };
        let old = at(-30);
        let future = at(30);
        type Row<'a> = (&'a str, &'a [(&'static str, &'a str)], u64);
        let rows: [Row<'_>; 7] = [
            ("only the delay", &[], 2),
            ("Age plus the delay", &[("age", "10")], 12),
            ("apparent age from Date", &[("date", &old)], 30),
            ("the larger counts", &[("date", &old), ("age", "40")], 42),
            ("a Date in the future is no age", &[("date", &future)], 2),
            ("first of several", &[("age", "10, 90")], 12),
            ("invalid Age is ignored", &[("age", "-5")], 2),
        ];
        for (name, pairs, wanted) in rows {
            assert_eq!(initial_age(&headers(pairs), slow).as_secs(), wanted, "{name}");
        }
        let age = current_age(Duration::from_secs(5), slow, Timestamp(NOW.0 + 7_000));
        assert_eq!(age.as_secs(), 12);
        // A clock set back an hour must not keep an answer fresh for an hour longer.
        let back = Timestamp(NOW.0 - 3_600_000);
        assert_eq!(current_age(Duration::from_secs(5), slow, back).as_secs(), 1 << 31);
    }
}
