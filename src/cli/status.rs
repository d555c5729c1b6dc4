//! `nearcast status`: what each node knows of itself and of the fleet.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{HumanBytes, HumanCount, HumanDuration};
use nearcast_shared::clock::{Clock, Timestamp};
use serde::Deserialize;

use super::client::{self, Call, Client, Nodes};
use super::table::table;
use crate::control::date;

/// Show what each node knows: PoPs and why they are up or down, config, listeners, cache.
///
/// Nodes probe on their own, so they may differ on who is up. Exit code 1: at least one node did not answer; 2: the
/// command line or the config cannot be followed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    nearcast status\n  \
    nearcast status --json | jq -r 'select(.config.last_error) | .pop'")]
pub(super) struct StatusArgs {
    /// Print what each node answers as it is, one line of JSON per node; nodes that do not answer go to standard error.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    nodes: Nodes,
}

/// The status of a node, as far as it is shown. What a newer or older node does not say stays empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    node: String,
    version: String,
    uptime_seconds: u64,
    phase: String,
    says_up: bool,
    says: String,
    config: Config,
    listeners: Listeners,
    geo: Vec<GeoFile>,
    geo_refused: Option<Refused>,
    map: Option<Map>,
    dnssec: Option<Dnssec>,
    pub(super) pops: Vec<Pop>,
    holds_orphaned: Vec<Orphan>,
    cache: Cache,
    fills_running: u64,
    purge_records: u64,
    origins_unreached: Vec<Unreached>,
}

/// The config in force.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    file: String,
    generation: u64,
    loaded: String,
    last_error: Option<String>,
}

/// Bound addresses.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Listeners {
    http: Vec<String>,
    https: Vec<String>,
    dns: Vec<String>,
    dot: Vec<String>,
    doh: Vec<String>,
    doq: Vec<String>,
    admin: String,
}

/// A geo database.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GeoFile {
    path: String,
    database_type: String,
    /// Seconds since the epoch.
    build_epoch: i64,
    ip_version: u16,
    detail: String,
}

/// Geo data that was not taken.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refused {
    at: String,
    why: String,
}

/// The compiled maps.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Map {
    bytes: u64,
    prefixes: u64,
    rankings: u64,
    build_ms: u64,
}

/// Signing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Dnssec {
    zones: u64,
    kept: u64,
    passing: u64,
    first_end: Option<String>,
    clock: Option<String>,
    warnings: Vec<String>,
}

/// A PoP as the node sees it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pop {
    pub(super) name: String,
    pub(super) up: bool,
    pub(super) reason: String,
    pub(super) forced: Option<String>,
    hold: Option<Hold>,
    unsettled: bool,
    origins_unreached: Vec<String>,
    targets: Vec<Target>,
    changes: u64,
    history: Vec<Change>,
}

/// A hold of a PoP that the node does not have.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Orphan {
    pop: String,
    hold: Hold,
}

/// The story of a forced state.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Hold {
    who: Option<String>,
    why: Option<String>,
    /// Seconds since the epoch, like the next one.
    since: Option<i64>,
    until: Option<i64>,
}

/// Once up or down.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Change {
    /// Seconds since the epoch.
    at: i64,
    up: bool,
    why: String,
}

/// A site whose origin the node does not reach.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Unreached {
    site: String,
    why: String,
}

/// One probed address.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Target {
    url: String,
    verdict: String,
    last: Option<String>,
    /// Seconds since the epoch.
    since: Option<i64>,
    /// Good probes in a row that bring it back.
    need: Option<u32>,
}

/// The store.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cache {
    memory_bytes: u64,
    memory_limit: u64,
    memory_entries: u64,
    disk: Option<Disk>,
}

/// The store's disk tier.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Disk {
    state: String,
    state_seconds: f64,
    recovery_seconds: Option<f64>,
    entries: u64,
    bytes: u64,
    limit: u64,
    written_bytes: u64,
    read_bytes: u64,
    queue_bytes: u64,
    dropped: BTreeMap<String, u64>,
    errors: BTreeMap<String, u64>,
}

/// The call that is answered with a [`Status`].
pub(super) fn call() -> Call {
    Call::get("/v1/status")
}

pub(super) fn run(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let client = match args.nodes.client() {
        Ok(client) => client,
        Err(unusable) => return Ok(unusable.exit()),
    };
    if args.json { print_json(&client) } else { print(&client) }
}

fn print(client: &Client) -> anyhow::Result<ExitCode> {
    let now = Clock::System.now();
    let answers = client.ask_all(&call())?;
    Ok(client::print(&answers, |answer| match Status::deserialize(answer) {
        Ok(status) => show(&status, now),
        Err(error) => format!("answered what this version does not understand ({error}); --json shows it"),
    }))
}

