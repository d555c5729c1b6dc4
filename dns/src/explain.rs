//! Why a client gets the PoP it gets: the same steering as [`crate::answer`], with its reasons laid open.

use std::net::IpAddr;

use nearcast_shared::geo::Coordinates;
use nearcast_shared::health::{HealthTable, Reason};
use nearcast_shared::net;
use nearcast_shared::pop::PopId;
use serde::Serialize;
use thiserror::Error;

use crate::ecs::Subnet;
use crate::name::Name;
use crate::steering::nearest::{Basis, Ranked};
use crate::steering::{self, Cause, Choice, Family, Steering};
use crate::view::{Found, Target, View};

/// What a client would be answered, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The name asked for, lower case.
    pub name: String,
    /// The client.
    pub client: IpAddr,
    /// Where the geo data has the client.
    pub location: Option<Coordinates>,
    /// Its country, where known.
    pub country: Option<String>,
    /// Why there is no location.
    pub unknown: Option<String>,
    /// From where the distances are measured: `client`, or the name of this PoP when the client's location is unknown.
    pub measured_from: String,
    /// Every PoP, nearest first: the ranking.
    pub ranking: Vec<PopExplanation>,
    /// The PoP chosen for A, or for AAAA when no PoP has an IPv4 address.
    pub pop: String,
    /// What A and AAAA answer together.
    pub addresses: Vec<IpAddr>,
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
    /// Whether DNS may hand it out.
    pub up: bool,
    /// What decided that.
    pub reason: Reason,
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
    /// The name exists and is the same for everyone.
    #[error("`{0}` is not steered: it has the same answer for every client")]
    NotSteered(String),
}

