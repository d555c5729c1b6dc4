//! A thread that remembers says and counts what one says and counts that does not.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use nearcast_shared::clock::Clock;
use nearcast_shared::health::{Forced, HealthBoard};
use nearcast_shared::metrics::Metrics;
use proptest::prelude::*;

use super::*;
use crate::dnssec::{Algorithm, Key, Keys, SignatureMetrics, Times, write};
use crate::fixture;
use crate::log::QueryLog;
use crate::map::Maps;
use crate::metrics::DnsMetrics;
use crate::texts::Text;

/// Steered names of every kind, and what else a zone has.
const CONFIG: &str = r#"
explain-to = ["5.1.2.3"]
[[pop]]
name = "fra"
location = [50.03, 8.57]
addresses = ["192.0.2.10", "192.0.2.11", "2001:db8:1::10"]
probe = false
[[pop]]
name = "iad"
location = [38.94, -77.46]
addresses = ["198.51.100.10", "2001:db8:2::10"]
probe = false
[[pop]]
name = "sin"
location = [1.36, 103.99]
addresses = ["203.0.113.10"]
probe = false
[[policy]]
name = "random"
order = "weighted"
pick = "random"
[[policy]]
name = "sticky"
order = "weighted"
pick = "sticky"
answers = 2
[[policy]]
name = "rotate"
rotate = true
[[policy]]
name = "nobody"
all-down = "nodata"
[[policy]]
name = "failing"
all-down = "servfail"
[[zone]]
name = "cdn.test"
nameservers = ["ns1.cdn.test"]
ttl = 3
[[zone.record]]
name = "a"
type = "A"
data = "192.0.2.1"
[[zone.record]]
name = "*.w"
type = "TXT"
data = "\"wild\""
[[zone.record]]
name = "to-a"
type = "CNAME"
data = "a"
[[zone.record]]
name = "to-www"
type = "CNAME"
data = "www"
[[zone.record]]
name = "to-why"
type = "CNAME"
data = "_explain.www"
[[zone.record]]
name = "child"
type = "NS"
data = "ns.child"
[[zone.record]]
name = "ns.child"
type = "A"
data = "192.0.2.9"
[[zone.steered]]
name = "random"
policy = "random"
[[zone.steered]]
name = "sticky"
policy = "sticky"
[[zone.steered]]
name = "rotate"
policy = "rotate"
[[zone.steered]]
name = "nobody"
policy = "nobody"
[[zone.steered]]
name = "failing"
policy = "failing"
[[zone]]
name = "signed.test"
nameservers = ["ns1.signed.test"]
dnssec = true
[[site]]
domains = ["www.cdn.test", "www.signed.test"]
origin = "http://127.0.0.1:1"
https-record = false
[[site]]
domains = ["blind.cdn.test"]
origin = "http://127.0.0.1:1"
ecs = false
"#;

const NAMES: &[&str] = &[
    "a.cdn.test",
    "www.cdn.test",
    "blind.cdn.test",
    "random.cdn.test",
    "sticky.cdn.test",
    "rotate.cdn.test",
    "nobody.cdn.test",
    "failing.cdn.test",
    "cdn.test",
    "to-a.cdn.test",
    "to-www.cdn.test",
    "to-why.cdn.test",
    "x.w.cdn.test",
    "x.child.cdn.test",
    "no.cdn.test",
    "proof.cdn.test",
    "_explain.www.cdn.test",
    "www.signed.test",
    "signed.test",
    "no.signed.test",
    "www.example.com",
];
const QTYPES: &[u16] = &[1, 28, 16, 255, 48, 251];
/// Two in one network, one far away, and one of IPv6.
const PEERS: &[&str] = &["5.1.2.3:53", "5.1.2.9:1053", "3.16.1.2:4000", "[2600:1::1]:53"];
const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// What is behind a question.
fn tails() -> Vec<Option<(bool, Vec<u8>)>> {
    let subnet = |network: &str| Some((false, fixture::subnet(network)));
    vec![
        None,
        Some((false, Vec::new())),
        Some((true, Vec::new())),
        subnet("5.1.2.0/24"),
        subnet("3.16.1.0/24"),
        subnet("10.0.0.0/8"),
        subnet("2600:1::/48"),
        Some((true, fixture::subnet("5.1.2.0/24"))),
        Some((false, vec![0, 8, 0, 4, 0, 1, 0, 0])),
        Some((false, vec![0, 8, 0, 4, 0, 1, 24, 0])),
        Some((false, vec![0, 3, 0, 0])),
        Some((false, vec![0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8])),
        Some((false, vec![0, 11, 0, 0, 0, 12, 0, 2, 0, 0])),
    ]
}

