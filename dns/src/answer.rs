//! From a request to its answer: the one place of the DNS plane where control flow lives.
//!
//! An [`Answer`] is made of references into the [`View`] and knows nothing of the wire; `encode` does. The RCODE of
//! every outcome is chosen in [`Outcome::rcode`] and nowhere else.
//!
//! Choices that the standards leave open:
//! - ANY is answered with the synthesized HINFO of RFC 8482 section 4.2: small, and the same for every client.
//! - Only class IN exists. ANY and CHAOS are refused as every other class is.
//! - Zone transfers and the other meta types (RFC 6895 section 3.1) are refused.
//! - A CNAME is followed as far as our zones reach. At a steered name it is followed only when the answer holds for
//!   everyone who gets it: else a resolver would keep the static CNAME for one network only, or the addresses for all (RFC
//!   7871 section 7.2.1: "[..] the Authoritative Nameserver SHOULD only place the initial CNAME record in the Answer
//!   section"). It then asks for the steered name itself.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nearcast_shared::clock::Timestamp;
use nearcast_shared::health::HealthTable;
use nearcast_shared::pop::PopId;
use nearcast_shared::rtype;

use crate::explain::{explain_to, texts};
use crate::message::{Fault, Question, Request};
use crate::metrics::{Cause, Rcode};
use crate::name::Name;
use crate::steering::{Asker, Family};
use crate::texts::Texts;
use crate::view::{Delegation, Found, Node, RrSet, Target, View, Zone};

mod binding;
mod steered;

const CLASS_IN: u16 = 1;

/// CNAMEs that are followed for one question.
const LINKS_MAX: usize = 10;

/// What to send back.
#[derive(Debug)]
pub(crate) struct Answer<'v> {
    pub(crate) outcome: Outcome,
    pub(crate) answers: Vec<Record<'v>>,
    pub(crate) authority: Vec<Record<'v>>,
    pub(crate) additional: Vec<Record<'v>>,
    /// The strings of a TXT record of the name asked for, made for this very query.
    pub(crate) texts: Vec<String>,
    /// The scope for the client subnet option, if the query has one.
    pub(crate) scope: u8,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Data that everyone gets.
    Static,
    /// The addresses of the PoP chosen for this client.
    Steered(Sent),
    /// Why this client is answered what it is answered elsewhere.
    Explained,
    /// All its PoPs are down: the addresses for that case.
    Fallback,
    /// All its PoPs are down.
    AllDown,
    /// The same, and then there is no data.
    NobodyUp,
    /// Others are to be asked.
    Referral,
    /// The name exists, without data of that type.
    NoData,
    /// The name does not exist.
    NoName,
    /// We do not answer this.
    Refused(Refusal),
    /// It could not be understood.
    Fault(Fault),
}

/// Where a client is sent, and how that came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    /// The first of the answer's PoPs.
    pub(crate) pop: PopId,
    pub(crate) cause: Cause,
    /// The ranking is of the compiled map; else it was worked out from the geo data.
    pub(crate) mapped: bool,
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
#[derive(Debug, Clone)]
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
    /// This name, as it is in another record's data.
    Wire(&'v [u8]),
}

