//! From a request to its answer: the one place of the DNS plane where control flow lives.
//!
//! An [`Answer`] is made of references into the [`View`] and knows nothing of the wire; `encode` does. The RCODE of
//! every outcome is chosen in [`Outcome::rcode`] and nowhere else.
//!
//! Choices that the standards leave open:
//! - ANY is answered with the synthesized HINFO of RFC 8482 section 4.2: small, and the same for every client.
//! - Only class IN exists, but for what CHAOS tells of the server (`chaos`). All others are refused, ANY too.
//! - Zone transfers, the other meta types (RFC 6895 section 3.1) and RRSIG, of which a name has one for each client, are
//!   refused.
//! - A CNAME is followed as far as our zones reach. At a steered name it is followed only when the answer holds for
//!   everyone who gets it: else a resolver would keep the static CNAME for one network only, or the addresses for all (RFC
//!   7871 section 7.2.1: "[..] the Authoritative Nameserver SHOULD only place the initial CNAME record in the Answer
//!   section"). It then asks for the steered name itself.

use std::borrow::Cow;
use std::cell::Cell;
use std::net::IpAddr;

use nearcast_shared::clock::Timestamp;
use nearcast_shared::config::PolicyId;
use nearcast_shared::health::HealthTable;
use nearcast_shared::pop::PopId;
use nearcast_shared::rtype;

use crate::dnssec::Stage;
use crate::explain::{explain_to, texts};
use crate::extras::ExtendedError;
use crate::message::{Fault, Question, Request};
use crate::metrics::{Cause, LimitedKind, Rcode};
use crate::name::{Lowered, Name};
use crate::steering::choose::Chosen;
use crate::steering::{Asker, Decision, Family};
use crate::texts::{Alive, Texts};
use crate::view::{Delegation, Found, Node, RrSet, Steered, Target, View, Zone};

mod binding;
mod denial;
mod set;
mod signed;
mod steered;

pub(crate) use set::{Addresses, Data, Owner, Set};

const CLASS_IN: u16 = 1;

/// CNAMEs that are followed for one question.
const LINKS_MAX: usize = 10;

/// What to send back.
#[derive(Debug)]
pub(crate) struct Answer<'v> {
    pub(crate) outcome: Outcome,
    pub(crate) answers: Vec<Set<'v>>,
    pub(crate) authority: Vec<Set<'v>>,
    pub(crate) additional: Vec<Set<'v>>,
    /// The scope for the client subnet option, if the query has one.
    pub(crate) scope: u8,
    pub(crate) alike: Alike,
}

/// Who else would be answered the same in this second, to the same query but for its id, as long as nothing that answers are
/// made of is replaced. The least of these that is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alike {
    /// Whoever asks.
    Everyone,
    /// This resolver: its address had a say.
    Resolver,
    /// Nobody: the moment, or the query's id, had a say.
    Nobody,
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
    /// The same, said by a signed record instead of the RCODE (RFC 9824 section 3.1).
    NoNameCompact,
    /// It is to be signed, and cannot be.
    Unsigned,
    /// What the server says of itself.
    AboutServer,
    /// A cookie, which is all that was asked for.
    Cookie,
    /// A cookie instead of an answer: it is to be asked again with that.
    BadCookie,
    /// It is to be asked again over TCP: this is too much for an address that may be forged.
    Slipped,
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

impl Outcome {
    pub(crate) fn rcode(self) -> Rcode {
        match self {
            Self::Static
            | Self::Steered(_)
            | Self::Explained
            | Self::NobodyUp
            | Self::Fallback
            | Self::Referral
            | Self::NoData
            | Self::NoNameCompact
            | Self::AboutServer
            | Self::Cookie
            | Self::Slipped => Rcode::NoError,
            Self::AllDown | Self::Unsigned => Rcode::ServFail,
            Self::NoName => Rcode::NxDomain,
            Self::BadCookie => Rcode::BadCookie,
            Self::Refused(_) => Rcode::Refused,
            Self::Fault(Fault::Malformed(_) | Fault::NoQuestion | Fault::QueryType) => Rcode::FormErr,
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
            | Self::NoName
            | Self::NoNameCompact
            | Self::AboutServer => true,
            Self::AllDown
            | Self::Unsigned
            | Self::Referral
            | Self::Cookie
            | Self::BadCookie
            | Self::Slipped
            | Self::Refused(_)
            | Self::Fault(_) => false,
        }
    }

