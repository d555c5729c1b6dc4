//! Range requests (RFC 9110 section 14): which bytes a client wants, and which bytes an origin sent.

use http::header::{CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE};
use http::{HeaderMap, HeaderValue};

use nearcast_shared::clock::Timestamp;

use super::{freshness, validator};

/// More ranges than this in one request are ignored: they only amplify.
const RANGES_MAX: usize = 16;

/// What a request's Range amounts to for a body of known length.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Several, each `first..end`, in the order asked for; none touches another.
    Parts(Vec<(u64, u64)>),
    /// 416.
    Unsatisfiable,
}

/// Judges Range and If-Range of `request` against an answer of `length` bytes with the header `stored`.
pub fn ranged(request: &HeaderMap, stored: &HeaderMap, length: u64, now: Timestamp) -> Ranged {
    let mut lines = request.get_all(RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Ranged::Whole };
    if !if_range_holds(request, stored, now) {
        return Ranged::Whole;
    }
    let Some(specs) = line.to_str().ok().and_then(parse) else { return Ranged::Whole };
    let parts = specs.into_iter().filter_map(|spec| resolve(spec, length)).fold(Vec::new(), merge);
    match parts.as_slice() {
        [] => Ranged::Unsatisfiable,
        [(first, end)] => Ranged::Part { first: *first, end: *end },
        // "A server MAY ignore the Range header field": parts that come to more than the whole only amplify.
        parts if parts.iter().map(|(first, end)| end - first + PART_OVERHEAD).sum::<u64>() >= length => Ranged::Whole,
        _ => Ranged::Parts(parts),
    }
}

/// About what is sent around each part of several.
const PART_OVERHEAD: u64 = 80;

/// "A server .. MAY coalesce any of the ranges that overlap, or that are separated by a gap that is smaller than the
/// overhead of sending multiple parts" (RFC 9110 section 15.3.7.2).
fn merge(mut parts: Vec<(u64, u64)>, (mut first, mut end): (u64, u64)) -> Vec<(u64, u64)> {
    let near = |a: (u64, u64), b: (u64, u64)| a.0 <= b.1 + PART_OVERHEAD && b.0 <= a.1 + PART_OVERHEAD;
    let mut at = parts.len();
    while let Some(position) = parts.iter().position(|part| near(*part, (first, end))) {
        let part = parts.remove(position);
        (first, end) = (first.min(part.0), end.max(part.1));
        at = at.min(position);
    }
    parts.insert(at.min(parts.len()), (first, end));
    parts
}

/// The one range that a request is for, of whatever there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Single {
    /// Bytes `first..end`; without `end`: to the last.
    From(u64, Option<u64>),
    /// So many bytes at the end.
    Last,
}

