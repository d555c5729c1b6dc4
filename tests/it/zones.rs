//! Zones: what a file says is what is answered, as NSD understands the same file.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use domain::base::message::RecordSection;
use domain::base::{Message, ParsedName};
use domain::rdata::AllRecordData;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use nearcast_shared::clock::{Clock, Timestamp};

use crate::harness::dns::{Query, Tcp};
use crate::harness::node::{Node, Setup};
use crate::harness::noise;
use crate::harness::nsd::Nsd;
use crate::harness::peer;
use crate::harness::process::Process;

const SAMPLE: &str = include_str!("../../config/example.zone");

/// The types that are asked for, beside some that nothing in the sample has.
const TYPES: [u16; 22] = [1, 2, 5, 6, 12, 13, 15, 16, 28, 33, 35, 39, 43, 44, 52, 64, 65, 99, 257, 65280, 65281, 65282];

/// Names of the sample that have records.
const NAMES: usize = 28;

/// A node that serves `zone` as `example.net`. Its PoPs' names are far from all that the tests ask for.
fn start(zone: &str) -> (Node, Setup) {
    let mut setup = Setup::empty();
    setup.zones = vec!["name = \"example.net\"\nfile = \"example.zone\"".to_owned()];
    fs::write(setup.folder().join("example.zone"), zone).unwrap();
    (setup.start(), setup)
}

/// What of an answer must be the same: the code, whether it speaks for the zone, both sections as sets, and the glue of a
/// referral. What else is added is up to each server.
#[derive(Debug, PartialEq)]
struct Essence {
    code: String,
    authoritative: bool,
    truncated: bool,
    question: String,
    answers: BTreeSet<String>,
    authority: BTreeSet<String>,
    glue: BTreeSet<String>,
}

impl Essence {
    fn of(reply: &[u8]) -> Self {
        let message = Message::from_octets(reply).unwrap();
        let (header, (question, answers, authority, additional)) = (message.header(), message.sections().unwrap());
        let authority = shown(authority);
        let refers = !header.aa() && authority.iter().any(|record| record.contains(" ns "));
        Self {
            code: header.rcode().to_string(),
            authoritative: header.aa(),
            truncated: header.tc(),
            question: question.map(|question| question.unwrap().to_string()).collect(),
            answers: shown(answers),
            authority,
            glue: if refers { shown(additional) } else { BTreeSet::new() },
        }
    }
}

/// The records of a section, in lower case.
fn shown(section: RecordSection<'_, &[u8]>) -> BTreeSet<String> {
    type Data<'a> = AllRecordData<&'a [u8], ParsedName<&'a [u8]>>;
    let record = |record: domain::base::ParsedRecord<'_, &[u8]>| {
        record.to_any_record::<Data<'_>>().unwrap().to_string().to_lowercase()
    };
    section.map(|parsed| record(parsed.unwrap())).collect()
}

/// Every name of the sample, as NSD's own tool reads it: lines of records, each of which begins with a name or the space
/// that stands for the one before, relative to the last `$ORIGIN`.
fn names(folder: &Path) -> Vec<String> {
    let program = peer::installed("nsd-checkzone").expect("it comes with nsd");
    let output =
        Command::new(program).args(["-p", "example.net", "example.zone"]).current_dir(folder).output().unwrap();
    let mut origin = String::new();
    let mut names = BTreeSet::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let first = line.split_whitespace().next().unwrap_or_default();
        if first == "$ORIGIN" {
            origin = line["$ORIGIN".len()..].trim().trim_end_matches('.').to_owned();
        } else if !line.starts_with([';', ' ', '\t']) {
            names.insert(format!("{first}.{origin}"));
        }
    }
    names.into_iter().collect()
}

/// Names that nearcast has by itself, and what is below them.
fn is_our_own(name: &str) -> bool {
    let name = name.to_lowercase();
    ["edge", "fra", "iad", "sin"].iter().any(|own| name.trim_end_matches('.').ends_with(&format!("{own}.example.net")))
}