/// What a record says.
#[derive(Debug, Clone)]
pub(crate) enum Data<'v> {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    /// Of that type, on the wire, names uncompressed.
    Wire(u16, &'v [u8]),
    /// An HTTPS record's, on the wire, made for this client.
    Https(Vec<u8>),
    /// The one of RFC 8482: CPU "RFC8482", OS empty.
    AnyObsoleted,
    Cname(&'v Name),
}

impl Outcome {
    pub(crate) fn rcode(self) -> Rcode {
        match self {
            Self::Static
            | Self::Steered(_)
            | Self::Explained
            | Self::NobodyUp
            | Self::Fallback
            | Self::Referral
            | Self::NoData => Rcode::NoError,
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
            Self::Static
            | Self::Steered(_)
            | Self::Explained
            | Self::NobodyUp
            | Self::Fallback
            | Self::NoData
            | Self::NoName => true,
            Self::AllDown | Self::Referral | Self::Refused(_) | Self::Fault(_) => false,
        }
    }

    /// The INFO-CODE of RFC 8914, for clients with EDNS.
    pub(crate) fn extended_error(self) -> Option<u16> {
        match self {
            Self::Refused(Refusal::NotOurs) => Some(20),
            Self::Refused(Refusal::NotSupported) => Some(21),
            // Not Ready: there is nobody to send the client to.
            Self::AllDown | Self::NobodyUp => Some(14),
            Self::Static
            | Self::Steered(_)
            | Self::Explained
            | Self::Fallback
            | Self::Referral
            | Self::NoData
            | Self::NoName
            | Self::Fault(_) => None,
        }
    }
}

impl<'v> Answer<'v> {
    fn empty(outcome: Outcome) -> Self {
        let (answers, authority, additional) = (Vec::new(), Vec::new(), Vec::new());
        Self { outcome, answers, authority, additional, texts: Vec::new(), scope: 0 }
    }

    /// RFC 2308 section 3: "Name servers authoritative for a zone MUST include the SOA record of the zone in the authority
    /// section of the response when reporting an NXDOMAIN or indicating that no data of the requested type exists."
    fn denied(self, outcome: Outcome, zone: &'v Zone) -> Self {
        self.denied_for(outcome, zone, zone.negative_ttl)
    }

    /// The same, for so many seconds at most.
    fn denied_for(self, outcome: Outcome, zone: &'v Zone, ttl_max: u32) -> Self {
        let ttl = zone.negative_ttl.min(ttl_max);
        let soa = records(Owner::Name(&zone.apex), &zone.soa).map(|soa| Record { ttl, ..soa });
        Self { outcome, authority: soa.collect(), ..self }
    }

    /// With what the records of `set` point to, each once, as far as everyone gets the same there.
    fn with_additional(mut self, set: &'v RrSet, view: &'v View) -> Self {
        let mut seen = HashSet::new();
        for target in set.targets() {
            let found = [rtype::A, rtype::AAAA].map(|rtype| view.set_at(target, rtype));
            let name = found.into_iter().flatten().next().map(|(name, _)| name);
            if name.is_some_and(|name| seen.insert(name)) {
                let found = found.into_iter().flatten();
                self.additional.extend(found.flat_map(|(name, addresses)| records(Owner::Name(name), addresses)));
            }
        }
        self
    }
}

fn records<'v>(owner: Owner<'v>, set: &'v RrSet) -> impl Iterator<Item = Record<'v>> {
    set.rdata.iter().map(move |rdata| Record { owner, ttl: set.ttl, data: Data::Wire(set.rtype, rdata) })
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
    texts: &'v Texts,
) -> Answer<'v> {
    let question = match (request.fault, request.question) {
        (Some(fault), _) => return Answer::empty(Outcome::Fault(fault)),
        (None, None) => return Answer::empty(Outcome::Fault(Fault::Malformed)),
        (None, Some(question)) => question,
    };
    if question.qclass != CLASS_IN || is_refused(question.qtype) {
        return Answer::empty(Outcome::Refused(Refusal::NotSupported));
    }
    let asked = Asked { question, request, resolver, view, health, now, texts };
    asked.explanation().unwrap_or_else(|| asked.answer())
}

/// ANY is answered; the other types that no name has are not.
fn is_refused(qtype: u16) -> bool {
    qtype != 0 && qtype != rtype::ANY && rtype::is_meta(qtype)
}

/// A question that can be answered, and what is needed for it.
struct Asked<'r, 'v> {
    question: Question<'r>,
    request: &'r Request<'r>,
    resolver: IpAddr,
    view: &'v View,
    health: &'r HealthTable,
    now: Timestamp,
    texts: &'v Texts,
}