/// A query, but for its id.
#[derive(Debug, Clone)]
struct Query {
    name: usize,
    qtype: usize,
    tail: usize,
    capitals: bool,
    /// The byte with opcode and RD.
    flags: u8,
    class: u8,
    /// Bytes behind its end.
    surplus: bool,
}

impl Query {
    fn packet(&self, id: u16) -> Vec<u8> {
        let name = NAMES[self.name];
        let name = if self.capitals { name.to_uppercase() } else { name.to_owned() };
        let mut packet = fixture::query(&name, QTYPES[self.qtype]);
        packet[..2].copy_from_slice(&id.to_be_bytes());
        packet[2] = self.flags;
        *packet.last_mut().unwrap() = self.class;
        if let Some((dnssec_ok, options)) = &tails()[self.tail] {
            packet[11] = 1;
            packet.extend([0, 0, 41, 4, 208, 0, 0, u8::from(*dnssec_ok) << 7, 0, 0, options.len() as u8]);
            packet.extend(options);
        }
        packet.extend(self.surplus.then_some(7));
        packet
    }
}

/// What happens between two queries.
#[derive(Debug, Clone)]
enum Step {
    /// So many times, each from the next peer and with the next id.
    Ask { query: Query, peer: usize, spread: bool, times: u8, id: u16 },
    /// A PoP is held in a state, or no longer.
    Hold(usize, Option<bool>),
    /// Another config comes into force, of so many; with the fleet's health or, for a moment, without.
    Reload(u8, bool),
    /// The view gets its maps.
    Map,
    /// So many milliseconds pass, or the clock is set back.
    Clock(i64),
    /// A text, for so many milliseconds, or none.
    Text(Option<i64>),
}

fn query() -> impl Strategy<Value = Query> {
    let usual = |often: u32, usual: u8, others: [u8; 2]| prop_oneof![often => Just(usual), 1 => Just(others[0]), 1 => Just(others[1])];
    let qtype = prop_oneof![4 => Just(0), 4 => 0..QTYPES.len()];
    let flags = usual(10, 1, [0, 0x29]);
    (0..NAMES.len(), qtype, 0..tails().len(), any::<bool>(), flags, usual(20, 1, [3, 255]), prop::bool::weighted(0.1))
        .prop_map(|(name, qtype, tail, capitals, flags, class, surplus)| Query {
            name,
            qtype,
            tail,
            capitals,
            flags,
            class,
            surplus,
        })
}

/// Mostly queries, of which there are few, so that they come again.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(query(), 1..6).prop_flat_map(|queries| {
        let ask = (prop::sample::select(queries), 0..PEERS.len(), any::<bool>(), 1u8..5, any::<u16>())
            .prop_map(|(query, peer, spread, times, id)| Step::Ask { query, peer, spread, times, id });
        let step = prop_oneof![
            12 => ask,
            2 => (0usize..3, any::<Option<bool>>()).prop_map(|(pop, up)| Step::Hold(pop, up)),
            1 => (0u8..4, any::<bool>()).prop_map(|(number, whole)| Step::Reload(number, whole)),
            1 => Just(Step::Map),
            2 => (-700i64..2500).prop_map(Step::Clock),
            1 => proptest::option::of(1i64..3000).prop_map(Step::Text),
        ];
        prop::collection::vec(step, 10..60)
    })
}

/// A node, or what of it answers.
struct Node {
    plane: Plane,
    registry: Metrics,
}

/// Two nodes that know the same, one of which remembers.
struct Pair {
    nodes: [Node; 2],
    desks: [Desk; 2],
    keys: Keys,
    clock: Clock,
    maps: Option<Arc<Maps>>,
}

fn config(number: u8) -> nearcast_shared::config::Config {
    let (dns, changed) = match number {
        0 => ("nsid = \"x\"", CONFIG.to_owned()),
        1 => ("udp-size-without-cookie = 512", CONFIG.replace("192.0.2.1\"", "192.0.2.2\"")),
        2 => ("cookies.on = false", CONFIG.replace("198.51.100.10", "198.51.100.12")),
        _ => ("rate-limit = { answers = 1, slip = 2 }", CONFIG.to_owned()),
    };
    fixture::config(&format!("[dns]\ndnssec.keys = \"unread\"\n{dns}\n{changed}"), "sin")
}

