//! Signed zones as validators see them: BIND's delv, and unbound as a resolver in between.

use std::fs;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use nearcast_dns::dnssec::{Algorithm, Times, stamp};
use nearcast_shared::clock::{Clock, Timestamp};

use crate::harness::delv::{Delv, Proof};
use crate::harness::dns::{Query, Reply, Udp};
use crate::harness::node::{Node, Setup};
use crate::harness::nsd::Nsd;
use crate::harness::signed::{NO_DS, QUESTIONS, key, save, signed, since};
use crate::harness::unbound::Unbound;

const ALGORITHMS: [Algorithm; 2] = [Algorithm::EcdsaP256, Algorithm::Ed25519];

/// For networks near each of the PoPs.
const NETWORKS: [&str; 3] = ["129.132.19.0/24", "18.9.22.0/24", "137.132.21.0/24"];

fn setup() -> Setup {
    signed(Setup::empty().built_in_geo())
}

/// Now, as the machines' validators have it.
fn now() -> Timestamp {
    Clock::System.now()
}

/// Asks a validator, which says by AD whether what it found is proven (RFC 4035 section 3.2.3).
fn ask(resolver: &Unbound, query: &Query) -> Reply {
    let mut bytes = query.bytes();
    bytes[3] |= 0x20;
    Udp::connect(resolver.address).ask(&bytes)
}

/// What of all questions a resolver cannot prove.
fn unproven(resolver: &Unbound) -> Vec<String> {
    let mut unproven = Vec::new();
    for (what, name, kind) in QUESTIONS.into_iter().chain([("no DS", NO_DS.0, NO_DS.1)]) {
        let reply = ask(resolver, &Query::new(name, kind));
        if !reply.0.metadata.authentic_data {
            unproven.push(format!("{what}: {name} {kind}: {}", reply.code()));
        }
    }
    for network in NETWORKS {
        let reply = ask(resolver, &Query::from("edge.cdn.test", RecordType::A, network));
        if !reply.0.metadata.authentic_data || reply.data().len() != 1 {
            unproven.push(format!("steered for {network}: {}", reply.code()));
        }
    }
    unproven
}

#[test]
fn delv_proves_every_kind_of_answer() {
    for algorithm in ALGORITHMS {
        let (setup, key) = (setup(), key(algorithm, since(now())));
        save(&setup, &key);
        let node = setup.start();
        let Some(delv) = Delv::trusting(&key.ds_text()) else { return };
        for (what, name, kind) in QUESTIONS.into_iter().chain([("no DS", NO_DS.0, NO_DS.1)]) {
            assert_eq!(delv.ask(node.dns(), name, kind), Proof::Secure, "{what}: {name} {kind}");
        }
    }
}

#[test]
fn delv_refuses_another_key() {
    let (setup, ours) = (setup(), key(Algorithm::EcdsaP256, since(now())));
    save(&setup, &ours);
    let node = setup.start();
    let Some(delv) = Delv::trusting(&key(Algorithm::EcdsaP256, since(now())).ds_text()) else { return };
    for (what, name, kind) in QUESTIONS {
        let proof = delv.ask(node.dns(), name, kind);
        let reasons = ["broken trust chain", "no valid RRSIG"];
        let refused = matches!(&proof, Proof::Bogus(said) if reasons.iter().any(|reason| said.contains(reason)));
        assert!(refused, "{what}: {proof:?}");
    }
}

#[test]
fn a_validating_resolver_proves_every_kind_of_answer() {
    for algorithm in ALGORITHMS {
        let (setup, key) = (setup(), key(algorithm, since(now())));
        save(&setup, &key);
        let node = setup.start();
        let Some(resolver) = Unbound::validating(node.dns(), &key.ds_text(), &stamp(now())) else { return };
        // Twice: from the node, and from its cache.
        for _ in 0..2 {
            assert_eq!(unproven(&resolver), Vec::<String>::new());
        }
        let unknown = ask(&resolver, &Query::new("nobody-else.cdn.test", RecordType::A));
        assert_eq!(unknown.data(), Vec::<String>::new());
    }
}

