//! States that operators hold PoPs in: who, why and until when.

use nearcast_shared::clock::{Clock, Timestamp};
use serde_json::{Value, json};

use crate::harness::eventually;
use crate::harness::node::{Node, Setup, TOKEN};
use crate::harness::process::Process;

const BEGUN: i64 = 1_800_000_000;

fn iad(node: &Node) -> Value {
    node.status()["pops"][1].clone()
}

#[test]
fn a_hold_has_a_story_and_an_end() {
    let clock = Clock::manual(Timestamp::from_seconds(BEGUN));
    let setup = Setup::empty().clock(&clock);
    let node = setup.start();
    let answer = node.admin("POST", "/v1/pops/iad/drain?why=work%20on%20the%20switch&for=2h&who=ann", "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let hold =
        json!({ "state": "drain", "who": "ann", "why": "work on the switch", "since": BEGUN, "until": BEGUN + 7200 });
    let told: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(told, json!({ "pop": "iad", "forced": "drain", "hold": hold }));
    assert_eq!((iad(&node)["up"].clone(), iad(&node)["hold"].clone()), (false.into(), hold.clone()));
    assert_eq!(iad(&node)["history"][0]["why"], "drain by ann: work on the switch");
    assert_eq!(node.metric("nearcast_pop_forced{pop=\"iad\",state=\"drain\"}"), Some(1.0));

    // It outlives the process, and ends while that runs.
    node.stop();
    clock.advance(3_600_000);
    let node = setup.start();
    assert_eq!((iad(&node)["up"].clone(), iad(&node)["hold"].clone()), (false.into(), hold));
    clock.advance(3_600_000);
    eventually("its end", || iad(&node)["up"] == true);
    assert_eq!(iad(&node)["hold"], Value::Null);
    let kept = || std::fs::read_to_string(setup.folder().join("state/fra/forced.json")).unwrap();
    eventually("the file that knows of it", || kept() == "{}");

    // And while no process does.
    let body = r#"{ "for": "1m", "why": "again" }"#;
    assert_eq!(node.admin("POST", "/v1/pops/iad/down", body).status, 200);
    node.stop();
    clock.advance(60_000);
    let node = setup.start();
    assert_eq!((iad(&node)["up"].clone(), iad(&node)["forced"].clone()), (true.into(), Value::Null));
}

#[test]
fn a_file_of_before_is_read() {
    let setup = Setup::empty();
    std::fs::create_dir_all(setup.folder().join("state/fra")).unwrap();
    std::fs::write(setup.folder().join("state/fra/forced.json"), "{\"iad\":\"drain\"}").unwrap();
    let node = setup.start();
    assert_eq!((iad(&node)["up"].clone(), iad(&node)["forced"].clone()), (false.into(), "drain".into()));
    assert_eq!(node.admin("POST", "/v1/pops/iad/auto", "").status, 200);
    assert_eq!(iad(&node)["up"], true);
}

#[test]
fn what_is_not_a_story() {
    let node = Setup::empty().start();
    let rows = [
        ("/v1/pops/iad/drain?for=soon", "", "`soon` is not a duration"),
        ("/v1/pops/iad/drain?for=0s", "", "`for` must be from 1s to 366d"),
        ("/v1/pops/iad/auto?for=2h", "", "`for` means nothing with auto"),
        ("/v1/pops/iad/drain?when=now", "", "give ?who=ann"),
        ("/v1/pops/iad/drain", "{\"when\":1}", "give ?who=ann"),
        ("/v1/pops/iad/drain?why=a", "{\"why\":\"b\"}", "`why` is given twice"),
        ("/v1/pops/iad/drain?why=a%0Ab", "", "`why` must be one line"),
    ];
    for (target, body, wanted) in rows {
        let answer = node.admin("POST", target, body);
        assert!(answer.status == 400 && answer.text().contains(wanted), "{target}: {}", answer.text());
    }
    assert_eq!(iad(&node)["forced"], Value::Null, "nothing was done");
}

#[test]
fn by_the_command_line() {
    let node = Setup::empty().start();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), TOKEN).unwrap();
    let admin = format!("http://{}", node.control().addresses.admin);
    let run = |arguments: &[&str]| {
        let process =
            Process::command(&[arguments, &["--admin", &admin, "--token-file", "token"]].concat(), folder.path());
        eventually("its end", || process.exit_code().is_some());
        (process.exit_code(), process.log())
    };
    let (code, said) = run(&["drain", "iad", "--why", "the switch", "--for", "2h", "--who", "ann@desk"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("iad is drained until 20"), "{said}");
    let (code, said) = run(&["status"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("ends in 2h by ann@desk (the switch)"), "{said}");
    let (_, said) = run(&["drain", "iad", "--down"]);
    assert!(said.contains("iad is held down"), "{said}");
    assert!(iad(&node)["hold"]["who"].as_str().unwrap().contains('@'), "who defaults to user@host");
}
