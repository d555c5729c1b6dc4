//! How queries are answered whatever they ask: who may get how much, and what an answer says beside its data.
//!
//! ```text
//!   receive (what does the cookie say?) -> instead (too much? no answer without a cookie? about the server itself?)
//!     -> the answer -> limit_answer (too much of this kind?) -> extras (what the OPT record says)
//! ```

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use nearcast_shared::clock::Timestamp;
use nearcast_shared::config::Config;
use nearcast_shared::rtype;
use smallvec::SmallVec;

use crate::answer::{Answer, Data, Outcome, Owner, Set};
use crate::chaos::{self, About};
use crate::cookie::{Cookie, Judged, Keys};
use crate::extras::Extras;
use crate::limit::{Instead, Limiter, Verdict};
use crate::message::{Fault, Request};
use crate::metrics::{CookieState, DnsMetrics, Dropped, Flaw, LimitedAction, LimitedKind, Transport};

/// The operator's will in this, replaced whole at a reload.
#[derive(Debug)]
pub struct Manners {
    nsid: Option<Box<str>>,
    version: Option<String>,
    id: Option<String>,
    /// `None`: cookies are as unknown as any other option.
    keys: Option<Keys>,
    cookie_required: bool,
    udp_size_without_cookie: Option<u16>,
    limiter: Option<Arc<Limiter>>,
}

/// Random bytes of the process, which make what strangers must not foresee.
#[derive(Clone, Copy)]
pub struct Seed(pub [u8; 32]);

/// Who asks, as far as manners go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guest {
    pub(crate) peer: SocketAddr,
    /// Its address; the IPv4 address of one that is mapped.
    pub(crate) client: IpAddr,
    pub(crate) transport: Transport,
    pub(crate) cookie: Judged,
    pub(crate) now: Timestamp,
}

impl Guest {
    /// Whether its address is proven to be its own.
    pub(crate) fn is_verified(&self) -> bool {
        self.transport != Transport::Udp || self.cookie.state == CookieState::Valid
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(..)")
    }
}

impl Seed {
    /// Its two halves: for cookies, and for tables.
    fn halves(self) -> [[u8; 16]; 2] {
        let (cookies, tables) = self.0.split_at(16);
        [cookies, tables].map(|half| std::array::from_fn(|at| half[at]))
    }
}

impl Manners {
    /// Those of `config`. What clients got so far counts on if the limits are as they were `before`.
    pub fn new(config: &Config, seed: Seed, before: Option<&Self>) -> Self {
        let manners = &config.manners;
        let [own, table_key] = seed.halves();
        let keys = manners.cookies.as_ref().map(|cookies| {
            let shared: Vec<_> = cookies.secrets.iter().map(|secret| secret.0).collect();
            Keys::new(if shared.is_empty() { vec![own] } else { shared })
        });
        let kept = |limit| before.and_then(|before| before.limiter.clone()).filter(|limiter| limiter.is_of(limit));
        Self {
            nsid: manners.nsid.as_ref().map(|nsid| nsid.as_str().into()),
            version: manners.version.clone(),
            id: manners.id.clone(),
            keys,
            cookie_required: manners.cookies.as_ref().is_some_and(|cookies| cookies.required),
            udp_size_without_cookie: manners.udp_size_without_cookie,
            limiter: manners
                .rate_limit
                .as_ref()
                .map(|limit| kept(limit).unwrap_or_else(|| Arc::new(Limiter::new(limit, table_key)))),
        }
    }

    /// Whether what clients got before decides what they get.
    pub(crate) fn limits(&self) -> bool {
        self.limiter.is_some()
    }

    /// Judges who sent `request`. What should be a cookie and is none is a fault of it, where there are cookies.
    pub(crate) fn receive(
        &self,
        request: &mut Request<'_>,
        peer: SocketAddr,
        transport: Transport,
        now: Timestamp,
    ) -> Guest {
        let client = nearcast_shared::net::unmapped(peer.ip());
        let sent = request.edns.and_then(|edns| edns.cookie);
        let cookie = match self.keys.as_ref().zip(sent).map(|(keys, sent)| (keys, Cookie::parse(sent))) {
            None => Judged { state: CookieState::None, answer: None },
            Some((keys, Some(cookie))) => keys.judge(cookie, client, now),
            Some((_, None)) => {
                if !request.fault.is_some_and(Fault::is_of_format) {
                    request.fault = Some(Fault::Malformed(Flaw::Cookie));
                }
                Judged { state: CookieState::Malformed, answer: None }
            }
        };
        Guest { peer, client, transport, cookie, now }
    }

