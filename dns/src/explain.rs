//! Why a client gets the PoP it gets: the same steering as [`crate::answer`], with its reasons laid open.

use std::net::IpAddr;

use nearcast_shared::clock::Timestamp;
use nearcast_shared::config::{Order, Pick, Policy};
use nearcast_shared::geo::{Coordinates, Precision};
use nearcast_shared::health::{HealthTable, Reason};
use nearcast_shared::net;
use nearcast_shared::pop::PopId;
use serde::Serialize;
use thiserror::Error;

use crate::ecs::Subnet;
use crate::metrics::Cause;
use crate::name::Name;
use crate::steering::choose::Chosen;
use crate::steering::ranking::{Basis, Ranked};
use crate::steering::{Asker, Decision, Family, Survey, Verdict};
use crate::view::{Found, Steered, Target, View};

pub(crate) mod texts;

/// What a client would be answered, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The name asked for, lower case.
    pub name: String,
    /// The client.
    pub client: IpAddr,
    /// Where the geo data has the client.
    pub location: Option<Coordinates>,
    /// What the location is worth.
    pub precision: Precision,
    /// Its country, where known.
    pub country: Option<String>,
    /// Its subdivision, where known.
    pub subdivision: Option<String>,
    /// Its autonomous system, where known.
    pub asn: Option<u32>,
    /// Why there is no location.
    pub unknown: Option<String>,
    /// The policy.
    pub policy: String,
    /// The rule of it that is about the client, if any.
    pub rule: Option<String>,
    /// From where the distances are measured: `client`, or the name of this PoP when the client's location is unknown.
    pub measured_from: String,
    /// Every candidate in the order of the ranking.
    pub ranking: Vec<PopExplanation>,
    /// The PoP chosen for A, or for AAAA when no PoP has an IPv4 address; `None` when the answer names none.
    pub pop: Option<String>,
    /// What A and AAAA answer together.
    pub addresses: Vec<IpAddr>,
    /// What is answered instead when the PoP has no addresses.
    pub cname: Option<String>,
    /// The scope prefix length for a resolver that sends the client's /24 or /56.
    pub scope: u8,
    /// Seconds that such a resolver may keep the answer.
    pub ttl: u32,
    /// All of it in one sentence.
    pub why: String,
}

/// One PoP in the ranking.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PopExplanation {
    /// Its name.
    pub name: String,
    /// `None` when its location, or that from where distances are measured, is not known.
    pub distance_km: Option<f64>,
    /// Which group of equals it is in, counted from 1.
    pub group: u16,
    /// Whether DNS may hand it out.
    pub up: bool,
    /// What decided that.
    pub reason: Reason,
    /// Whether it reaches the origin of the site behind the name, as far as is known.
    pub reaches_origin: bool,
}

/// Why there is nothing to explain.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExplainError {
    /// Not a domain name.
    #[error("`{0}` is not a domain name")]
    NotAName(String),
    /// The name is in none of our zones.
    #[error("`{name}` is in none of the zones{hint}")]
    Outside {
        /// The name.
        name: String,
        /// What to ask instead, if there is something.
        hint: String,
    },
    /// The name is in a zone and does not exist.
    #[error("`{0}` does not exist: it is no site's domain, and no PoP or name server is called so")]
    NoSuchName(String),
    /// The name is somebody else's.
    #[error("`{0}` is not ours to answer: `{1}` is delegated to other name servers")]
    Delegated(String, String),
    /// The name exists and is the same for everyone.
    #[error("`{0}` is not steered: it has the same answer for every client")]
    NotSteered(String),
}

/// Explains what the client at `client` is answered when `name` is asked for, directly or by a resolver that sends the
/// client's subnet.
///
/// # Errors
/// When `name` is not one that is steered.
pub fn explain(
    view: &View,
    name: &str,
    client: IpAddr,
    health: &HealthTable,
    now: Timestamp,
) -> Result<Explanation, ExplainError> {
    let health = &*view.health(health);
    let client = net::unmapped(client);
    explain_to(view, name, Asker { resolver: client, subnet: Some(customary(client)), now }, health)
}

