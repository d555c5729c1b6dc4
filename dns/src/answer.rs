//! From a request to its answer: the one place of the DNS plane where control flow lives.
//!
//! An [`Answer`] is made of references into the [`View`] and knows nothing of the wire; `encode` does. The RCODE of
//! every outcome is chosen in [`Outcome::rcode`] and nowhere else.
//!
//! Three choices that the standards leave open:
//! - ANY is answered with the synthesized HINFO of RFC 8482 section 4.2: small, and the same for every client.
//! - Only class IN exists. ANY and CHAOS are refused as every other class is.
//! - Zone transfers and the other meta types (RFC 6895 section 3.1) are refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nearcast_shared::clock::Timestamp;
use nearcast_shared::health::HealthTable;
use nearcast_shared::pop::PopId;

use crate::message::{Fault, Question, Request};
use crate::metrics::{QueryType, Rcode};
use crate::name::Name;
use crate::steering::{Asker, Family, Verdict};
use crate::view::{Found, Node, Soa, Target, View, Zone};

const CLASS_IN: u16 = 1;

/// What to send back.
#[derive(Debug)]
pub(crate) struct Answer<'v> {
    pub(crate) outcome: Outcome,
    pub(crate) answers: Vec<Record<'v>>,
    pub(crate) authority: Vec<Record<'v>>,
    pub(crate) additional: Vec<Record<'v>>,
    /// The scope for the client subnet option, if the query has one.
    pub(crate) scope: u8,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Data that everyone gets.
    Static,
    /// The addresses of the PoP chosen for this client.
    Steered(PopId),
    /// All its PoPs are down: the addresses for that case.
    Fallback,
    /// All its PoPs are down.
    AllDown,
    /// The name exists, without data of that type.
    NoData,
    /// The name does not exist.
    NoName,
    /// We do not answer this.
    Refused(Refusal),
    /// It could not be understood.
    Fault(Fault),
}

/// Why a query is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The name is in none of our zones.
    NotOurs,
    /// A class or type that is not served.
    NotSupported,
}

/// One record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'v> {
    pub(crate) owner: Owner<'v>,
    pub(crate) ttl: u32,
    pub(crate) data: Data<'v>,
}

/// Whose record it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner<'v> {
    /// The name asked for, in the letter case it was asked in.
    Question,
    /// This name.
    Name(&'v Name),
}

/// What a record says.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Data<'v> {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Ns(&'v Name),
    Soa(&'v Soa),
    /// The one of RFC 8482: CPU "RFC8482", OS empty.
    AnyObsoleted,
    Cname(&'v Name),
}

impl Outcome {
    pub(crate) fn rcode(self) -> Rcode {
        match self {
            Self::Static | Self::Steered(_) | Self::Fallback | Self::NoData => Rcode::NoError,
            Self::AllDown => Rcode::ServFail,
            Self::NoName => Rcode::NxDomain,
            Self::Refused(_) => Rcode::Refused,
            Self::Fault(Fault::Malformed) => Rcode::FormErr,
            Self::Fault(Fault::Opcode) => Rcode::NotImp,
            Self::Fault(Fault::Version) => Rcode::BadVers,
        }
    }

    /// Whether we speak for the zone: the AA bit.
    pub(crate) fn is_authoritative(self) -> bool {
        match self {
            Self::Static | Self::Steered(_) | Self::Fallback | Self::NoData | Self::NoName => true,
            Self::AllDown | Self::Refused(_) | Self::Fault(_) => false,
        }
    }

    /// The INFO-CODE of RFC 8914, for clients with EDNS.
    pub(crate) fn extended_error(self) -> Option<u16> {
        match self {
            Self::Refused(Refusal::NotOurs) => Some(20),
            Self::Refused(Refusal::NotSupported) => Some(21),
            // Not Ready: there is nobody to send the client to.
            Self::AllDown => Some(14),
            Self::Static | Self::Steered(_) | Self::Fallback | Self::NoData | Self::NoName | Self::Fault(_) => None,
        }
    }
}

impl<'v> Answer<'v> {
    fn empty(outcome: Outcome) -> Self {
        Self { outcome, answers: Vec::new(), authority: Vec::new(), additional: Vec::new(), scope: 0 }
    }

    fn of(outcome: Outcome, answers: Vec<Record<'v>>) -> Self {
        Self { answers, ..Self::empty(outcome) }
    }

    /// RFC 2308 section 3: "[..] the TTL of this record is set from the minimum of the MINIMUM field of the SOA
    /// record and the TTL of the SOA itself".
    fn negative(outcome: Outcome, zone: &'v Zone) -> Self {
        let ttl = zone.ttl.min(zone.soa.negative_ttl);
        let soa = Record { owner: Owner::Name(&zone.apex), ttl, data: Data::Soa(&zone.soa) };
        Self { authority: vec![soa], ..Self::empty(outcome) }
    }
}

impl<'v> From<IpAddr> for Data<'v> {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::A(v4),
            IpAddr::V6(v6) => Self::Aaaa(v6),
        }
    }
}

