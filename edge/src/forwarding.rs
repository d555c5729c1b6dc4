//! A client's fields as the origin gets them. Keys and variants are read from these, so that what is keyed is what is
//! forwarded.

use http::header::{CONNECTION, CONTENT_LENGTH, RANGE};
use http::{HeaderMap, HeaderName};
use nearcast_shared::config::Keying;

use crate::canonical;
use crate::headers::{self, Identity, Peer};
use crate::keying;
use crate::policy::range;
use crate::variant;

/// What a request's fields are rewritten by.
#[derive(Debug, Clone, Copy)]
pub struct Forwarding<'a> {
    /// Whether the store is asked, or may keep the answer. What is not looked up goes on as it came, but for what ends at
    /// this hop and what nobody but us may say.
    pub looked_up: bool,
    /// What the site's keys are made of.
    pub keying: &'a Keying,
    /// The client's side.
    pub peer: Peer,
    /// Who this node is.
    pub identity: &'a Identity,
    /// The client's country, where it is part of the key and known.
    pub country: Option<&'a str>,
}

impl Forwarding<'_> {
    /// The fields for the origin.
    pub fn fields(&self, client: &HeaderMap) -> HeaderMap {
        let mut fields = client.clone();
        fields.reserve(headers::ADDED);
        range::take_out_flood(&mut fields);
        if self.looked_up {
            // A body of a GET is neither keyed nor forwarded.
            fields.remove(CONTENT_LENGTH);
            canonical::canonicalize(&mut fields);
        } else {
            canonical::join_cookies(&mut fields);
        }
        headers::for_origin(&mut fields, self.peer, self.identity, &self.keying.headers);
        if self.looked_up {
            keying::rewrite_fields(self.keying, &mut fields, self.country);
        } else {
            keying::tell_country(self.keying, &mut fields, self.country);
        }
        fields
    }

    /// What a request selects by, of answers that vary on the fields `vary`: the text of [`variant::selecting_text`], made
    /// without bringing the other fields to the form in which they would go on.
    pub fn selecting(&self, client: &HeaderMap, vary: &[HeaderName]) -> Vec<u8> {
        let matters = |name: &HeaderName| vary.contains(name) || REACHING.contains(name);
        let mut few = HeaderMap::new();
        for (name, value) in client.iter().filter(|(name, _)| matters(name)) {
            few.append(name.clone(), value.clone());
        }
        variant::selecting_text(vary, &self.fields(&few))
    }
}

