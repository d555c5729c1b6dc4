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
use crate::cookie::{Judged, Keys};
use crate::extras::Extras;
use crate::limit::{Instead, Limiter, Verdict};
use crate::message::{Fault, Request};
use crate::metrics::{CookieState, DnsMetrics, Dropped, LimitedAction, LimitedKind, Transport};

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
    tcp_timeout: Duration,
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
            tcp_timeout: config.dns.tcp_timeout,
        }
    }

    /// Judges who sent `request`.
    pub(crate) fn receive(
        &self,
        request: &Request<'_>,
        peer: SocketAddr,
        transport: Transport,
        now: Timestamp,
    ) -> Guest {
        let client = nearcast_shared::net::unmapped(peer.ip());
        let cookie = request.edns.and_then(|edns| edns.cookie);
        let none = Judged { state: CookieState::None, answer: None };
        let cookie = self.keys.as_ref().map_or(none, |keys| keys.judge(cookie, client, now));
        Guest { peer, client, transport, cookie, now }
    }

    /// What is answered without a look at our names, if anything is; `Err`: nothing at all.
    pub(crate) fn instead<'a>(
        &'a self,
        request: &Request<'_>,
        guest: &Guest,
        metrics: &DnsMetrics,
    ) -> Result<Option<Answer<'a>>, Dropped> {
        if let Some(outcome) = self.limit(LimitedKind::All, request, guest, metrics)? {
            return Ok(Some(Answer::empty(outcome)));
        }
        let outcome = match (request.fault, guest.cookie.state) {
            // RFC 7873 section 5.4: a query without a question but with a cookie is one for a cookie; "In this case, the
            // response SHALL have the RCODE BADCOOKIE if the Server Cookie sent with the query was invalid".
            (Some(Fault::NoQuestion), CookieState::Invalid) => Outcome::BadCookie,
            (Some(Fault::NoQuestion), CookieState::Client | CookieState::Valid) => Outcome::Cookie,
            // RFC 7873 section 5.2.3: over TCP the connection is proof enough.
            (None, CookieState::Client | CookieState::Invalid)
                if self.cookie_required && guest.transport == Transport::Udp =>
            {
                Outcome::BadCookie
            }
            _ => match self.about_server(request) {
                Some(answer) => return self.limit_answer(answer, request, guest, metrics).map(Some),
                None => return Ok(None),
            },
        };
        Ok(Some(Answer::empty(outcome)))
    }

    /// `answer`, or what is sent instead when it is too much; `Err`: nothing at all.
    pub(crate) fn limit_answer<'a>(
        &self,
        answer: Answer<'a>,
        request: &Request<'_>,
        guest: &Guest,
        metrics: &DnsMetrics,
    ) -> Result<Answer<'a>, Dropped> {
        let Some(kind) = answer.outcome.limited_as() else { return Ok(answer) };
        let instead = self.limit(kind, request, guest, metrics)?;
        Ok(instead.map_or(answer, Answer::empty))
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
            // RFC 7873 section 5.2.3: what a cookie is worth is learned with it.
            Verdict::Over(Instead::Slip) if guest.cookie.answer.is_some() => {
                (LimitedAction::BadCookie, Ok(Some(Outcome::BadCookie)))
            }
            Verdict::Over(Instead::Slip) => (LimitedAction::Slip, Ok(Some(Outcome::Slipped))),
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

    /// What the answer's OPT record says, if the query has one.
    pub(crate) fn extras<'a>(&'a self, request: &Request<'a>, guest: &Guest, answer: &Answer<'_>) -> Extras<'a> {
        let Some(edns) = request.edns else { return Extras::default() };
        // After a format error nothing that was read can be trusted.
        let sound = !matches!(request.fault, Some(Fault::Malformed(_) | Fault::Version));
        let encrypted = match guest.transport {
            Transport::Udp | Transport::Tcp => false,
            Transport::Tls | Transport::Https | Transport::Quic => true,
        };
        // RFC 7828 section 3.2.1: not over UDP; RFC 9250 section 5.5.2: not over QUIC; HTTP has timeouts of its own.
        let idles = matches!(guest.transport, Transport::Tcp | Transport::Tls);
        Extras {
            subnet: edns.subnet.filter(|_| request.fault.is_none()).map(|subnet| (subnet, answer.scope)),
            error: answer.outcome.extended_error(),
            cookie: guest.cookie.answer.filter(|_| sound),
            nsid: self.nsid.as_deref().filter(|_| sound && edns.nsid).map(str::as_bytes),
            keepalive: (sound && idles && edns.keepalive).then(|| tenths(self.tcp_timeout)),
            padded: sound && encrypted && edns.padding,
        }
    }
}

impl Guest {
    /// Any number, another one for each query, as far as chance goes.
    pub(crate) fn draw(&self, request: &Request<'_>) -> u64 {
        u64::from(request.id) << 48 | u64::from(self.peer.port()) << 32 | self.now.0.cast_unsigned() & 0xffff_ffff
    }
}

/// RFC 7828 section 3.1: a timeout in units of 100 ms.
fn tenths(timeout: Duration) -> u16 {
    u16::try_from(timeout.as_millis() / 100).unwrap_or(u16::MAX)
}
