//! The life of a process: how it starts, changes and ends.

use std::fs;
use std::net::{TcpListener, TcpStream};

use hickory_proto::rr::RecordType::A;
use serde_json::Value;

use crate::harness::client::{Ask, Plain};
use crate::harness::dns::Query;
use crate::harness::eventually;
use crate::harness::gate::Gate;
use crate::harness::node::{Setup, admin};
use crate::harness::origin::{Origin, Reply};
use crate::harness::process::Process;

fn hello() -> Origin {
    Origin::start(|_| Reply::ok("hello").control("max-age=3600"))
}

fn status(process: &Process) -> Value {
    serde_json::from_slice(&admin(process.admin(), "GET", "/v1/status", "").body).unwrap()
}

#[test]
fn first_it_lingers_then_requests_end_then_it_stops() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |seen| match seen.target.as_str() {
        "/slow" => Reply::ok("be").wait(&held).body("fore"),
        _ => Reply::ok("hello"),
    });
    let setup = Setup::new(&origin).set("shutdown.linger", "\"60s\"").set("shutdown.grace", "\"60s\"");
    let process = Process::run(&setup);
    let health = Ask::get("/.nearcast/health");
    let nowhere = Query::new("www.cdn.test", A);
    assert_eq!(health.send(process.http()).status, 200);
    assert_eq!(nowhere.udp(process.dns()).address(), "192.0.2.10");
    let mut slow = Plain::connect(process.http());
    let mut begun = slow.begin(&Ask::get("/slow"));
    slow.some(&mut begun, 2);
    let mut kept = Plain::connect(process.http());
    kept.ask(&Ask::get("/a"));

    process.signal("TERM");
    process.wait_for("leaving");
    assert_eq!(health.send(process.http()).status, 503);
    assert_eq!(admin(process.admin(), "GET", "/health", "").status, 503);
    assert_eq!(status(&process)["phase"], "lingering");
    assert_eq!(Ask::get("/a").send(process.http()).text(), "hello", "still serving");
    assert_eq!(nowhere.udp(process.dns()).address(), "198.51.100.10", "but not sent to");

    process.signal("TERM");
    process.wait_for("listeners closed");
    eventually("closed listeners", || TcpStream::connect(process.http()).is_err());
    assert!(kept.is_closed(), "a connection without a request is closed");
    assert_eq!(admin(process.admin(), "GET", "/health", "").status, 503, "admin answers to the end");
    gate.open();
    assert_eq!(slow.rest(begun).text(), "fore", "a running request ends in peace");
    assert_eq!(process.exit_code(), Some(0));
    assert!(process.log().contains("stopped"));
}

#[test]
fn a_third_signal_ends_at_once() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::ok("be").wait(&held).body("fore"));
    let setup = Setup::new(&origin).set("shutdown.linger", "\"60s\"").set("shutdown.grace", "\"60s\"");
    let process = Process::run(&setup);
    let mut slow = Plain::connect(process.http());
    let mut begun = slow.begin(&Ask::get("/slow"));
    slow.some(&mut begun, 2);
    for (signal, said) in [("INT", "leaving"), ("TERM", "linger skipped"), ("INT", "cut off")] {
        process.signal(signal);
        process.wait_for(said);
    }
    assert_eq!(process.exit_code(), Some(0));
    assert!(slow.is_closed());
    gate.open();
}

#[test]
fn told_to_end_at_once_while_lingering() {
    let node = Setup::new(&hello()).set("shutdown.linger", "\"60s\"").start();
    let mut kept = Plain::connect(node.http());
    kept.ask(&Ask::get("/a"));
    node.stop_with(std::future::pending(), std::future::ready(()));
    assert!(kept.is_closed());
}

#[test]
fn what_does_not_end_in_time_is_cut_off() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::ok("be").wait(&held).body("fore"));
    let node = Setup::new(&origin).set("shutdown.grace", "\"100ms\"").start();
    let mut slow = Plain::connect(node.http());
    let mut begun = slow.begin(&Ask::get("/slow"));
    slow.some(&mut begun, 2);
    node.stop();
    assert_eq!(slow.rest(begun).end, crate::harness::wire::End::Broken);
    gate.open();
}