/// What is at one name.
enum Step<'v> {
    /// All there is to say.
    Done(Answer<'v>),
    /// Another name is to be asked for, too.
    Alias(Answer<'v>, &'v [u8]),
}

impl<'v> Asked<'_, 'v> {
    /// What the steered name below the label for that is answered, if this resolver may know; for all others there is no
    /// such name. Whom the query is for does not count there: anybody can claim any subnet.
    fn explanation(&self) -> Option<Answer<'v>> {
        let name = self.question.name;
        let has_label = name.get(..texts::LABEL.len()).is_some_and(|label| label.eq_ignore_ascii_case(texts::LABEL));
        if !has_label || !self.view.may_explain_to(self.resolver) {
            return None;
        }
        let name = &name[texts::LABEL.len()..];
        let Found::Node(zone, Node { target: Target::Steered(_), .. }) = self.view.find(name) else { return None };
        if self.question.qtype != rtype::TXT {
            return Some(Answer::empty(Outcome::NoData).denied(Outcome::NoData, zone));
        }
        let name = Name::from_wire(name)?.to_string();
        let explained = explain_to(self.view, &name, self.asker(), self.health).ok()?;
        let scope = self.asker().subnet.map_or(0, |subnet| subnet.source);
        Some(Answer { texts: texts::texts(&explained), scope, ..Answer::empty(Outcome::Explained) })
    }

    fn asker(&self) -> Asker {
        let subnet = self.request.edns.and_then(|edns| edns.subnet?.subnet());
        Asker { resolver: self.resolver, subnet, now: self.now }
    }

    /// RFC 1034 section 4.3.2: from the name asked for through its CNAMEs to data, to nothing, or to where others know.
    fn answer(&self) -> Answer<'v> {
        let mut answer = Answer::empty(Outcome::Static);
        let (mut owner, mut name) = (Owner::Question, self.question.name);
        for links in 0..=LINKS_MAX {
            match self.step(answer, owner, name, links) {
                Step::Done(done) => return done,
                // A loop: once around is all that there is.
                Step::Alias(so_far, target) if self.is_owner(&so_far, target) => return so_far,
                Step::Alias(so_far, target) => {
                    answer = so_far;
                    owner = Owner::Wire(target);
                    name = target;
                }
            }
        }
        answer
    }

    /// Whether the answer has records of that name already.
    fn is_owner(&self, answer: &Answer<'v>, name: &[u8]) -> bool {
        answer.answers.iter().any(|record| match record.owner {
            Owner::Question => self.question.name.eq_ignore_ascii_case(name),
            Owner::Name(owner) => owner.wire().eq_ignore_ascii_case(name),
            Owner::Wire(owner) => owner.eq_ignore_ascii_case(name),
        })
    }

    fn step(&self, answer: Answer<'v>, owner: Owner<'v>, name: &[u8], links: usize) -> Step<'v> {
        Step::Done(match self.view.find(name) {
            Found::Outside if links == 0 => Answer::empty(Outcome::Refused(Refusal::NotOurs)),
            Found::Outside => answer,
            Found::NoName(zone) if self.texts.has(name, self.now) => self.texts(answer, owner, zone, None, name),
            Found::NoName(zone) => answer.denied(Outcome::NoName, zone),
            Found::Delegated(zone, delegation) => self.delegated(answer, owner, zone, &delegation, links),
            // RFC 4035 section 3.1.4.1: the DS set of a zone's own name is the parent zone's.
            Found::Node(zone, node) if self.question.qtype == rtype::DS && node.apex => {
                let zone = self.view.parent_of(zone).unwrap_or(zone);
                self.of_type(answer, owner, zone, node.parental())
            }
            Found::Node(zone, node) if self.question.qtype == rtype::TXT && self.texts.at(name, self.now).is_some() => {
                self.texts(answer, owner, zone, node.set(rtype::TXT), name)
            }
            Found::Node(zone, node) => return self.at_node(answer, owner, zone, node, links),
        })
    }

    fn at_node(&self, answer: Answer<'v>, owner: Owner<'v>, zone: &'v Zone, node: &'v Node, links: usize) -> Step<'v> {
        let qtype = self.question.qtype;
        if qtype == rtype::ANY && !node.is_empty() {
            let mut answer = answer;
            answer.answers.push(Record { owner, ttl: zone.ttl, data: Data::AnyObsoleted });
            return Step::Done(answer);
        }
        if let Some(cname) = node.set(rtype::CNAME).filter(|_| qtype != rtype::CNAME) {
            let mut answer = answer;
            answer.answers.extend(records(owner, cname));
            return match cname.targets().next() {
                Some(target) if links < LINKS_MAX => Step::Alias(answer, target),
                Some(_) | None => Step::Done(answer),
            };
        }
        Step::Done(match (node.target, qtype) {
            (Target::Steered(steered), rtype::A) => self.steered(answer, owner, zone, steered, Family::V4),
            (Target::Steered(steered), rtype::AAAA) => self.steered(answer, owner, zone, steered, Family::V6),
            (Target::Steered(steered), rtype::HTTPS) if self.view.has_https_record(steered.site) => {
                self.binding(answer, owner, zone, steered)
            }
            (Target::Steered(steered), _) if self.view.guide().always_points(steered.policy) => {
                self.pointer(answer, owner, zone, steered)
            }
            (Target::Steered(_) | Target::Nothing, _) => self.of_type(answer, owner, zone, node.set(qtype)),
        })
    }

    /// What is at a name that has texts, with those that the zone itself has there.
    fn texts(
        &self,
        mut answer: Answer<'v>,
        owner: Owner<'v>,
        zone: &'v Zone,
        own: Option<&'v RrSet>,
        name: &[u8],
    ) -> Answer<'v> {
        let asked = matches!(self.question.qtype, rtype::TXT | rtype::ANY);
        let Some((ttl, texts)) = self.texts.at(name, self.now).filter(|_| asked) else {
            return answer.denied(Outcome::NoData, zone);
        };
        if self.question.qtype == rtype::ANY {
            answer.answers.push(Record { owner, ttl: zone.ttl, data: Data::AnyObsoleted });
            return answer;
        }
        let ttl = own.map_or(ttl, |own| own.ttl.min(ttl));
        answer.answers.extend(own.into_iter().flat_map(|own| records(owner, own)).map(|own| Record { ttl, ..own }));
        answer.answers.extend(texts.into_iter().map(|rdata| Record {
            owner,
            ttl,
            data: Data::Wire(rtype::TXT, rdata),
        }));
        answer
    }

    fn of_type(&self, mut answer: Answer<'v>, owner: Owner<'v>, zone: &'v Zone, set: Option<&'v RrSet>) -> Answer<'v> {
        match set {
            Some(set) => {
                answer.answers.extend(records(owner, set));
                answer.with_additional(set, self.view)
            }
            None => answer.denied(Outcome::NoData, zone),
        }
    }

    /// RFC 1034 section 4.3.2 step 3b: the NS set in the authority section, and whatever addresses there are for it. What
    /// is at the cut itself is the child's, but for DS (RFC 4035 section 3.1.4.1).
    fn delegated(
        &self,
        mut answer: Answer<'v>,
        owner: Owner<'v>,
        zone: &'v Zone,
        delegation: &Delegation<'v>,
        links: usize,
    ) -> Answer<'v> {
        if delegation.exact && self.question.qtype == rtype::DS {
            return self.of_type(answer, owner, zone, delegation.node.set(rtype::DS));
        }
        // An answer that began with a CNAME of ours speaks for that.
        answer.outcome = if links == 0 { Outcome::Referral } else { Outcome::Static };
        match delegation.node.set(rtype::NS) {
            Some(servers) => {
                answer.authority.extend(records(Owner::Name(delegation.cut), servers));
                answer.with_additional(servers, self.view)
            }
            None => answer,
        }
    }
}

#[cfg(test)]
mod tests;