    /// The INFO-CODE of RFC 8914, for clients with EDNS, and what it does not say itself.
    pub(crate) fn extended_error(self) -> Option<ExtendedError> {
        let error = |code, text| Some(ExtendedError { code, text });
        match self {
            Self::Refused(Refusal::NotOurs) => error(20, ""),
            Self::Refused(Refusal::NotSupported) => error(21, ""),
            // Not Ready: there is nobody to send the client to.
            Self::AllDown | Self::NobodyUp => error(14, "no PoP is up"),
            // Invalid Query Type, RFC 9824 section 9.
            Self::Fault(Fault::QueryType) => error(30, ""),
            // Other Error: none of those that there are says it.
            Self::Unsigned => error(0, "cannot be signed now"),
            Self::Static
            | Self::Steered(_)
            | Self::Explained
            | Self::Fallback
            | Self::Referral
            | Self::NoData
            | Self::NoName
            | Self::NoNameCompact
            | Self::AboutServer
            | Self::Cookie
            | Self::BadCookie
            | Self::Slipped
            | Self::Fault(Fault::Opcode | Fault::NoQuestion | Fault::Malformed(_) | Fault::Version) => None,
        }
    }

    /// With what else it is limited; `None` for what is sent instead of one that was. (An answer is signed when it is known
    /// that it may be sent, so that what cannot be signed was limited as what it would have been.)
    pub(crate) fn limited_as(self) -> Option<LimitedKind> {
        match self {
            Self::Static | Self::Steered(_) | Self::Explained | Self::Fallback | Self::Referral | Self::AboutServer => {
                Some(LimitedKind::Answers)
            }
            Self::NobodyUp | Self::NoData | Self::NoName | Self::NoNameCompact => Some(LimitedKind::Negative),
            Self::AllDown | Self::Cookie | Self::BadCookie | Self::Refused(_) | Self::Fault(_) => {
                Some(LimitedKind::Errors)
            }
            Self::Unsigned | Self::Slipped => None,
        }
    }

    /// For logs: why this PoP, or else what kind of answer it is.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Steered(sent) => sent.cause.token(),
            Self::Explained => "explained",
            Self::Fallback => "fallback",
            Self::AllDown => "all-down",
            Self::NobodyUp => "nobody-up",
            Self::Referral => "referral",
            Self::NoData => "no-data",
            Self::NoName | Self::NoNameCompact => "no-name",
            Self::AboutServer => "about-server",
            Self::Cookie => "cookie",
            Self::BadCookie => "bad-cookie",
            Self::Slipped => "slipped",
            Self::Unsigned => "unsigned",
            Self::Refused(Refusal::NotOurs) => "not-ours",
            Self::Refused(Refusal::NotSupported) => "not-supported",
            Self::Fault(fault) => fault.flaw().token(),
        }
    }
}

impl<'v> Answer<'v> {
    pub(crate) fn empty(outcome: Outcome) -> Self {
        let (answers, authority, additional) = Default::default();
        Self { outcome, answers, authority, additional, scope: 0, alike: Alike::Nobody }
    }

    /// Adds what the records of `set` point to, each once, as far as everyone gets the same there.
    fn add_targets(&mut self, set: &'v RrSet, view: &'v View) {
        let mut seen: Vec<&Name> = Vec::new();
        for target in set.targets() {
            let found = [rtype::A, rtype::AAAA].map(|rtype| view.set_at(target, rtype));
            let name = found.into_iter().flatten().next().map(|(name, _)| name);
            if let Some(name) = name.filter(|name| !seen.contains(name)) {
                seen.push(name);
                let found = found.into_iter().flatten();
                self.additional.extend(found.map(|(name, addresses)| Set::glue(Owner::Name(name), addresses)));
            }
        }
    }
}

/// When a query is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// What the machine's clock says.
    pub(crate) now: Timestamp,
    /// What keys' times are gone by: another one while that clock is not believed.
    pub(crate) keys_now: Timestamp,
}

impl From<Timestamp> for Moment {
    fn from(now: Timestamp) -> Self {
        Self { now, keys_now: now }
    }
}

/// Answers `request`, which came from `resolver`.
pub(crate) fn answer<'v>(
    request: &Request<'_>,
    resolver: IpAddr,
    view: &'v View,
    health: &HealthTable,
    now: impl Into<Moment>,
    texts: &'v Texts,
) -> Answer<'v> {
    let Moment { now, keys_now } = now.into();
    let question = match (request.fault, &request.question) {
        (Some(fault), _) => return Answer::empty(Outcome::Fault(fault)),
        (None, None) => return Answer::empty(Outcome::Fault(Fault::NoQuestion)),
        (None, Some(question)) => question,
    };
    // RFC 9824 section 3.5: "If an explicit query for the NXNAME RR type is received, the DNS server MUST return a Format Error
    // (response code FORMERR)."
    if question.qtype == rtype::NXNAME {
        return Answer::empty(Outcome::Fault(Fault::QueryType));
    }
    if question.qclass != CLASS_IN || is_refused(question.qtype) {
        return Answer::empty(Outcome::Refused(Refusal::NotSupported));
    }
    let alike = Cell::new(Alike::Everyone);
    let asked = Asked { question, request, resolver, view, health, now, keys_now, texts, alike };
    let mut answer = Answer::empty(Outcome::Static);
    if !asked.explain(&mut answer) {
        asked.fill(&mut answer);
    }
    answer.alike = asked.alike.get();
    answer
}

