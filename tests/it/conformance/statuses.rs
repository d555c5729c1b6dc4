//! Which statuses are stored when the answer says for how long.

use super::case::{Case, case, get, reply};

pub(super) const SITES: &[(&str, &str)] = &[];

/// RFC 9111 section 3: any final status will do, known or not.
const STORED: [u16; 45] = [
    200, 201, 202, 203, 204, 226, 250, 299, 300, 301, 302, 303, 305, 307, 308, 399, 400, 401, 402, 403, 404, 405, 406,
    408, 409, 410, 411, 413, 414, 415, 417, 418, 421, 422, 426, 451, 499, 500, 501, 502, 503, 504, 505, 507, 599,
];

/// Status, what else its Cache-Control says, and whether it is stored.
const UNDERSTOOD: &[(&str, u16, &str, bool)] = &[
    ("200", 200, "must-understand", true),
    ("404", 404, "must-understand", true),
    ("599", 599, "must-understand", false),
    ("299", 299, "must-understand", false),
    ("499", 499, "must-understand", false),
    ("200-and-no-store", 200, "must-understand, no-store", true),
    ("200-and-no-store-first", 200, "no-store, must-understand", true),
    ("301-and-no-store", 301, "must-understand, no-store", true),
    ("404-and-no-store", 404, "must-understand, no-store", true),
    ("410-and-no-store", 410, "must-understand, no-store", true),
    ("599-and-no-store", 599, "must-understand, no-store", false),
    ("upper-case", 599, "MUST-UNDERSTAND", false),
    ("200-and-private", 200, "must-understand, private", false),
    ("in-a-string", 599, "a=\"must-understand\"", true),
    ("in-a-string-and-no-store", 200, "a=\"must-understand\", no-store", false),
];

pub(super) fn cases() -> Vec<Case> {
    let fresh = ["cache-control: max-age=60"];
    let stored = STORED.iter().map(|status| {
        case(
            format!("{status}"),
            "RFC 9111 section 3",
            [get().origin(reply(*status, fresh)), get().later(59).stored(), get().later(1).fetched()],
        )
    });
    let redirects = [301, 302, 303, 307, 308].map(|status| {
        case(
            format!("{status}-with-location"),
            "RFC 9111 section 3.1",
            [
                get().origin(reply(status, ["cache-control: max-age=60", "location: /elsewhere"])),
                get().stored().shows(["location: /elsewhere"]),
            ],
        )
    });
    let not_satisfiable = case(
        "416",
        "RFC 9111 section 3",
        [
            get()
                .with(["range: bytes=100-"])
                .origin(reply(416, ["cache-control: max-age=60", "content-range: bytes */8"])),
            get().fetched(),
        ],
    );
    let understood = UNDERSTOOD.iter().map(|(name, status, directives, stored)| {
        let first = get().origin(reply(*status, [format!("cache-control: max-age=60, {directives}")]));
        let second = if *stored { get().later(59).stored() } else { get().fetched() };
        case(format!("must-understand-{name}"), "RFC 9111 section 5.2.2.3", [first, second])
    });
    let never = [428, 429, 431, 511].map(|status| {
        case(
            format!("{status}-never"),
            "RFC 6585 sections 3 to 6",
            [get().origin(reply(status, fresh)), get().fetched()],
        )
    });
    stored.chain(never).chain(redirects).chain([not_satisfiable]).chain(understood).collect()
}