/// Explains what `asker` is answered; `health` must be in the order of the view's PoPs.
pub(crate) fn explain_to(
    view: &View,
    name: &str,
    asker: Asker,
    health: &HealthTable,
) -> Result<Explanation, ExplainError> {
    let (name, ttl, steered) = steered_name(view, name)?;
    let asker = Asker { subnet: asker.subnet.filter(|_| steered.ecs), ..asker };
    let client = asker.client();
    let it = Case { view, health, steered, client, survey: view.guide().survey(steered.policy, client) };
    let decide = |family| (family, view.guide().decide(steered, asker, family, health, ttl));
    let decisions = [Family::V4, Family::V6].map(decide);
    let chosen: Vec<(Family, Chosen)> =
        decisions.iter().filter_map(|(family, made)| Some((*family, pops(made)?))).collect();
    let first = chosen.first().map(|(_, chosen)| chosen.first());
    // That of the family which has data.
    let has_data = |made: &&(Family, Decision<'_>)| !matches!(made.1.verdict, Verdict::NoData);
    let coverage = decisions.iter().find(has_data).unwrap_or(&decisions[0]).1.coverage;
    let survey = &it.survey;
    Ok(Explanation {
        location: survey.place.coordinates,
        precision: survey.place.precision,
        country: survey.place.country.clone(),
        subdivision: survey.place.subdivision.clone(),
        asn: survey.asn.or_else(|| view.guide().geo().asn(client).0),
        unknown: it.unknown(),
        policy: it.policy().name.clone(),
        rule: it.rule().map(str::to_owned),
        measured_from: match survey.ranking.basis {
            Basis::Client => "client".to_owned(),
            Basis::ThisPop => view.pop(view.guide().this()).name.clone(),
        },
        ranking: survey.ranking.pops.iter().map(|ranked| it.pop(ranked)).collect(),
        pop: first.map(|pop| view.pop(pop).name.clone()),
        addresses: decisions.iter().flat_map(|(family, made)| it.addresses(*family, made)).collect(),
        cname: first.and_then(|pop| view.pop(pop).cname.clone()),
        scope: coverage.scope,
        ttl: coverage.ttl_max.map_or(ttl, |max| ttl.min(max)),
        why: it.why(&decisions, &chosen, by_resolvers(view, steered, asker, health, ttl, &chosen)),
        name,
        client,
    })
}

/// What resolvers that send no more of the client's address than is customary are told, if that is another PoP: they ask for
/// the first address of its network.
fn by_resolvers(
    view: &View,
    steered: Steered,
    asker: Asker,
    health: &HealthTable,
    ttl: u32,
    chosen: &[(Family, Chosen)],
) -> Option<String> {
    let subnet = asker.subnet?;
    let (family, here) = chosen.first()?;
    let cut = Subnet { address: net::masked(subnet.address, subnet.source), ..subnet };
    let made = view.guide().decide(steered, Asker { subnet: Some(cut), ..asker }, *family, health, ttl);
    let there = pops(&made).filter(|there| there.first() != here.first())?;
    let name = &view.pop(there.first()).name;
    Some(format!("resolvers that send no more than its /{} are told {name}, as {} is", subnet.source, cut.address))
}

/// The steered name that `name` is, in lower case, the seconds its answers live, and how its PoP is chosen.
pub(crate) fn steered_name(view: &View, name: &str) -> Result<(String, u32, Steered), ExplainError> {
    let wire = Name::parse(name).ok_or_else(|| ExplainError::NotAName(name.to_owned()))?;
    let name = wire.to_string();
    match view.find(wire.wire()) {
        Found::Outside => Err(outside(name, view)),
        Found::NoName(_) => Err(ExplainError::NoSuchName(name)),
        Found::Delegated(_, delegation) => Err(ExplainError::Delegated(name, delegation.cut.to_string())),
        Found::Node(zone, node) => match node.target {
            Target::Steered(steered) => Ok((name, zone.ttl, steered)),
            Target::Nothing => Err(ExplainError::NotSteered(name)),
        },
    }
}

fn outside(name: String, view: &View) -> ExplainError {
    let hint = view.first_zone().map(|zone| format!("; clients reach it through a CNAME: ask for edge.{zone}"));
    ExplainError::Outside { name, hint: hint.unwrap_or_default() }
}

/// The client as a resolver would name it.
fn customary(client: IpAddr) -> Subnet {
    let source = match client {
        IpAddr::V4(_) => 24,
        IpAddr::V6(_) => 56,
    };
    Subnet { address: client, source }
}

fn pops(decision: &Decision<'_>) -> Option<Chosen> {
    if let Verdict::Pops(chosen) = &decision.verdict { Some(*chosen) } else { None }
}

/// A client and a name.
struct Case<'a> {
    view: &'a View,
    health: &'a HealthTable,
    steered: Steered,
    client: IpAddr,
    survey: Survey,
}

