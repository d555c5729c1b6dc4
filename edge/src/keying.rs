//! What a site's keys are made of beside site, scheme and host, and the request to the origin that says the same. What is
//! keyed is what is forwarded: equal keys mean equal requests, so that nobody can have an answer to one request stored
//! under the key of another.

use std::borrow::Cow;
use std::fmt::Write;

use http::{HeaderMap, HeaderName, HeaderValue};
use nearcast_shared::config::Keying;

mod cookies;
pub mod query;

/// The client's country, for origins: ISO 3166-1 alpha-2, or `-` when it is not known. Only we say so.
pub const X_COUNTRY: HeaderName = HeaderName::from_static("x-country");

/// How a request is keyed, beside site, scheme and host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed<'t> {
    /// Path and query after the site's rules: what is keyed.
    pub target: Cow<'t, str>,
    /// Path and query as the client sent them, where the origin gets those though they differ from what is keyed.
    own_target: Option<Cow<'t, str>>,
    /// Fields, cookies and country that are part of the key; empty when the site names none. Printable ASCII.
    pub parts: String,
}

impl<'t> Keyed<'t> {
    /// Keys a request for `target`. One that is not `looked_up` goes on as it came. `forwarded` gives the fields for the
    /// origin, and is only called when they matter.
    pub fn new<'f>(
        keying: &Keying,
        looked_up: bool,
        target: Cow<'t, str>,
        forwarded: impl FnOnce() -> &'f HeaderMap,
        country: Option<&str>,
    ) -> Self {
        let by_parts = looked_up && has_parts(keying);
        let parts = if by_parts { parts(keying, forwarded(), country) } else { String::new() };
        if looked_up && keying.rewrite {
            return Self { target: query::canonical(keying, target), own_target: None, parts };
        }
        let canonical = query::canonical(keying, target.clone());
        Self { own_target: (canonical != target).then_some(target), target: canonical, parts }
    }

    /// Path and query that the origin is asked for: what is keyed, unless the site has opted out of that, or nothing is
    /// looked up.
    pub fn sent_target(&self) -> &str {
        self.own_target.as_deref().unwrap_or(&self.target)
    }
}

/// Whether requests of such a site are told apart by more than their URL.
pub fn has_parts(keying: &Keying) -> bool {
    !keying.headers.is_empty() || !keying.cookies.is_empty() || keying.country || !keying.rewrite
}

/// ```text
/// parts = part *( "; " part )
/// part  = "h:" name [ "=" value ] | "c:" name [ "=" value ] | "country=" code | "own"
/// ```
///
/// Several values of one name come one after the other. `own` is said of sites whose origin gets the client's own query
/// and cookies: once such a site opts in to the rewriting, nothing of that time is served any more.
fn parts(keying: &Keying, forwarded: &HeaderMap, country: Option<&str>) -> String {
    let mut parts = Parts(String::new());
    for name in &keying.headers {
        let lines = forwarded.get_all(name).iter().map(HeaderValue::as_bytes);
        parts.values("h:", name.as_str(), lines);
    }
    for name in &keying.cookies {
        parts.values("c:", name, cookies::values(forwarded, name));
    }
    if keying.country {
        parts.values("", "country", [code(country).as_bytes()].into_iter());
    }
    if !keying.rewrite {
        parts.begin("", "own");
    }
    parts.0
}

struct Parts(String);

impl Parts {
    fn values<'v>(&mut self, kind: &str, name: &str, values: impl Iterator<Item = &'v [u8]>) {
        let mut absent = true;
        for value in values {
            self.begin(kind, name);
            self.0.push('=');
            self.escaped(value, b"");
            absent = false;
        }
        if absent {
            self.begin(kind, name);
        }
    }

    fn begin(&mut self, kind: &str, name: &str) {
        if !self.0.is_empty() {
            self.0.push_str("; ");
        }
        self.0.push_str(kind);
        self.escaped(name.as_bytes(), b"=");
    }

    /// So that what stands in a value cannot pass for the end of it.
    fn escaped(&mut self, text: &[u8], also: &[u8]) {
        for byte in text {
            match byte {
                b'%' | b';' => self.hex(*byte),
                b' '..=b'~' if !also.contains(byte) => self.0.push(char::from(*byte)),
                _ => self.hex(*byte),
            }
        }
    }

    fn hex(&mut self, byte: u8) {
        // Writing to a String cannot fail.
        let _infallible = write!(self.0, "%{byte:02X}");
    }
}