fn print_json(client: &Client) -> anyhow::Result<ExitCode> {
    let mut exit = ExitCode::SUCCESS;
    for (node, answer) in client.ask_all(&call())? {
        match answer {
            Ok(value) => println!("{value}"),
            Err(failure) => {
                eprintln!("{}: {failure}", node.name);
                exit = ExitCode::FAILURE;
            }
        }
    }
    Ok(exit)
}

/// The status of one node on several lines.
fn show(status: &Status, now: Timestamp) -> String {
    let uptime = brief(Duration::from_secs(status.uptime_seconds));
    let word = match (status.says_up, status.says.as_str()) {
        (true, _) => "up".to_owned(),
        (false, "") => "DOWN".to_owned(),
        (false, why) => format!("DOWN ({why})"),
    };
    let mut out = format!(
        "node {}, version {}, {} for {uptime}, tells its probers: {word}\n",
        status.node, status.version, status.phase
    );
    for (label, text) in facts(status, now) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(out, "{label:<8}  {}", text.replace('\n', "\n          "));
    }
    out.push_str(&table("", &pops(&status.pops, now)));
    let changes = changes(&status.pops, now);
    if changes.len() > 1 {
        out.push_str(&table("", &changes));
    }
    out
}

fn facts(status: &Status, now: Timestamp) -> Vec<(&'static str, String)> {
    let (config, listeners, cache) = (&status.config, &status.listeners, &status.cache);
    let mut facts =
        vec![("config", format!("{}, generation {}, loaded {}", config.file, config.generation, config.loaded))];
    if let Some(error) = &config.last_error {
        facts.push(("", format!("THE LAST RELOAD WAS REFUSED: {error}")));
    }
    let lists = [
        ("http", &listeners.http),
        ("https", &listeners.https),
        ("dns", &listeners.dns),
        ("dot", &listeners.dot),
        ("doh", &listeners.doh),
        ("doq", &listeners.doq),
    ];
    let lists =
        lists.iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| format!("{name} {}", list.join(" ")));
    let listens: Vec<String> = lists.chain([format!("admin {}", listeners.admin)]).collect();
    facts.push(("listens", listens.join(", ")));
    facts.extend(status.geo.iter().map(|file| ("geo", geo(file))));
    if let Some(refused) = &status.geo_refused {
        facts.push(("", format!("NEW GEO DATA WAS REFUSED at {}: {}", refused.at, refused.why)));
    }
    facts.push(("map", status.map.as_ref().map_or_else(|| "not made yet".to_owned(), map)));
    if let Some(dnssec) = &status.dnssec {
        let end = dnssec.first_end.as_ref().map(|end| format!("; the first ends {end}")).unwrap_or_default();
        let (zones, kept, passing) = (dnssec.zones, HumanCount(dnssec.kept), HumanCount(dnssec.passing));
        facts.push((
            "dnssec",
            format!("{zones} signed zone(s), signatures of {kept} sets and {passing} passing ones kept{end}"),
        ));
        facts.extend(dnssec.clock.iter().map(|what| ("", format!("THE TIME OF DAY IS NOT BELIEVED: {what}"))));
        facts.extend(dnssec.warnings.iter().map(|what| ("", format!("NOT SIGNED AS PLANNED: {what}"))));
    }
    facts.push((
        "cache",
        format!(
            "memory {} of {} in {} entries",
            HumanBytes(cache.memory_bytes),
            HumanBytes(cache.memory_limit),
            HumanCount(cache.memory_entries),
        ),
    ));
    facts.push(("disk", cache.disk.as_ref().map_or_else(|| "none".to_owned(), disk)));
    facts.push(("work", format!("{} fills running, {} purges in force", status.fills_running, status.purge_records)));
    let lost = |origin: &Unreached| ("", format!("THE ORIGIN OF {} IS OUT OF REACH: {}", origin.site, origin.why));
    facts.extend(status.origins_unreached.iter().map(lost));
    let orphan =
        |orphan: &Orphan| ("", format!("{} IS NO POP OF THE CONFIG, BUT {}", orphan.pop, held(&orphan.hold, now)));
    facts.extend(status.holds_orphaned.iter().map(orphan));
    facts
}

fn disk(disk: &Disk) -> String {
    let since = brief(Duration::try_from_secs_f64(disk.state_seconds).unwrap_or_default());
    let recovery = disk.recovery_seconds.map(|seconds| format!(" (found again in {seconds:.1} s)"));
    let mut text = format!(
        "{} for {since}{}: {} of {} in {} entries; {} written, {} read, {} wait",
        disk.state,
        recovery.unwrap_or_default(),
        HumanBytes(disk.bytes),
        HumanBytes(disk.limit),
        HumanCount(disk.entries),
        HumanBytes(disk.written_bytes),
        HumanBytes(disk.read_bytes),
        HumanBytes(disk.queue_bytes),
    );
    for (label, counts) in [("not written", &disk.dropped), ("errors", &disk.errors)] {
        let some: Vec<String> =
            counts.iter().filter(|(_, n)| **n > 0).map(|(what, n)| format!("{what} {}", HumanCount(*n))).collect();
        if !some.is_empty() {
            // Writing to a String cannot fail.
            let _infallible = write!(text, "\n{label}: {}", some.join(", "));
        }
    }
    text
}

