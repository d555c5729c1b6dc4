//! `nearcast explain`: which PoP a client gets, or what the cache does with a URL, and why.

use std::fmt::Write;
use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use nearcast_dns::{DnsMetrics, View};
use nearcast_shared::clock::Clock;
use nearcast_shared::config::Config;
use nearcast_shared::metrics::Metrics;
use nearcast_shared::pop::PopId;
use serde::Deserialize;
use serde_json::Value;

use super::client::{Answers, Call, Nodes, encode};
use super::explain_url;
use super::run::BAD_CONFIG;
use super::table::table;
use crate::reload;

/// Say which PoP a client is sent to, or what the cache does with a URL, and why.
///
/// With a name and an address: which PoP that client gets. With a URL: what becomes of a GET of it now, what is stored for
/// it, and which directive or rule of the site decided; nothing is fetched.
///
/// Asks the first node that answers; others may see the health of the fleet differently. With --offline no node is asked:
/// the answer comes from the config here, as the node of --pop would give it while all PoPs are up but those of --down. Exit code 1: no node
/// answered, or there is nothing to explain; 2: the command line or the config cannot be followed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    nearcast explain www.cdn.example.net 193.0.0.1\n  \
    nearcast explain www.cdn.example.net 2001:db8::1 --offline --config new.toml --pop fra --down iad\n  \
    nearcast explain https://www.cdn.example.net/logo.png -H 'accept-encoding: br'")]
pub(super) struct ExplainArgs {
    /// The name that the client asks for, or a URL of http:// or https://.
    name: String,
    /// The client's address; its resolver's, if that sends no client subnet. With a URL only its country may matter.
    ip: Option<IpAddr>,
    /// With a URL: a field of the request, as `name: value`; as often as needed.
    #[arg(short = 'H', long = "field", value_name = "FIELD")]
    fields: Vec<String>,
    /// Print the explanation as JSON.
    #[arg(long)]
    json: bool,
    /// Ask no node: compile the config and suppose that all PoPs are up.
    #[arg(long)]
    offline: bool,
    /// With --offline: suppose that this PoP is down; as often as needed.
    #[arg(long, value_name = "POP", requires = "offline")]
    down: Vec<String>,
    #[command(flatten)]
    nodes: Nodes,
}

/// The explanation, as far as it is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Shown {
    name: String,
    client: String,
    location: Option<Location>,
    precision: String,
    country: Option<String>,
    subdivision: Option<String>,
    asn: Option<u32>,
    unknown: Option<String>,
    policy: String,
    rule: Option<String>,
    measured_from: String,
    ranking: Vec<Ranked>,
    pop: Option<String>,
    addresses: Vec<String>,
    cname: Option<String>,
    scope: u8,
    ttl: u32,
    why: String,
}

/// In degrees.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Location {
    latitude: f64,
    longitude: f64,
}

/// A PoP of the ranking.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Ranked {
    name: String,
    distance_km: Option<f64>,
    /// 0 from a node that does not know of groups.
    group: u16,
    up: bool,
    reason: String,
    reaches_origin: bool,
}

impl Default for Ranked {
    /// Who does not say that a PoP fails to reach the origin does not mean it.
    fn default() -> Self {
        Self {
            name: String::new(),
            distance_km: None,
            group: 0,
            up: false,
            reason: String::new(),
            reaches_origin: true,
        }
    }
}

pub(super) fn run(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    if let Some(mistake) = args.mistake() {
        eprintln!("{mistake}");
        return Ok(ExitCode::from(BAD_CONFIG));
    }
    if args.offline { offline(&args) } else { online(&args) }
}

fn online(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let client = match args.nodes.client() {
        Ok(client) => client,
        Err(unusable) => return Ok(unusable.exit()),
    };
    Ok(finish(client.ask_first(&call(args))?, args.json))
}

