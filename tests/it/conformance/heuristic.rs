//! Freshness of answers that say nothing of it.

use super::case::{Case, case, get, ok, reply};
use super::freshness::lasts;

pub(super) const SITES: &[(&str, &str)] = &[];

/// RFC 9110 section 15.1: heuristically cacheable (206 is a part of a 200).
const YES: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];

/// All others are not, known or not.
const NO: [u16; 35] = [
    201, 202, 205, 226, 299, 302, 303, 305, 307, 399, 400, 401, 402, 403, 406, 407, 408, 409, 411, 413, 415, 417, 418,
    421, 422, 426, 429, 431, 451, 499, 500, 502, 503, 504, 599,
];

/// Lines of a 200, and for how many seconds it is fresh: a tenth of the time since it was modified, at most a day.
const LIFETIMES: &[(&str, &[&str], u32)] = &[
    ("10-seconds", &["date: {0}", "last-modified: {-10}"], 1),
    ("600-seconds", &["date: {0}", "last-modified: {-600}"], 60),
    ("36000-seconds", &["date: {0}", "last-modified: {-36000}"], 3600),
    ("10-days", &["date: {0}", "last-modified: {-864000}"], 86_400),
    ("no-more-than-a-day", &["date: {0}", "last-modified: {-8640000}"], 86_400),
    ("without-date", &["last-modified: {-600}"], 60),
    ("from-the-answers-own-date", &["date: {-50}", "last-modified: {-1050}"], 50),
    ("with-age", &["date: {0}", "last-modified: {-1000}", "age: 90"], 10),
    ("modified-now", &["date: {0}", "last-modified: {0}"], 0),
    ("modified-in-the-future", &["date: {0}", "last-modified: {+1000}"], 0),
    ("only-an-etag", &["date: {0}", "etag: \"a\""], 0),
    // RFC 9111 section 4.2.2: no heuristic where the answer says it.
    ("not-beside-max-age-zero", &["date: {0}", "last-modified: {-1000}", "cache-control: max-age=0"], 0),
    ("not-beside-expires", &["date: {0}", "last-modified: {-10000}", "expires: {+10}"], 10),
    ("not-beside-past-expires", &["date: {0}", "last-modified: {-10000}", "expires: {-10}"], 0),
    ("not-beside-no-store", &["date: {0}", "last-modified: {-1000}", "cache-control: no-store"], 0),
    ("not-beside-private", &["date: {0}", "last-modified: {-1000}", "cache-control: private"], 0),
    ("not-beside-no-cache", &["date: {0}", "last-modified: {-1000}", "cache-control: no-cache"], 0),
    // Section 5.4: Pragma means nothing in an answer.
    ("beside-pragma", &["date: {0}", "last-modified: {-1000}", "pragma: no-cache"], 100),
    ("beside-public", &["date: {0}", "last-modified: {-1000}", "cache-control: public"], 100),
    ("beside-other-directives", &["date: {0}", "last-modified: {-1000}", "cache-control: no-transform, a=b"], 100),
    ("of-a-download", &["last-modified: {-1000}", "content-disposition: attachment; filename=a.txt"], 100),
];

pub(super) fn cases() -> Vec<Case> {
    let fields = ["date: {0}", "last-modified: {-1000}"];
    let lasts_100_seconds = |status: u16, lines: Vec<&'static str>| {
        let first = get().origin(reply(status, lines));
        // Errors are kept for less.
        let seconds = if status < 400 { 99 } else { 50 };
        [first, get().later(seconds).stored(), get().later(100 - seconds).fetched()]
    };
    let yes = YES.iter().map(|status| {
        case(format!("status-{status}"), "RFC 9111 section 4.2.2", lasts_100_seconds(*status, fields.to_vec()))
    });
    let no = NO.iter().map(|status| {
        case(
            format!("status-{status}"),
            "RFC 9111 section 4.2.2",
            [get().origin(reply(*status, fields)), get().fetched()],
        )
    });
    // RFC 9111 section 5.2.2.9: public makes it cacheable where it would not be. Not for errors: those need a lifetime.
    let public = [201, 299, 302, 403].map(|status| {
        let lines = fields.into_iter().chain(["cache-control: public"]).collect();
        case(format!("public-{status}"), "RFC 9111 section 5.2.2.9", lasts_100_seconds(status, lines))
    });
    let public_errors = [400, 413, 431, 500, 503].map(|status| {
        let first = get().origin(reply(status, fields.into_iter().chain(["cache-control: public"])));
        case(format!("public-{status}"), "RFC 9111 section 4.2.2", [first, get().fetched()])
    });
    let query = case(
        "with-a-query",
        "RFC 9111 section 4.2.2",
        [get().to("?a=b").origin(ok(fields)), get().to("?a=b").later(99).stored()],
    );
    let lifetimes =
        LIFETIMES.iter().map(|(name, lines, seconds)| lasts(name, "RFC 9111 section 4.2.2", lines, *seconds));
    yes.chain(no).chain(public).chain(public_errors).chain([query]).chain(lifetimes).collect()
}
