//! A purge that was acknowledged holds: over `kill -9`, restarts, and whatever the clock does.

use std::sync::atomic::{AtomicUsize, Ordering};

use nearcast_shared::clock::{Clock, Timestamp};
use serde_json::json;

use crate::harness::client::{Ask, Plain};
use crate::harness::node::{Setup, admin};
use crate::harness::origin::{Origin, Reply};
use crate::harness::process::Process;

const STORED: usize = 300;
const URLS: usize = 100_000;
const BATCH: usize = 10_000;

/// `/n` has the tag `tn`, and `/kept/n` none.
fn origin() -> Origin {
    let number = AtomicUsize::new(0);
    Origin::start(move |seen| {
        let reply = Reply::ok(format!("answer {}", number.fetch_add(1, Ordering::SeqCst))).control("max-age=36000");
        match seen.target.strip_prefix("/kept/") {
            Some(_) => reply,
            None => reply.field("surrogate-key", &format!("all t{}", &seen.target[1..])),
        }
    })
}

/// The `n`th of those that are stored, spread over all that are purged.
fn stored(n: usize) -> usize {
    n * (URLS / STORED)
}

/// Which of them are stored; nothing is fetched for that.
fn hits(process: &Process, path: &str) -> usize {
    let mut client = Plain::connect(process.http());
    let ask = |n| Ask::get(&format!("{path}{}", stored(n))).field("cache-control", "only-if-cached");
    (0..STORED).filter(|n| client.ask(&ask(*n)).status == 200).count()
}

/// Stores all, and purges by `orders`; at the instant of the last acknowledgement the node is killed. After two restarts
/// nothing of what was purged may be there, and all else is.
fn nothing_returns(orders: &[String]) {
    let origin = origin();
    let setup = Setup::new(&origin).disk();
    let first = Process::run(&setup);
    let mut client = Plain::connect(first.http());
    for n in (0..STORED).map(stored) {
        client.ask(&Ask::get(&format!("/{n}")));
        client.ask(&Ask::get(&format!("/kept/{n}")));
    }
    // A clean stop, so that all is on disk.
    first.signal("TERM");
    assert_eq!(first.exit_code(), Some(0));
    let second = Process::run(&setup);
    assert_eq!((hits(&second, "/"), hits(&second, "/kept/")), (STORED, STORED));
    for order in orders {
        let answer = admin(second.admin(), "POST", "/v1/purge", order);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    second.kill();
    assert_eq!(second.exit_code(), None);
    for restart in 1..=2 {
        let again = Process::run(&setup);
        assert_eq!((hits(&again, "/"), hits(&again, "/kept/")), (0, STORED), "restart {restart}");
        again.kill();
        assert_eq!(again.exit_code(), None);
    }
}

/// Without the log nobody knows what was purged: nothing on disk counts any more, what is fetched from now on does.
#[test]
fn a_lost_log() {
    let origin = origin();
    let setup = Setup::new(&origin).disk();
    let node = setup.start();
    node.get("/1");
    node.stop();
    std::fs::remove_file(setup.folder().join("state/fra/purge.log")).unwrap();
    for restart in 1..=2 {
        let node = setup.start();
        assert_eq!(node.get("/1").is_hit(), restart > 1, "{restart}");
        assert!(node.get("/1").is_hit());
        node.stop();
    }
}

#[test]
fn a_tag() {
    nothing_returns(&[json!({ "tag": "all" }).to_string()]);
}

#[test]
fn three_hundred_tags() {
    let tags: Vec<String> = (0..STORED).map(|n| format!("t{}", stored(n))).collect();
    nothing_returns(&[json!({ "tags": tags, "site": "www.cdn.test" }).to_string()]);
}

#[test]
fn a_hundred_thousand_urls() {
    let batch =
        |first: usize| -> Vec<String> { (first..first + BATCH).map(|n| format!("https://www.cdn.test/{n}")).collect() };
    let orders: Vec<String> =
        (0..URLS).step_by(BATCH).map(|first| json!({ "urls": batch(first) }).to_string()).collect();
    nothing_returns(&orders);
}

#[test]
fn the_command_says_what_it_purged_and_when() {
    let origin = origin();
    let setup = Setup::new(&origin);
    let node = Process::run(&setup);
    let mut client = Plain::connect(node.http());
    client.ask(&Ask::get("/1"));
    let url = format!("http://{}", node.admin());
    let list = setup.folder().join("urls");
    let lines: String = (0..25_000).map(|n| format!("http://www.cdn.test/{n}\n")).collect();
    std::fs::write(&list, lines).unwrap();
    let list = list.display().to_string();
    let rows: [(&[&str], &str); 4] = [
        (&["--tag", "t1", "--soft"], "purged tag t1  id "),
        (&["--prefix", "/1", "--site", "www.cdn.test"], "purged /1.. of site www.cdn.test  id "),
        (&["http://www.cdn.test/1", "http://www.cdn.test/2"], "purged 2 URLs  id "),
        (&["--file", &list], "purged 25000 URLs  id "),
    ];
    let config = setup.folder().join("nearcast.toml").display().to_string();
    for (arguments, says) in rows {
        let nodes = ["--config", &config, "--pop", setup.name(), "--admin", &url, "--timeout", "20s"];
        let command = Process::command(&[&["purge"], arguments, &nodes].concat(), setup.folder());
        assert_eq!(command.exit_code(), Some(0), "{}", command.log());
        assert!(command.log().contains(says) && command.log().contains("  time 20"), "{}", command.log());
    }
    let bad = Process::command(
        &["purge", "http://www.cdn.test/1", "http://nobody.test/2", "--config", &config, "--admin", &url],
        setup.folder(),
    );
    assert_eq!(bad.exit_code(), Some(1));
    assert!(bad.log().contains("urls[1]: `http://nobody.test/2`"), "{}", bad.log());
}

#[test]
fn the_clock_an_hour_back_and_forth_between_fill_purge_and_restart() {
    const HOUR: i64 = 3_600_000;
    let origin = origin();
    let clock = Clock::manual(Timestamp(1_800_000_000_000));
    let setup = Setup::new(&origin).disk().clock(&clock);
    let mut node = setup.start();
    let is_stored = |node: &crate::harness::node::Node, target: &str| {
        node.ask(&Ask::get(target).field("cache-control", "only-if-cached, max-stale")).status == 200
    };
    for (round, order) in (0..8).zip([r#"{"url": "http://www.cdn.test/1"}"#, r#"{"tag": "t1"}"#].into_iter().cycle()) {
        let jumps = [1, 2, 4].map(|bit| if round & bit == 0 { HOUR } else { -HOUR });
        let fetched = node.get("/1");
        assert!(!fetched.is_hit() && is_stored(&node, "/1"), "round {round}: what is fetched is stored");
        node.get("/kept/1");
        clock.advance(jumps[0]);
        node.purge(order);
        assert!(!is_stored(&node, "/1"), "round {round}: purged");
        clock.advance(jumps[1]);
        assert!(!is_stored(&node, "/1"), "round {round}: purged, and the clock set");
        node.stop();
        clock.advance(jumps[2]);
        node = setup.start();
        assert!(!is_stored(&node, "/1"), "round {round}: it does not return");
        assert!(is_stored(&node, "/kept/1"), "round {round}: what was not purged does");
    }
    assert_eq!(origin.count("/1"), 8);
}
