//! A config with mistakes: all of them are listed, each with its place and what would be right.

use std::fs;

use nearcast_dns::dnssec::{Algorithm, Times};
use nearcast_shared::clock::Timestamp;

use crate::harness::node::Setup;
use crate::harness::origin::{Origin, Reply};
use crate::harness::process::Process;
use crate::harness::signed::{key, save, signed, since};

const WRONG: &str = r#"[listen]
http = ["127.0.0.1"]
htpp = ["127.0.0.1:80"]
[health]
interval = "2 weeks"
fall = 0
[cache]
memory = 256
[[pop]]
name = "fra"
location = [91.0, 8.57]
addresses = ["192.0.2.10", "nowhere"]
[[pop]]
name = "fra"
addresses = []
[[site]]
domains = ["www.cdn.test"]
orign = "http://127.0.0.1:1"
"#;

/// Where each mistake of [`WRONG`] is, and words that its message must have.
const MISTAKES: [(&str, &[&str]); 11] = [
    (":2: listen.http:", &["`127.0.0.1` is not an address and port"]),
    (":3: listen.htpp:", &["unknown key; allowed in [listen]: http, https, dns, dot, doh, doq, admin"]),
    (":5: health.interval:", &["2 weeks"]),
    (":6: health.fall:", &["1"]),
    (":8: cache.memory:", &["256"]),
    (":11: pop.location:", &["-90 to 90"]),
    (":12: pop.addresses:", &["`nowhere` is not an IPv4 or IPv6 address"]),
    (":13: pop.addresses:", &["missing; at least one"]),
    (":14: pop.name:", &["fra"]),
    (":16: site.origin:", &["missing; such as"]),
    (":18: site.orign:", &["unknown key; allowed in [site]:", "origin", "trusted-proxies"]),
];

#[test]
fn all_mistakes_at_once_and_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("wrong.toml"), WRONG).unwrap();
    for arguments in [&["run", "--config", "wrong.toml", "--pop", "fra"][..], &["check", "--config", "wrong.toml"]] {
        let process = Process::command(arguments, folder.path());
        assert_eq!(process.exit_code(), Some(2));
        process.wait_for("site.orign");
        let said = process.log();
        for (place, words) in MISTAKES {
            let line = said.lines().find(|line| line.contains(place));
            let line = line.unwrap_or_else(|| panic!("{arguments:?}: no line about {place} in\n{said}"));
            assert!(line.starts_with("wrong.toml:"), "{line}");
            assert!(words.iter().all(|word| line.contains(word)), "{words:?} are not in: {line}");
        }
    }
}

#[test]
fn what_is_not_toml() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("wrong.toml"), "[listen\nhttp = 1\n[[pop]]\nname = \"a\"\n").unwrap();
    let process = Process::command(&["check", "--config", "wrong.toml"], folder.path());
    assert_eq!(process.exit_code(), Some(2));
    process.wait_for("wrong.toml:1:");
    let process = Process::command(&["run", "--config", "missing.toml"], folder.path());
    assert_eq!(process.exit_code(), Some(2));
    process.wait_for("missing.toml: cannot be read");
}

#[test]
fn which_pop_is_this() {
    let setup = Setup::new(&Origin::start(|_| Reply::ok("x")));
    setup.write();
    for (arguments, said) in [
        (&["run", "--config", "nearcast.toml"][..], "which PoP is this node? give --pop NAME"),
        (&["run", "--config", "nearcast.toml", "--pop", "xyz"], "no [[pop]] is named `xyz`; there are: fra, iad, sin"),
    ] {
        let process = Process::command(arguments, setup.folder());
        assert_eq!(process.exit_code(), Some(2));
        process.wait_for(said);
    }
}

