//! From the bytes of a query to those of its answer: what every listener does with what it hears.
//!
//! ```text
//!   decode -> manners (no answer, or a short one?) -> answer -> manners (too much of that?) -> sign -> encode -> count, log
//! ```
//!
//! Over UDP, before all of that, a thread looks into its memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::Guard;
use nearcast_shared::clock::Timestamp;
use nearcast_shared::health::HealthTable;
use smallvec::SmallVec;

use crate::answer::{Alike, Answer, Moment, Outcome, Refusal, answer};
use crate::dnssec::{Asker, Local, Refused};
use crate::encode::{self, Opt};
use crate::log::{self, Line};
use crate::manners::{Guest, Manners};
use crate::message::{Fault, Request, Silence, Surplus, decode};
use crate::metrics::{
    ClientSubnetKind, Dropped, EdnsVersion, Flaw, Heard, QueryType, RankingSource, Seen, Transport, WithoutPop,
};
use crate::server::Plane;
use crate::texts::Texts;
use crate::view::View;

mod memory;

use memory::Memory;

const CLASS_IN: u16 = 1;

/// What a listener, or a connection, keeps from query to query.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    signatures: Local,
    memory: Memory,
    /// How long the connection may be idle now, over TCP and TLS.
    pub(crate) patience: Option<Duration>,
}

impl Desk {
    /// Of a thread, of which there are few: with room for the signatures that it is asked for most, and for so many answers.
    pub(crate) fn of_thread(remembered: usize) -> Self {
        Self { signatures: Local::of_worker(), memory: Memory::new(remembered), ..Self::default() }
    }
}

/// What queries are answered by, as it is at one moment.
pub(crate) struct Sight {
    view: Guard<Arc<View>>,
    health: Guard<Arc<HealthTable>>,
    texts: Guard<Arc<Texts>>,
    manners: Guard<Arc<Manners>>,
    now: Timestamp,
}

/// A thread of UDP while it answers a batch.
pub(crate) struct Sitting<'p> {
    plane: &'p Plane,
    sight: Sight,
    desk: &'p mut Desk,
    /// Whether answers are remembered. What was asked before decides what comes now where there are limits, and each query draws
    /// where some are logged.
    remembers: bool,
}

/// What is counted of an answer, be it made or remembered.
#[derive(Debug, Clone, Copy)]
struct Tally {
    seen: Seen,
    outcome: Outcome,
    scope: u8,
}

impl<'p> Sitting<'p> {
    pub(crate) fn new(plane: &'p Plane, desk: &'p mut Desk) -> Self {
        let sight = plane.sight();
        let remembers = desk.memory.is_there() && !sight.manners.limits() && !plane.log.is_on();
        if remembers {
            desk.memory.stand_on(&sight);
        }
        Self { plane, sight, desk, remembers }
    }

    /// As [`Plane::respond`] over UDP.
    pub(crate) fn respond(&mut self, packet: &[u8], peer: SocketAddr, out: &mut Vec<u8>) -> Result<(), Dropped> {
        let Self { plane, sight, desk, remembers } = self;
        let client = nearcast_shared::net::unmapped(peer.ip());
        let place = match remembers.then(|| desk.memory.find(packet, client)) {
            Some(Ok(known)) => {
                known.write(packet, out);
                plane.metrics.remembered().inc();
                plane.count(&sight.view, &known.tally);
                return Ok(());
            }
            Some(Err(place)) => place,
            None => None,
        };
        let told = plane.make(sight, packet, peer, Transport::Udp, desk, out)?;
        if let Some(place) = place {
            desk.memory.keep(place, packet, client, told, out);
        }
        Ok(())
    }
}

impl Plane {
    /// What holds now; a batch is answered by one.
    fn sight(&self) -> Sight {
        Sight {
            view: self.view.load(),
            health: self.health.table(),
            texts: self.texts.load(),
            manners: self.manners.load(),
            now: self.clock.now(),
        }
    }

    /// Answers `packet`, which came from `peer`, into `out`: the whole message and nothing else, without the length that goes
    /// before it in a stream. An error says that there is no answer to send; it is not counted yet.
    pub(crate) fn respond(
        &self,
        packet: &[u8],
        peer: SocketAddr,
        transport: Transport,
        desk: &mut Desk,
        out: &mut Vec<u8>,
    ) -> Result<(), Dropped> {
        self.make(&self.sight(), packet, peer, transport, desk, out).map(|_| ())
    }