    /// What is answered without a look at our names, if anything is, which is rare; `Err`: nothing at all.
    pub(crate) fn instead<'a>(
        &'a self,
        request: &Request<'_>,
        guest: &Guest,
        metrics: &DnsMetrics,
    ) -> Result<Option<Box<Answer<'a>>>, Dropped> {
        if let Some(outcome) = self.limit(LimitedKind::All, request, guest, metrics)? {
            return Ok(Some(Box::new(Answer::empty(outcome))));
        }
        let mut answer = match (request.fault, guest.cookie.state) {
            // RFC 7873 section 5.4: a query without a question but with a cookie is one for a cookie; "In this case, the
            // response SHALL have the RCODE BADCOOKIE if the Server Cookie sent with the query was invalid".
            (Some(Fault::NoQuestion), CookieState::Invalid) => Answer::empty(Outcome::BadCookie),
            (Some(Fault::NoQuestion), CookieState::Client | CookieState::Valid) => Answer::empty(Outcome::Cookie),
            // RFC 7873 section 5.2.3: over TCP the connection is proof enough.
            (None, CookieState::Client | CookieState::Invalid)
                if self.cookie_required && guest.transport == Transport::Udp =>
            {
                Answer::empty(Outcome::BadCookie)
            }
            _ => match self.about_server(request) {
                Some(answer) => answer,
                None => return Ok(None),
            },
        };
        self.limit_answer(&mut answer, request, guest, metrics)?;
        Ok(Some(Box::new(answer)))
    }

    /// Leaves `answer`, or makes it what is sent instead when it is too much; `Err`: nothing at all.
    pub(crate) fn limit_answer(
        &self,
        answer: &mut Answer<'_>,
        request: &Request<'_>,
        guest: &Guest,
        metrics: &DnsMetrics,
    ) -> Result<(), Dropped> {
        let Some(kind) = answer.outcome.limited_as() else { return Ok(()) };
        if let Some(instead) = self.limit(kind, request, guest, metrics)? {
            *answer = Answer::empty(instead);
        }
        Ok(())
    }

    fn limit(
        &self,
        kind: LimitedKind,
        request: &Request<'_>,
        guest: &Guest,
        metrics: &DnsMetrics,
    ) -> Result<Option<Outcome>, Dropped> {
        let Some(limiter) = &self.limiter else { return Ok(None) };
        // What came over a connection, or with a cookie of ours, came from where it says.
        if guest.is_verified() {
            return Ok(None);
        }
        let (action, result) = match limiter.judge(guest.client, kind, guest.now, guest.draw(request)) {
            Verdict::Within => return Ok(None),
            Verdict::Noted => (LimitedAction::Noted, Ok(None)),
            Verdict::Over(Instead::Drop) => (LimitedAction::Drop, Err(Dropped::Limited)),
            Verdict::Over(Instead::Slip) => match (request.fault, guest.cookie.answer) {
                // RFC 7873 section 5.2.3: what a cookie is worth is learned with it.
                (None | Some(Fault::NoQuestion), Some(_)) => (LimitedAction::BadCookie, Ok(Some(Outcome::BadCookie))),
                (None, None) => (LimitedAction::Slip, Ok(Some(Outcome::Slipped))),
                // What is wrong with it is as short, and NOERROR would say that an UPDATE was done.
                (Some(fault), _) => (LimitedAction::Slip, Ok(Some(Outcome::Fault(fault)))),
            },
        };
        metrics.limited(kind, action).inc();
        result
    }

    /// The answer to a question about the server itself, if it may be answered.
    fn about_server(&self, request: &Request<'_>) -> Option<Answer<'_>> {
        let question = request.question.as_ref().filter(|_| request.fault.is_none())?;
        let text = match chaos::about(question)? {
            About::Version => self.version.as_deref(),
            About::Id => self.id.as_deref(),
        }?;
        // At most 255 bytes, as the config holds.
        let string = [&[u8::try_from(text.len()).ok()?], text.as_bytes()].concat();
        let set = Set {
            owner: Owner::Question,
            ttl: 0,
            ttl_original: 0,
            data: Data::Made(rtype::TXT, vec![Cow::Owned(string)]),
            zone: None,
            passing: true,
            signatures: SmallVec::new(),
        };
        Some(Answer { answers: vec![set], ..Answer::empty(Outcome::AboutServer) })
    }

    /// Bytes of the largest UDP answer to `guest`, when `udp_size` is that of everybody.
    pub(crate) fn udp_size(&self, guest: &Guest, udp_size: u16) -> u16 {
        let without = self.udp_size_without_cookie.filter(|_| guest.cookie.state != CookieState::Valid);
        without.map_or(udp_size, |without| without.min(udp_size))
    }

    /// What the answer's OPT record says, if the query has one. `patience`: how long the connection may be idle.
    pub(crate) fn extras<'a>(
        &'a self,
        request: &Request<'a>,
        guest: &Guest,
        answer: &Answer<'_>,
        patience: Option<Duration>,
    ) -> Extras<'a> {
        let Some(edns) = request.edns else { return Extras::default() };
        // After a format error nothing that was read can be trusted.
        let sound = !request.fault.is_some_and(Fault::is_of_format);
        // What is sent instead of an answer goes to who knows whom, and has to be short.
        let short = matches!(answer.outcome, Outcome::Slipped | Outcome::BadCookie | Outcome::Fault(_));
        let encrypted = match guest.transport {
            Transport::Udp | Transport::Tcp => false,
            Transport::Tls | Transport::Https | Transport::Quic => true,
        };
        Extras {
            subnet: edns.subnet.filter(|_| request.fault.is_none()).map(|subnet| (subnet, answer.scope)),
            error: answer.outcome.extended_error(),
            cookie: guest.cookie.answer.filter(|_| sound),
            nsid: self.nsid.as_deref().filter(|_| sound && edns.nsid && !short).map(str::as_bytes),
            // RFC 7828 section 3.3.2: never over UDP.
            keepalive: patience.filter(|_| sound && edns.keepalive).map(tenths),
            padded: sound && encrypted && edns.padding,
        }
    }
}

