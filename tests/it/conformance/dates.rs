//! HTTP dates: what is one, and what is not.

use super::case::{Case, Lines, PLAIN, case, get, minute, ok};
use super::freshness::lasts;

pub(super) const SITES: &[(&str, &str)] = &[];

/// RFC 9110 section 5.6.7: the three forms that a recipient must accept.
const DATES: &[(&str, &str)] = &[
    ("imf-fixdate", "Thu, 18 Aug 2050 02:01:18 GMT"),
    ("rfc850", "Thursday, 18-Aug-50 02:01:18 GMT"),
    ("asctime", "Thu Aug 18 02:01:18 2050"),
    ("asctime-one-digit-day", "Mon Aug  8 02:01:18 2050"),
    ("leap-second", "Sat, 31 Dec 2050 23:59:60 GMT"),
    ("last-of-31-bit", "Tue, 19 Jan 2038 03:14:07 GMT"),
    ("first-of-32-bit", "Tue, 19 Jan 2038 03:14:08 GMT"),
    ("first-of-33-bit", "Sun, 07 Feb 2106 06:28:16 GMT"),
    ("far", "Fri, 31 Dec 9999 23:59:59 GMT"),
    // A two-digit year is less than 50 years ahead, or it is in the past.
    ("rfc850-43-years-ahead", "Monday, 18-Aug-70 02:01:18 GMT"),
];

/// The rest is no date; in Expires, a time in the past.
const NO_DATES: &[(&str, &str)] = &[
    ("zero", "0"),
    ("minus-one", "-1"),
    ("empty", ""),
    ("seconds-since-the-epoch", "4102444800"),
    ("iso-8601", "2050-08-18T02:01:18Z"),
    ("words", "tomorrow"),
    ("utc", "Thu, 18 Aug 2050 02:01:18 UTC"),
    ("another-zone", "Thu, 18 Aug 2050 02:01:18 AEST"),
    ("numeric-zone", "Thu, 18 Aug 2050 02:01:18 +0000"),
    ("no-zone", "Thu, 18 Aug 2050 02:01:18"),
    ("no-weekday", "18 Aug 2050 02:01:18 GMT"),
    ("long-weekday", "Thursday, 18 Aug 2050 02:01:18 GMT"),
    ("short-rfc850-weekday", "Thu, 18-Aug-50 02:01:18 GMT"),
    ("two-digit-year", "Thu, 18 Aug 50 02:01:18 GMT"),
    ("five-digit-year", "Thu, 18 Aug 20500 02:01:18 GMT"),
    ("rfc850-with-four-digit-year", "Thursday, 18-Aug-2050 02:01:18 GMT"),
    ("no-comma", "Thu 18 Aug 2050 02:01:18 GMT"),
    ("two-spaces", "Thu, 18  Aug  2050 02:01:18 GMT"),
    ("tab", "Thu,\t18 Aug 2050 02:01:18 GMT"),
    ("dashes", "Thu, 18-Aug-2050 02:01:18 GMT"),
    ("time-with-dots", "Thu, 18 Aug 2050 02.01.18 GMT"),
    ("one-digit-hour", "Thu, 18 Aug 2050 2:01:18 GMT"),
    ("one-digit-day", "Mon, 8 Aug 2050 02:01:18 GMT"),
    ("no-seconds", "Thu, 18 Aug 2050 02:01 GMT"),
    ("hour-24", "Thu, 18 Aug 2050 24:01:18 GMT"),
    ("minute-60", "Thu, 18 Aug 2050 02:60:18 GMT"),
    ("day-32", "Thu, 32 Aug 2050 02:01:18 GMT"),
    ("day-0", "Thu, 00 Aug 2050 02:01:18 GMT"),
    ("february-30", "Wed, 30 Feb 2050 02:01:18 GMT"),
    ("unknown-month", "Thu, 18 Foo 2050 02:01:18 GMT"),
    ("unknown-weekday", "Foo, 18 Aug 2050 02:01:18 GMT"),
    ("quoted", "\"Thu, 18 Aug 2050 02:01:18 GMT\""),
    ("text-behind", "Thu, 18 Aug 2050 02:01:18 GMT; a"),
    ("two-dates", "Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:18 GMT"),
    ("asctime-one-space", "Mon Aug 8 02:01:18 2050"),
    ("asctime-with-zone", "Thu Aug 18 02:01:18 2050 GMT"),
];