#[test]
fn a_validating_resolver_refuses_another_key() {
    let (setup, ours) = (setup(), key(Algorithm::EcdsaP256, since(now())));
    save(&setup, &ours);
    let node = setup.start();
    let other = key(Algorithm::EcdsaP256, since(now())).ds_text();
    let Some(resolver) = Unbound::validating(node.dns(), &other, &stamp(now())) else { return };
    for (what, name, kind) in QUESTIONS {
        assert_eq!(ask(&resolver, &Query::new(name, kind)).code(), ResponseCode::ServFail, "{what}");
    }
}

/// RFC 4035 section 5.2: a zone whose parent proves that there is no DS record for it is not signed, and that is fine.
#[test]
fn a_child_without_a_key_is_insecure() {
    let (setup, key) = (setup(), key(Algorithm::EcdsaP256, since(now())));
    save(&setup, &key);
    let zone = "$TTL 60\n@ SOA ns me 1 1 1 1 1\n@ NS ns\nns A 192.0.2.9\nwww A 192.0.2.80\n";
    fs::write(setup.folder().join("child.zone"), zone).unwrap();
    let node = setup.start();
    let Some(nsd) = Nsd::start(setup.folder(), NO_DS.0, "child.zone") else { return };
    let ds = key.ds_text();
    let child = (NO_DS.0, nsd.address);
    let Some(resolver) = Unbound::validating_with(node.dns(), &ds, &stamp(now()), child) else { return };
    let reply = ask(&resolver, &Query::new("www.child.cdn.test", RecordType::A));
    assert_eq!((reply.address().as_str(), reply.0.metadata.authentic_data), ("192.0.2.80", false));
    assert_eq!(unproven(&resolver), Vec::<String>::new());
}

/// A day.
const DAY: Duration = Duration::from_secs(86_400);

/// What the DNSKEY set of the node has.
fn keys_shown(node: &Node) -> usize {
    Query::new("cdn.test", RecordType::DNSKEY).tcp(node.dns()).0.answers.len()
}

/// RFC 6781 section 4.1.2, the double-DS way round for a key that signs all: the new key is in the DNSKEY set, which both
/// sign; then the parent's DS record changes; then the new one signs; then the old one goes.
#[test]
fn a_rollover_is_proven_at_every_step() {
    let start = now();
    let clock = Clock::manual(start);
    let day = |number: u32| Some(start.plus(DAY * number));
    let old = key(Algorithm::EcdsaP256, Times { withdraw: day(2), inactive: day(4), delete: day(6), ..since(start) });
    let times = Times { created: Some(start), publish: day(1), offer: day(2), activate: day(4), ..Times::default() };
    let new = key(Algorithm::EcdsaP256, times);
    let setup = setup().clock(&clock);
    save(&setup, &old);
    save(&setup, &new);
    let node = setup.start();
    // (day, keys shown, those that the parent's DS record may be of)
    let rows = [
        (0, 1, vec![&old]),
        (1, 2, vec![&old]),
        (2, 2, vec![&old, &new]),
        (3, 2, vec![&old, &new]),
        (4, 2, vec![&new]),
        (5, 2, vec![&new]),
        (6, 1, vec![&new]),
        (30, 1, vec![&new]),
    ];
    let mut today = 0;
    for (number, shown, trusted) in rows {
        clock.advance(i64::try_from((DAY * (number - today)).as_millis()).unwrap());
        today = number;
        assert_eq!(keys_shown(&node), shown, "day {number}");
        for key in trusted {
            let Some(resolver) = Unbound::validating(node.dns(), &key.ds_text(), &stamp(clock.now())) else { return };
            assert_eq!(unproven(&resolver), Vec::<String>::new(), "day {number}, by key {}", key.tag());
        }
    }
}