impl Guest {
    /// Any number, another one for each query, as far as chance goes.
    pub(crate) fn draw(&self, request: &Request<'_>) -> u64 {
        (u64::from(request.id) << 48) | (u64::from(self.peer.port()) << 32) | (self.now.0.cast_unsigned() & 0xffff_ffff)
    }
}

/// RFC 7828 section 3.1: a timeout in units of 100 ms.
fn tenths(timeout: Duration) -> u16 {
    u16::try_from(timeout.as_millis() / 100).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::message::decode;

    const PEER: &str = "192.0.2.1:5353";
    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const PATIENCE: Duration = Duration::from_secs(7);
    const COOKIE: &[u8] = &[0, 10, 0, 8, 7, 7, 7, 7, 7, 7, 7, 7];
    const NSID: &[u8] = &[0, 3, 0, 0];
    const KEEPALIVE: &[u8] = &[0, 11, 0, 0];
    const PADDING: &[u8] = &[0, 12, 0, 1, 0];

    /// What is read of a packet, and who sent it.
    fn received<'a>(manners: &Manners, packet: &'a [u8], transport: Transport) -> (Request<'a>, Guest) {
        let mut request = decode(packet).unwrap();
        let guest = manners.receive(&mut request, PEER.parse().unwrap(), transport, NOW);
        (request, guest)
    }

    /// An option with the whole cookie that the client of [`COOKIE`] is given.
    fn good_cookie(manners: &Manners) -> Vec<u8> {
        let packet = fixture::query_with("cdn.example.net", 6, COOKIE);
        let baked = received(manners, &packet, Transport::Udp).1.cookie.answer.unwrap();
        [&[0, 10, 0, 24][..], &baked].concat()
    }

    #[test]
    fn what_is_answered_without_a_look_at_the_names() {
        let (open, strict) =
            (fixture::manners("[dns]\nid = \"x\"\n"), fixture::manners("[dns.cookies]\nrequired = true\n"));
        let off = fixture::manners("[dns.cookies]\non = false\n");
        let soa = |options: &[u8]| fixture::query_with("cdn.example.net", 6, options);
        let nothing = |options: &[u8]| {
            let opt = [&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, options.len() as u8], options].concat();
            [&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &opt].concat()
        };
        let mut chaos = fixture::query("id.server", 16);
        *chaos.last_mut().unwrap() = 3;
        let bad: &[u8] = &[&[0, 10, 0, 24][..], &[7; 24]].concat();
        let (udp, tcp) = (Transport::Udp, Transport::Tcp);
        let rows = [
            ("nothing said", &open, soa(&[]), udp, None),
            ("a client's cookie", &open, soa(COOKIE), udp, None),
            ("a bad cookie", &open, soa(bad), udp, None),
            ("about the server", &open, chaos.clone(), udp, Some(Outcome::AboutServer)),
            ("about a silent server", &strict, chaos, udp, None),
            ("required, none", &strict, soa(&[]), udp, None),
            ("required, a client's", &strict, soa(COOKIE), udp, Some(Outcome::BadCookie)),
            ("required, a bad one", &strict, soa(bad), udp, Some(Outcome::BadCookie)),
            ("required, a good one", &strict, soa(&good_cookie(&strict)), udp, None),
            ("required, over TCP", &strict, soa(COOKIE), tcp, None),
            ("no question", &open, nothing(&[]), udp, None),
            ("no question, a client's", &open, nothing(COOKIE), udp, Some(Outcome::Cookie)),
            ("no question, a bad one", &open, nothing(bad), tcp, Some(Outcome::BadCookie)),
            ("no question, a good one", &open, nothing(&good_cookie(&open)), udp, Some(Outcome::Cookie)),
            ("no question, cookies are off", &off, nothing(COOKIE), udp, None),
        ];
        let metrics = fixture::metrics();
        for (name, manners, packet, transport, wanted) in rows {
            let (request, guest) = received(manners, &packet, transport);
            let instead = manners.instead(&request, &guest, &metrics).unwrap();
            assert_eq!(instead.map(|answer| answer.outcome), wanted, "{name}");
        }
    }

    #[test]
    fn options_of_each_transport() {
        let manners = fixture::manners("[dns]\nnsid = \"{pop}\"\n");
        let all = [COOKIE, NSID, KEEPALIVE, PADDING].concat();
        // (transport, its patience, keepalive, padded)
        let rows = [
            (Transport::Udp, None, None, false),
            (Transport::Tcp, Some(PATIENCE), Some(70), false),
            (Transport::Tls, Some(PATIENCE), Some(70), true),
            (Transport::Https, None, None, true),
            (Transport::Quic, None, None, true),
        ];
        let answer = Answer::empty(Outcome::Static);
        for (transport, patience, keepalive, padded) in rows {
            let packet = fixture::query_with("cdn.example.net", 6, &all);
            let (request, guest) = received(&manners, &packet, transport);
            let extras = manners.extras(&request, &guest, &answer, patience);
            assert_eq!((extras.keepalive, extras.padded), (keepalive, padded), "{transport:?}");
            assert_eq!((extras.nsid, extras.cookie.is_some()), (Some(&b"sin"[..]), true), "{transport:?}");
            for (packet, cookie) in [
                (fixture::query_with("cdn.example.net", 6, &[]), false),
                // What is broken is not believed in anything.
                (fixture::query_with("cdn.example.net", 6, &[&all[..], &[0, 8, 0, 0]].concat()), false),
            ] {
                let (request, guest) = received(&manners, &packet, transport);
                let extras = manners.extras(&request, &guest, &answer, patience);
                assert_eq!((extras.keepalive, extras.padded, extras.nsid), (None, false, None), "{transport:?}");
                assert_eq!(extras.cookie.is_some(), cookie, "{transport:?}");
            }
        }
    }

    #[test]
    fn what_is_no_cookie_is_a_fault_where_there_are_cookies() {
        let (on, off) = (fixture::manners(""), fixture::manners("[dns.cookies]\non = false\n"));
        let malformed = Some(Fault::Malformed(Flaw::Cookie));
        for option in [&[0, 10, 0, 0][..], &[0, 10, 0, 7, 1, 2, 3, 4, 5, 6, 7]] {
            let packet = fixture::query_with("cdn.example.net", 6, option);
            let (request, guest) = received(&on, &packet, Transport::Udp);
            assert_eq!((request.fault, guest.cookie.state), (malformed, CookieState::Malformed));
            let (request, guest) = received(&off, &packet, Transport::Udp);
            assert_eq!((request.fault, guest.cookie.state), (None, CookieState::None));
        }
        // RFC 7873 section 5.2: "In all cases of multiple COOKIE options in a request, only the first [..] is considered."
        let packet = fixture::query_with("cdn.example.net", 6, &[COOKIE, &[0, 10, 0, 0]].concat());
        assert_eq!(received(&on, &packet, Transport::Udp).0.fault, None);
    }

    #[test]
    fn who_may_be_forged_is_not_told_who_answers() {
        let manners = fixture::manners("[dns]\nnsid = \"{pop}\"\n");
        let packet = fixture::query_with("cdn.example.net", 6, &[COOKIE, NSID].concat());
        let (request, guest) = received(&manners, &packet, Transport::Udp);
        for outcome in [Outcome::Slipped, Outcome::BadCookie, Outcome::Fault(Fault::Opcode)] {
            let extras = manners.extras(&request, &guest, &Answer::empty(outcome), None);
            assert_eq!((extras.nsid, extras.cookie.is_some()), (None, true), "{outcome:?}");
        }
    }

    #[test]
    fn what_is_sent_instead_does_not_say_that_it_was_done() {
        let of = |opcode: u8, version: u8, options: &[u8]| {
            let mut packet = fixture::query_with("cdn.example.net", 6, options);
            packet[2] = opcode << 3;
            let at = packet.len() - options.len() - 5;
            packet[at] = version;
            packet
        };
        let mut nothing = vec![0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 12];
        nothing.extend(COOKIE);
        let cut = [COOKIE, &[0, 3, 0]].concat();
        let rows = [
            ("a query", of(0, 0, &[]), Outcome::Slipped),
            ("a query, a client's cookie", of(0, 0, COOKIE), Outcome::BadCookie),
            ("a query for a cookie", nothing, Outcome::BadCookie),
            ("UPDATE", of(5, 0, &[]), Outcome::Fault(Fault::Opcode)),
            ("NOTIFY, a client's cookie", of(4, 0, COOKIE), Outcome::Fault(Fault::Opcode)),
            ("EDNS version 1", of(0, 1, COOKIE), Outcome::Fault(Fault::Version)),
            ("broken options", of(0, 0, &cut), Outcome::Fault(Fault::Malformed(Flaw::Options))),
            ("a bad cookie", of(0, 0, &[0, 10, 0, 1, 7]), Outcome::Fault(Fault::Malformed(Flaw::Cookie))),
        ];
        let metrics = fixture::metrics();
        for (name, packet, wanted) in rows {
            let manners = fixture::manners("[dns.rate-limit]\nall = 1\nslip = 1\n");
            let (request, guest) = received(&manners, &packet, Transport::Udp);
            let _within = manners.instead(&request, &guest, &metrics);
            let instead = manners.instead(&request, &guest, &metrics).unwrap().unwrap();
            assert_eq!(instead.outcome, wanted, "{name}");
            // RFC 7873 section 5.2.3: what comes with BADCOOKIE is a cookie.
            let extras = manners.extras(&request, &guest, &instead, None);
            assert!(wanted != Outcome::BadCookie || extras.cookie.is_some(), "{name}");
        }
    }

    #[test]
    fn answers_that_are_nothing_but_a_cookie_are_limited() {
        let manners =
            fixture::manners("[dns.cookies]\nrequired = true\n[dns.rate-limit]\nall = 0\nerrors = 1\nslip = 0\n");
        let metrics = fixture::metrics();
        let query = fixture::query_with("cdn.example.net", 6, COOKIE);
        let mut nothing = vec![0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 12];
        nothing.extend(COOKIE);
        let ask = |packet: &[u8]| {
            let (request, guest) = received(&manners, packet, Transport::Udp);
            let instead = manners.instead(&request, &guest, &metrics);
            instead.map(|answer| answer.map(|answer| answer.outcome))
        };
        assert_eq!(ask(&query), Ok(Some(Outcome::BadCookie)));
        assert_eq!((ask(&query), ask(&nothing)), (Err(Dropped::Limited), Err(Dropped::Limited)));
        assert_eq!(metrics.limited(LimitedKind::Errors, LimitedAction::Drop).get(), 2);
    }

    #[test]
    fn sizes_without_a_cookie() {
        let manners = fixture::manners("[dns]\nudp-size-without-cookie = 600\n");
        let of = |options: &[u8]| {
            let packet = fixture::query_with("cdn.example.net", 6, options);
            manners.udp_size(&received(&manners, &packet, Transport::Udp).1, 1232)
        };
        assert_eq!([of(&[]), of(COOKIE), of(&good_cookie(&manners))], [600, 600, 1232]);
    }

    #[test]
    fn only_addresses_that_may_be_forged_are_limited() {
        let manners = fixture::manners("[dns.rate-limit]\nall = 1\nslip = 0\n");
        let metrics = fixture::metrics();
        let ask = |options: &[u8], transport| {
            let packet = fixture::query_with("cdn.example.net", 6, options);
            let (request, guest) = received(&manners, &packet, transport);
            manners.instead(&request, &guest, &metrics).map(|answer| answer.is_none())
        };
        assert_eq!(ask(&[], Transport::Udp), Ok(true));
        assert_eq!(ask(&[], Transport::Udp), Err(Dropped::Limited));
        assert_eq!(ask(COOKIE, Transport::Udp), Err(Dropped::Limited));
        for transport in [Transport::Tcp, Transport::Tls, Transport::Https, Transport::Quic] {
            assert_eq!(ask(&[], transport), Ok(true), "{transport:?}");
        }
        assert_eq!(ask(&good_cookie(&manners), Transport::Udp), Ok(true));
        assert_eq!(metrics.limited(LimitedKind::All, LimitedAction::Drop).get(), 2);
    }
}