#[test]
fn check_says_what_is_left_to_do() {
    let setup = Setup::new(&Origin::start(|_| Reply::ok("x")));
    setup.write();
    let process = Process::command(&["check", "--config", "nearcast.toml"], setup.folder());
    assert_eq!(process.exit_code(), Some(0));
    process.wait_for("nearcast.toml: right for fra, iad, sin");
    process.wait_for("static.other.test.  CNAME  edge.cdn.test.");
    assert!(!process.log().contains("www.cdn.test.  CNAME"), "{}", process.log());
    assert!(!setup.folder().join("state").exists(), "it changes nothing");
}

const RISKY: &str = r#"
set-cookie = "store"
query = { drop = ["utm_*"] }
key-rewrite = false
[[site.rule]]
ttl = "1h"
force = true"#;

/// What is said of [`RISKY`], in this order.
const RISKS: [&str; 3] = [
    "site `www.cdn.test`: key-rewrite = false with query.drop",
    "site `www.cdn.test`: set-cookie = ",
    "site `www.cdn.test`: rule `rule 1`: force = true",
];

#[test]
fn check_warns_of_risks() {
    let mut setup = Setup::new(&Origin::start(|_| Reply::ok("x")));
    setup.write();
    let process = Process::command(&["check", "--config", "nearcast.toml"], setup.folder());
    assert_eq!(process.exit_code(), Some(0));
    assert!(!process.log().contains("warning: "), "{}", process.log());
    setup.sites[0].push_str(RISKY);
    setup.write();
    let process = Process::command(&["check", "--config", "nearcast.toml"], setup.folder());
    assert_eq!(process.exit_code(), Some(0));
    let said = process.log();
    let warnings: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("warning: ")).collect();
    assert_eq!(warnings.len(), RISKS.len(), "each once, though there are three PoPs: {said}");
    assert!(warnings.iter().zip(RISKS).all(|(warning, risk)| warning.starts_with(risk)), "{said}");
}

#[test]
fn check_warns_of_keys_that_end() {
    let setup = signed(Setup::empty());
    setup.write();
    let (begun, end) = (Timestamp(0), Some(Timestamp(4_000_000_000_000)));
    save(&setup, &key(Algorithm::EcdsaP256, Times { inactive: end, ..since(begun) }));
    let process = Process::command(&["check", "--config", "nearcast.toml"], setup.folder());
    assert_eq!(process.exit_code(), Some(0));
    let said = process.log();
    assert!(said.contains("warning: zone `cdn.test`: from 20961002070640 (UTC) on no key is meant to sign"), "{said}");
}

#[test]
fn a_node_logs_the_risks_it_takes() {
    let mut setup = Setup::new(&Origin::start(|_| Reply::ok("x")));
    let process = Process::run(&setup);
    setup.sites[0].push_str(RISKY);
    setup.write();
    let warnings = |log: String| log.lines().filter(|line| line.contains("the config takes a risk")).count();
    assert_eq!(warnings(process.log()), 0);
    process.signal("HUP");
    process.wait_for(RISKS[2]);
    assert_eq!(warnings(process.log()), RISKS.len(), "after a reload");

    let process = Process::run(&setup.pop("iad"));
    process.wait_for(RISKS[2]);
    assert_eq!(warnings(process.log()), RISKS.len(), "at the start");
}

#[test]
fn check_reads_what_a_node_would() {
    let origin = Origin::start(|_| Reply::ok("x"));
    let no_certificate = {
        let mut setup = Setup::new(&origin);
        setup.sites[0].push_str("\ntls = { certificate = \"missing.pem\", key = \"missing.key\" }");
        setup
    };
    let rows = [
        ("missing.mmdb", Setup::new(&origin).set("geo.database", "\"missing.mmdb\"")),
        ("missing.pem", no_certificate),
        ("missing-ca.pem", Setup::new(&origin).set("origin.ca", "\"missing-ca.pem\"")),
    ];
    for (said, setup) in rows {
        setup.write();
        let process = Process::command(&["check", "--config", "nearcast.toml"], setup.folder());
        assert_eq!(process.exit_code(), Some(2), "{said}");
        process.wait_for(said);
    }
}