#[test]
fn a_second_process_on_the_same_state_refuses() {
    let setup = Setup::new(&hello());
    let first = Process::run(&setup);
    let second = Process::spawn(&setup);
    assert_eq!(second.exit_code(), Some(1));
    second.wait_for("in use by another nearcast process");
    assert_eq!(Ask::get("/a").send(first.http()).text(), "hello", "the first goes on");
    first.signal("KILL");
    assert_eq!(first.exit_code(), None);
    assert_eq!(Ask::get("/a").send(Process::run(&setup).http()).text(), "hello", "a dead one holds nothing");
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for key in ["listen.http", "listen.https", "listen.dns"] {
        let setup = Setup::new(&hello()).set(key, &format!("[\"{address}\"]"));
        let error = setup.try_start().err().unwrap().to_string();
        assert_eq!(error, format!("{key}: {address} cannot be listened on"));
    }
    let process = Process::spawn(&Setup::new(&hello()).set("listen.admin", &format!("\"{address}\"")));
    assert_eq!(process.exit_code(), Some(1));
    process.wait_for(&format!("listen.admin: {address} cannot be listened on: Address already in use"));
}

#[test]
fn a_reload_takes_all_or_nothing() {
    let mut setup = Setup::new(&hello());
    let process = Process::run(&setup);
    let served = |host: &str| Ask::get("/a").host(host).send(process.http()).status;
    assert_eq!((served("www.cdn.test"), served("new.cdn.test")), (200, 421));

    setup.sites[0] = setup.sites[0].replace("www.cdn.test", "new.cdn.test");
    setup.write();
    process.signal("HUP");
    process.wait_for("config reloaded");
    assert_eq!((served("www.cdn.test"), served("new.cdn.test")), (421, 200));
    assert_eq!(status(&process)["config"]["generation"], 2);

    setup.clone().set("health.rise", "0").write();
    process.signal("HUP");
    process.wait_for("reload refused");
    assert_eq!((served("www.cdn.test"), served("new.cdn.test")), (421, 200));

    let bad = [
        ("a mistake", setup.clone().set("health.rise", "0"), "health.rise"),
        ("what needs a restart", setup.clone().set("runtime.workers", "1"), "runtime.workers"),
        ("no such geo data", setup.clone().set("geo.database", "\"missing.mmdb\""), "missing.mmdb"),
        (
            "no such certificate",
            {
                let mut setup = setup.clone();
                setup.sites[0].push_str("\ntls = { certificate = \"missing.pem\", key = \"missing.key\" }");
                setup
            },
            "missing.pem",
        ),
    ];
    for (name, mut changed, said) in bad {
        changed.sites[0] = changed.sites[0].replace("new.cdn.test", "newer.cdn.test");
        changed.write();
        let answer = admin(process.admin(), "POST", "/v1/reload", "");
        assert_eq!((answer.status, answer.text().contains(said)), (409, true), "{name}: {}", answer.text());
        assert_eq!((served("new.cdn.test"), served("newer.cdn.test")), (200, 421), "{name}");
        let config = status(&process)["config"].clone();
        assert_eq!(config["generation"], 2, "{name}");
        assert!(config["last_error"].as_str().is_some_and(|text| text.contains(said)), "{name}: {config}");
    }
    setup.write();
    assert_eq!(admin(process.admin(), "POST", "/v1/reload", "").status, 200);
    let config = status(&process)["config"].clone();
    assert_eq!((&config["generation"], &config["last_error"]), (&Value::from(3), &Value::Null));
}

#[test]
fn geo_data_that_cannot_be_used() {
    let setup = Setup::new(&hello());
    let good = fs::read(setup.folder().join("nowhere.mmdb")).unwrap();
    fs::write(setup.folder().join("junk.mmdb"), "not an mmdb").unwrap();
    fs::write(setup.folder().join("half.mmdb"), &good[..good.len() / 2]).unwrap();
    for file in ["missing.mmdb", "junk.mmdb", "half.mmdb"] {
        let process = Process::spawn(&setup.clone().set("geo.database", &format!("[\"nowhere.mmdb\", \"{file}\"]")));
        assert_eq!(process.exit_code(), Some(2), "{file}");
        process.wait_for(file);
    }
    let node = setup.start();
    for file in ["missing.mmdb", "junk.mmdb", "half.mmdb"] {
        setup.clone().set("geo.database", &format!("\"{file}\"")).write();
        let answer = node.admin("POST", "/v1/reload", "");
        assert_eq!((answer.status, answer.text().contains(file)), (409, true), "{file}: {}", answer.text());
    }
    let geo = node.status()["geo"][0]["path"].clone();
    assert!(geo.as_str().is_some_and(|path| path.ends_with("nowhere.mmdb")), "{geo}");
    assert_eq!(Query::new("www.cdn.test", A).udp(node.dns()).address(), "192.0.2.10");
}