/// Explains what the client at `client` is answered when `name` is asked for, directly or by a resolver that sends the
/// client's subnet.
///
/// # Errors
/// When `name` is not one that is steered.
pub fn explain(view: &View, name: &str, client: IpAddr, health: &HealthTable) -> Result<Explanation, ExplainError> {
    let wire = Name::parse(name).ok_or_else(|| ExplainError::NotAName(name.to_owned()))?;
    let (name, client) = (wire.to_string(), net::unmapped(client));
    let zone = match view.find(wire.wire()) {
        Found::Outside => return Err(outside(name, view)),
        Found::NoName(_) => return Err(ExplainError::NoSuchName(name)),
        Found::Node(zone, node) => match node.target {
            Target::Steered(_) => zone,
            Target::Nothing | Target::Pop(_) => return Err(ExplainError::NotSteered(name)),
        },
    };
    let health = &*view.health(health);
    let steering = steering::steer(view, client, Some(customary(client)));
    let choose = |family| steering.choose(view.pops(), family, health).map(|choice| (family, choice));
    let choices: Vec<(Family, Choice)> = [Family::V4, Family::V6].into_iter().filter_map(choose).collect();
    // A config without any address of any PoP does not exist.
    let Some((_, chosen)) = choices.first().copied() else { return Err(ExplainError::NotSteered(name)) };
    let addresses = choices.iter().flat_map(|(family, choice)| family.of_pop(view.pop(choice.pop)));
    Ok(Explanation {
        name,
        client,
        location: steering.place.coordinates,
        country: steering.place.country.clone(),
        unknown: unknown(&steering, view, client),
        measured_from: match steering.ranking.basis {
            Basis::Client => "client".to_owned(),
            Basis::ThisPop => view.pop(view.this()).name.clone(),
        },
        ranking: steering.ranking.pops.iter().map(|ranked| pop(ranked, view, health)).collect(),
        pop: view.pop(chosen.pop).name.clone(),
        addresses: addresses.collect(),
        scope: steering.coverage.scope,
        ttl: steering.ttl(zone),
        why: why(&steering, &choices, view, health, client),
    })
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

fn unknown(steering: &Steering, view: &View, client: IpAddr) -> Option<String> {
    if steering.place.coordinates.is_some() {
        return None;
    }
    Some(if view.geo().files().is_empty() {
        "no geo data is loaded".to_owned()
    } else if steering.place.country.is_some() {
        format!("the geo data has a country for {client}, but no coordinates")
    } else {
        format!("the geo data has nothing on {client}")
    })
}

fn pop(ranked: &Ranked, view: &View, health: &HealthTable) -> PopExplanation {
    PopExplanation {
        name: view.pop(ranked.pop).name.clone(),
        distance_km: ranked.distance_km.map(|km| (km * 10.0).round() / 10.0),
        up: health.is_up(ranked.pop),
        reason: reason(ranked.pop, health),
    }
}

/// A PoP that the table does not know yet was not probed yet.
fn reason(pop: PopId, health: &HealthTable) -> Reason {
    health.pops.get(pop.index()).map_or(Reason::FirstRound, |pop| pop.reason)
}

fn why(steering: &Steering, choices: &[(Family, Choice)], view: &View, health: &HealthTable, client: IpAddr) -> String {
    let place = match steering.ranking.basis {
        Basis::Client => format!("{client} is known to be {}", at(steering)),
        Basis::ThisPop => {
            let this = &view.pop(view.this()).name;
            format!("the location of {client} is unknown, so distances count from {this}, the PoP that was asked")
        }
    };
    let mut parts = vec![place];
    for (family, choice) in choices {
        let sentence = sentence(*family, *choice, steering, view, health);
        let same = choices.iter().all(|(_, other)| other == choice);
        let label = match (same, family) {
            (true, _) => "",
            (false, Family::V4) => "for A, ",
            (false, Family::V6) => "for AAAA, ",
        };
        parts.push(format!("{label}{sentence}"));
        if same {
            break;
        }
    }
    format!("{}.", parts.join("; "))
}

fn at(steering: &Steering) -> String {
    let country = steering.place.country.as_ref().map(|country| format!(" ({country})")).unwrap_or_default();
    let coordinates = steering.place.coordinates.map(|c| format!("near {:.2}, {:.2}", c.latitude, c.longitude));
    format!("{}{country}", coordinates.unwrap_or_default())
}

fn sentence(family: Family, choice: Choice, steering: &Steering, view: &View, health: &HealthTable) -> String {
    let name = |id: PopId| view.pop(id).name.as_str();
    let distance = steering.ranking.pops.iter().find(|ranked| ranked.pop == choice.pop);
    let distance = distance.and_then(|ranked| ranked.distance_km).map(|km| format!(" at {km:.0} km"));
    let distance = distance.unwrap_or_default();
    let before = || steering.ranking.order().take_while(|id| *id != choice.pop);
    let has_family = |id: &PopId| family.of_pop(view.pop(*id)).next().is_some();
    let lacking: Vec<&str> = before().filter(|id| !has_family(id)).map(name).collect();
    let skipped = if lacking.is_empty() {
        String::new()
    } else {
        format!(", and {} has no address of this type", lacking.join(", "))
    };
    match choice.cause {
        Cause::First => format!("{} is first in the ranking{distance} and up{skipped}", name(choice.pop)),
        Cause::Failover => {
            let down: Vec<String> = before().filter(has_family).map(|id| down(id, view, health)).collect();
            format!("{} is the first that is up{distance}: {}{skipped}", name(choice.pop), down.join(", "))
        }
        Cause::FailOpen => format!(
            "no PoP is up, so the answer is as if all were: {} is first in the ranking{distance}{skipped}",
            name(choice.pop)
        ),
    }
}

fn down(pop: PopId, view: &View, health: &HealthTable) -> String {
    let cause = match reason(pop, health) {
        Reason::Forced => "by an operator's word",
        Reason::Leaving => "because it is shutting down",
        Reason::Probes => "say the probes",
        Reason::Overloaded => "because it is overloaded",
        Reason::FirstRound | Reason::NeverProbed => "for no known reason",
    };
    format!("{} is down, {cause}", view.pop(pop).name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Outcome, answer};
    use crate::fixture;
    use crate::message::decode;

    fn explained(client: &str, down: &[&str]) -> Explanation {
        let view = fixture::view();
        explain(&view, "WWW.cdn.example.net.", client.parse().unwrap(), &fixture::health(&view, down)).unwrap()
    }

    #[test]
    fn a_known_client() {
        let it = explained(fixture::NEW_YORK, &[]);
        assert_eq!((it.name.as_str(), it.pop.as_str()), ("www.cdn.example.net", "iad"));
        assert_eq!(
            it.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["198.51.100.10", "198.51.100.11", "2001:db8:2::10"]
        );
        assert_eq!((it.country.as_deref(), it.unknown, it.scope, it.ttl), (Some("US"), None, 20, 60));
        assert_eq!(it.measured_from, "client");
        let ranking: Vec<&str> = it.ranking.iter().map(|pop| pop.name.as_str()).collect();
        assert_eq!(ranking, ["iad", "fra", "sin"]);
        assert_eq!(
            it.why,
            "3.16.1.2 is known to be near 40.70, -74.00 (US); iad is first in the ranking at 354 km and up."
        );
    }

    #[test]
    fn reasons() {
        let rows: [(&str, &str, &[&str], &str, &str); 4] = [
            (
                "failover",
                fixture::FRANKFURT,
                &["fra"],
                "iad",
                "5.1.2.3 is known to be near 50.10, 8.70 (DE); \
                 iad is the first that is up at 6556 km: fra is down, say the probes.",
            ),
            (
                "all down",
                fixture::JAKARTA,
                &["fra", "iad", "sin"],
                "sin",
                "36.64.1.130 is known to be near -6.20, 106.80 (ID); \
                 no PoP is up, so the answer is as if all were: sin is first in the ranking at 897 km.",
            ),
            (
                "unknown",
                fixture::UNKNOWN,
                &[],
                "sin",
                "the location of 10.1.2.3 is unknown, so distances count from sin, the PoP that was asked; \
                 sin is first in the ranking at 0 km and up.",
            ),
            (
                "unknown, this PoP down",
                fixture::UNKNOWN,
                &["sin"],
                "fra",
                "the location of 10.1.2.3 is unknown, so distances count from sin, the PoP that was asked; \
                 fra is the first that is up at 10278 km: sin is down, say the probes.",
            ),
        ];
        for (name, client, down, pop, why) in rows {
            let it = explained(client, down);
            assert_eq!((it.pop.as_str(), it.why.as_str()), (pop, why), "{name}");
        }
    }

    #[test]
    fn an_unknown_client_has_a_reason_and_a_short_answer() {
        let it = explained(fixture::UNKNOWN, &[]);
        assert_eq!(it.unknown.as_deref(), Some("the geo data has nothing on 10.1.2.3"));
        assert_eq!((it.location, it.measured_from.as_str(), it.scope, it.ttl), (None, "sin", 24, 10));
    }

    #[test]
    fn families_apart() {
        let view = fixture::view_of(&fixture::CONFIG.replace(", \"2001:db8:1::10\"", ""), "sin");
        let client = fixture::FRANKFURT.parse().unwrap();
        let it = explain(&view, "edge.cdn.example.net", client, &fixture::health(&view, &[])).unwrap();
        assert_eq!(it.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.10", "2001:db8:2::10"]);
        let wanted = "for A, fra is first in the ranking at 12 km and up; \
                      for AAAA, iad is first in the ranking at 6556 km and up, and fra has no address of this type.";
        assert!(it.why.ends_with(wanted), "{}", it.why);
    }

    #[test]
    fn what_cannot_be_explained() {
        let view = fixture::view();
        let rows = [
            ("bad..name", "`bad..name` is not a domain name"),
            (
                "static.example.com",
                "`static.example.com` is in none of the zones; clients reach it through a CNAME: \
                 ask for edge.cdn.example.net",
            ),
            (
                "no.cdn.example.net",
                "`no.cdn.example.net` does not exist: it is no site's domain, and no PoP or name server is called so",
            ),
            ("fra.cdn.example.net", "`fra.cdn.example.net` is not steered: it has the same answer for every client"),
        ];
        for (name, wanted) in rows {
            let error = explain(&view, name, fixture::FRANKFURT.parse().unwrap(), &fixture::health(&view, &[]));
            assert_eq!(error.unwrap_err().to_string(), wanted);
        }
    }

    #[test]
    fn it_agrees_with_the_answer() {
        let view = fixture::view();
        for client in ["5.1.2.0", "3.16.1.0", "36.64.1.0", "36.64.2.0", "10.1.2.0", "8.8.8.0"] {
            for down in [&[][..], &["fra"], &["sin", "iad"], &["fra", "iad", "sin"]] {
                let health = fixture::health(&view, down);
                let it = explain(&view, "www.cdn.example.net", client.parse().unwrap(), &health).unwrap();
                let subnet = fixture::subnet(&format!("{client}/24"));
                let packet = fixture::query_with("www.cdn.example.net", 1, &subnet);
                let request = decode(&packet).unwrap();
                let answer = answer(&request, fixture::NEW_YORK.parse().unwrap(), &view, &health);
                let Outcome::Steered(pop) = answer.outcome else { panic!("{:?}", answer.outcome) };
                let answered = (view.pop(pop).name.clone(), answer.scope, answer.answers[0].ttl);
                assert_eq!((it.pop, it.scope, it.ttl), answered, "{client} with {down:?} down");
            }
        }
    }

    #[test]
    fn it_is_plain_json() {
        let json = serde_json::to_value(explained(fixture::FRANKFURT, &[])).unwrap();
        assert_eq!(json["pop"], "fra");
        assert_eq!(json["ranking"][0]["reason"], "probes");
        assert_eq!(json["location"]["latitude"], 50.1);
    }
}