/// Two upper-case letters; `-` for anything else.
fn code(country: Option<&str>) -> String {
    let known = country.filter(|code| code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_alphabetic()));
    known.map_or_else(|| "-".to_owned(), str::to_ascii_uppercase)
}

/// Makes the fields of a request that is looked up agree with its key: cookies that are not keyed do not go on, the
/// others do in one order; and the country as [`tell_country`] has it.
pub fn rewrite_fields(keying: &Keying, fields: &mut HeaderMap, country: Option<&str>) {
    if keying.rewrite && !keying.cookies.is_empty() {
        cookies::retain(&keying.cookies, fields);
    }
    tell_country(keying, fields, country);
}

/// Tells the origin the country where it is part of the key. What a client says of it never goes on, also where we say
/// nothing: an origin that takes it for ours would answer the wrong country's page under everybody's key. Unless the
/// field itself is keyed.
pub fn tell_country(keying: &Keying, fields: &mut HeaderMap, country: Option<&str>) {
    if keying.country {
        fields.insert(X_COUNTRY, HeaderValue::try_from(code(country)).expect("letters or a hyphen"));
    } else if !keying.headers.contains(&X_COUNTRY) {
        fields.remove(X_COUNTRY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::COOKIE;
    use nearcast_shared::config::Pattern;
    use proptest::prelude::*;

    fn map(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        map
    }

    fn keyed<'t>(keying: &Keying, target: &'t str, fields: &HeaderMap, country: Option<&str>) -> Keyed<'t> {
        Keyed::new(keying, true, target.into(), || fields, country)
    }

    #[test]
    fn by_default_the_url_is_all() {
        let keyed = Keyed::new(&Keying::default(), true, "/a?b&&a=%61".into(), || panic!("not needed"), Some("DE"));
        assert_eq!((&*keyed.target, keyed.sent_target(), keyed.parts.as_str()), ("/a?b&&a=%61", "/a?b&&a=%61", ""));
        let fields = map(&[("cookie", b"b=1; a=2"), ("x-device", b"tv")]);
        let mut after = fields.clone();
        rewrite_fields(&Keying::default(), &mut after, Some("DE"));
        assert_eq!(after, fields);
    }

    #[test]
    fn parts_of_each_kind() {
        let fields = map(&[
            ("x-device", b"tv; a=%"),
            ("x-twice", b"1"),
            ("x-twice", b"2"),
            ("x-empty", b""),
            ("cookie", b"theme=dark; sid=1; lang=d\xe9; lang=e;"),
        ]);
        let headers = |names: &[&'static str]| names.iter().map(|name| HeaderName::from_static(name)).collect();
        let cookies = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let base = Keying::default;
        let rows: [(&str, Keying, Option<&str>, &str); 10] = [
            ("none", base(), Some("DE"), ""),
            ("a field", Keying { headers: headers(&["x-device"]), ..base() }, None, "h:x-device=tv%3B a=%25"),
            (
                "an empty and an absent field",
                Keying { headers: headers(&["x-empty", "x-none"]), ..base() },
                None,
                "h:x-empty=; h:x-none",
            ),
            (
                "a field of two lines",
                Keying { headers: headers(&["x-twice"]), ..base() },
                None,
                "h:x-twice=1; h:x-twice=2",
            ),
            (
                "cookies",
                Keying { cookies: cookies(&["a", "lang", "theme"]), ..base() },
                None,
                "c:a; c:lang=d%E9; c:lang=e; c:theme=dark",
            ),
            ("an odd cookie's name", Keying { cookies: cookies(&["a=;%"]), ..base() }, None, "c:a%3D%3B%25"),
            ("country", Keying { country: true, ..base() }, Some("DE"), "country=DE"),
            ("lower case", Keying { country: true, ..base() }, Some("de"), "country=DE"),
            ("unknown", Keying { country: true, ..base() }, None, "country=-"),
            (
                "all, not rewritten",
                Keying {
                    headers: headers(&["x-none"]),
                    cookies: cookies(&["theme"]),
                    country: true,
                    rewrite: false,
                    ..base()
                },
                Some("Europe"),
                "h:x-none; c:theme=dark; country=-; own",
            ),
        ];
        for (name, keying, country, wanted) in rows {
            assert_eq!(keyed(&keying, "/", &fields, country).parts, wanted, "{name}");
        }
    }

    #[test]
    fn who_opts_out_gets_the_clients_own() {
        let cookies = vec!["lang".to_owned()];
        let drop = vec![Pattern::new("utm_*")];
        let keying = Keying { query_drop: drop, cookies, country: true, rewrite: false, ..Keying::default() };
        let mut fields = map(&[("cookie", b"sid=1; lang=de"), ("x-country", b"XX")]);
        let before = keyed(&keying, "/?utm_id=1&a", &fields, Some("FR"));
        assert_eq!((&*before.target, before.sent_target()), ("/?a", "/?utm_id=1&a"));
        rewrite_fields(&keying, &mut fields, Some("FR"));
        assert_eq!(
            (&fields[COOKIE], &fields[X_COUNTRY]),
            (&HeaderValue::from_static("sid=1; lang=de"), &HeaderValue::from_static("FR"))
        );
        assert_eq!(keyed(&keying, "/?utm_id=1&a", &fields, Some("FR")), before);
        let in_again = Keying { rewrite: true, ..keying };
        assert_ne!(keyed(&in_again, "/?a", &fields, Some("FR")).parts, before.parts);
    }

    #[test]
    fn what_is_not_looked_up_goes_on_as_it_came() {
        let drop = vec![Pattern::new("utm_*")];
        let keying = Keying { query_drop: drop, country: true, ..Keying::default() };
        let keyed = Keyed::new(&keying, false, "/?utm_id=1&a".into(), || panic!("not needed"), None);
        assert_eq!((&*keyed.target, keyed.sent_target(), keyed.parts.as_str()), ("/?a", "/?utm_id=1&a", ""));
    }

    #[test]
    fn the_country_is_ours_to_say() {
        let said = |keying: &Keying, country| {
            let mut fields = map(&[("x-country", b"US"), ("x-country", b"GB")]);
            rewrite_fields(keying, &mut fields, country);
            fields.get_all(X_COUNTRY).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let by_name = Keying { headers: vec![X_COUNTRY], ..Keying::default() };
        assert_eq!(said(&Keying { country: true, ..Keying::default() }, Some("DE")), ["DE"]);
        assert_eq!(said(&Keying { country: true, ..Keying::default() }, None), ["-"]);
        assert_eq!(said(&Keying { country: true, ..by_name.clone() }, Some("DE")), ["DE"]);
        assert!(said(&Keying::default(), Some("DE")).is_empty());
        assert_eq!(said(&by_name, None), ["US", "GB"], "a field that is keyed is the client's");
    }

    proptest! {
        /// Each part can be read back: no two lists of values are written alike.
        #[test]
        fn parts_are_told_apart(a in values(), b in values()) {
            let names = vec![HeaderName::from_static("x-a"), HeaderName::from_static("x-b")];
            let keying = Keying { headers: names, cookies: vec!["c".to_owned(), "d".to_owned()], ..Keying::default() };
            let fields = |values: &[Vec<String>; 4]| {
                let mut fields = HeaderMap::new();
                for (name, values) in ["x-a", "x-b"].into_iter().zip(values) {
                    for value in values {
                        fields.append(name, HeaderValue::try_from(value).unwrap());
                    }
                }
                for (name, values) in ["c", "d"].into_iter().zip(&values[2..]) {
                    for value in values {
                        // A cookie's value ends at a semicolon and at white space.
                        let pair = format!("{name}={}", value.replace([';', ' '], ""));
                        fields.append(COOKIE, HeaderValue::try_from(pair).unwrap());
                    }
                }
                fields
            };
            let (a, b) = (fields(&a), fields(&b));
            let same = ["x-a", "x-b", "cookie"].iter().all(|name| a.get_all(*name) == b.get_all(*name));
            prop_assert_eq!(parts(&keying, &a, None) == parts(&keying, &b, None), same);
        }
    }

    fn values() -> impl Strategy<Value = [Vec<String>; 4]> {
        proptest::array::uniform4(proptest::collection::vec("[=;%a h:]{0,4}", 0..3))
    }
}