#[test]
fn a_cache_folder_that_cannot_be_used_is_said_so_and_started_empty() {
    let origin = hello();
    let setup = Setup::new(&origin).disk();
    let folder = setup.folder().join("cache/fra");
    type Spoil = fn(&std::path::Path);
    let spoils: [(&str, &str, Spoil); 3] = [
        ("a damaged label", "damaged", |folder| fs::write(folder.join("label.json"), "junk").unwrap()),
        ("another format", "another format", |folder| {
            fs::write(folder.join("label.json"), "{\"layout\": 0}").unwrap();
        }),
        ("somebody else's folder", "not made by nearcast", |folder| {
            fs::remove_file(folder.join("label.json")).unwrap();
            fs::write(folder.join("thesis.txt"), "precious").unwrap();
        }),
    ];
    let mut asked = 0;
    for (name, said, spoil) in spoils {
        let first = Process::run(&setup);
        Ask::get("/a").send(first.http());
        first.signal("TERM");
        assert_eq!(first.exit_code(), Some(0));
        spoil(&folder);
        let second = Process::run(&setup);
        second.wait_for(said);
        assert!(!Ask::get("/a").send(second.http()).is_hit(), "{name}");
        second.signal("TERM");
        assert_eq!(second.exit_code(), Some(0));
        assert!(origin.count("/a") > asked, "{name}");
        asked = origin.count("/a");
    }
    assert_eq!(fs::read_to_string(folder.join("thesis.txt")).unwrap(), "precious");
}

#[test]
fn a_cache_folder_is_one_nodes() {
    let origin = hello();
    let (setup, other) = (Setup::new(&origin).disk(), Setup::new(&origin).disk());
    let first = Process::run(&setup);
    std::os::unix::fs::symlink(setup.folder().join("cache"), other.folder().join("cache")).unwrap();
    let second = Process::spawn(&other);
    assert_eq!(second.exit_code(), Some(1));
    second.wait_for("give this one a cache.disk.path of its own");
    assert_eq!(Ask::get("/a").send(first.http()).status, 200);
}

#[test]
fn damaged_cache_files_are_misses() {
    let origin = hello();
    let setup = Setup::new(&origin).disk();
    let node = setup.start();
    node.get("/a");
    node.stop();
    for entry in fs::read_dir(setup.folder().join("cache/fra/objects")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        bytes.iter_mut().take(64 << 10).for_each(|byte| *byte ^= 0x55);
        fs::write(&path, bytes).unwrap();
    }
    let node = setup.start();
    let answer = node.get("/a");
    assert_eq!((answer.text().as_str(), answer.is_hit()), ("hello", false));
    assert!(node.get("/a").is_hit());
}

#[test]
fn a_cache_survives_its_process_being_killed() {
    let origin = hello();
    let setup = Setup::new(&origin).disk();
    let first = Process::run(&setup);
    Ask::get("/a").send(first.http());
    first.signal("TERM");
    assert_eq!(first.exit_code(), Some(0));
    let second = Process::run(&setup);
    assert!(Ask::get("/a").send(second.http()).is_hit());
    second.signal("KILL");
    assert_eq!(second.exit_code(), None);
    assert!(Ask::get("/a").send(Process::run(&setup).http()).is_hit(), "what was on disk is there again");
    assert_eq!(origin.count("/a"), 1);
}

#[test]
fn an_access_log_has_one_line_per_request() {
    let setup = Setup::new(&hello()).set("log.access", "\"access.log\"").set("log.format", "\"json\"");
    let node = setup.start();
    node.get("/a?b");
    node.get("/a?b");
    node.ask(&Ask::get("/").host("other.test"));
    let lines = || -> Vec<Value> {
        let text = fs::read_to_string(setup.folder().join("access.log")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    eventually("three lines", || lines().len() == 3);
    let wanted = [
        ("www.cdn.test", "/a?b", 200, 5, "miss", "www.cdn.test"),
        ("www.cdn.test", "/a?b", 200, 5, "hit", "www.cdn.test"),
        ("other.test", "/", 421, 0, "refused", ""),
    ];
    for (line, (host, target, status, bytes, cache, site)) in lines().iter().zip(wanted) {
        assert_eq!((&line["host"], &line["target"], &line["status"]), (&host.into(), &target.into(), &status.into()));
        assert_eq!(
            (&line["cache"], &line["site"], &line["client"]),
            (&cache.into(), &site.into(), &"127.0.0.1".into())
        );
        assert!(status != 200 || line["bytes"] == bytes);
    }
}