    /// The same by what was loaded before. Returns what was counted, and who else is answered so.
    fn make(
        &self,
        sight: &Sight,
        packet: &[u8],
        peer: SocketAddr,
        transport: Transport,
        desk: &mut Desk,
        out: &mut Vec<u8>,
    ) -> Result<(Tally, Alike), Dropped> {
        let mut request = decode(packet).map_err(|silence| match silence {
            Silence::Short => Dropped::Short,
            Silence::Response => Dropped::Response,
        })?;
        let Sight { view, health, texts, manners, now } = sight;
        let guest = manners.receive(&mut request, peer, transport, *now);
        let dropped = |_: &Dropped| self.record_unanswered(view, &guest, &request);
        let answer = match manners.instead(&request, &guest, &self.metrics).inspect_err(dropped)? {
            Some(instead) => *instead,
            None => {
                let health = view.health(health);
                let now = Moment { now: guest.now, keys_now: self.signers.now(guest.now) };
                let mut answer = answer(&request, guest.client, view, &health, now, texts);
                manners.limit_answer(&mut answer, &request, &guest, &self.metrics).inspect_err(dropped)?;
                self.sign(&mut answer, &request, &guest, desk);
                answer
            }
        };
        let limit = match transport {
            Transport::Udp => encode::udp_limit(&request, manners.udp_size(&guest, view.udp_size())),
            Transport::Tcp | Transport::Tls | Transport::Https | Transport::Quic => encode::STREAM_LIMIT,
        };
        let extras = manners.extras(&request, &guest, &answer, desk.patience);
        let mut options = SmallVec::new();
        extras.write(&mut options);
        let opt = Opt { udp_size: view.udp_size(), options: &options };
        let options = encode::encode(&request, &answer, &opt, limit, out);
        extras.pad(options, out, limit);
        let tally = tally(&guest, &request, &answer, out.len());
        self.count(view, &tally);
        if self.log.wants(guest.draw(&request)) {
            self.log.line(line(view, &guest, &request, Some(&answer), out.len()));
        }
        Ok((tally, alike(&request, &answer)))
    }

    /// Counts and logs a query that was too much: what a flood is made of is best seen while it lasts.
    #[cold]
    fn record_unanswered(&self, view: &View, guest: &Guest, request: &Request<'_>) {
        self.metrics.hear(&heard(guest, request, None));
        if self.log.wants(guest.draw(request)) {
            self.log.line(line(view, guest, request, None, 0));
        }
    }

    /// Adds signatures, if they are wanted; without them there is no answer.
    fn sign(&self, answer: &mut Answer<'_>, request: &Request<'_>, guest: &Guest, desk: &mut Desk) {
        let asker = if guest.is_verified() { Asker::Verified } else { Asker::Unverified };
        match answer.sign(request, &self.signers, &mut desk.signatures, asker, guest.now) {
            Ok(()) => {}
            // Over a stream it counts as another's, who has a share of their own.
            Err(Refused::Limited) if guest.transport == Transport::Udp => *answer = Answer::empty(Outcome::Slipped),
            Err(Refused::Limited | Refused::Clock | Refused::Failed) => *answer = Answer::empty(Outcome::Unsigned),
        }
    }

    fn count(&self, view: &View, tally: &Tally) {
        self.metrics.count(&tally.seen);
        match tally.outcome {
            Outcome::Steered(sent) => {
                view.steered_counter(sent.pop, sent.cause).inc();
                self.metrics.ranking(RankingSource::of(sent.mapped)).inc();
                if let Some(scope) = self.metrics.scope(tally.seen.heard.subnet, tally.scope) {
                    scope.inc();
                }
            }
            Outcome::Fallback => {
                self.metrics.without_pop(WithoutPop::Fallback).inc();
            }
            Outcome::AllDown => {
                self.metrics.without_pop(WithoutPop::AllDown).inc();
            }
            Outcome::NobodyUp => {
                self.metrics.without_pop(WithoutPop::NoData).inc();
            }
            Outcome::Static
            | Outcome::Unsigned
            | Outcome::Explained
            | Outcome::Referral
            | Outcome::NoData
            | Outcome::NoName
            | Outcome::NoNameCompact
            | Outcome::AboutServer
            | Outcome::Cookie
            | Outcome::BadCookie
            | Outcome::Slipped
            | Outcome::Refused(_)
            | Outcome::Fault(_) => {}
        }
    }