fn geo(file: &GeoFile) -> String {
    let built = date(Timestamp::from_seconds(file.build_epoch));
    let day = built.split('T').next().unwrap_or_default();
    let versions = if file.ip_version == 4 { "IPv4" } else { "IPv4 and IPv6" };
    let lacks = match file.detail.as_str() {
        "country" => ", countries without coordinates",
        "nothing" => ", nothing of use",
        _ => "",
    };
    format!("{}: {}, {versions}, built {day}{lacks}", file.path, file.database_type)
}

fn map(map: &Map) -> String {
    format!(
        "{} in {} prefixes, {} rankings, made in {:.1} s",
        HumanBytes(map.bytes),
        HumanCount(map.prefixes),
        HumanCount(map.rankings),
        Duration::from_millis(map.build_ms).as_secs_f64()
    )
}

fn pops(pops: &[Pop], now: Timestamp) -> Vec<[String; 5]> {
    let mut rows = vec![["PoP", "state", "because", "forced", "probed"].map(str::to_owned)];
    for pop in pops {
        let state = if pop.up { "up" } else { "DOWN" };
        let state = if pop.unsettled { format!("{state}, unsettled") } else { state.to_owned() };
        let forced = pop.forced.clone().unwrap_or_else(|| "-".to_owned());
        let mut head = [pop.name.clone(), state, pop.reason.clone(), forced];
        let held = pop.hold.iter().map(|hold| held(hold, now));
        let mut targets: Vec<String> = held.chain(pop.targets.iter().map(|target| probed(target, now))).collect();
        if targets.is_empty() {
            targets.push("-".to_owned());
        }
        if !pop.origins_unreached.is_empty() {
            targets.push(format!("does not reach the origin of {}", pop.origins_unreached.join(", ")));
        }
        for target in targets {
            let [name, state, reason, forced] = std::mem::take(&mut head);
            rows.push([name, state, reason, forced, target]);
        }
    }
    rows
}

