//! Answers that are fresh for a second only, so that the real binary can be seen to let them grow stale.

use super::case::{Case, PLAIN, Reply, Step, case, get, head, minute, not_modified, ok, reply};

pub(super) const SITES: &[(&str, &str)] = &[];

fn second(lines: &[&'static str]) -> Step {
    get().origin(ok(["cache-control: max-age=1"].into_iter().chain(lines.iter().copied())))
}

fn one(lines: &[&'static str]) -> Step {
    get().origin(ok(lines.iter().copied()))
}

pub(super) fn cases() -> Vec<Case> {
    let tagged = ["etag: \"a\""];
    let only = ["cache-control: only-if-cached"];
    let rows: [(&str, &'static str, Vec<Step>); 19] = [
        ("max-age", "RFC 9111 section 4.2", vec![second(&[]), get().later(1).fetched()]),
        ("s-maxage", "RFC 9111 section 4.2", vec![one(&["cache-control: s-maxage=1"]), get().later(1).fetched()]),
        ("expires", "RFC 9111 section 5.3", vec![one(&["date: {0}", "expires: {+1}"]), get().later(1).fetched()]),
        ("age", "RFC 9111 section 5.1", vec![one(&["cache-control: max-age=60", "age: 59"]), get().later(1).fetched()]),
        (
            "heuristic",
            "RFC 9111 section 4.2.2",
            vec![one(&["date: {0}", "last-modified: {-10}"]), get().later(1).validated()],
        ),
        (
            "cdn-cache-control",
            "RFC 9213 section 2.2",
            vec![one(&["cdn-cache-control: max-age=1", "cache-control: max-age=60"]), get().later(1).fetched()],
        ),
        (
            "surrogate-control",
            "Edge Architecture section 2.2",
            vec![one(&["surrogate-control: max-age=1", "cache-control: max-age=60"]), get().later(1).fetched()],
        ),
        (
            "confirmed",
            "RFC 9111 section 4.3.4",
            vec![
                second(&["etag: \"a\"", "x-a: 1"]),
                get()
                    .later(1)
                    .origin(not_modified(["cache-control: max-age=60", "x-a: 2"]))
                    .validated()
                    .shows(["x-a: 2"]),
                get().stored_from(0).shows(["x-a: 2"]),
            ],
        ),
        (
            "confirmed-by-date",
            "RFC 9111 section 4.3.4",
            vec![
                second(&["last-modified: {-100}"]),
                get().later(1).validated().origin_saw(["if-modified-since: {-100}"]),
            ],
        ),
        (
            "replaced",
            "RFC 9111 section 4.3.3",
            vec![
                second(&tagged),
                get().later(1).origin(minute(PLAIN)).origin_saw(["if-none-match: \"a\""]),
                get().stored_from(1),
            ],
        ),
        (
            "head",
            "RFC 9111 section 4.3.5",
            vec![
                second(&tagged),
                head().later(1).origin(minute(["etag: \"a\"", "x-a: 2"]).text("answer 0")).origin_saw_method("HEAD"),
                get().stored_from(0).shows(["x-a: 2"]),
            ],
        ),
        (
            "stale-while-revalidate",
            "RFC 5861 section 3",
            vec![
                one(&["cache-control: max-age=1, stale-while-revalidate=60", "etag: \"a\""]),
                get().later(1).refreshed(),
            ],
        ),
        (
            "stale-if-error",
            "RFC 5861 section 4",
            vec![
                one(&["cache-control: max-age=1, stale-if-error=60"]),
                get().later(1).origin(reply(503, PLAIN)).stored_instead(),
            ],
        ),
        (
            "disconnected",
            "RFC 9111 section 4.2.4",
            vec![second(&[]), get().later(1).origin(Reply::HangUp).stored_instead()],
        ),
        (
            "must-revalidate",
            "RFC 9111 section 5.2.2.2",
            vec![
                one(&["cache-control: max-age=1, stale-if-error=60, must-revalidate"]),
                get().later(1).origin(reply(503, PLAIN)).fetched(),
            ],
        ),
        (
            "max-stale",
            "RFC 9111 section 5.2.1.2",
            vec![second(&[]), get().later(1).with(["cache-control: max-stale=60"]).stored()],
        ),
        ("only-if-cached", "RFC 9111 section 5.2.1.7", vec![second(&[]), get().later(1).with(only).made(504).asks(0)]),
        (
            "min-fresh",
            "RFC 9111 section 5.2.1.3",
            vec![one(&["cache-control: max-age=60"]), get().later(1).with(["cache-control: min-fresh=60"]).fetched()],
        ),
        ("still-fresh", "RFC 9111 section 4.2", vec![one(&["cache-control: max-age=60"]), get().later(1).stored()]),
    ];
    rows.into_iter().map(|(name, rule, steps)| case(name, rule, steps)).collect()
}