    /// Counts what was not answered.
    pub(crate) fn count_drop(&self, reason: Dropped) {
        self.metrics.dropped(reason).inc();
    }
}

fn tally(guest: &Guest, request: &Request<'_>, answer: &Answer<'_>, bytes: usize) -> Tally {
    let question = request.question.as_ref();
    let seen = Seen {
        kind: question.map_or(QueryType::Other, |question| QueryType::from_number(question.qtype)),
        rcode: answer.outcome.rcode(),
        transport: guest.transport,
        bytes,
        heard: heard(guest, request, Some(answer.outcome)),
    };
    Tally { seen, outcome: answer.outcome, scope: answer.scope }
}

/// Who else would be answered the same, signatures, cookies and all.
fn alike(request: &Request<'_>, answer: &Answer<'_>) -> Alike {
    let of_outcome = match answer.outcome {
        Outcome::Static
        | Outcome::Steered(_)
        | Outcome::Fallback
        | Outcome::AllDown
        | Outcome::NobodyUp
        | Outcome::Referral
        | Outcome::NoData
        | Outcome::NoName
        | Outcome::Refused(Refusal::NotOurs) => answer.alike,
        Outcome::Explained
        | Outcome::NoNameCompact
        | Outcome::Unsigned
        | Outcome::AboutServer
        | Outcome::Cookie
        | Outcome::BadCookie
        | Outcome::Slipped
        | Outcome::Refused(Refusal::NotSupported)
        | Outcome::Fault(_) => Alike::Nobody,
    };
    // A signature may be due at any moment, and each use of one is counted.
    let is_signed = answer.answers.iter().chain(&answer.authority).any(|set| !set.signatures.is_empty());
    let has_cookie = request.edns.is_some_and(|edns| edns.cookie.is_some());
    if is_signed || has_cookie { Alike::Nobody } else { of_outcome }
}

fn heard(guest: &Guest, request: &Request<'_>, outcome: Option<Outcome>) -> Heard {
    let edns = request.edns;
    Heard {
        version: edns.map_or(EdnsVersion::None, |edns| EdnsVersion::of(edns.version)),
        cookie: guest.cookie.state,
        subnet: ClientSubnetKind::of(edns.and_then(|edns| edns.subnet)),
        flaw: flaw(request, outcome),
    }
}

/// What is wrong with a request that got that answer, or none.
fn flaw(request: &Request<'_>, outcome: Option<Outcome>) -> Option<Flaw> {
    let surplus = request.surplus.map(|surplus| match surplus {
        Surplus::Records => Flaw::Records,
        Surplus::Bytes => Flaw::Bytes,
    });
    match outcome {
        Some(Outcome::Fault(fault)) => Some(fault.flaw()),
        None if request.fault.is_some() => request.fault.map(Fault::flaw),
        Some(Outcome::Refused(_)) if request.question.as_ref().is_some_and(|question| question.qclass != CLASS_IN) => {
            Some(Flaw::Class)
        }
        _ => surplus,
    }
}

fn line(view: &View, guest: &Guest, request: &Request<'_>, answer: Option<&Answer<'_>>, bytes: usize) -> Line {
    let question = request.question.as_ref();
    let subnet = request.edns.and_then(|edns| edns.subnet?.subnet());
    let outcome = answer.map(|answer| answer.outcome);
    let sent = match outcome {
        Some(Outcome::Steered(sent)) => Some(sent),
        _ => None,
    };
    Line {
        time: guest.now,
        client: guest.client,
        subnet: subnet.map(|subnet| format!("{}/{}", subnet.address, subnet.source)),
        name: question.and_then(|question| log::name(question.name.wire())),
        r#type: question.map(|question| log::type_name(question.qtype)),
        transport: guest.transport.token(),
        cookie: guest.cookie.state.token(),
        rcode: outcome.map(|outcome| outcome.rcode().token()),
        pop: sent.map(|sent| view.pop(sent.pop).name.clone()),
        reason: outcome.map_or(Dropped::Limited.token(), Outcome::token),
        scope: subnet.and(answer).map(|answer| answer.scope),
        bytes,
    }
}

#[cfg(test)]
mod tests;
