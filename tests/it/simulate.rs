//! `nearcast simulate` and `explain --offline` with the real binary; why a client gets which PoP, asked over DNS.

use std::fs;
use std::path::Path;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType::TXT;
use serde_json::{Value, json};

use crate::harness::dns::Query;
use crate::harness::geo;
use crate::harness::node::Setup;
use crate::harness::process::Process;

/// 5.0.0.0/16 near Frankfurt, 3.16.0.0/16 near New York, 36.64.0.0/15 near Jakarta: a quarter, a quarter and a half.
fn mmdb() -> Vec<u8> {
    let place = |latitude: f64, longitude: f64, country: &str| {
        json!({
            "location": { "latitude": latitude, "longitude": longitude },
            "country": { "iso_code": country },
        })
    };
    let cities = [
        ("5.0.0.0/16", place(50.1, 8.7, "DE")),
        ("3.16.0.0/16", place(40.7, -74.0, "US")),
        ("36.64.0.0/15", place(-6.2, 106.8, "ID")),
    ];
    geo::mmdb(1_700_000_000, &cities)
}

fn setup() -> Setup {
    let setup = Setup::empty().set("geo.database", "\"city.mmdb\"");
    fs::write(setup.folder().join("city.mmdb"), mmdb()).unwrap();
    setup.write();
    setup
}

/// Exit code and all that is said.
fn said(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let process = Process::command(arguments, folder);
    let code = process.exit_code();
    (code, process.log())
}

#[test]
fn shares_with_a_pop_down() {
    let setup = setup();
    let (code, text) = said(setup.folder(), &["simulate", "--down", "iad"]);
    let wanted = "\
edge.cdn.test, A, for the world's IPv4 addresses: iad is down; 25.00 % of the clients move
       state     share    all up   change  takes over
  fra  up      50.00 %   25.00 %   +25.00  25.00 % of iad
  iad  DOWN     0.00 %   25.00 %   -25.00
  sin  up      50.00 %   50.00 %        -";
    assert_eq!((code, text.as_str()), (Some(0), wanted));

    let (code, text) = said(setup.folder(), &["simulate", "--down", "sin", "--json"]);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, value["moved"].as_f64(), &value["down"]), (Some(0), Some(0.5), &json!(["sin"])));
    let share = |pop: usize| value["loads"][pop]["share"].as_f64().unwrap();
    assert_eq!([share(0), share(1), share(2)], [0.75, 0.25, 0.0]);
}

#[test]
fn a_query_log() {
    let setup = setup();
    let lines = "# made by hand\n5.0.1.0/24 edge.cdn.test 6\n3.16.1.1 3\n36.64.0.0/24\n5.0.0.1 fra.cdn.test 2\n";
    fs::write(setup.folder().join("queries"), lines).unwrap();
    let (code, text) = said(setup.folder(), &["simulate", "--log", "queries", "--down", "fra"]);
    let wanted = "\
edge.cdn.test, A, for 10 queries: fra is down; 60.00 % of the clients move
2 queries were for names that are not steered
       state     share    all up   change  takes over
  fra  DOWN     0.00 %   60.00 %   -60.00
  iad  up      90.00 %   30.00 %   +60.00  60.00 % of fra
  sin  up      10.00 %   10.00 %        -";
    assert_eq!((code, text.as_str()), (Some(0), wanted));
}

#[test]
fn what_cannot_be_simulated() {
    let setup = setup();
    fs::write(setup.folder().join("wrong"), "5.0.1.0/24\nnobody\n5.0.1.0/99 edge.cdn.test\n").unwrap();
    fs::write(setup.folder().join("nothing"), "5.0.1.0/24 www.example.com\n").unwrap();
    let nowhere = Setup::empty();
    nowhere.write();
    let rows: [(&Setup, &[&str], &[&str]); 7] = [
        (&setup, &["--down", "xyz"], &["no [[pop]] is named `xyz`; there are: fra, iad, sin"]),
        (&setup, &["--name", "fra.cdn.test"], &["`fra.cdn.test` is not steered"]),
        (&setup, &["--log", "missing"], &["missing: cannot be read"]),
        (&setup, &["--log", "wrong"], &["wrong:2: `nobody` is not an address", "wrong:3: `5.0.1.0/99` is not"]),
        (&setup, &["--log", "nothing"], &["nothing: no line asks for a steered name"]),
        (&setup, &["--config", "missing.toml"], &["missing.toml: cannot be read"]),
        (&nowhere, &[], &["the geo data places nobody in this family"]),
    ];
    for (setup, arguments, wanted) in rows {
        let (code, text) = said(setup.folder(), &[&["simulate"], arguments].concat());
        assert_eq!(code, Some(2), "{arguments:?}: {text}");
        assert!(wanted.iter().all(|words| text.contains(words)), "{arguments:?}: {text}");
    }
}

