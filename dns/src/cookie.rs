//! DNS cookies (RFC 7873), made so that every server of a fleet knows those of all (RFC 9018): a client that sends back what
//! it got from us does not forge its address.
//!
//! ```text
//!   0              8        9          12         16            24
//!   client cookie  version  reserved   timestamp  SipHash-2-4 of all before and the client's address
//! ```

use std::hash::Hasher;
use std::net::IpAddr;

use nearcast_shared::clock::Timestamp;
use siphasher::sip::SipHasher24;
use subtle::ConstantTimeEq;

use crate::metrics::CookieState;

/// The option's code.
pub(crate) const CODE: u16 = 10;
/// Bytes of a client's part.
const CLIENT: usize = 8;
/// Bytes of a server's part as we make it.
const SERVER: usize = 16;
/// RFC 9018 section 4.1: the only version there is.
const VERSION: u8 = 1;
/// RFC 9018 section 4.3: "The DNS server SHOULD allow cookies within a 1-hour period in the past and a 5-minute period into
/// the future to allow operation of low-volume clients and some limited time skew between the DNS servers in the anycast
/// set." In seconds.
const PAST_MAX: i32 = 3600;
const FUTURE_MAX: i32 = 300;
/// The same section: one that is over half an hour old is renewed. In seconds.
const RENEWED_AFTER: i32 = 1800;

/// The option of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cookie<'a> {
    client: &'a [u8; CLIENT],
    /// What the client says it got from us; empty when it has none yet.
    server: &'a [u8],
}

/// The option of an answer.
pub(crate) type Baked = [u8; CLIENT + SERVER];

/// A query's cookie, judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) state: CookieState,
    /// For the answer.
    pub(crate) answer: Option<Baked>,
}

/// What cookies are made and known by.
#[derive(Clone)]
pub(crate) struct Keys {
    /// The first makes them.
    keys: Vec<[u8; 16]>,
}

impl<'a> Cookie<'a> {
    /// Judges the option's length: RFC 7873 section 5.2.2 has a FORMERR for those too short for a client's part, for those
    /// with less than 8 bytes of a server's, and for those over 40 bytes.
    pub(crate) fn parse(value: &'a [u8]) -> Option<Self> {
        let (client, server) = value.split_first_chunk()?;
        matches!(server.len(), 0 | 8..=32).then_some(Self { client, server })
    }
}

impl Keys {
    /// Of those in force, the one that makes cookies first.
    pub(crate) fn new(keys: Vec<[u8; 16]>) -> Self {
        Self { keys }
    }

    /// Judges what `client` sent, and makes what it is answered.
    pub(crate) fn judge(&self, cookie: Cookie<'_>, client: IpAddr, now: Timestamp) -> Judged {
        let now = wire_seconds(now);
        let state = match (cookie.server.is_empty(), self.made(cookie, client, now)) {
            (true, _) => CookieState::Client,
            (false, None) => CookieState::Invalid,
            (false, Some(made)) if made.fresh => {
                let mut same = [0; CLIENT + SERVER];
                same[..CLIENT].copy_from_slice(cookie.client);
                same[CLIENT..].copy_from_slice(made.server);
                return Judged { state: CookieState::Valid, answer: Some(same) };
            }
            (false, Some(_)) => CookieState::Valid,
        };
        Judged { state, answer: self.keys.first().map(|key| bake(key, cookie.client, client, now)) }
    }

    /// The server's part, if it is one of ours, for that client, and in time.
    fn made<'c>(&self, cookie: Cookie<'c>, client: IpAddr, now: u32) -> Option<Made<'c>> {
        let server: &[u8; SERVER] = cookie.server.try_into().ok()?;
        let [VERSION, _, _, _, a, b, c, d, hash @ ..] = server else { return None };
        // RFC 9018 section 4.3: in serial number arithmetic (RFC 1982).
        let age = now.wrapping_sub(u32::from_be_bytes([*a, *b, *c, *d])).cast_signed();
        // All keys are tried, however the first compares.
        let known = self.keys.iter().enumerate().fold(None, |known, (at, key)| {
            let same = hashed(key, cookie.client, &server[..8], client).ct_eq(hash);
            if bool::from(same) { known.or(Some(at)) } else { known }
        })?;
        let in_time = (-FUTURE_MAX..=PAST_MAX).contains(&age);
        // Those of a key that is going are renewed at once.
        in_time.then_some(Made { server, fresh: known == 0 && age <= RENEWED_AFTER })
    }
}