/// An operator's word: since when, until when, by whom and what for.
fn held(hold: &Hold, now: Timestamp) -> String {
    let parts = [
        Some("held".to_owned()),
        hold.since.map(|since| format!("for {}", ago(since, now))),
        hold.until.map(|until| format!("ends in {}", brief(Timestamp::from_seconds(until).since(now)))),
        hold.who.as_ref().map(|who| format!("by {who}")),
        hold.why.as_ref().map(|why| format!("({why})")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// The newest changes of each PoP.
fn changes(pops: &[Pop], now: Timestamp) -> Vec<[String; 5]> {
    const SHOWN: usize = 3;
    let mut rows = vec![["changes", "in all", "to", "ago", "because"].map(str::to_owned)];
    for pop in pops {
        let mut head = [pop.name.clone(), pop.changes.to_string()];
        for change in pop.history.iter().take(SHOWN) {
            let [name, count] = std::mem::take(&mut head);
            let to = if change.up { "up" } else { "DOWN" };
            rows.push([name, count, to.to_owned(), ago(change.at, now), change.why.clone()]);
        }
    }
    rows
}

fn ago(seconds: i64, now: Timestamp) -> String {
    brief(now.since(Timestamp::from_seconds(seconds)))
}

fn probed(target: &Target, now: Timestamp) -> String {
    let since = target.since.map(|since| format!(" for {}", ago(since, now)));
    let last = target.last.as_deref().unwrap_or("not yet probed");
    let need = target.need.map(|need| format!("; {need} good ones bring it back"));
    format!("{} {}{} ({last}{})", target.url, target.verdict, since.unwrap_or_default(), need.unwrap_or_default())
}

fn brief(duration: Duration) -> String {
    format!("{:#}", HumanDuration(duration))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sample() -> Value {
        json!({
            "pop": "fra", "node": "3f2a9c01", "version": "0.1.0", "uptime_seconds": 12, "phase": "running",
            "says_up": true,
            "config": { "file": "/etc/nearcast.toml", "generation": 2, "loaded": "2026-11-22T10:00:00.000Z",
                        "last_error": "/etc/nearcast.toml:3: pop: a\n/etc/nearcast.toml:4: pop: b" },
            "listeners": { "http": ["127.0.0.1:8080"], "https": [], "dns": ["127.0.0.1:5300", "[::1]:5300"],
                           "admin": "127.0.0.1:9053" },
            "geo": [{ "path": "built-in", "database_type": "DBIP-City-Lite", "build_epoch": 1_795_305_600_i64,
                      "ip_version": 6, "detail": "country" }],
            "geo_refused": { "at": "2026-11-22T11:00:00.000Z", "why": "City.mmdb was built 3.0 days before" },
            "map": { "bytes": 3_145_728, "prefixes": 250_000, "rankings": 37, "build_ms": 1_234 },
            "pops": [
                { "name": "fra", "up": true, "reason": "probes", "forced": null, "targets": [
                    { "url": "http://192.0.2.1:8080/", "verdict": "up", "last": "ok", "since": 90 },
                    { "url": "http://[2001:db8::1]:8080/", "verdict": "unknown", "last": null, "since": null }] },
                { "name": "iad", "up": false, "reason": "forced", "forced": "drain", "targets": [],
                  "hold": { "state": "drain", "who": "ann@desk", "why": "the switch", "since": 40, "until": 160 },
                  "unsettled": true, "origins_unreached": ["www"], "changes": 5, "history": [
                    { "at": 40, "up": false, "why": "drain by ann@desk: the switch" }, { "at": 30, "up": true, "why": "a" },
                    { "at": 20, "up": false, "why": "b" }, { "at": 10, "up": true, "why": "c" }] },
                { "name": "sin", "up": false, "reason": "probes", "forced": null, "targets": [
                    { "url": "tcp://192.0.2.3:443", "verdict": "down", "last": "timed out", "since": 90, "need": 4 }] }
            ],
            "holds_orphaned": [{ "pop": "gru", "hold": { "state": "drain", "since": 40 } }],
            "origins_unreached": [{ "site": "www", "why": "the origin refused the connection" }],
            "cache": { "memory_bytes": 1_572_864, "memory_limit": 268_435_456, "memory_entries": 1234,
                       "disk": { "state": "ready", "state_seconds": 61.2, "recovery_seconds": 0.234, "entries": 5,
                                 "bytes": 1_048_576, "limit": 10_485_760, "written_bytes": 0, "read_bytes": 0,
                                 "queue_bytes": 0, "dropped": { "seen-once": 7, "queue-full": 0 },
                                 "errors": { "full": 0 } } },
            "fills_running": 1, "purge_records": 3
        })
    }

    #[test]
    fn a_node_in_full() {
        let status = Status::deserialize(&sample()).unwrap();
        let wanted = "\
node 3f2a9c01, version 0.1.0, running for 12s, tells its probers: up
config    /etc/nearcast.toml, generation 2, loaded 2026-11-22T10:00:00.000Z
          THE LAST RELOAD WAS REFUSED: /etc/nearcast.toml:3: pop: a
          /etc/nearcast.toml:4: pop: b
listens   http 127.0.0.1:8080, dns 127.0.0.1:5300 [::1]:5300, admin 127.0.0.1:9053
geo       built-in: DBIP-City-Lite, IPv4 and IPv6, built 2026-11-22, countries without coordinates
          NEW GEO DATA WAS REFUSED at 2026-11-22T11:00:00.000Z: City.mmdb was built 3.0 days before
map       3.00 MiB in 250,000 prefixes, 37 rankings, made in 1.2 s
cache     memory 1.50 MiB of 256.00 MiB in 1,234 entries
disk      ready for 61s (found again in 0.2 s): 1.00 MiB of 10.00 MiB in 5 entries; 0 B written, 0 B read, 0 B wait
          not written: seen-once 7
work      1 fills running, 3 purges in force
          THE ORIGIN OF www IS OUT OF REACH: the origin refused the connection
          gru IS NO POP OF THE CONFIG, BUT held for 60s
PoP  state            because  forced  probed
fra  up               probes   -       http://192.0.2.1:8080/ up for 10s (ok)
                                       http://[2001:db8::1]:8080/ unknown (not yet probed)
iad  DOWN, unsettled  forced   drain   held for 60s ends in 60s by ann@desk (the switch)
                                       does not reach the origin of www
sin  DOWN             probes   -       tcp://192.0.2.3:443 down for 10s (timed out; 4 good ones bring it back)
changes  in all  to    ago  because
iad      5       DOWN  60s  drain by ann@desk: the switch
                 up    70s  a
                 DOWN  80s  b
";
        assert_eq!(show(&status, Timestamp::from_seconds(100)), wanted);
    }

    #[test]
    fn another_version_is_shown_as_far_as_it_goes() {
        let status = Status::deserialize(&json!({ "node": "a", "news": [1], "pops": [{ "name": "fra" }] })).unwrap();
        assert!(show(&status, Timestamp(0)).starts_with("node a, version ,"));
        assert!(Status::deserialize(&json!({ "pops": 1 })).is_err());
    }
}