impl Case<'_> {
    fn policy(&self) -> &Policy {
        &self.view.guide().policy(self.steered.policy).policy
    }

    fn rule(&self) -> Option<&str> {
        self.survey.rule.map(|rule| self.policy().rules[rule].name.as_str())
    }

    fn name(&self, pop: PopId) -> &str {
        &self.view.pop(pop).name
    }

    fn unknown(&self) -> Option<String> {
        let client = self.client;
        if self.survey.place.coordinates.is_some() {
            return None;
        }
        Some(if self.view.guide().geo().files().is_empty() {
            "no geo data is loaded".to_owned()
        } else if self.survey.place.country.is_some() {
            format!(
                "the geo data has a country for {client}, but no coordinates, and the country is none that is known"
            )
        } else {
            format!("the geo data has nothing on {client}")
        })
    }

    fn addresses(&self, family: Family, decision: &Decision<'_>) -> Vec<IpAddr> {
        match &decision.verdict {
            // One that points to a name has none.
            Verdict::Pops(chosen) if self.view.pop(chosen.first()).cname.is_some() => Vec::new(),
            Verdict::Pops(chosen) => {
                self.view.guide().addresses(chosen, self.steered.policy, family, self.health, 0).into_vec()
            }
            Verdict::Addresses(all) => all.iter().copied().filter(|address| Family::of(*address) == family).collect(),
            Verdict::NoData | Verdict::AllDown | Verdict::ServFail => Vec::new(),
        }
    }

    fn pop(&self, ranked: &Ranked) -> PopExplanation {
        PopExplanation {
            name: self.name(ranked.pop).to_owned(),
            distance_km: ranked.distance_km.map(|km| (km * 10.0).round() / 10.0),
            group: ranked.group + 1,
            up: self.health.is_up(ranked.pop),
            reason: self.reason(ranked.pop),
            reaches_origin: self.reaches_origin(ranked.pop),
        }
    }

    fn reaches_origin(&self, pop: PopId) -> bool {
        self.steered.site.is_none_or(|site| self.health.reaches_origin(pop, self.view.guide().site(site)))
    }

    /// A PoP that the table does not know yet was not probed yet.
    fn reason(&self, pop: PopId) -> Reason {
        self.health.pops.get(pop.index()).map_or(Reason::FirstRound, |pop| pop.reason)
    }

    fn why(
        &self,
        decisions: &[(Family, Decision<'_>)],
        chosen: &[(Family, Chosen)],
        by_resolvers: Option<String>,
    ) -> String {
        let mut parts = vec![self.place()];
        parts.extend(self.order());
        for (family, choice) in chosen {
            let same = chosen.iter().all(|(_, other)| other.pops() == choice.pops());
            let label = match (same, family) {
                (true, _) => "",
                (false, Family::V4) => "for A, ",
                (false, Family::V6) => "for AAAA, ",
            };
            parts.push(format!("{label}{}", self.sentence(*family, choice)));
            if same {
                break;
            }
        }
        if chosen.is_empty() {
            parts.extend(decisions.iter().find_map(|(_, made)| instead(&made.verdict)));
        }
        if decisions.iter().any(|(_, made)| pops(made).is_some_and(|chosen| chosen.unsettled)) {
            parts.push("a PoP that this hangs on is changing its state, so it is kept for a short time".to_owned());
        }
        parts.extend(by_resolvers);
        format!("{}.", parts.join("; "))
    }

    fn place(&self) -> String {
        let (client, place) = (self.client, &self.survey.place);
        let country = place.country.as_deref();
        let at = place.coordinates.map(|at| format!("{:.2}, {:.2}", at.latitude, at.longitude)).unwrap_or_default();
        match (place.precision, country) {
            (Precision::Country, Some(code)) => {
                format!("{client} is known to be in {code} and no more, so distances count from the middle of it, {at}")
            }
            (Precision::Exact, Some(code)) => format!("{client} is known to be near {at} ({code})"),
            (Precision::Exact | Precision::Country, None) => format!("{client} is known to be near {at}"),
            (Precision::Unknown, Some(code)) => {
                format!(
                    "{client} is known to be in {code}, a place that is not known, so distances count from {}",
                    self.this()
                )
            }
            (Precision::Unknown, None) => {
                let this = self.this();
                format!("the location of {client} is unknown, so distances count from {this}, the PoP that was asked")
            }
        }
    }

    fn this(&self) -> &str {
        self.name(self.view.guide().this())
    }

    /// What the policy makes of it, if that is not just the nearest.
    fn order(&self) -> Option<String> {
        let policy = self.policy();
        if matches!(policy.order, Order::Nearest { .. }) && policy.pick == Pick::First && self.rule().is_none() {
            return None;
        }
        let order = match policy.order {
            Order::Nearest { .. } => "the nearest first",
            Order::Failover => "in the order given",
            Order::Weighted => "all as equals",
        };
        let pick = match policy.pick {
            Pick::First => "",
            Pick::Random => ", equals by weight at random",
            Pick::Sticky => ", equals by weight and the client's network",
        };
        let ranks = format!("policy `{}` ranks {order}{pick}", policy.name);
        Some(match self.rule() {
            Some(rule) if policy.rules[self.survey.rule.unwrap_or_default()].only => {
                format!("{ranks}, but its rule `{rule}` allows the client only what it names")
            }
            Some(rule) => format!("{ranks}, after what its rule `{rule}` has for this client"),
            None => ranks,
        })
    }

    fn sentence(&self, family: Family, chosen: &Chosen) -> String {
        let pop = chosen.first();
        let ranked = &self.survey.ranking.pops;
        let distance = ranked.iter().find(|ranked| ranked.pop == pop).and_then(|ranked| ranked.distance_km);
        let distance = distance.map(|km| format!(" at {km:.0} km")).unwrap_or_default();
        let group = ranked.iter().find(|ranked| ranked.pop == pop).map_or(0, |ranked| ranked.group);
        // Of its own group, too, those that are out: their clients are with the others.
        let before =
            || ranked.iter().map(|ranked| (ranked.pop, ranked.group)).filter(|(id, of)| *of <= group && *id != pop);
        let has_family = |id: PopId| {
            let pop = self.view.pop(id);
            pop.cname.is_some() || family.of_pop(pop).next().is_some()
        };
        let lacking: Vec<&str> =
            before().filter(|(id, of)| *of < group && !has_family(*id)).map(|(id, _)| self.name(id)).collect();
        let skipped = match lacking.as_slice() {
            [] => String::new(),
            names => format!(", and {} has no address of this type", names.join(", ")),
        };
        let out: Vec<String> = before().filter(|(id, _)| has_family(*id)).filter_map(|(id, _)| self.out(id)).collect();
        let out = out.join(", ");
        let name = self.name(pop);
        let others: Vec<&str> = chosen.pops()[1..].iter().map(|pop| self.name(*pop)).collect();
        let others = if others.is_empty() { String::new() } else { format!(", with {}", others.join(", ")) };
        match chosen.cause {
            Cause::First if ranked.iter().filter(|ranked| ranked.group == group).count() > 1 => {
                format!("{name} was drawn from the first group{distance} and is up{skipped}{others}")
            }
            Cause::First => format!("{name} is first in the ranking{distance} and up{skipped}{others}"),
            Cause::Failover => format!("{name} is the first that is up{distance}: {out}{skipped}{others}"),
            Cause::Spread => {
                format!(
                    "{name} was drawn{distance} for the client's network, among the next that are up: {out}{skipped}{others}"
                )
            }
            Cause::FailOpen => {
                format!(
                    "no PoP is up, so the answer is as if all were: {name} is first in the ranking{distance}{skipped}{others}"
                )
            }
        }
    }

    /// Why a PoP is passed over, if it is.
    fn out(&self, pop: PopId) -> Option<String> {
        let name = self.name(pop);
        if self.health.is_up(pop) {
            let reaches = self.reaches_origin(pop);
            return (!reaches).then(|| format!("{name} does not reach the site's origin"));
        }
        let cause = match self.reason(pop) {
            Reason::Forced => "by an operator's word",
            Reason::Leaving => "because it is shutting down",
            Reason::Probes => "say the probes",
            Reason::Supposed => "as supposed",
            Reason::Overloaded => "because it has too much to do",
            Reason::FirstRound | Reason::NeverProbed => "for no known reason",
        };
        Some(format!("{name} is down, {cause}"))
    }
}

/// What is answered when no PoP is.
fn instead(verdict: &Verdict<'_>) -> Option<String> {
    match verdict {
        Verdict::Pops(_) => None,
        Verdict::Addresses(_) => Some("no PoP is up, so the answer is the addresses for that case".to_owned()),
        Verdict::NoData => Some("no PoP has an address, so there is no data".to_owned()),
        Verdict::AllDown => Some("no PoP is up, so there is no data".to_owned()),
        Verdict::ServFail => Some("no PoP is up, so the answer is SERVFAIL".to_owned()),
    }
}

#[cfg(test)]
mod tests;