fn call(args: &ExplainArgs) -> Call {
    let what = if args.is_url() { "url" } else { "name" };
    let mut target = format!("/v1/explain?{what}={}", encode(&args.name));
    args.ip.iter().for_each(|ip| target.push_str(&format!("&ip={}", encode(&ip.to_string()))));
    args.fields.iter().for_each(|field| target.push_str(&format!("&field={}", encode(field))));
    Call::get(target)
}

impl ExplainArgs {
    fn is_url(&self) -> bool {
        self.name.starts_with("http://") || self.name.starts_with("https://")
    }

    /// What does not go together on the command line.
    fn mistake(&self) -> Option<&'static str> {
        match (self.is_url(), self.ip) {
            (true, _) if self.offline => Some("what is cached only a node knows: leave out --offline"),
            (false, None) => Some("give the client's address, too, or a URL such as https://www.example.net/a"),
            (false, Some(_)) if !self.fields.is_empty() => Some("--field goes with a URL"),
            _ => None,
        }
    }
}

/// The last answer is the one that counts.
fn finish(answers: Answers<'_>, json: bool) -> ExitCode {
    let mut exit = ExitCode::FAILURE;
    for (node, answer) in answers {
        match answer {
            Ok(value) => {
                print(&value, json, &format!("{} says", node.name));
                exit = ExitCode::SUCCESS;
            }
            Err(failure) => eprintln!("{}: {failure}", node.name),
        }
    }
    exit
}

fn offline(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let client = args.ip.context("there is no address to explain")?;
    let config = match args.nodes.config() {
        Ok(config) => config,
        Err(unusable) => return Ok(unusable.exit()),
    };
    let view = match compile(&config) {
        Ok(view) => view,
        Err(error) => {
            eprintln!("{}: {error:#}", config.file.display());
            return Ok(ExitCode::from(BAD_CONFIG));
        }
    };
    let down = match pops_named(&config, &args.down) {
        Ok(down) => down,
        Err(mistake) => {
            eprintln!("{mistake}");
            return Ok(ExitCode::from(BAD_CONFIG));
        }
    };
    let health = nearcast_dns::supposed(&config.pops, &down);
    let explained = nearcast_dns::explain(&view, &args.name, client, &health, Clock::System.now());
    let value = serde_json::to_value(explained?)?;
    let state = match args.down.as_slice() {
        [] => "if all PoPs are up".to_owned(),
        down => format!("if all PoPs but {} are up", down.join(", ")),
    };
    let source = format!("{} says, {state}", config.file.display());
    print(&value, args.json, &source);
    Ok(ExitCode::SUCCESS)
}

/// The PoPs of these names.
pub(super) fn pops_named(config: &Config, names: &[String]) -> anyhow::Result<Vec<PopId>> {
    let known = || config.pops.iter().map(|pop| pop.name.as_str()).collect::<Vec<_>>().join(", ");
    let named = |name: &String| {
        config.pop_named(name).with_context(|| format!("no [[pop]] is named `{name}`; there are: {}", known()))
    };
    names.iter().map(named).collect()
}

/// What DNS knows by `config`.
pub(super) fn compile(config: &Config) -> anyhow::Result<View> {
    let geo = reload::load_geo(config)?;
    Ok(View::compile(config, geo.into(), &DnsMetrics::register(&Metrics::new()))?)
}

fn print(value: &Value, json: bool, source: &str) {
    if let Some(text) = explain_url::show(value, source).filter(|_| !json) {
        print!("{text}");
        return;
    }
    match Shown::deserialize(value) {
        Ok(shown) if !json => print!("{}", show(&shown, source)),
        // Another version's words are shown as they are.
        Ok(_) | Err(_) => println!("{value}"),
    }
}

