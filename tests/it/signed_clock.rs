//! A node with a signed zone: what it thinks of its clock, from run to run, and what an operator is told.

use nearcast_dns::dnssec::Algorithm;
use nearcast_shared::clock::{Clock, Timestamp};
use serde_json::Value;

use crate::harness::node::{Node, Setup};
use crate::harness::signed::{key, save, signed, since};

const START: Timestamp = Timestamp(1_800_000_000_000);
const HOUR_MS: i64 = 3_600_000;

fn setup(clock: &Clock) -> Setup {
    let setup = signed(Setup::empty()).clock(clock);
    save(&setup, &key(Algorithm::EcdsaP256, since(START)));
    setup
}

fn clock(node: &Node) -> Option<String> {
    node.status()["dnssec"]["clock"].as_str().map(str::to_owned)
}

#[test]
fn a_node_that_ran_with_a_clock_that_was_ahead_can_be_told_that_it_is_right_now() {
    let hands = Clock::manual(Timestamp(START.0 + 48 * HOUR_MS));
    let setup = setup(&hands);
    let node = setup.start();
    assert_eq!(clock(&node), None);
    assert_eq!(node.admin("POST", "/v1/reload?clock=right", "").status, 200);
    node.stop();
    hands.jump(-2 * HOUR_MS);
    let node = setup.start();
    let told = clock(&node).unwrap();
    assert!(told.contains("the file `clock` of its state folder") && told.contains("--clock-is-right"), "{told}");
    assert_eq!(node.admin("POST", "/v1/reload", "").status, 200);
    assert_eq!(clock(&node), Some(told), "reloads come of themselves");
    assert_eq!(node.admin("POST", "/v1/reload?force=1&clock=right", "").status, 200);
    assert_eq!(clock(&node), None);
    node.stop();
    let node = setup.start();
    assert_eq!(clock(&node), None, "and it is noted");
    assert_eq!(node.admin("POST", "/v1/reload?clock=wrong", "").status, 400);
}

#[test]
fn a_node_starts_without_the_time_and_has_it_later() {
    let hands = Clock::manual(Timestamp(0));
    let node = setup(&hands).start();
    assert!(clock(&node).unwrap().contains("the clock is before"));
    assert_eq!(node.admin("POST", "/v1/reload?clock=right", "").status, 400, "no one can say that");
    hands.jump(START.0);
    assert_eq!(node.admin("POST", "/v1/reload", "").status, 200);
    assert_eq!(clock(&node), None);
}

#[test]
fn who_takes_the_keys_away_is_warned() {
    let hands = Clock::manual(Timestamp(START.0 + HOUR_MS));
    let mut setup = setup(&hands);
    let node = setup.start();
    setup.zones[0] = setup.zones[0].replace("dnssec = true", "dnssec = false");
    setup.write();
    let answer: Value = serde_json::from_slice(&node.admin("POST", "/v1/reload", "").body).unwrap();
    assert!(answer["warnings"].to_string().contains("zone `cdn.test` is signed no more"), "{answer}");
    assert_eq!(node.status()["dnssec"], Value::Null);
}
