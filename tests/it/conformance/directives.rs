//! Cache-Control, in all the ways it is spelled.

use super::case::{Case, case, get, ok};
use super::freshness::lasts;

pub(super) const SITES: &[(&str, &str)] = &[];

/// Values (one per line of the answer), and for how many seconds the answer is fresh.
const SPELLINGS: &[(&str, &[&str], u32)] = &[
    // RFC 9111 section 5.2: directives are case-insensitive; an argument may be a token or a quoted string.
    ("upper-case", &["MAX-AGE=60"], 60),
    ("mixed-case", &["mAx-AgE=60"], 60),
    ("quoted", &["max-age=\"60\""], 60),
    ("quoted-s-maxage", &["max-age=10, s-maxage=\"60\""], 60),
    ("quoted-pair", &["max-age=\"6\\0\""], 60),
    ("leading-zeros", &["max-age=0060"], 60),
    ("single-quotes", &["max-age='60'"], 0),
    ("space-before-equals", &["max-age =60"], 0),
    ("space-after-equals", &["max-age= 60"], 0),
    ("no-argument", &["max-age"], 0),
    ("empty-argument", &["max-age="], 0),
    ("empty-quoted-argument", &["max-age=\"\""], 0),
    ("fraction-zero", &["max-age=60.0"], 0),
    ("fraction", &["max-age=60.5"], 0),
    ("leading-letter", &["max-age=a60"], 0),
    ("trailing-letter", &["max-age=60a"], 0),
    ("plus", &["max-age=+60"], 0),
    ("negative", &["max-age=-60"], 0),
    ("negative-s-maxage", &["max-age=60, s-maxage=-1"], 0),
    ("hexadecimal", &["max-age=0x3c"], 0),
    ("exponent", &["max-age=6e1"], 0),
    ("colon", &["max-age:60"], 0),
    ("semicolon", &["max-age=60; public"], 0),
    // Section 4.2.1: of several values the first counts, or the answer is stale. We take the first.
    ("twice-the-same", &["max-age=60, max-age=60"], 60),
    ("twice-longer-second", &["max-age=10, max-age=60"], 10),
    ("twice-shorter-second", &["max-age=60, max-age=10"], 60),
    ("two-lines-longer-second", &["max-age=10", "max-age=60"], 10),
    ("two-lines-shorter-second", &["max-age=60", "max-age=10"], 60),
    ("twice-invalid-first", &["max-age=a, max-age=60"], 0),
    ("twice-s-maxage", &["s-maxage=60, s-maxage=10"], 60),
    // Section 5.2.3: unknown directives are ignored; what is in their arguments is no directive.
    ("unknown", &["foo, max-age=60"], 60),
    ("unknown-after", &["max-age=60, foo"], 60),
    ("unknown-with-argument", &["foo=bar, max-age=60"], 60),
    ("unknown-with-quoted-comma", &["foo=\"a, b\", max-age=60"], 60),
    ("max-age-in-a-string-before", &["foo=\"max-age=60\", max-age=10"], 10),
    ("max-age-in-a-string-after", &["max-age=10, foo=\"max-age=60\""], 10),
    ("max-age-in-a-list-in-a-string", &["foo=\"a, max-age=60, b\", max-age=10"], 10),
    ("max-age-only-in-a-string", &["foo=\"max-age=60\""], 0),
    ("no-store-in-a-string", &["foo=\"no-store\", max-age=60"], 60),
    ("private-in-a-list-in-a-string", &["max-age=60, foo=\"a, private, b\""], 60),
    ("no-store-behind-an-escaped-quote", &["foo=\"a\\\", no-store\", max-age=60"], 60),
    ("no-store-as-an-argument", &["foo=no-store, max-age=60"], 60),
    // No directive is found inside of another's name.
    ("name-that-ends-like-no-store", &["xno-store, max-age=60"], 60),
    ("name-that-begins-like-no-store", &["no-storex, max-age=60"], 60),
    ("name-that-begins-like-private", &["private-ish, max-age=60"], 60),
    ("name-that-ends-like-max-age", &["x-max-age=60"], 0),
    ("name-that-begins-like-max-age", &["max-age-x=60"], 0),
    // RFC 9110 section 5.6.1: empty elements are ignored; lines are one list.
    ("empty-elements", &[", ,max-age=60, ,,"], 60),
    ("tabs", &["\tpublic\t,\tmax-age=60\t"], 60),
    ("no-spaces", &["public,max-age=60,no-transform"], 60),
    ("two-lines", &["public", "max-age=60"], 60),
    ("an-empty-line-first", &["", "max-age=60"], 60),
    ("no-store-on-another-line", &["max-age=60", "no-store"], 0),
    // The strictest of contradicting directives.
    ("no-store-after", &["max-age=60, no-store"], 0),
    ("no-store-before", &["no-store, max-age=60"], 0),
    ("no-store-upper-case", &["No-StOrE, max-age=60"], 0),
    ("private-upper-case", &["max-age=60, PRIVATE"], 0),
    ("no-cache-upper-case", &["max-age=60, No-Cache"], 0),
    ("public-and-private", &["public, private, max-age=60"], 0),
    ("public-and-no-store", &["public, max-age=60, no-store"], 0),
];

/// Section 1.2.2: too large is as large as can be.
const LARGE: &[(&str, &str)] = &[
    ("largest-31-bit", "2147483647"),
    ("first-32-bit", "2147483648"),
    ("second-32-bit", "2147483649"),
    ("first-33-bit", "4294967296"),
    ("eleven-digits", "99999999999"),
    ("first-64-bit", "9223372036854775808"),
    ("first-65-bit", "18446744073709551616"),
    ("thirty-digits", "999999999999999999999999999999"),
];

pub(super) fn cases() -> Vec<Case> {
    let spelled = SPELLINGS.iter().map(|(name, values, seconds)| {
        let lines: Vec<String> = values.iter().map(|value| format!("cache-control: {value}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        lasts(name, "RFC 9111 section 5.2", &lines, *seconds)
    });
    let large = LARGE.iter().flat_map(|(name, seconds)| {
        ["max-age", "s-maxage"].map(|directive| {
            case(
                format!("{directive}-{name}"),
                "RFC 9111 section 1.2.2",
                [get().origin(ok([format!("cache-control: {directive}={seconds}")])), get().later(86_400).stored()],
            )
        })
    });
    // Section 4.2.1: invalid freshness information makes an answer stale, rather than leaving the word to the next in
    // line.
    let invalid = [
        ("invalid-max-age-beats-expires", "max-age=soon"),
        ("invalid-s-maxage-beats-max-age", "max-age=60, s-maxage=soon"),
        ("max-age-without-argument-beats-expires", "max-age"),
    ]
    .map(|(name, value)| {
        let control = format!("cache-control: {value}");
        lasts(name, "RFC 9111 section 4.2.1", &[&control, "date: {0}", "expires: {+60}"], 0)
    });
    spelled.chain(large).chain(invalid).collect()
}