impl Pair {
    fn new(remembered: usize) -> Self {
        let clock = Clock::manual(NOW);
        let config = config(0);
        let folder = tempfile::tempdir().unwrap();
        let since = Some(Timestamp(0));
        let times = Times { created: since, publish: since, activate: since, offer: since, ..Times::default() };
        let zone = crate::name::Name::parse("signed.test").unwrap();
        write(folder.path(), &Key::generate(&zone, Algorithm::EcdsaP256, times).unwrap()).unwrap();
        let mut reading = config.clone();
        reading.dnssec.keys = folder.path().to_owned();
        let keys = Keys::load(&reading, &SignatureMetrics::register(&Metrics::new()), NOW).unwrap();
        let (signers, health) = (fixture::signers_by(clock.clone()), HealthBoard::new(&config, None, &clock).unwrap());
        signers.use_keys(&keys);
        let texts = Arc::<ArcSwap<Texts>>::default();
        let nodes = [(); 2].map(|()| {
            let registry = Metrics::new();
            let metrics = Arc::new(DnsMetrics::register(&registry));
            let view = View::compile(&config, fixture::geo(), &metrics).unwrap().with_keys(keys.clone());
            let manners = Manners::new(&config, crate::manners::Seed([3; 32]), None);
            let plane = Plane {
                view: Arc::new(ArcSwap::from_pointee(view)),
                health: health.clone(),
                texts: texts.clone(),
                manners: Arc::new(ArcSwap::from_pointee(manners)),
                log: QueryLog::off(),
                signers: signers.clone(),
                metrics,
                clock: clock.clone(),
            };
            Node { plane, registry }
        });
        Self { nodes, desks: [Desk::of_thread(remembered), Desk::of_thread(0)], keys, clock, maps: None }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Ask { query, peer, spread, times, id } => {
                for turn in 0..*times {
                    let peer = PEERS[(peer + usize::from(*spread) * usize::from(turn)) % PEERS.len()];
                    let _reply = self.ask(&query.packet(id.wrapping_add(turn.into())), peer);
                }
            }
            Step::Hold(pop, up) => {
                let hold = up.map(|up| if up { Forced::Up } else { Forced::Down }.into());
                self.health().force(["fra", "iad", "sin"][*pop], hold).unwrap();
            }
            Step::Reload(number, whole) => {
                let config = config(*number);
                if *whole {
                    self.health().reconfigure(&config);
                }
                for Node { plane, .. } in &self.nodes {
                    let view = View::compile(&config, fixture::geo(), &plane.metrics).unwrap();
                    plane.view.store(Arc::new(view.with_keys(self.keys.clone())));
                    let manners = Manners::new(&config, crate::manners::Seed([3; 32]), None);
                    plane.manners.store(Arc::new(manners));
                }
                self.maps = None;
            }
            Step::Map => {
                for Node { plane, .. } in &self.nodes {
                    let view = plane.view.load();
                    let maps = self.maps.get_or_insert_with(|| view.build_maps(&AtomicBool::new(false)).unwrap());
                    view.use_maps(maps.clone());
                }
            }
            Step::Clock(ms) => {
                self.clock.advance(*ms);
                self.health().tick();
            }
            Step::Text(ms) => {
                let of = |name: &str, ms: &i64| Text {
                    name: name.to_owned(),
                    value: "proof".to_owned(),
                    ttl: 1,
                    until: Timestamp(self.clock.now().0 + ms),
                };
                let texts: Vec<Text> =
                    ms.iter().flat_map(|ms| [of("proof.cdn.test", ms), of("x.no.cdn.test", ms)]).collect();
                self.nodes[0].plane.texts.store(Arc::new(Texts::new(&texts)));
            }
        }
    }

    fn health(&self) -> &HealthBoard {
        &self.nodes[0].plane.health
    }

    /// What both answer.
    fn ask(&mut self, packet: &[u8], peer: &str) -> Option<Vec<u8>> {
        let Self { nodes, desks, .. } = self;
        let mut said = nodes.iter().zip(desks).map(|(Node { plane, .. }, desk)| {
            let mut reply = Vec::new();
            Sitting::new(plane, desk).respond(packet, peer.parse().unwrap(), &mut reply).is_ok().then_some(reply)
        });
        let (remembering, making) = (said.next().unwrap(), said.next().unwrap());
        assert_eq!(remembering, making, "{packet:?} of {peer}");
        making
    }

    fn remembered(&self) -> u64 {
        self.nodes[0].plane.metrics.remembered().get()
    }

    /// Whether that is answered from memory when it is asked for often.
    fn remembers(&mut self, packet: &[u8], peers: [&str; 3]) -> bool {
        let before = self.remembered();
        for peer in peers {
            self.ask(packet, peer);
        }
        self.remembered() > before
    }

    fn settle(&self) {
        // Counters that nobody counted to may be there or not.
        let counted = |node: &Node| -> BTreeSet<String> {
            let text = node.registry.render();
            let lines = text.lines().filter(|line| !line.starts_with("# ") && !line.ends_with(" 0"));
            lines.filter(|line| !line.contains("dns_remembered")).map(str::to_owned).collect()
        };
        let [remembering, making] = &self.nodes;
        assert_eq!(counted(remembering), counted(making));
        assert_eq!(making.plane.metrics.remembered().get(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nobody_can_tell_who_remembers(steps in steps(), remembered in prop::sample::select(vec![1usize, 8, 256])) {
        let mut pair = Pair::new(remembered);
        steps.iter().for_each(|step| pair.take(step));
        pair.settle();
    }
}

#[test]
fn what_is_remembered() {
    const SAME: [&str; 3] = ["3.16.1.2:4000"; 3];
    const OTHERS: [&str; 3] = ["3.16.1.3:4000", "3.16.1.4:4000", "5.1.2.9:53"];
    let subnet = fixture::subnet("5.1.2.0/24");
    let plain = |name: &str, qtype| fixture::query(name, qtype);
    let with = |name: &str, options: &[u8]| fixture::query_with(name, 1, options);
    let chaos = {
        let mut packet = plain("id.server", 16);
        *packet.last_mut().unwrap() = 3;
        packet
    };
    let long = ["a".repeat(63), "b".repeat(63), "a.cdn.test".to_owned()].join(".");
    let rows = [
        ("static", plain("a.cdn.test", 1), OTHERS, true),
        ("with DO, not signed", with("a.cdn.test", &[]), OTHERS, true),
        ("with our name", with("a.cdn.test", &[0, 3, 0, 0]), OTHERS, true),
        ("steered by source", plain("www.cdn.test", 1), SAME, true),
        ("steered by source, others", plain("www.cdn.test", 1), OTHERS, false),
        ("steered by subnet", with("www.cdn.test", &subnet), OTHERS, true),
        ("steered in spite of a subnet", with("blind.cdn.test", &subnet), OTHERS, false),
        ("steered by subnet, an unknown one", with("www.cdn.test", &fixture::subnet("10.0.0.0/8")), OTHERS, true),
        ("drawn for the moment", plain("random.cdn.test", 1), SAME, true),
        ("drawn for the moment, others", plain("random.cdn.test", 1), OTHERS, false),
        ("in turn", plain("rotate.cdn.test", 1), SAME, false),
        ("a name that points to a steered one", plain("to-www.cdn.test", 1), OTHERS, false),
        ("no data", plain("a.cdn.test", 28), OTHERS, true),
        ("no name", plain("no.cdn.test", 1), OTHERS, true),
        ("a wildcard", plain("x.w.cdn.test", 16), OTHERS, true),
        ("a referral", plain("x.child.cdn.test", 1), OTHERS, true),
        ("a text", plain("proof.cdn.test", 16), SAME, false),
        ("above a text", plain("up.cdn.test", 1), SAME, false),
        ("not ours", plain("www.example.com", 1), OTHERS, true),
        ("not ours to tell", plain("_explain.www.cdn.test", 16), SAME, true),
        ("not ours to tell, others", plain("_explain.www.cdn.test", 16), OTHERS, false),
        ("an explanation", plain("_explain.www.cdn.test", 16), ["5.1.2.3:53"; 3], false),
        ("signed", with("ns1.signed.test", &[]), SAME, false),
        ("signed, no name", with("no.signed.test", &[]), SAME, false),
        ("of a signed zone, plain", plain("no.signed.test", 1), OTHERS, true),
        ("keys", plain("signed.test", 48), SAME, false),
        ("a cookie", with("a.cdn.test", &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]), SAME, false),
        ("a format error", with("a.cdn.test", &[0, 8, 0, 4, 0, 1, 24, 0]), SAME, false),
        ("not supported", plain("a.cdn.test", 251), SAME, false),
        ("of the server", chaos, SAME, false),
        ("no question", vec![0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], SAME, false),
        ("too long", plain(&long, 1), SAME, false),
        ("too short", vec![1], SAME, false),
        ("nothing", vec![], SAME, false),
    ];
    let mut pair = Pair::new(1 << 12);
    pair.take(&Step::Map);
    let proofs = ["proof.cdn.test", "x.up.cdn.test"].map(|name| Text {
        name: name.to_owned(),
        value: "proof".to_owned(),
        ttl: 1,
        until: Timestamp(NOW.0 + 10_000),
    });
    pair.nodes[0].plane.texts.store(Arc::new(Texts::new(&proofs)));
    for (name, packet, peers, wanted) in rows {
        assert_eq!(pair.remembers(&packet, peers), wanted, "{name}");
    }
    pair.settle();
}

#[test]
fn what_ends_it() {
    let rows: [(&str, &[Step], bool); 8] = [
        ("nothing", &[], true),
        ("less than a second", &[Step::Clock(999)], true),
        ("a second", &[Step::Clock(1000)], false),
        (
            "a clock that is set back",
            &[Step::Clock(500), Step::Ask { query: STATIC, peer: 0, spread: false, times: 1, id: 0 }, Step::Clock(-1)],
            false,
        ),
        ("a PoP that goes down", &[Step::Hold(0, Some(false))], false),
        ("a reload", &[Step::Reload(0, false)], false),
        ("a map", &[Step::Map], false),
        ("a text elsewhere", &[Step::Text(Some(1000))], false),
    ];
    for (name, steps, wanted) in rows {
        let mut pair = Pair::new(64);
        let packet = STATIC.packet(1);
        assert!(pair.remembers(&packet, [PEERS[0]; 3]), "{name}");
        steps.iter().for_each(|step| pair.take(step));
        let before = pair.remembered();
        pair.ask(&packet, PEERS[0]);
        assert_eq!(pair.remembered() > before, wanted, "{name}");
        // It was worth a slot before, so that once suffices to have one again.
        pair.ask(&packet, PEERS[1]);
        assert!(pair.remembered() > before, "{name}");
        pair.settle();
    }
}

/// The address of `a.cdn.test`.
const STATIC: Query = Query { name: 0, qtype: 0, tail: 1, capitals: false, flags: 1, class: 1, surplus: false };

#[test]
fn what_was_asked_before_decides_where_there_are_limits_and_a_log() {
    let mut limited = Pair::new(64);
    limited.take(&Step::Reload(3, true));
    assert!(!limited.remembers(&STATIC.packet(1), [PEERS[0]; 3]));
    limited.settle();

    let folder = tempfile::tempdir().unwrap();
    let mut logging = Pair::new(64);
    let log = nearcast_shared::config::QueryLog {
        to: nearcast_shared::config::LogTarget::File(folder.path().join("log")),
        sample: 1.0,
    };
    let [first, second] = &mut logging.nodes;
    first.plane.log = QueryLog::start(&log, &first.plane.metrics).unwrap();
    second.plane.log = first.plane.log.clone();
    assert!(!logging.remembers(&STATIC.packet(1), [PEERS[0]; 3]));
    logging.settle();
}

#[test]
fn names_that_are_asked_for_once_take_no_room_and_drive_nothing_out() {
    let mut pair = Pair::new(64);
    let packet = STATIC.packet(1);
    assert!(pair.remembers(&packet, [PEERS[0]; 3]));
    for n in 0..2_000 {
        pair.ask(&fixture::query(&format!("random-{n}.cdn.test"), 1), PEERS[0]);
    }
    assert_eq!((pair.desks[0].memory.count(), pair.remembered()), (1, 1));
    pair.ask(&packet, PEERS[0]);
    assert_eq!(pair.remembered(), 2);
}

#[test]
fn room_is_limited_and_goes_to_those_who_come_first_in_a_second() {
    let mut pair = Pair::new(64);
    let all = |pair: &mut Pair| {
        let before = pair.remembered();
        (0..1_000).for_each(|n| _ = pair.remembers(&fixture::query(&format!("n{n}.cdn.test"), 1), [PEERS[0]; 3]));
        pair.remembered() - before
    };
    let first = all(&mut pair);
    // Each of those that got in was asked for once more.
    assert_eq!((pair.desks[0].memory.count(), first), (64, 64));
    assert_eq!(all(&mut pair), 3 * 64, "and stay in");
    pair.take(&Step::Clock(1000));
    assert_eq!(all(&mut pair), 2 * 64, "and again");
    assert_eq!(pair.desks[0].memory.count(), 64);
    pair.settle();
}
