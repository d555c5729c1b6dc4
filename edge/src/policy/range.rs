//! Range requests (RFC 9110 section 14). One range is answered as 206; several that merge into one likewise; other
//! requests for several ranges are answered with the whole, which section 14.2 always allows.

use http::HeaderMap;
use http::header::{DATE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE};

use nearcast_shared::clock::Timestamp;

use super::{freshness, validator};

/// More ranges than this in one request are ignored: they only amplify.
const RANGES_MAX: usize = 16;

/// What a request's Range amounts to for a body of known length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranged {
    /// No range, or one to be ignored: the whole.
    Whole,
    /// Bytes `first..end`, not empty.
    Part {
        /// Offset of the first byte.
        first: u64,
        /// Offset behind the last byte.
        end: u64,
    },
    /// 416.
    Unsatisfiable,
}

/// Judges Range and If-Range of `request` against an answer of `length` bytes with the header `stored`.
pub fn ranged(request: &HeaderMap, stored: &HeaderMap, length: u64) -> Ranged {
    let mut lines = request.get_all(RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Ranged::Whole };
    if !if_range_holds(request, stored) {
        return Ranged::Whole;
    }
    let Some(specs) = line.to_str().ok().and_then(parse) else { return Ranged::Whole };
    let mut parts: Vec<(u64, u64)> = specs.into_iter().filter_map(|spec| resolve(spec, length)).collect();
    parts.sort_unstable();
    let Some(&(first, mut end)) = parts.first() else { return Ranged::Unsatisfiable };
    for (next, next_end) in &parts[1..] {
        if *next > end {
            return Ranged::Whole;
        }
        end = end.max(*next_end);
    }
    Ranged::Part { first, end }
}

/// If-Range: a strong ETag or an exact Last-Modified date that still holds; without it there is no condition.
fn if_range_holds(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let Some(wanted) = request.get(IF_RANGE) else { return true };
    if wanted.as_bytes().contains(&b'"') {
        return stored.get(ETAG).is_some_and(|own| validator::strongly_equal(own, wanted));
    }
    let Some(wanted) = wanted.to_str().ok().and_then(freshness::parse_date) else { return false };
    // "A date validator is strong .. if .. the presented date is at least one second earlier than the Date" (RFC 9110
    // section 8.8.2.2, in other words): what changed within that second would look the same.
    let earlier = |date: Timestamp| wanted.seconds() < date.seconds();
    freshness::date(stored, LAST_MODIFIED) == Some(wanted) && freshness::date(stored, DATE).is_some_and(earlier)
}

#[derive(Debug, Clone, Copy)]
enum Spec {
    From(u64, Option<u64>),
    Last(u64),
}

/// `None` when the field is malformed or names another unit: then it is ignored.
fn parse(text: &str) -> Option<Vec<Spec>> {
    let (unit, list) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let items: Vec<&str> = list.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
    if items.is_empty() || items.len() > RANGES_MAX {
        return None;
    }
    items.into_iter().map(parse_one).collect()
}

fn parse_one(item: &str) -> Option<Spec> {
    let (first, last) = item.split_once('-')?;
    let number = |text: &str| -> Option<u64> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (first, last) {
        ("", last) => number(last).map(Spec::Last),
        (first, "") => number(first).map(|first| Spec::From(first, None)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Spec::From(first, Some(last)))
        }
    }
}

/// The bytes a spec means, `None` when it lies beyond the end.
fn resolve(spec: Spec, length: u64) -> Option<(u64, u64)> {
    let (first, end) = match spec {
        Spec::From(first, last) => (first, last.map_or(length, |last| last.saturating_add(1).min(length))),
        Spec::Last(count) => (length.saturating_sub(count), length),
    };
    (first < end).then_some((first, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair =
            |(name, value): &(&'static str, &str)| ((*name).parse().unwrap(), HeaderValue::from_str(value).unwrap());
        pairs.iter().map(pair).collect()
    }

    fn part(first: u64, end: u64) -> Ranged {
        Ranged::Part { first, end }
    }

    #[test]
    fn ranges_of_a_thousand_bytes() {
        let many = format!("bytes={}", vec!["0-0"; 17].join(","));
        let rows = [
            ("first bytes", "bytes=0-99", part(0, 100)),
            ("open end", "bytes=900-", part(900, 1000)),
            ("suffix", "bytes=-100", part(900, 1000)),
            ("suffix longer than the body", "bytes=-5000", part(0, 1000)),
            ("end beyond the body", "bytes=900-5000", part(900, 1000)),
            ("huge numbers", "bytes=0-99999999999999999999999", part(0, 1000)),
            ("start at the end", "bytes=1000-", Ranged::Unsatisfiable),
            ("suffix of nothing", "bytes=-0", Ranged::Unsatisfiable),
            ("unit is case-insensitive", "Bytes=0-0", part(0, 1)),
            ("other unit", "lines=0-1", Ranged::Whole),
            ("backwards", "bytes=5-1", Ranged::Whole),
            ("negative", "bytes=--1", Ranged::Whole),
            ("no dash", "bytes=5", Ranged::Whole),
            ("empty", "bytes=", Ranged::Whole),
            ("overlapping ones merge", "bytes=0-99,50-199", part(0, 200)),
            ("touching ones merge", "bytes=100-199,0-99", part(0, 200)),
            ("far apart ones get the whole", "bytes=0-0,999-999", Ranged::Whole),
            ("one beyond the end is left out", "bytes=0-9,5000-", part(0, 10)),
            ("too many are ignored", &many, Ranged::Whole),
        ];
        for (name, value, wanted) in rows {
            assert_eq!(ranged(&map(&[("range", value)]), &HeaderMap::new(), 1000), wanted, "{name}");
        }
    }

    #[test]
    fn if_range() {
        const JAN: &str = "Thu, 01 Jan 2026 00:00:00 GMT";
        const FEB: &str = "Sun, 01 Feb 2026 00:00:00 GMT";
        let stored = map(&[("etag", "\"a\""), ("last-modified", JAN), ("date", FEB)]);
        let just_changed = map(&[("last-modified", JAN), ("date", JAN)]);
        let weak = map(&[("etag", "W/\"a\"")]);
        let rows = [
            ("same tag", "\"a\"", &stored, part(0, 1)),
            ("other tag", "\"b\"", &stored, Ranged::Whole),
            ("weak tags never match", "W/\"a\"", &weak, Ranged::Whole),
            ("same date", JAN, &stored, part(0, 1)),
            ("a date too close to tell", JAN, &just_changed, Ranged::Whole),
            ("other date", "Fri, 02 Jan 2026 00:00:00 GMT", &stored, Ranged::Whole),
            ("nonsense", "a", &stored, Ranged::Whole),
        ];
        for (name, value, stored, wanted) in rows {
            let request = map(&[("range", "bytes=0-0"), ("if-range", value)]);
            assert_eq!(ranged(&request, stored, 1000), wanted, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_part_is_never_empty_nor_outside(value in "bytes=[0-9,-]{0,40}", length in 0u64..5000) {
            if let Ranged::Part { first, end } = ranged(&map(&[("range", &value)]), &HeaderMap::new(), length) {
                prop_assert!(first < end && end <= length);
            }
        }
    }
}
