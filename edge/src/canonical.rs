//! Request fields in one form for all that say the same, so that their requests share what is stored. The origin is sent
//! that form, too: what is keyed is what is forwarded.
//!
//! Only what a field's own syntax leaves open is changed: case, white space, the order of what is unordered, several
//! lines for one. What is malformed stays byte for byte.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, DATE, FROM, HOST,
    IF_MODIFIED_SINCE, IF_RANGE, IF_UNMODIFIED_SINCE, MAX_FORWARDS, ORIGIN, PROXY_AUTHORIZATION, RANGE, REFERER,
    SET_COOKIE, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue};

mod accept;
mod encoding;
mod language;
mod weights;

/// HTTP message signatures (RFC 9421).
pub(crate) const SIGNATURE: HeaderName = HeaderName::from_static("signature");
/// What they cover.
pub(crate) const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");

/// Fields that are no lists: their lines are not joined, since that would make one valid value of two.
const SINGLETONS: [HeaderName; 16] = [
    AUTHORIZATION,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    DATE,
    FROM,
    HOST,
    IF_MODIFIED_SINCE,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    MAX_FORWARDS,
    ORIGIN,
    PROXY_AUTHORIZATION,
    RANGE,
    REFERER,
    // "Set-Cookie .. cannot be combined into a single field value" (RFC 9110 section 5.3).
    SET_COOKIE,
    USER_AGENT,
];

/// Brings all fields of a request to their canonical form. Once is enough.
///
/// - No white space around values; several lines of a field joined to one (RFC 9110 section 5.3), but for singletons.
/// - Accept, Accept-Encoding and Accept-Language by what they mean.
///
/// Other fields are left alone: white space may be changed only "where allowed in the header field's syntax" (RFC 9111
/// section 4.1), which we do not know.
///
/// Of a request with a message signature only what RFC 9421 section 2.1 has verifiers undo is touched: white space around
/// values.
pub fn canonicalize(fields: &mut HeaderMap) {
    fields.values_mut().for_each(trim);
    join_cookies(fields);
    if fields.contains_key(SIGNATURE) || fields.contains_key(SIGNATURE_INPUT) {
        return;
    }
    let names: Vec<HeaderName> = fields.keys().filter(|name| !SINGLETONS.contains(name)).cloned().collect();
    for name in names {
        join(fields, &name, b", ");
        let Some(value) = fields.get_mut(&name) else { continue };
        let canonical = match &name {
            name if *name == ACCEPT => read(value, accept::canonical),
            name if *name == ACCEPT_ENCODING => read(value, encoding::canonical),
            name if *name == ACCEPT_LANGUAGE => read(value, language::canonical),
            _ => None,
        };
        if let Some(canonical) = canonical.and_then(|canonical| HeaderValue::try_from(canonical).ok()) {
            *value = canonical;
        }
    }
}

/// "If there are multiple Cookie header fields after decompression, these MUST be concatenated into a single octet string
/// using the two-octet delimiter of 0x3B, 0x20" (RFC 9113 section 8.2.3), before they go on over HTTP/1.
pub fn join_cookies(fields: &mut HeaderMap) {
    join(fields, &COOKIE, b"; ");
}

fn join(fields: &mut HeaderMap, name: &HeaderName, separator: &[u8]) {
    let lines: Vec<&[u8]> = fields.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    if lines.len() < 2 {
        return;
    }
    // An empty line at the end leaves white space behind.
    if let Ok(value) = HeaderValue::from_bytes(lines.join(separator).trim_ascii()) {
        fields.insert(name, value);
    }
}

/// "A field value does not include leading or trailing whitespace" (RFC 9110 section 5.5). HTTP/2 clients may send it.
fn trim(value: &mut HeaderValue) {
    let trimmed = value.as_bytes().trim_ascii();
    if trimmed.len() < value.len()
        && let Ok(trimmed) = HeaderValue::from_bytes(trimmed)
    {
        *value = trimmed;
    }
}

fn read(value: &HeaderValue, canonical: impl Fn(&str) -> Option<String>) -> Option<String> {
    canonical(value.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn lines(fields: &HeaderMap, name: &str) -> Vec<String> {
        fields.get_all(name).iter().map(|line| line.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn table() {
        type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, &'a [&'a str]);
        let rows: [Row<'_>; 14] = [
            ("absent stays absent", &[], "accept-encoding", &[]),
            ("Accept", &[("accept", "Text/HTML, */*; q=0.10")], "accept", &["text/html,*/*;q=0.1"]),
            ("Accept-Encoding", &[("accept-encoding", "gzip, deflate, br")], "accept-encoding", &["br,deflate,gzip"]),
            ("Accept-Language", &[("accept-language", "EN, de")], "accept-language", &["de,en"]),
            (
                "in lines",
                &[("accept-language", "en"), ("accept-language", "de;q=0.5")],
                "accept-language",
                &["en,de;q=0.5"],
            ),
            ("malformed", &[("accept-language", "EN , de_DE")], "accept-language", &["EN , de_DE"]),
            (
                "malformed in lines",
                &[("accept-language", "EN "), ("accept-language", " de_DE")],
                "accept-language",
                &["EN, de_DE"],
            ),
            ("white space around", &[("x", " a b\t")], "x", &["a b"]),
            ("any field in lines", &[("x", "a b"), ("x", "c")], "x", &["a b, c"]),
            ("an empty line among others", &[("x", "\"a\""), ("x", "")], "x", &["\"a\","]),
            ("white space within", &[("x", "a ,b,\tc")], "x", &["a ,b,\tc"]),
            ("cookies in lines", &[("cookie", "a=1, b"), ("cookie", "b=2")], "cookie", &["a=1, b; b=2"]),
            ("a singleton", &[("user-agent", "a, b"), ("user-agent", "c")], "user-agent", &["a, b", "c"]),
            ("signed", &[("signature", "x"), ("accept", "A/B "), ("accept", "c/d")], "accept", &["A/B", "c/d"]),
        ];
        for (name, before, field, wanted) in rows {
            let mut fields = map(before);
            canonicalize(&mut fields);
            assert_eq!(lines(&fields, field), wanted, "{name}");
        }
    }

    #[test]
    fn what_is_compared_or_signed_by_others_stays() {
        for name in &SINGLETONS {
            let before = map(&[(name.as_str(), "a, b")]);
            let mut after = before.clone();
            canonicalize(&mut after);
            assert_eq!(after, before, "{name}");
        }
    }

    const NAMES: [&str; 9] = [
        "accept",
        "accept-encoding",
        "accept-language",
        "cookie",
        "x-list",
        "user-agent",
        "authorization",
        "signature",
        "via",
    ];

    fn requests() -> impl Strategy<Value = HeaderMap> {
        let value = prop_oneof![
            proptest::collection::vec(prop_oneof![Just(b'\t'), 0x20..=0x7e_u8, 0x80..=0xff_u8], 0..12),
            "[aA*/;q=01., \"]{0,16}".prop_map(String::into_bytes),
        ];
        proptest::collection::vec((0..NAMES.len(), value), 0..6).prop_map(|pairs| {
            let mut fields = HeaderMap::new();
            for (name, value) in pairs {
                fields.append(NAMES[name], HeaderValue::from_bytes(&value).unwrap());
            }
            fields
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived_and_once_is_enough(fields in requests()) {
            let mut once = fields.clone();
            canonicalize(&mut once);
            prop_assert!(fields.keys().all(|name| once.contains_key(name)) && once.keys_len() == fields.keys_len());
            let mut twice = once.clone();
            canonicalize(&mut twice);
            prop_assert_eq!(twice, once);
        }
    }
}