/// Answers `request`, which came from `resolver`.
pub(crate) fn answer<'v>(
    request: &Request<'_>,
    resolver: IpAddr,
    view: &'v View,
    health: &HealthTable,
    now: Timestamp,
) -> Answer<'v> {
    let question = match (request.fault, request.question) {
        (Some(fault), _) => return Answer::empty(Outcome::Fault(fault)),
        (None, None) => return Answer::empty(Outcome::Fault(Fault::Malformed)),
        (None, Some(question)) => question,
    };
    if question.qclass != CLASS_IN || is_meta(question.qtype) {
        return Answer::empty(Outcome::Refused(Refusal::NotSupported));
    }
    match view.find(question.name) {
        Found::Outside => Answer::empty(Outcome::Refused(Refusal::NotOurs)),
        Found::NoName(zone) => Answer::negative(Outcome::NoName, zone),
        Found::Node(zone, node) => {
            let client = Client { request, resolver, now };
            data(&question, client, zone, node, view, health).unwrap_or_else(|| Answer::negative(Outcome::NoData, zone))
        }
    }
}

/// OPT and the types from 128 to 254 are no data; ANY, 255, is answered.
fn is_meta(qtype: u16) -> bool {
    matches!(qtype, 41 | 128..=254)
}

/// Who asks.
#[derive(Clone, Copy)]
struct Client<'r> {
    request: &'r Request<'r>,
    resolver: IpAddr,
    now: Timestamp,
}

/// The data at an existing name; `None` when there is none of that type.
fn data<'v>(
    question: &Question<'_>,
    client: Client<'_>,
    zone: &'v Zone,
    node: Node,
    view: &'v View,
    health: &HealthTable,
) -> Option<Answer<'v>> {
    match QueryType::from_number(question.qtype) {
        QueryType::A => addresses(Family::V4, client, zone, node.target, view, health),
        QueryType::Aaaa => addresses(Family::V6, client, zone, node.target, view, health),
        QueryType::Soa if node.apex => Some(Answer::of(Outcome::Static, vec![own(zone, Data::Soa(&zone.soa))])),
        QueryType::Ns if node.apex => Some(nameservers(zone, view)),
        QueryType::Any if node.apex || node.target != Target::Nothing => {
            Some(Answer::of(Outcome::Static, vec![own(zone, Data::AnyObsoleted)]))
        }
        QueryType::Soa | QueryType::Ns | QueryType::Any | QueryType::Txt | QueryType::Https | QueryType::Other => None,
    }
}

/// A record of the name asked for.
fn own<'v>(zone: &Zone, data: Data<'v>) -> Record<'v> {
    Record { owner: Owner::Question, ttl: zone.ttl, data }
}

fn nameservers<'v>(zone: &'v Zone, view: &'v View) -> Answer<'v> {
    let answers = zone.nameservers.iter().map(|server| own(zone, Data::Ns(server))).collect();
    let glue = zone.nameservers.iter().flat_map(|server| {
        let record =
            move |address: &IpAddr| Record { owner: Owner::Name(server), ttl: zone.ttl, data: Data::from(*address) };
        view.glue(server).iter().map(record)
    });
    Answer { additional: glue.collect(), ..Answer::of(Outcome::Static, answers) }
}

fn addresses<'v>(
    family: Family,
    client: Client<'_>,
    zone: &'v Zone,
    target: Target,
    view: &'v View,
    health: &HealthTable,
) -> Option<Answer<'v>> {
    let records = |pop: PopId, ttl: u32| -> Vec<Record<'v>> {
        let record = |address| Record { ttl, ..own(zone, Data::from(address)) };
        family.of_pop(view.pop(pop)).map(record).collect()
    };
    match target {
        Target::Nothing => None,
        Target::Pop(pop) => {
            let answers = records(pop, zone.ttl);
            (!answers.is_empty()).then(|| Answer::of(Outcome::Static, answers))
        }
        Target::Steered(steered) => {
            let subnet = client.request.edns.and_then(|edns| edns.subnet?.subnet());
            let asker = Asker { resolver: client.resolver, subnet, now: client.now };
            let decision = view.guide().decide(steered, asker, family, health, zone.ttl);
            let ttl = decision.coverage.ttl_max.map_or(zone.ttl, |max| zone.ttl.min(max));
            let made = match decision.verdict {
                Verdict::Pops(chosen) => {
                    let outcome = Outcome::Steered(chosen.first());
                    match view.cname(chosen.first()) {
                        Some(name) => Answer::of(outcome, vec![Record { ttl, ..own(zone, Data::Cname(name)) }]),
                        None => {
                            let addresses =
                                view.guide().addresses(&chosen, steered.policy, family, health, client.request.id);
                            let record = |address| Record { ttl, ..own(zone, Data::from(address)) };
                            Answer::of(outcome, addresses.into_iter().map(record).collect())
                        }
                    }
                }
                Verdict::Addresses(addresses) => {
                    let of_family = addresses.iter().copied().filter(|address| Family::of(*address) == family);
                    let records: Vec<Record<'v>> =
                        of_family.map(|address| Record { ttl, ..own(zone, Data::from(address)) }).collect();
                    if records.is_empty() {
                        return None;
                    }
                    Answer::of(Outcome::Fallback, records)
                }
                Verdict::NoData => return None,
                Verdict::ServFail => Answer::empty(Outcome::AllDown),
            };
            Some(Answer { scope: decision.coverage.scope, ..made })
        }
    }
}

#[cfg(test)]
mod tests;
