//! An origin that a node cannot connect to is a fact of its sites: the node stays up, and the others learn of it.

use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};

use crate::harness::client::Ask;
use crate::harness::eventually;
use crate::harness::loopback;
use crate::harness::node::{Node, Setup};
use crate::harness::origin::{Origin, Reply};

fn unreached(node: &Node, pop: usize) -> Value {
    node.status()["pops"][pop]["origins_unreached"].clone()
}

#[test]
fn an_origin_out_of_reach_is_told_to_the_fleet_and_found_again() {
    let [nobody] = loopback::ports(loopback::address());
    let well = Origin::start(|_| Reply::new(500));
    let mut setup = Setup::new(&well);
    setup.sites.push(format!("domains = [\"lost.test\"]\norigin = \"http://{nobody}\"\nname = \"lost\""));
    let fra = setup.start();

    // Another node of the fleet, with the same sites.
    let mut other = Setup::new(&well).pop("iad").set("health.interval", "\"100ms\"").set("health.timeout", "\"100ms\"");
    other.sites.clone_from(&setup.sites);
    other.pops[0] = other.pops[0].replace("probe = false", &format!("probe = \"http://{}\"", fra.http()));
    let iad = other.start();
    eventually("the first probe", || iad.status()["pops"][0]["reason"] == "probes");
    assert_eq!(unreached(&iad, 0), json!([]));

    // One request is enough: from then on the node tries by itself. A 500 is an answer.
    assert_eq!(fra.ask(&Ask::get("/").host("lost.test")).status, 502);
    assert_eq!(fra.ask(&Ask::get("/").host("www.cdn.test")).status, 500);
    eventually("the word of it", || unreached(&iad, 0) == json!(["lost"]));
    let health = fra.ask(&Ask::get("/.nearcast/health"));
    assert_eq!((health.status, health.text()), (200, "up\n".to_owned()), "the node is well");
    let told = health.field("nearcast-sites").unwrap();
    assert!(told.len() == 16 && !told.contains("lost"), "{told}");
    assert_eq!(iad.status()["pops"][0]["up"], true);
    let table = iad.control().health.table();
    let fra_pop = nearcast_shared::pop::PopId(0);
    assert!(!table.reaches_origin(fra_pop, "lost") && table.reaches_origin(fra_pop, "www.cdn.test"));
    let refused = json!([{ "site": "lost", "why": "the origin refused the connection" }]);
    assert_eq!(fra.status()["origins_unreached"], refused);
    assert_eq!(fra.metric("nearcast_origin_unreached{site=\"lost\"}"), Some(1.0));

    // It is there again, though no client asks.
    let _back = TcpListener::bind(nobody).unwrap();
    eventually("the word of its return", || unreached(&iad, 0) == json!([]));
    assert_eq!(fra.status()["origins_unreached"], json!([]));
    assert_eq!(fra.ask(&Ask::get("/.nearcast/health")).field("nearcast-sites"), None);
}

#[test]
fn a_connection_that_is_cut_before_tls_stands_is_none() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap();
    let mut setup = Setup::empty();
    setup.sites.push(format!("domains = [\"cut.test\"]\norigin = \"https://{place}\"\nname = \"cut\""));
    let node = setup.start();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    assert_eq!(node.ask(&Ask::get("/").host("cut.test")).status, 503);
    eventually("out of reach", || node.status()["origins_unreached"][0]["site"] == "cut");
}

#[test]
fn an_origin_that_answers_clients_is_in_reach() {
    let [place]: [SocketAddr; 1] = loopback::ports(loopback::address());
    let mut setup = Setup::empty();
    setup.sites.push(format!("domains = [\"lost.test\"]\norigin = \"http://{place}\"\nname = \"lost\""));
    let node = setup.start();
    let ask = Ask::get("/").host("lost.test");
    node.ask(&ask);
    eventually("out of reach", || node.status()["origins_unreached"][0]["site"] == "lost");
    // A site that moves is another one.
    let well = Origin::start(|_| Reply::ok("hello"));
    setup.sites[0] = setup.sites[0].replace(&format!("http://{place}"), &well.url());
    setup.write();
    assert_eq!(node.admin("POST", "/v1/reload", "").status, 200);
    assert_eq!(node.ask(&ask).status, 200);
    assert_eq!(node.status()["origins_unreached"], json!([]));
    eventually("no word of it", || node.ask(&Ask::get("/.nearcast/health")).field("nearcast-sites").is_none());
}