#[test]
fn it_answers_as_nsd_does() {
    let (node, setup) = start(SAMPLE);
    let Some(nsd) = Nsd::start(setup.folder(), "example.net", "example.zone") else { return };
    let (mut ours, mut theirs) = (Tcp::connect(node.dns()), Tcp::connect(nsd.address));
    let names = names(setup.folder());
    assert_eq!((names.len(), names.iter().any(|name| name == "www.branch.example.net")), (NAMES, true), "{names:?}");
    let (mut referrals, mut with_glue) = (0, 0);
    let mut compare = |name: &str, rtype: u16| {
        let query = Query::new(name, RecordType::from(rtype));
        let (ours, theirs) = (ours.exchange(&query), theirs.exchange(&query));
        let ours = Essence::of(&ours);
        assert_eq!(ours, Essence::of(&theirs), "{name} {rtype}");
        referrals += usize::from(!ours.authoritative);
        with_glue += usize::from(!ours.glue.is_empty());
    };
    for name in &names {
        for rtype in TYPES {
            compare(name, rtype);
        }
    }
    let mut random = Random(noise(60_000, 5).into_iter());
    let mut compared = 0;
    while compared < 1000 {
        let name = random.mutated(&names);
        if !is_our_own(&name) {
            compare(&name, TYPES[random.below(TYPES.len())]);
            compared += 1;
        }
    }
    assert!(with_glue > 40 && referrals > with_glue + 20, "{with_glue} of {referrals}");
}

/// Choices from a row of bytes.
struct Random(std::vec::IntoIter<u8>);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        let bytes = [self.0.next().unwrap(), self.0.next().unwrap()];
        usize::from(u16::from_be_bytes(bytes)) % limit
    }

    /// One of `names` with labels put before it or within it, taken away, or in other letters.
    fn mutated(&mut self, names: &[String]) -> String {
        const LABELS: [&str; 10] = ["a", "*", "www", "ns", "x-1", "_tcp", "PAGES", "sub", "else", "edge"];
        let mut labels: Vec<String> = names[self.below(names.len())].split('.').map(str::to_owned).collect();
        labels.retain(|label| !label.is_empty());
        let own = labels.len().saturating_sub(2);
        for _ in 0..=self.below(3) {
            match self.below(4) {
                0 => labels.insert(0, LABELS[self.below(LABELS.len())].to_owned()),
                1 => labels.insert(self.below(own + 1), LABELS[self.below(LABELS.len())].to_owned()),
                2 if labels.len() > 2 => drop(labels.remove(0)),
                _ => labels.iter_mut().for_each(|label| *label = label.to_uppercase()),
            }
        }
        labels.join(".")
    }
}

#[test]
fn the_sample_is_clean_for_named_checkzone() {
    let Some(program) = peer::installed("named-checkzone") else { return };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/example.zone");
    let output = Command::new(program).args(["-i", "local", "example.net"]).arg(file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.lines().collect::<Vec<_>>(), ["zone example.net/IN: loaded serial 2026112601", "OK"]);
}

#[test]
fn the_sample_has_every_type() {
    let (node, _setup) = start(SAMPLE);
    let config = node.control().config.load();
    let types: BTreeSet<u16> = config.zones[0].records.iter().map(|record| record.rtype).collect();
    let wanted = [1, 2, 5, 6, 12, 15, 16, 28, 33, 35, 43, 44, 52, 64, 65, 257, 65280, 65281];
    assert_eq!(types.into_iter().collect::<Vec<_>>(), wanted);
    assert_eq!(config.warnings(), Vec::<String>::new());
}