fn show(it: &Shown, source: &str) -> String {
    let mut out = format!("{} for {}, {source}:\n", it.name, it.client);
    let mut fact = |label: &str, text: &str| {
        // Writing to a String cannot fail.
        let _infallible = writeln!(out, "  {label:<8}  {text}");
    };
    fact("located", &located(it));
    if let Some(asn) = it.asn {
        fact("network", &format!("AS{asn}"));
    }
    if !it.policy.is_empty() {
        let rule = it.rule.as_ref().map(|rule| format!(", rule `{rule}`")).unwrap_or_default();
        fact("policy", &format!("{}{rule}", it.policy));
    }
    fact("answer", &answered(it));
    fact("kept", &format!("for {} s, by everybody in its /{}", it.ttl, it.scope));
    fact("why", &it.why);
    fact(
        "ranking",
        &format!("distances from {}", if it.measured_from == "client" { "the client" } else { &it.measured_from }),
    );
    out.push_str(&table("    ", &ranking(it)));
    out
}

fn answered(it: &Shown) -> String {
    let what = match (&it.cname, it.addresses.as_slice()) {
        (Some(name), _) => format!("CNAME {name}"),
        (None, []) => "no addresses".to_owned(),
        (None, addresses) => addresses.join(", "),
    };
    match &it.pop {
        Some(pop) => format!("{pop}: {what}"),
        None => format!("no PoP: {what}"),
    }
}

fn located(it: &Shown) -> String {
    let place = it.subdivision.as_deref().or(it.country.as_deref());
    let place = place.map(|place| format!(" ({place})")).unwrap_or_default();
    match (&it.location, &it.unknown) {
        (Some(at), _) if it.precision == "country" => {
            format!("{:.2}, {:.2}{place}: the middle of the country, all that is known", at.latitude, at.longitude)
        }
        (Some(at), _) => format!("{:.2}, {:.2}{place}", at.latitude, at.longitude),
        (None, Some(reason)) => format!("nowhere{place}: {reason}"),
        (None, None) => format!("nowhere{place}"),
    }
}