/// Fields that decide what becomes of others.
const REACHING: [HeaderName; 4] = [CONNECTION, RANGE, canonical::SIGNATURE, canonical::SIGNATURE_INPUT];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Address, HashSecret, StoreKey};
    use crate::keying::Keyed;
    use crate::variant::selecting_text;
    use http::{HeaderValue, Version};
    use nearcast_shared::config::Pattern;
    use proptest::prelude::*;

    const SECRET: HashSecret = HashSecret([7; 16]);

    fn identity() -> Identity {
        Identity::new("nearcast-fra", "nearcast-1234")
    }

    #[test]
    fn what_is_not_looked_up_goes_on_as_it_came() {
        let identity = identity();
        let peer =
            Peer { address: "192.0.2.7".parse().unwrap(), trusted: false, https: true, version: Version::HTTP_2 };
        let keying = Keying { cookies: vec!["lang".to_owned()], country: true, ..Keying::default() };
        let mut client = HeaderMap::new();
        for (name, value) in [
            ("cookie", "sid=1"),
            ("cookie", "lang=de"),
            ("accept-encoding", "gzip, br"),
            ("x-country", "US"),
            ("te", "trailers"),
        ] {
            client.append(name, HeaderValue::from_static(value));
        }
        let fields = |looked_up| {
            let country = Some("DE");
            let fields = Forwarding { looked_up, keying: &keying, peer, identity: &identity, country }.fields(&client);
            ["cookie", "accept-encoding", "x-country", "te"]
                .map(|name| fields.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default())
        };
        assert_eq!(fields(false), ["sid=1; lang=de", "gzip, br", "DE", ""]);
        assert_eq!(fields(true), ["lang=de", "br,gzip", "DE", ""]);
    }

    // ---- what is keyed is what is forwarded ----

    /// Field names in requests, in Vary and in keys; some of them known, some believed by frameworks.
    const NAMES: [&str; 15] = [
        "accept",
        "accept-encoding",
        "accept-language",
        "authorization",
        "connection",
        "cookie",
        "if-range",
        "range",
        "user-agent",
        "signature",
        "via",
        "x-country",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-list",
    ];

    #[derive(Debug, Clone)]
    struct Client {
        host: &'static str,
        https: bool,
        target: String,
        fields: Vec<(&'static str, Vec<u8>)>,
        country: Option<&'static str>,
        trusted: bool,
    }

    /// What the origin gets, as far as it is keyed.
    #[derive(Debug, PartialEq)]
    struct Sent {
        host: &'static str,
        https: bool,
        target: String,
        fields: Vec<(HeaderName, Vec<HeaderValue>)>,
    }

    impl Client {
        /// The keys of the URL and of the variant, and what the origin gets.
        fn go(&self, keying: &Keying, vary: &[HeaderName]) -> ((StoreKey, StoreKey), Sent) {
            let mut fields = HeaderMap::new();
            for (name, value) in &self.fields {
                fields.append(*name, HeaderValue::from_bytes(value).unwrap());
            }
            let (address, version) = ("192.0.2.7".parse().unwrap(), Version::HTTP_11);
            let peer = Peer { address, trusted: self.trusted, https: self.https, version };
            let (identity, country) = (identity(), self.country.filter(|_| keying.country));
            let forwarding = Forwarding { looked_up: true, keying, peer, identity: &identity, country };
            let forwarded = forwarding.fields(&fields);
            let keyed = Keyed::new(keying, true, self.target.as_str().into(), || &forwarded, country);
            let address =
                Address { site: "s", https: self.https, host: self.host, target: &keyed.target, parts: &keyed.parts };
            let url = address.url_id(&SECRET);
            let text = selecting_text(vary, &forwarded);
            assert_eq!(text, forwarding.selecting(&fields, vary));
            let primary = StoreKey::primary(url, self.https, &keyed.parts, &SECRET);
            let variant = StoreKey::variant(url, self.https, &keyed.parts, &text, &SECRET);
            let mut names: Vec<HeaderName> = vary.iter().chain(&keying.headers).cloned().collect();
            if !keying.cookies.is_empty() {
                names.push(http::header::COOKIE);
            }
            names.push(keying::X_COUNTRY);
            let lines = |name: HeaderName| {
                let lines = forwarded.get_all(&name).iter().cloned().collect();
                (name, lines)
            };
            let target = keyed.sent_target().to_owned();
            let fields = names.into_iter().map(lines).collect();
            ((primary, variant), Sent { host: self.host, https: self.https, target, fields })
        }
    }

    fn names() -> impl Strategy<Value = Vec<HeaderName>> {
        proptest::sample::subsequence(NAMES.to_vec(), 0..=3)
            .prop_map(|names| names.into_iter().map(HeaderName::from_static).collect())
    }

    fn keyings() -> impl Strategy<Value = Keying> {
        let pattern = prop_oneof![Just("a*"), Just("b"), Just("*")].prop_map(Pattern::new);
        let list = proptest::collection::vec(pattern, 0..2);
        let cookies = proptest::sample::subsequence(vec!["a".to_owned(), "b".to_owned()], 0..=2);
        let queries = (any::<bool>(), proptest::option::of(list.clone()), list);
        (queries, names(), cookies, any::<bool>()).prop_map(
            |((query_sort, query_keep, query_drop), headers, cookies, country)| Keying {
                query_sort,
                query_keep,
                query_drop,
                headers,
                cookies,
                country,
                rewrite: true,
            },
        )
    }

    fn value(name: &'static str) -> BoxedStrategy<Vec<u8>> {
        let text = match name {
            "accept-encoding" => "(gzip|br|GZIP)( ?, ?(gzip|br|\\*)(;q=(0|0\\.5|1|2))?){0,2}",
            "accept-language" => "(de|EN)( ?, ?(de|en|fr)(;q=0\\.50?)?){0,2}",
            "accept" => "(a/a|B/b)( ?, ?(a/a|\\*/\\*)(; ?q=0\\.50?)?){0,2}",
            "connection" => "(close|cookie|x-list|via|Accept)( ?, ?(x-list|if-range))?",
            "range" => "bytes=[0-9](-[0-9])?( ?, ?[0-9]-)?",
            "cookie" => "([abc]=[1-2]{0,2}( ?; ?[abc]=[1-2]){0,2}|;? ?a)",
            _ => "([ab]|[ab] ?, ?[ab]|\"a, b\")",
        };
        prop_oneof![
            8 => text.prop_map(String::into_bytes),
            1 => proptest::collection::vec(prop_oneof![Just(b'\t'), 0x20..=0x7e_u8, 0x80..=0xff_u8], 0..3),
        ]
        .boxed()
    }

    fn fields() -> impl Strategy<Value = Vec<(&'static str, Vec<u8>)>> {
        let field = proptest::sample::select(NAMES.to_vec())
            .prop_flat_map(|name| value(name).prop_map(move |value| (name, value)));
        proptest::collection::vec(field, 0..4)
    }

    fn clients() -> impl Strategy<Value = Client> {
        let way = (prop_oneof![Just("a"), Just("b")], proptest::bool::weighted(0.2));
        let target = "/a?(\\?([ab](=[12]|=%61)?|&|%61){0,4})?";
        let country = prop_oneof![Just(None), Just(Some("DE")), Just(Some("fr")), Just(Some("nowhere"))];
        (way, target, fields(), country, proptest::bool::weighted(0.2)).prop_map(
            |((host, https), target, fields, country, trusted)| Client {
                host,
                https,
                target,
                fields,
                country,
                trusted,
            },
        )
    }

    /// Another way to write the same, or nearly so: two requests at random have seldom anything in common.
    fn twins() -> impl Strategy<Value = (Client, Client)> {
        let change = (any::<proptest::sample::Index>(), fields(), 0..8_u8);
        (clients(), clients(), change).prop_map(|(one, other, (index, more, kind))| {
            let mut twin = one.clone();
            match kind {
                0 => twin = other,
                1 => twin.target = other.target,
                2 => twin.country = other.country,
                3 => twin.fields.extend(more),
                4 => twin.fields.reverse(),
                5 if twin.target.contains('?') => {
                    let (path, query) = twin.target.split_once('?').unwrap();
                    let reversed: Vec<&str> = query.split('&').rev().collect();
                    twin.target = format!("{path}?{}", reversed.join("&"));
                }
                6 if !twin.fields.is_empty() => {
                    let at = index.index(twin.fields.len());
                    twin.fields[at].1.retain(|byte| *byte != b' ');
                }
                _ if !twin.fields.is_empty() => {
                    let at = index.index(twin.fields.len());
                    twin.fields.remove(at);
                }
                _ => {}
            }
            (one, twin)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// Equal keys mean that the origin is asked for the same, byte for byte: nobody can have the answer to one request
        /// stored for another.
        #[test]
        fn what_is_keyed_is_what_is_forwarded(keying in keyings(), vary in names(), (one, twin) in twins()) {
            let ((one_primary, one_variant), one_sent) = one.go(&keying, &vary);
            let ((twin_primary, twin_variant), twin_sent) = twin.go(&keying, &vary);
            prop_assert_eq!(one_variant == twin_variant, one_sent == twin_sent, "{:?} {:?}", one_sent, twin_sent);
            if one_primary == twin_primary {
                prop_assert_eq!(&one_sent.target, &twin_sent.target);
                prop_assert_eq!((one_sent.host, one_sent.https), (twin_sent.host, twin_sent.https));
            }
        }

        /// Without rules the origin is asked for what the client asked for.
        #[test]
        fn by_default_nothing_is_rewritten(client in clients()) {
            let (_, sent) = client.go(&Keying::default(), &[]);
            prop_assert_eq!(sent.target, client.target);
        }
    }

    /// The property is not true of nothing: requests that differ do share keys, and not only equal ones.
    #[test]
    fn twins_do_meet() {
        use proptest::strategy::ValueTree;
        use proptest::test_runner::TestRunner;
        let mut runner = TestRunner::deterministic();
        let (mut met, mut parted) = (0, 0);
        for _ in 0..500 {
            let case = (keyings(), names(), twins()).new_tree(&mut runner).unwrap().current();
            let (keying, vary, (one, twin)) = case;
            let differ = one.target != twin.target || one.fields != twin.fields;
            let same = one.go(&keying, &vary).0 == twin.go(&keying, &vary).0;
            met += u32::from(differ && same);
            parted += u32::from(!same);
        }
        assert!(met > 50 && parted > 50, "{met} met, {parted} did not");
    }
}