/// ANY is answered; the other types that no name has are not.
fn is_refused(qtype: u16) -> bool {
    qtype != 0 && qtype != rtype::ANY && (rtype::is_meta(qtype) || qtype == rtype::RRSIG)
}

/// A question that can be answered, and what is needed for it. What not everyone has alike is taken through methods that note it.
struct Asked<'r, 'v> {
    question: &'r Question<'r>,
    request: &'r Request<'r>,
    resolver: IpAddr,
    view: &'v View,
    health: &'r HealthTable,
    now: Timestamp,
    keys_now: Timestamp,
    texts: &'v Texts,
    /// By what had a say until now.
    alike: Cell<Alike>,
}

/// A name on the way from the one asked for, and where it stands.
#[derive(Debug, Clone, Copy)]
struct Place<'v> {
    owner: Owner<'v>,
    zone: &'v Zone,
    /// What stands there; nothing does at a name that does not exist, or that only texts make exist.
    node: Option<&'v Node>,
}

impl<'v> Place<'v> {
    /// A set of its zone for it.
    fn set(&self, data: Data<'v>) -> Set<'v> {
        self.passing(Set::made(self.owner, data, self.zone))
    }

    fn stored(&self, set: &'v RrSet) -> Set<'v> {
        self.passing(Set::stored(self.owner, set, self.zone))
    }

    /// A wildcard gives every name a set of its own.
    fn passing(&self, set: Set<'v>) -> Set<'v> {
        Set { passing: self.node.is_none_or(Node::is_wildcard), ..set }
    }
}

impl<'v> Asked<'_, 'v> {
    /// What the steered name below the label for that is answered, if this resolver may know; for all others there is no
    /// such name. Whom the query is for does not count there: anybody can claim any subnet. Returns whether there was one.
    fn explain(&self, answer: &mut Answer<'v>) -> bool {
        self.explains(self.question.name.wire()) && self.explained(answer).is_some()
    }

    fn explained(&self, answer: &mut Answer<'v>) -> Option<()> {
        let name = self.question.name.wire().strip_prefix(texts::LABEL)?;
        let Found::Node(zone, Node { target: Target::Steered(_), .. }) = self.view.find(name) else { return None };
        let place = Place { owner: Owner::Question, zone, node: None };
        if self.question.qtype != rtype::TXT {
            self.deny(answer, place, Outcome::NoData);
            return Some(());
        }
        let name = Name::from_wire(name)?.to_string();
        let explained = explain_to(self.view, &name, self.asker(), self.health).ok()?;
        let strings = texts::rdata(&texts::texts(&explained));
        answer.scope = self.asker().subnet.map_or(0, |subnet| subnet.source);
        answer.outcome = Outcome::Explained;
        // For this very query, so not to be kept.
        answer.answers.push(place.set(Data::Made(rtype::TXT, vec![Cow::Owned(strings)])).at_most(0));
        Some(())
    }

    /// Whether this resolver may ask for such a name.
    fn explains(&self, name: &[u8]) -> bool {
        name.starts_with(texts::LABEL) && {
            self.only(Alike::Resolver);
            self.view.may_explain_to(self.resolver)
        }
    }

    /// Notes that the answer is the same for no more than these.
    fn only(&self, these: Alike) {
        self.alike.set(self.alike.get().max(these));
    }

    /// Where the client of a steered name is sent. Of the time it goes by whole seconds.
    fn decide(&self, place: Place<'v>, steered: Steered, family: Family) -> Decision<'v> {
        let decision = self.view.guide().decide(steered, self.asker(), family, self.health, place.zone.ttl);
        if decision.by_resolver {
            self.only(Alike::Resolver);
        }
        decision
    }

    /// The addresses of PoPs, in an order that may be this query's own.
    fn addresses(&self, chosen: &Chosen, policy: PolicyId, family: Family) -> Addresses {
        let guide = self.view.guide();
        if guide.policy(policy).policy.rotate {
            self.only(Alike::Nobody);
        }
        guide.addresses(chosen, policy, family, self.health, self.request.id)
    }

    /// The texts of a name, which live by the millisecond. That there are none stays true, since time only takes them away.
    fn texts_at(&self, name: &[u8]) -> Option<Alive<'v>> {
        self.texts.at(name, self.now).inspect(|_| self.only(Alike::Nobody))
    }

    /// Whether the name exists because of a text.
    fn has_text(&self, name: &[u8]) -> bool {
        let has = self.texts.has(name, self.now);
        if has {
            self.only(Alike::Nobody);
        }
        has
    }

    /// What a signed zone shows of its keys, which goes by a clock of its own.
    fn keys(&self, zone: &'v Zone) -> Option<&'v Stage> {
        let keys = zone.keys.as_ref()?;
        self.only(Alike::Nobody);
        Some(keys.at(self.keys_now))
    }

    fn asker(&self) -> Asker {
        let subnet = self.request.edns.and_then(|edns| edns.subnet?.subnet());
        Asker { resolver: self.resolver, subnet, now: self.now }
    }

    /// RFC 1034 section 4.3.2: from the name asked for through its CNAMEs to data, to nothing, or to where others know.
    fn fill(&self, answer: &mut Answer<'v>) {
        let mut owner = Owner::Question;
        for links in 0..=LINKS_MAX {
            match self.step(answer, owner, links) {
                // A loop ends, too: once around is all that there is.
                Some(target) if !self.is_owner(answer, target) => owner = Owner::Wire(target),
                Some(_) | None => return,
            }
        }
    }

    /// Whether the answer has records of that name already.
    fn is_owner(&self, answer: &Answer<'v>, name: &[u8]) -> bool {
        answer.answers.iter().any(|set| self.wire(set.owner).eq_ignore_ascii_case(name))
    }

    /// The name itself, on the wire.
    fn wire<'o>(&'o self, owner: Owner<'o>) -> &'o [u8] {
        match owner {
            Owner::Question => self.question.name.wire(),
            Owner::Name(name) => name.wire(),
            Owner::Wire(wire) => wire,
        }
    }

    /// Adds what is at one name; returns the name that is to be asked for, too.
    fn step(&self, answer: &mut Answer<'v>, owner: Owner<'v>, links: usize) -> Option<&'v [u8]> {
        // What is in a record's data may have capital letters.
        let lowered;
        let name = match owner {
            Owner::Wire(wire) => {
                lowered = Lowered::new(wire);
                lowered.wire()
            }
            Owner::Question | Owner::Name(_) => self.wire(owner),
        };
        let qtype = self.question.qtype;
        let place = |zone, node| Place { owner, zone, node };
        match self.view.find(name) {
            Found::Outside if links == 0 => answer.outcome = Outcome::Refused(Refusal::NotOurs),
            Found::Outside => {}
            Found::NoName(zone) if self.has_text(name) => self.texts(answer, place(zone, None), name),
            Found::NoName(zone) => self.deny(answer, place(zone, None), Outcome::NoName),
            Found::Delegated(zone, delegation) => self.delegated(answer, owner, zone, &delegation, links),
            // RFC 4035 section 3.1.4.1: the DS set of a zone's own name is the parent zone's.
            Found::Node(zone, node) if qtype == rtype::DS && node.apex => self.parental(answer, owner, zone, node),
            Found::Node(zone, node) if qtype == rtype::TXT && self.texts_at(name).is_some() => {
                self.texts(answer, place(zone, Some(node)), name)
            }
            Found::Node(zone, node) => return self.at_node(answer, place(zone, Some(node)), node, links),
        }
        None
    }

    /// The DS set of a zone of ours, which is the parent zone's.
    fn parental(&self, answer: &mut Answer<'v>, owner: Owner<'v>, zone: &'v Zone, node: &'v Node) {
        let Some(parent) = self.view.parent_of(zone) else {
            return self.deny(answer, Place { owner, zone, node: Some(node) }, Outcome::NoData);
        };
        let place = Place { owner, zone: parent, node: Some(node) };
        // RFC 7344 section 4: a parent takes over what its child offers. Ours does so at once.
        let offered = || self.keys(zone)?.set(rtype::CDS);
        match (node.parental(), offered()) {
            (None, Some(offered)) => {
                let keys = offered.rdata().map(Cow::Borrowed).collect();
                let set = place.set(Data::Made(rtype::DS, keys));
                answer.answers.push(Set { ttl: offered.ttl, ttl_original: offered.ttl, ..set });
            }
            (own, _) => self.of_type(answer, place, own),
        }
    }

    fn at_node(&self, answer: &mut Answer<'v>, place: Place<'v>, node: &'v Node, links: usize) -> Option<&'v [u8]> {
        let qtype = self.question.qtype;
        if qtype == rtype::ANY && !node.is_empty() {
            answer.answers.push(place.passing(Set::any(place.owner, place.zone)));
            return None;
        }
        // RFC 4035 section 2.5: a CNAME has it beside itself. Section 3.1: what is asked for by its type needs no DO.
        if qtype == rtype::NSEC && place.zone.is_signed() && !node.is_empty() {
            answer.answers.push(self.own_proof(place));
            return None;
        }
        if let Some(cname) = node.set(rtype::CNAME).filter(|_| qtype != rtype::CNAME) {
            answer.answers.push(place.stored(cname));
            return cname.targets().next().filter(|_| links < LINKS_MAX);
        }
        match (node.target, qtype) {
            (Target::Steered(steered), rtype::A) => self.steered(answer, place, steered, Family::V4),
            (Target::Steered(steered), rtype::AAAA) => self.steered(answer, place, steered, Family::V6),
            (Target::Steered(steered), rtype::HTTPS) if self.view.has_https_record(steered.site) => {
                self.binding(answer, place, steered)
            }
            (Target::Steered(steered), _) if self.view.guide().always_points(steered.policy) => {
                self.pointer(answer, place, steered)
            }
            (Target::Steered(_) | Target::Nothing, _) => self.of_type(answer, place, self.set_of(place, node, qtype)),
        }
        None
    }

    /// What the name has of that type for everyone: of the zone's own name the keys, too.
    fn set_of(&self, place: Place<'v>, node: &'v Node, qtype: u16) -> Option<&'v RrSet> {
        let of_keys = || if node.apex { self.keys(place.zone)?.set(qtype) } else { None };
        node.set(qtype).or_else(of_keys)
    }

    /// What is at a name that has texts, with those that the zone itself has there.
    fn texts(&self, answer: &mut Answer<'v>, place: Place<'v>, name: &[u8]) {
        let qtype = self.question.qtype;
        let Some(alive) = self.texts_at(name).filter(|_| matches!(qtype, rtype::TXT | rtype::ANY)) else {
            return self.deny(answer, place, Outcome::NoData);
        };
        if qtype == rtype::ANY {
            answer.answers.push(place.passing(Set::any(place.owner, place.zone)));
            return;
        }
        let own = place.node.and_then(|node| node.set(rtype::TXT));
        let own_ttl = own.map_or(u32::MAX, |own| own.ttl);
        let all = own.into_iter().flat_map(RrSet::rdata).chain(alive.rdata).map(Cow::Borrowed).collect();
        let set = place.set(Data::Made(rtype::TXT, all));
        // What is signed must not be another set each second that a text is nearer to its end.
        let (ttl, ttl_original) = (alive.ttl.min(own_ttl), alive.ttl_original.min(own_ttl));
        answer.answers.push(Set { ttl, ttl_original, ..set });
    }

    fn of_type(&self, answer: &mut Answer<'v>, place: Place<'v>, set: Option<&'v RrSet>) {
        match set {
            Some(set) => {
                answer.answers.push(place.stored(set));
                // RFC 4035 section 3.1.1 wants additional sets of a signed zone signed, too; nobody needs them.
                if !self.wants_proof(place.zone) {
                    answer.add_targets(set, self.view);
                }
            }
            None => self.deny(answer, place, Outcome::NoData),
        }
    }

    /// RFC 1034 section 4.3.2 step 3b: the NS set in the authority section, and whatever addresses there are for it. What
    /// is at the cut itself is the child's, but for DS (RFC 4035 section 3.1.4.1).
    fn delegated(
        &self,
        answer: &mut Answer<'v>,
        owner: Owner<'v>,
        zone: &'v Zone,
        delegation: &Delegation<'v>,
        links: usize,
    ) {
        let cut = Place { owner: Owner::Name(delegation.cut), zone, node: Some(delegation.node) };
        if delegation.exact && self.question.qtype == rtype::DS {
            return self.of_type(answer, Place { owner, ..cut }, delegation.node.set(rtype::DS));
        }
        // An answer that began with a CNAME of ours speaks for that.
        answer.outcome = if links == 0 { Outcome::Referral } else { Outcome::Static };
        let Some(servers) = delegation.node.set(rtype::NS) else { return };
        answer.authority.push(Set::glue(cut.owner, servers));
        if self.wants_proof(zone) {
            answer.authority.push(self.proof_of_delegation(cut));
        }
        answer.add_targets(servers, self.view);
    }
}

#[cfg(test)]
mod tests;