/// Places are counted by PoPs; equals have that of their group in brackets, if any PoP has an equal.
fn ranking(it: &Shown) -> Vec<[String; 5]> {
    let has_equal = |group: u16| group > 0 && it.ranking.iter().filter(|pop| pop.group == group).count() > 1;
    let some_are_equal = it.ranking.iter().any(|pop| has_equal(pop.group));
    let row = |(place, pop): (usize, &Ranked)| {
        let distance = pop.distance_km.map_or("-".to_owned(), |km| format!("{km:.0} km"));
        let chosen = if it.pop.as_ref() == Some(&pop.name) { "<- chosen" } else { "" };
        let origin = if pop.reaches_origin { "" } else { ", does not reach the origin" };
        let state = format!("{} ({}){origin}", if pop.up { "up" } else { "DOWN" }, pop.reason);
        let place = if some_are_equal { format!("{}. [{}]", place + 1, pop.group) } else { format!("{}.", place + 1) };
        [place, pop.name.clone(), format!("{distance:>9}"), state, chosen.to_owned()]
    };
    it.ranking.iter().enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        explain: ExplainArgs,
    }

    fn parse(name: &str, ip: &str) -> Option<ExplainArgs> {
        Line::try_parse_from(["nearcast", name, ip]).ok().map(|line| line.explain)
    }

    #[test]
    fn a_url_and_its_fields() {
        let args = |words: &[&str]| Line::try_parse_from([&["nearcast"], words].concat()).unwrap().explain;
        let url = args(&["https://www.test/a?b", "-H", "accept: a/b"]);
        assert_eq!(call(&url), Call::get("/v1/explain?url=https%3A%2F%2Fwww.test%2Fa%3Fb&field=accept%3A%20a%2Fb"));
        assert_eq!(url.mistake(), None);
        assert!(args(&["www.test"]).mistake().is_some(), "a name alone");
        assert!(args(&["https://www.test/", "--offline"]).mistake().is_some());
        assert!(args(&["www.test", "192.0.2.1", "-H", "a: b"]).mistake().is_some());
    }

    #[test]
    fn the_question_is_encoded() {
        let wanted = Call::get("/v1/explain?name=www.cdn.example.net&ip=2001%3Adb8%3A%3A1");
        assert_eq!(call(&parse("www.cdn.example.net", "2001:db8::1").unwrap()), wanted);
        assert_eq!(call(&parse("a&ip=b", "192.0.2.1").unwrap()), Call::get("/v1/explain?name=a%26ip%3Db&ip=192.0.2.1"));
        assert!(parse("www", "192.0.2").is_none());
    }

    #[test]
    fn a_whole_explanation() {
        let value = json!({
            "name": "www.cdn.example.net", "client": "193.0.0.1",
            "location": { "latitude": 52.5, "longitude": 5.0 }, "country": "NL", "unknown": null,
            "measured_from": "client",
            "ranking": [
                { "name": "fra", "distance_km": 363.6, "up": false, "reason": "probes" },
                { "name": "iad", "distance_km": 6207.1, "up": true, "reason": "probes" },
                { "name": "new", "distance_km": null, "up": true, "reason": "first-round" }
            ],
            "pop": "iad", "addresses": ["192.0.2.1", "2001:db8::1"], "scope": 21, "ttl": 30, "why": "Because."
        });
        let wanted = "\
www.cdn.example.net for 193.0.0.1, fra says:
  located   52.50, 5.00 (NL)
  answer    iad: 192.0.2.1, 2001:db8::1
  kept      for 30 s, by everybody in its /21
  why       Because.
  ranking   distances from the client
    1.  fra     364 km  DOWN (probes)
    2.  iad    6207 km  up (probes)       <- chosen
    3.  new          -  up (first-round)
";
        assert_eq!(show(&Shown::deserialize(&value).unwrap(), "fra says"), wanted);
    }

    #[test]
    fn policies_groups_and_what_is_answered_instead() {
        let value = json!({
            "name": "www.cdn.example.net", "client": "193.0.0.1",
            "location": { "latitude": 52.5, "longitude": 5.0 }, "country": "NL", "subdivision": "NL-NH", "asn": 3333,
            "policy": "europe", "rule": "office", "measured_from": "client",
            "ranking": [
                { "name": "fra", "distance_km": 363.6, "group": 1, "up": true, "reason": "probes", "reaches_origin": false },
                { "name": "ams", "distance_km": 12.0, "group": 1, "up": true, "reason": "probes", "reaches_origin": true },
                { "name": "iad", "distance_km": 6207.1, "group": 2, "up": true, "reason": "probes" }
            ],
            "pop": "ams", "cname": "lb.example.com", "addresses": [], "scope": 24, "ttl": 5, "why": "Because."
        });
        let wanted = "\
www.cdn.example.net for 193.0.0.1, fra says:
  located   52.50, 5.00 (NL-NH)
  network   AS3333
  policy    europe, rule `office`
  answer    ams: CNAME lb.example.com
  kept      for 5 s, by everybody in its /24
  why       Because.
  ranking   distances from the client
    1. [1]  fra     364 km  up (probes), does not reach the origin
    2. [1]  ams      12 km  up (probes)                             <- chosen
    3. [2]  iad    6207 km  up (probes)
";
        assert_eq!(show(&Shown::deserialize(&value).unwrap(), "fra says"), wanted);
        let nobody = |addresses: &[&str]| Shown::deserialize(&json!({ "pop": null, "addresses": addresses })).unwrap();
        assert_eq!(answered(&nobody(&[])), "no PoP: no addresses");
        assert_eq!(answered(&nobody(&["192.0.2.99"])), "no PoP: 192.0.2.99");
    }

    #[test]
    fn a_client_without_a_place() {
        let value = json!({ "unknown": "no geo data is loaded", "measured_from": "sin" });
        let shown = show(&Shown::deserialize(&value).unwrap(), "fra says");
        assert!(shown.contains("located   nowhere: no geo data is loaded\n"), "{shown}");
        assert!(shown.contains("ranking   distances from sin\n"), "{shown}");
        let at = json!({ "latitude": 50.29, "longitude": 9.39 });
        let value = json!({ "location": at, "precision": "country", "country": "DE" });
        let shown = show(&Shown::deserialize(&value).unwrap(), "offline");
        assert!(
            shown.contains("located   50.29, 9.39 (DE): the middle of the country, all that is known\n"),
            "{shown}"
        );
    }
}