/// The README's picture is of the README's config, by the README's command; here over a small world. Whoever asks no node
/// needs no token.
#[test]
fn the_readmes_picture() {
    let readme = include_str!("../../README.md");
    let block = readme.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let command = readme.lines().find_map(|line| line.strip_prefix("nearcast simulate ")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = block.replace("token-file = \"/etc/nearcast/admin.token\"", "token-file = \"missing/admin.token\"");
    fs::write(folder.path().join("nearcast.toml"), format!("geo = {{ database = \"city.mmdb\" }}\n{text}")).unwrap();
    fs::write(folder.path().join("city.mmdb"), mmdb()).unwrap();
    fs::create_dir(folder.path().join("docs")).unwrap();
    let words: Vec<&str> = ["simulate"].into_iter().chain(command.split_whitespace()).collect();
    let (code, text) = said(folder.path(), &words);
    assert_eq!(code, Some(0), "{text}");
    for others in [
        &["map", "diff", "nearcast.toml", "nearcast.toml"][..],
        &["explain", "edge.cdn.example.net", "5.0.1.1", "--offline", "--pop", "fra", "--config", "nearcast.toml"],
    ] {
        let (code, text) = said(folder.path(), others);
        assert_eq!(code, Some(0), "{others:?}: {text}");
    }
    let (code, text) = said(folder.path(), &["check", "--config", "nearcast.toml"]);
    assert_eq!((code, text.contains("missing/admin.token")), (Some(2), true), "{text}");
    let made = fs::read_to_string(folder.path().join("docs/simulate.svg")).unwrap();
    let kept = include_str!("../../docs/simulate.svg");
    let title = |svg: &str| svg.split("<title>").nth(1).unwrap().split("</title>").next().unwrap().to_owned();
    assert_eq!(title(&made), title(kept));
    assert!(readme.contains("(docs/simulate.svg)"));
    assert!(kept.len() < 300 << 10, "{} bytes", kept.len());
}

#[test]
fn explaining_with_pops_down() {
    let setup = setup();
    let offline = ["explain", "edge.cdn.test", "5.0.1.1", "--offline", "--pop", "sin"];
    let (code, text) = said(setup.folder(), &[&offline[..], &["--down", "fra"]].concat());
    assert_eq!(code, Some(0), "{text}");
    for words in [
        "if all PoPs but fra are up:",
        "policy    default",
        "iad is the first that is up at 6555 km: fra is down, as supposed.",
        "1.  fra      12 km  DOWN (supposed)",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    assert_eq!(said(setup.folder(), &[&offline[..], &["--down", "xyz"]].concat()).0, Some(2));
    assert_eq!(said(setup.folder(), &["explain", "edge.cdn.test", "5.0.1.1", "--down", "fra"]).0, Some(2));
}

#[test]
fn why_over_dns() {
    let closed = setup().start();
    let ask = |dns| Query::from("_explain.edge.cdn.test", TXT, "5.0.1.0/24").tcp(dns);
    assert_eq!(ask(closed.dns()).code(), ResponseCode::NXDomain, "there is no such name");
    let open = setup().set("dns.explain-to", "[\"127.0.0.0/8\"]").start();
    let reply = ask(open.dns());
    let text = reply.data().join("\n");
    assert_eq!((reply.0.answers.len(), reply.0.answers[0].ttl), (1, 0), "{text}");
    assert_eq!(reply.subnet().unwrap().2, 24, "it is about this very client");
    assert!(text.contains("fra is first in the ranking at 12 km and up"), "{text}");
}