/// A server's part that we made.
struct Made<'a> {
    server: &'a [u8; SERVER],
    /// It need not be renewed yet.
    fresh: bool,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.keys.len())
    }
}

fn bake(key: &[u8; 16], client_cookie: &[u8; CLIENT], client: IpAddr, now: u32) -> Baked {
    let mut all = [0; CLIENT + SERVER];
    all[..8].copy_from_slice(client_cookie);
    all[8] = VERSION;
    all[12..16].copy_from_slice(&now.to_be_bytes());
    let hash = hashed(key, client_cookie, &all[8..16], client);
    all[16..].copy_from_slice(&hash);
    all
}

/// RFC 9018 section 4.4: SipHash-2-4 of client cookie, version, reserved, timestamp and the client's address.
fn hashed(key: &[u8; 16], client_cookie: &[u8; CLIENT], head: &[u8], client: IpAddr) -> [u8; 8] {
    let mut hasher = SipHasher24::new_with_key(key);
    hasher.write(client_cookie);
    hasher.write(head);
    match client {
        IpAddr::V4(v4) => hasher.write(&v4.octets()),
        IpAddr::V6(v6) => hasher.write(&v6.octets()),
    }
    hasher.finish().to_le_bytes()
}

/// Seconds since 1970, the lower 32 bits.
fn wire_seconds(now: Timestamp) -> u32 {
    (now.seconds() & i64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
    const OLD_KEY: &str = "dd3bdf9344b678b185a6f5cb60fca715";
    const NEW_KEY: &str = "445536bcd2513298075a5d379663c962";

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        let digits = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
        assert_eq!(hex.len(), 2 * N);
        std::array::from_fn(digits)
    }

    fn keys(all: &[&str]) -> Keys {
        Keys::new(all.iter().map(|key| bytes(key)).collect())
    }

    fn ask(keys: &Keys, cookie: &[u8], client: &str, seconds: i64) -> (CookieState, Baked) {
        let judged =
            keys.judge(Cookie::parse(cookie).unwrap(), client.parse().unwrap(), Timestamp::from_seconds(seconds));
        (judged.state, judged.answer.unwrap())
    }

    #[test]
    fn lengths() {
        for length in 0..50usize {
            let valid = length == 8 || (16..=40).contains(&length);
            assert_eq!(Cookie::parse(&vec![7; length]).is_some(), valid, "{length} bytes");
        }
    }

    #[test]
    fn rfc_9018_appendix_a() {
        let learned = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
        // (section, keys, client, what it sends, when, state, what it is answered)
        let rows = [
            ("A.1", keys(&[KEY]), "198.51.100.100", "2464c4abcf10c957", 1_559_731_985, CookieState::Client, learned),
            (
                "A.2",
                keys(&[KEY]),
                "198.51.100.100",
                learned,
                1_559_734_385,
                CookieState::Valid,
                "2464c4abcf10c957010000005cf7a871d4a564a1442aca77",
            ),
            // With something in the reserved bytes.
            (
                "A.3",
                keys(&[KEY]),
                "203.0.113.203",
                "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5",
                1_559_734_700,
                CookieState::Invalid,
                "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e",
            ),
            (
                "A.4",
                keys(&[NEW_KEY, OLD_KEY]),
                "2001:db8:220:1:59de:d0f4:8769:82b8",
                "22681ab97d52c298010000005cf7c57926556bd0934c72f8",
                1_559_741_961,
                CookieState::Valid,
                "22681ab97d52c298010000005cf7c609a6bb79d16625507a",
            ),
        ];
        for (section, keys, client, sent, now, state, wanted) in rows {
            let sent: Vec<u8> =
                (0..sent.len() / 2).map(|at| u8::from_str_radix(&sent[2 * at..2 * at + 2], 16).unwrap()).collect();
            assert_eq!(ask(&keys, &sent, client, now), (state, bytes(wanted)), "{section}");
        }
    }

    #[test]
    fn reserved_bytes_may_be_anything() {
        // RFC 9018 section 4.2: nobody insists that they are zero, and the hash is of what came. Appendix A.3, while it was
        // young.
        let sent: [u8; 24] = bytes("fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5");
        assert_eq!(ask(&keys(&[KEY]), &sent, "203.0.113.203", 0x5cf7_8f71 + 2000).0, CookieState::Valid);
    }

    #[test]
    fn the_window() {
        const BAKED: i64 = 1_000_000;
        let (keys, client) = (keys(&[KEY]), "192.0.2.1");
        let (_, baked) = ask(&keys, &[7; 8], client, BAKED);
        // (seconds later, state, whether it stays the same)
        let rows = [
            (0, CookieState::Valid, true),
            (1800, CookieState::Valid, true),
            (1801, CookieState::Valid, false),
            (3600, CookieState::Valid, false),
            (3601, CookieState::Invalid, false),
            (-300, CookieState::Valid, true),
            (-301, CookieState::Invalid, false),
        ];
        for (later, wanted, same) in rows {
            let (state, answer) = ask(&keys, &baked, client, BAKED + later);
            assert_eq!((state, answer == baked), (wanted, same), "{later} s");
        }
    }

    #[test]
    fn seconds_go_on_after_2106() {
        let (keys, client, end) = (keys(&[KEY]), "192.0.2.1", i64::from(u32::MAX));
        let (_, baked) = ask(&keys, &[7; 8], client, end);
        assert_eq!(ask(&keys, &baked, client, end + 60).0, CookieState::Valid);
    }

    #[test]
    fn what_is_no_cookie_of_that_client() {
        let known = keys(&[KEY]);
        let (_, baked) = ask(&known, &[7; 8], "192.0.2.1", 0);
        assert_eq!(ask(&known, &baked, "192.0.2.1", 0).0, CookieState::Valid);
        assert_eq!(ask(&known, &baked, "192.0.2.2", 0).0, CookieState::Invalid, "another address");
        assert_eq!(ask(&keys(&[OLD_KEY]), &baked, "192.0.2.1", 0).0, CookieState::Invalid, "another key");
        for at in 0..24 {
            let mut changed = baked;
            changed[at] ^= 1;
            assert_eq!(ask(&known, &changed, "192.0.2.1", 0).0, CookieState::Invalid, "byte {at}");
        }
        let long = [&baked[..], &[0; 8]].concat();
        assert_eq!(ask(&known, &long, "192.0.2.1", 0).0, CookieState::Invalid, "of another server's making");
    }

    #[test]
    fn a_key_that_goes_is_known_and_renewed() {
        let (_, baked) = ask(&keys(&[OLD_KEY]), &[7; 8], "192.0.2.1", 0);
        let both = keys(&[NEW_KEY, OLD_KEY]);
        let (state, renewed) = ask(&both, &baked, "192.0.2.1", 0);
        assert_eq!(state, CookieState::Valid);
        assert_eq!(ask(&keys(&[NEW_KEY]), &renewed, "192.0.2.1", 0).0, CookieState::Valid);
        // The next key is known before it makes any.
        assert_eq!(ask(&keys(&[OLD_KEY, NEW_KEY]), &renewed, "192.0.2.1", 0).0, CookieState::Valid);
    }

    proptest! {
        #[test]
        fn what_we_answer_we_know(sent in proptest::collection::vec(any::<u8>(), 0..45), client in any::<u128>(), now in any::<u32>()) {
            let (keys, now) = (keys(&[KEY]), Timestamp::from_seconds(now.into()));
            let client = IpAddr::V6(client.into());
            if let Some(cookie) = Cookie::parse(&sent) {
                let judged = keys.judge(cookie, client, now);
                prop_assert_ne!(judged.state, CookieState::Valid);
                let baked = judged.answer.unwrap();
                prop_assert_eq!(&baked[..8], &sent[..8]);
                prop_assert_eq!(keys.judge(Cookie::parse(&baked).unwrap(), client, now), Judged { state: CookieState::Valid, answer: Some(baked) });
            }
        }
    }
}