fn fresh(name: &str, rule: &'static str, lines: impl Lines) -> Case {
    case(name, rule, [get().origin(ok(lines)), get().later(3600).stored()])
}

pub(super) fn cases() -> Vec<Case> {
    let good = DATES
        .iter()
        .map(|(name, date)| fresh(&format!("expires-{name}"), "RFC 9110 section 5.6.7", [format!("expires: {date}")]));
    let bad = NO_DATES.iter().flat_map(|(name, date)| {
        let line = format!("expires: {date}");
        // RFC 9111 section 5.3: a cache MUST interpret invalid dates as a time in the past; no heuristic takes their
        // place.
        let modified = "last-modified: {-10000}";
        [
            case(format!("expires-{name}"), "RFC 9111 section 5.3", [get().origin(ok([&line])), get().fetched()]),
            case(
                format!("expires-{name}-no-heuristic"),
                "RFC 9111 section 4.2.2",
                [get().origin(ok([&line, modified])), get().validated()],
            ),
        ]
    });
    let relative = [
        lasts("expires-in-rfc850", "RFC 9110 section 5.6.7", &["date: {0}", "expires: {rfc850 +60}"], 60),
        lasts("expires-in-asctime", "RFC 9110 section 5.6.7", &["date: {0}", "expires: {asctime +60}"], 60),
        lasts("date-in-rfc850", "RFC 9110 section 5.6.7", &["date: {rfc850 -40}", "expires: {+60}"], 60),
        lasts("date-in-asctime", "RFC 9110 section 5.6.7", &["date: {asctime -40}", "expires: {+60}"], 60),
        lasts("date-invalid", "RFC 9110 section 6.6.1", &["date: 0", "expires: {+60}"], 60),
        // It appears to be more than 50 years ahead.
        lasts("expires-rfc850-of-1999", "RFC 9110 section 5.6.7", &["expires: Wednesday, 18-Aug-99 02:01:18 GMT"], 0),
        // A singleton field; what several lines mean is undefined, so the answer counts as stale.
        lasts("expires-on-two-lines", "RFC 9111 section 4.2.1", &["expires: {+60}", "expires: {+90}"], 0),
        lasts("expires-on-two-lines-one-invalid", "RFC 9111 section 4.2.1", &["expires: {+60}", "expires: 0"], 0),
    ];
    let conditions = [("rfc850", "{rfc850 -100}"), ("asctime", "{asctime -100}"), ("imf-fixdate", "{-100}")];
    let conditions = conditions.map(|(name, date)| {
        case(
            format!("if-modified-since-{name}"),
            "RFC 9110 section 5.6.7",
            [
                get().origin(minute(["last-modified: {-100}"])),
                get().with([format!("if-modified-since: {date}")]).stored().status(304),
            ],
        )
    });
    // RFC 9110 section 13.1.3: a recipient MUST ignore the field if its value is not a valid HTTP-date.
    let ignored = ["zero", "words", "another-zone", "two-digit-year", "no-comma", "february-30"].map(|wanted| {
        let (_, date) = NO_DATES.iter().find(|(name, _)| *name == wanted).expect("a row");
        case(
            format!("if-modified-since-{wanted}"),
            "RFC 9110 section 13.1.3",
            [
                get().origin(minute(["last-modified: {-100}"])),
                get().with([format!("if-modified-since: {date}")]).stored(),
            ],
        )
    });
    // Whatever form it came in, a validator goes back as it came.
    let verbatim = case(
        "last-modified-goes-back-verbatim",
        "RFC 9110 section 13.1.3",
        [
            get().origin(ok(["cache-control: max-age=10", "last-modified: {rfc850 -100}"])),
            get().later(10).validated().origin_saw(["if-modified-since: {rfc850 -100}"]),
        ],
    );
    // No date, no validator, nothing to reckon with.
    let unmodified = case(
        "last-modified-invalid",
        "RFC 9111 section 4.2.2",
        [get().origin(ok(["last-modified: long ago"])), get().origin(ok(PLAIN)).fetched()],
    );
    let rest = relative.into_iter().chain(conditions).chain(ignored).chain([verbatim, unmodified]);
    good.chain(bad).chain(rest).collect()
}
