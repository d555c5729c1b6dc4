//! Zones: what a file says is what is answered, as NSD understands the same file.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use domain::base::message::RecordSection;
use domain::base::{Message, ParsedName};
use domain::rdata::AllRecordData;
use hickory_proto::rr::RecordType;

use crate::harness::dns::{Query, Tcp};
use crate::harness::node::{Node, Setup};
use crate::harness::noise;
use crate::harness::nsd::Nsd;

const SAMPLE: &str = include_str!("../../config/example.zone");

/// The types that are asked for, beside some that nothing in the sample has.
const TYPES: [u16; 22] = [1, 2, 5, 6, 12, 13, 15, 16, 28, 33, 35, 39, 43, 44, 52, 64, 65, 99, 257, 65280, 65281, 65282];

/// A node that serves `zone` as `example.net`. Its PoPs' names are far from all that the tests ask for.
fn start(zone: &str) -> (Node, Setup) {
    let mut setup = Setup::empty();
    setup.zones = vec!["name = \"example.net\"\nfile = \"example.zone\"".to_owned()];
    fs::write(setup.folder().join("example.zone"), zone).unwrap();
    (setup.start(), setup)
}

/// What of an answer must be the same: the code, whether it speaks for the zone, and both sections as sets.
#[derive(Debug, PartialEq)]
struct Essence {
    code: String,
    authoritative: bool,
    truncated: bool,
    question: String,
    answers: BTreeSet<String>,
    authority: BTreeSet<String>,
}

impl Essence {
    fn of(reply: &[u8]) -> Self {
        let message = Message::from_octets(reply).unwrap();
        let (header, (question, answers, authority, _)) = (message.header(), message.sections().unwrap());
        Self {
            code: header.rcode().to_string(),
            authoritative: header.aa(),
            truncated: header.tc(),
            question: question.map(|question| question.unwrap().to_string()).collect(),
            answers: shown(answers),
            authority: shown(authority),
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

/// Every name that the node's own config gives the sample.
fn names(node: &Node) -> Vec<String> {
    let config = node.control().config.load();
    let names: BTreeSet<String> = config.zones[0].records.iter().map(|record| record.name.to_string()).collect();
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
    let names = names(&node);
    assert!(names.len() > 25, "{names:?}");
    let mut asked = 0;
    let mut compare = |name: &str, rtype: u16| {
        let query = Query::new(name, RecordType::from(rtype));
        let (ours, theirs) = (ours.exchange(&query), theirs.exchange(&query));
        assert_eq!(Essence::of(&ours), Essence::of(&theirs), "{name} {rtype}");
        asked += 1;
    };
    for name in &names {
        for rtype in TYPES {
            compare(name, rtype);
        }
    }
    let mut random = Random(noise(60_000, 5).into_iter());
    for _ in 0..1000 {
        let name = random.mutated(&names);
        if !is_our_own(&name) {
            compare(&name, TYPES[random.below(TYPES.len())]);
        }
    }
    assert!(asked > 1400, "{asked}");
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
    let program = "/usr/bin/named-checkzone";
    if !Path::new(program).exists() {
        println!("SKIPPED: named-checkzone is not installed; apt-get install bind9-utils");
        return;
    }
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