#[test]
fn texts_come_and_go_and_are_kept() {
    let clock = Clock::manual(Timestamp::from_seconds(1_700_000_000));
    let setup = Setup::empty().clock(&clock);
    let node = setup.start();
    const NAME: &str = "_acme-challenge.www.cdn.test";
    let ask = |node: &Node| {
        let reply = Query::new(NAME, RecordType::TXT).udp(node.dns());
        (reply.code(), reply.data())
    };
    let add = |node: &Node, value: &str, expires: u32| {
        let body = format!("{{\"name\":\"{NAME}\",\"value\":\"{value}\",\"expires\":{expires}}}");
        node.admin("POST", "/v1/txt", &body).status
    };
    assert_eq!(ask(&node), (ResponseCode::NXDomain, vec![]));
    assert_eq!((add(&node, "one", 60), add(&node, "two", 600)), (200, 200));
    assert_eq!(ask(&node), (ResponseCode::NoError, vec!["one".to_owned(), "two".to_owned()]));
    assert_eq!(Query::new("www.cdn.test", RecordType::TXT).tcp(node.dns()).code(), ResponseCode::NoError);
    assert_eq!(node.admin("POST", "/v1/reload", "").status, 200);
    assert_eq!(ask(&node).1.len(), 2, "a reload leaves them");
    drop(node);

    let node = setup.start();
    assert_eq!(ask(&node).1.len(), 2, "so does a restart");
    clock.advance(60_000);
    assert_eq!(ask(&node), (ResponseCode::NoError, vec!["two".to_owned()]));
    assert_eq!(node.admin("DELETE", &format!("/v1/txt?name={NAME}&value=one"), "").status, 200);
    assert_eq!(ask(&node).1, ["two"]);
    assert_eq!(node.admin("DELETE", &format!("/v1/txt?name={NAME}"), "").status, 200);
    assert_eq!(ask(&node), (ResponseCode::NXDomain, vec![]));

    for (body, status) in [
        ("{\"name\":\"www.other.test\",\"value\":\"x\"}", 400),
        ("{\"name\":\"a.cdn.test\",\"value\":\"\"}", 400),
        ("{\"name\":\"a.cdn.test\",\"value\":\"x\",\"expires\":0}", 400),
        ("{\"name\":\"a.cdn.test\",\"value\":\"x\",\"colour\":1}", 400),
        ("nonsense", 400),
    ] {
        assert_eq!(node.admin("POST", "/v1/txt", body).status, status, "{body}");
    }
    assert_eq!(node.admin("PATCH", "/v1/txt", "").status, 405);
}

#[test]
fn a_reload_under_the_same_serial_is_told() {
    let zone =
        |serial: u32, address: &str| format!("$TTL 60\n@ SOA ns1 me {serial} 1 1 1 1\n@ NS ns1\nns1 A {address}\n");
    let (node, setup) = start(&zone(7, "192.0.2.1"));
    let reload = |text: String| {
        fs::write(setup.folder().join("example.zone"), text).unwrap();
        let answer = node.admin("POST", "/v1/reload", "");
        assert_eq!(answer.status, 200);
        let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        answer["warnings"].as_array().unwrap().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(reload(zone(7, "192.0.2.1")), Vec::<String>::new());
    let told = reload(zone(7, "192.0.2.2"));
    assert!(told.len() == 1 && told[0].contains("zone `example.net` has changed under the same serial 7"), "{told:?}");
    assert_eq!(Query::new("ns1.example.net", RecordType::A).udp(node.dns()).address(), "192.0.2.2", "and in force");
    assert_eq!(reload(zone(8, "192.0.2.3")), Vec::<String>::new());
    assert!(reload(zone(5, "192.0.2.3"))[0].contains("went backwards, from 8 to 5"));
}

#[test]
fn mistakes_of_zone_files_are_told_with_those_of_the_config() {
    let mut setup = Setup::empty();
    setup.zones = vec!["name = \"example.net\"\nfile = \"example.zone\"\nttl = 0".to_owned()];
    fs::write(setup.folder().join("example.zone"), "@ NS ns1\nns1 A 192.0.2.1\nbad A 1.2.3\nworse MX mail\n").unwrap();
    setup.write();
    let process = Process::command(&["check", "--config", "nearcast.toml"], setup.folder());
    assert_eq!(process.exit_code(), Some(2));
    for place in ["example.zone:3: A: ", "example.zone:4: MX: ", "nearcast.toml:", "zone.ttl: must be from 1"] {
        process.wait_for(place);
    }
    let lines = process.log();
    let of_zone = lines.lines().filter(|line| line.starts_with("example.zone:")).count();
    assert_eq!(of_zone, 2, "each once, though there are three PoPs: {lines}");
}

#[test]
fn the_readmes_zone_is_right() {
    let readme = include_str!("../../README.md");
    let block = readme.split("```toml").find(|block| block.contains("file = \"example.zone\"")).unwrap();
    let zone = block.split("```").next().unwrap().replacen("[[zone]]", "", 1);
    let mut setup = Setup::empty();
    setup.zones = vec![zone];
    fs::write(setup.folder().join("example.zone"), SAMPLE).unwrap();
    let node = setup.start();
    let reply = Query::new("imap.example.net", RecordType::A).udp(node.dns());
    assert_eq!(reply.data(), ["192.0.2.27", "192.0.2.28"]);
}