/// The range of a request for one that we understand.
pub fn single(request: &HeaderMap) -> Option<Single> {
    let mut lines = request.get_all(RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    match line.to_str().ok().and_then(parse)?.as_slice() {
        [Spec::From(first, last)] => Some(Single::From(*first, last.map(|last| last.saturating_add(1)))),
        [Spec::Last(_)] => Some(Single::Last),
        _ => None,
    }
}

/// A Range for bytes `first..end`; without `end`: to the last.
pub fn bytes(first: u64, end: Option<u64>) -> HeaderValue {
    let range = match end {
        Some(end) => format!("bytes={first}-{}", end.saturating_sub(1)),
        None => format!("bytes={first}-"),
    };
    HeaderValue::try_from(range).expect("digits and ASCII punctuation")
}

/// The bytes `first..end` that a 206 brings, and the length of the whole. `None` when it does not say, says it in several
/// parts, or contradicts itself: "A recipient .. MUST NOT attempt to recombine the received content with a stored
/// representation" then (RFC 9110 section 14.4).
pub fn received(part: &HeaderMap) -> Option<(u64, u64, u64)> {
    let kind = part.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.trim_start().to_ascii_lowercase().starts_with("multipart/byteranges") {
        return None;
    }
    let mut lines = part.get_all(CONTENT_RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let (unit, rest) = line.to_str().ok()?.split_once(' ')?;
    let (range, whole) = rest.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    let (first, last, whole) = (number(first)?, number(last)?, number(whole)?);
    let end = last.checked_add(1)?;
    // "A Content-Range field value is invalid if it contains a range-resp that has a last-pos value less than its
    // first-pos value, or a complete-length value less than or equal to its last-pos value."
    if !unit.eq_ignore_ascii_case("bytes") || first > last || last >= whole {
        return None;
    }
    let fits = match crate::headers::content_length(part) {
        Some(length) => length == end - first,
        None => !part.contains_key(http::header::CONTENT_LENGTH),
    };
    fits.then_some((first, end, whole))
}

/// If-Range: a strong ETag or an exact Last-Modified date that still holds; without it there is no condition.
fn if_range_holds(request: &HeaderMap, stored: &HeaderMap, now: Timestamp) -> bool {
    let Some(wanted) = request.get(IF_RANGE) else { return true };
    if wanted.as_bytes().contains(&b'"') {
        return stored.get(ETAG).is_some_and(|own| validator::strongly_equal(own, wanted));
    }
    let Some(wanted) = wanted.to_str().ok().and_then(|text| freshness::parse_date(text, now)) else { return false };
    // "A date validator is strong .. if .. the presented date is at least one second earlier than the Date" (RFC 9110
    // section 8.8.2.2, in other words): what changed within that second would look the same.
    let earlier = |date: Timestamp| wanted.seconds() < date.seconds();
    freshness::date(stored, LAST_MODIFIED, now) == Some(wanted)
        && freshness::date(stored, DATE, now).is_some_and(earlier)
}

/// Takes out a Range that an origin could be made to send more by than the whole; without one it sends the whole.
///
/// "A server that supports range requests MAY ignore or reject a Range header field that contains .. a ranges-specifier
/// with more than two overlapping ranges, or a set of many small ranges that are not listed in ascending order" (RFC 9110
/// section 14.2).
pub fn take_out_flood(request: &mut HeaderMap) {
    let mut lines = request.get_all(RANGE).iter();
    let flood = match (lines.next(), lines.next()) {
        (Some(line), None) => line.to_str().is_ok_and(is_flood),
        (Some(_), Some(_)) => true,
        (None, _) => false,
    };
    if flood {
        request.remove(RANGE);
        // "A client MUST NOT generate an If-Range header field in a request that does not contain a Range header field"
        // (section 13.1.5).
        request.remove(IF_RANGE);
    }
}

/// Whether a Range lists bytes more than once, backwards, or in too many parts. Other units are the origin's matter.
fn is_flood(text: &str) -> bool {
    let is_list = text.split(',').filter(|item| !item.trim().is_empty()).nth(1).is_some();
    let in_bytes = text.split_once('=').is_some_and(|(unit, _)| unit.trim().eq_ignore_ascii_case("bytes"));
    is_list && in_bytes && !parse(text).is_some_and(|specs| specs.windows(2).all(|pair| pair[0].is_before(pair[1])))
}

#[derive(Debug, Clone, Copy)]
enum Spec {
    From(u64, Option<u64>),
    Last(u64),
}

impl Spec {
    /// Whether it ends before `next` begins, whatever the length; what that is of a suffix is not known.
    fn is_before(self, next: Self) -> bool {
        match (self, next) {
            (Self::From(_, Some(last)), Self::From(first, _)) => last < first,
            (Self::From(_, Some(_)), Self::Last(_)) => true,
            (Self::From(_, None) | Self::Last(_), _) => false,
        }
    }
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
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair =
            |(name, value): &(&'static str, &str)| ((*name).parse().unwrap(), HeaderValue::from_str(value).unwrap());
        pairs.iter().map(pair).collect()
    }

    fn part(first: u64, end: u64) -> Ranged {
        Ranged::Part { first, end }
    }

    #[test]
    fn floods() {
        let many = format!("bytes={}", (0..17).map(|n| format!("{0}-{0}", 2 * n)).collect::<Vec<_>>().join(","));
        let rows = [
            ("one", "bytes=0-99", false),
            ("one between commas", "bytes=,0-,", false),
            ("one that is malformed", "bytes=5-1", false),
            ("two in order", "bytes=0-99,200-299", false),
            ("two that touch", "bytes=0-99,100-", false),
            ("a beginning and an end", "bytes=0-99,-100", false),
            ("backwards", "bytes=200-299,0-99", true),
            ("overlapping", "bytes=0-99,99-199", true),
            ("twice to the end", "bytes=0-,1-", true),
            ("two ends", "bytes=-1,-2", true),
            ("an end and more", "bytes=-1,0-0", true),
            ("one of two malformed", "bytes=0-0,x", true),
            ("too many", &many, true),
            ("of another unit", "lines=0-,0-", false),
        ];
        for (name, value, flood) in rows {
            let mut request = map(&[("range", value), ("if-range", "\"a\"")]);
            take_out_flood(&mut request);
            assert_eq!(request.len(), if flood { 0 } else { 2 }, "{name}");
        }
        let mut lines = map(&[("range", "bytes=0-0")]);
        lines.append(RANGE, HeaderValue::from_static("bytes=1-1"));
        take_out_flood(&mut lines);
        assert!(lines.is_empty());
        let mut without = map(&[("if-range", "\"a\"")]);
        take_out_flood(&mut without);
        assert_eq!(without.len(), 1, "none of our business");
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
            ("far apart ones stay apart", "bytes=999-999,0-0", Ranged::Parts(vec![(999, 1000), (0, 1)])),
            ("a small gap is closed", "bytes=0-9,50-59", part(0, 60)),
            ("one that closes a gap", "bytes=0-9,500-509,5-600", part(0, 601)),
            ("as much as the whole", "bytes=0-450,540-999", Ranged::Whole),
            ("one beyond the end is left out", "bytes=0-9,5000-", part(0, 10)),
            ("too many are ignored", &many, Ranged::Whole),
        ];
        for (name, value, wanted) in rows {
            assert_eq!(ranged(&map(&[("range", value)]), &HeaderMap::new(), 1000, NOW), wanted, "{name}");
        }
    }

    #[test]
    fn what_an_origin_sent() {
        let rows = [
            ("first bytes", "bytes 0-4/10", None, Some((0, 5, 10))),
            ("the whole", "bytes 0-9/10", Some("10"), Some((0, 10, 10))),
            ("another length", "bytes 4-9/10", Some("5"), None),
            ("unknown length", "bytes 0-4/*", None, None),
            ("unsatisfied", "bytes */10", None, None),
            ("backwards", "bytes 5-4/10", None, None),
            ("beyond the end", "bytes 5-10/10", None, None),
            ("another unit", "lines 0-4/10", None, None),
            ("signs", "bytes +0-4/10", None, None),
            ("overflow", "bytes 0-18446744073709551615/18446744073709551616", None, None),
        ];
        for (name, value, length, wanted) in rows {
            let mut headers = map(&[("content-range", value)]);
            headers.extend(length.map(|length| (http::header::CONTENT_LENGTH, HeaderValue::from_static(length))));
            assert_eq!(received(&headers), wanted, "{name}");
        }
        let many = map(&[("content-range", "bytes 0-4/10"), ("content-type", "Multipart/ByteRanges; boundary=x")]);
        assert_eq!(received(&many), None);
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
            assert_eq!(ranged(&request, stored, 1000, NOW), wanted, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_part_is_never_empty_nor_outside(value in "bytes=[0-9,-]{0,40}", length in 0u64..5000) {
            let parts = match ranged(&map(&[("range", &value)]), &HeaderMap::new(), length, NOW) {
                Ranged::Part { first, end } => vec![(first, end)],
                Ranged::Parts(parts) => parts,
                Ranged::Whole | Ranged::Unsatisfiable => Vec::new(),
            };
            let mut sorted = parts.clone();
            sorted.sort_unstable();
            prop_assert!(parts.iter().all(|(first, end)| first < end && *end <= length));
            prop_assert!(sorted.windows(2).all(|two| two[0].1 < two[1].0), "no part touches another");
        }

        #[test]
        fn any_content_range_is_read(value in "(bytes )?[0-9*/ -]{0,30}", length in proptest::option::of(0u64..99)) {
            let mut headers = map(&[("content-range", &value)]);
            if let Some(length) = length {
                headers.insert("content-length", length.into());
            }
            if let Some((first, end, whole)) = received(&headers) {
                prop_assert!(first < end && end <= whole);
                prop_assert!(length.is_none_or(|length| length == end - first));
            }
        }
    }
}
