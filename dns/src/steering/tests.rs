use std::collections::BTreeSet;

use nearcast_shared::health::sites::SiteHash;
use nearcast_shared::health::{FleetId, PopHealth};
use proptest::prelude::*;

use super::*;
use crate::fixture;
use crate::view::View;

const NOW: Timestamp = Timestamp(1_000_000_000);
const STEERED: Steered = Steered { policy: PolicyId(0), site: None, ecs: true };

/// The fleet of the fixture with a policy of this body.
fn view(policy: &str) -> View {
    fixture::view_of(&format!("{}\n[[policy]]\nname = \"default\"\n{policy}", fixture::CONFIG), "sin")
}

fn asker(subnet: &str) -> Asker {
    let (address, source) = subnet.split_once('/').unwrap();
    let subnet = Subnet { address: address.parse().unwrap(), source: source.parse().unwrap() };
    Asker { resolver: "198.18.0.1".parse().unwrap(), subnet: Some(subnet), now: NOW }
}

fn health(view: &View, down: &[&str]) -> HealthTable {
    fixture::health(view, down)
}

/// Such as `fra First /10`.
fn told(view: &View, decision: &Decision<'_>) -> String {
    let what = match &decision.verdict {
        Verdict::Pops(chosen) => {
            let names: Vec<&str> = chosen.pops().iter().map(|pop| view.pop(*pop).name.as_str()).collect();
            format!("{} {:?}", names.join("+"), chosen.cause)
        }
        Verdict::Addresses(addresses) => format!("{addresses:?}"),
        Verdict::NoData => "NoData".to_owned(),
        Verdict::AllDown => "AllDown".to_owned(),
        Verdict::ServFail => "ServFail".to_owned(),
    };
    let ttl = decision.coverage.ttl_max.map(|max| format!(" {max}s")).unwrap_or_default();
    format!("{what} /{}{ttl}", decision.coverage.scope)
}

fn decided(view: &View, steered: Steered, subnet: &str, family: Family, health: &HealthTable) -> String {
    told(view, &view.guide().decide(steered, asker(subnet), family, health, 60))
}

fn v4(view: &View, subnet: &str, down: &[&str]) -> String {
    decided(view, STEERED, subnet, Family::V4, &health(view, down))
}

const FRANKFURT: &str = "5.1.2.3/32";
const NEW_YORK: &str = "3.16.1.2/32";
const UNKNOWN: &str = "10.1.2.3/32";

#[test]
fn the_first_that_is_up() {
    let view = view("");
    let rows: [(&str, &[&str], &str); 5] = [
        ("all up", &[], "fra First /10"),
        ("a far one down", &["sin"], "fra First /10"),
        ("the nearest down", &["fra"], "iad Failover /10"),
        ("two down", &["fra", "iad"], "sin Failover /10"),
        ("all down", &["fra", "iad", "sin"], "fra FailOpen /10"),
    ];
    for (name, down, wanted) in rows {
        assert_eq!(v4(&view, FRANKFURT, down), wanted, "{name}");
    }
}

#[test]
fn a_pop_without_the_family_is_passed_over() {
    let text = fixture::CONFIG.replace(", \"2001:db8:1::10\"", "");
    let view = fixture::view_of(&text, "sin");
    let v6 = |down: &[&str]| decided(&view, STEERED, FRANKFURT, Family::V6, &health(&view, down));
    assert_eq!((v4(&view, FRANKFURT, &[]), v6(&[])), ("fra First /10".to_owned(), "iad First /10".to_owned()));
    assert_eq!(v6(&["iad"]), "sin Failover /10");
    // Those that could answer are all down: fail-open within the family, rather than data for some only.
    assert_eq!(v6(&["iad", "sin"]), "iad FailOpen /10");
    let none = text.replace(", \"2001:db8:2::10\"", "").replace(", \"2001:db8:3::10\"", "");
    let none = fixture::view_of(&none, "sin");
    assert_eq!(decided(&none, STEERED, FRANKFURT, Family::V6, &health(&none, &[])), "NoData /0");
}

#[test]
fn an_address_that_is_down() {
    let view = view("");
    let pops = view.pops().iter().map(|pop| {
        let up = |address: &IpAddr| pop.name != "fra" && address.to_string() != "198.51.100.10";
        PopHealth {
            addresses: pop.addresses.iter().map(|address| (*address, up(address))).collect(),
            ..PopHealth::unknown(pop)
        }
    });
    let table = HealthTable::new(FleetId::of(view.pops()), pops.collect());
    let decision = view.guide().decide(STEERED, asker(FRANKFURT), Family::V4, &table, 60);
    assert_eq!(told(&view, &decision), "iad Failover /10", "fra has none that is up");
    let Verdict::Pops(chosen) = decision.verdict else { panic!("{:?}", decision.verdict) };
    let addresses = view.guide().addresses(&chosen, PolicyId(0), Family::V4, &table, 0);
    assert_eq!(addresses.to_vec(), ["198.51.100.11".parse::<IpAddr>().unwrap()]);
}

#[test]
fn an_origin_that_is_not_reached() {
    let view = view("");
    let name = "www.cdn.example.net";
    let table = |unreached: &[&str]| {
        let pops = view.pops().iter().map(|pop| PopHealth {
            unreached: if unreached.contains(&pop.name.as_str()) { [SiteHash::of(name)].into() } else { [].into() },
            ..PopHealth::unknown(pop)
        });
        HealthTable::new(FleetId::of(view.pops()), pops.collect())
    };
    let of_site = Steered { site: Some(0), ..STEERED };
    let at = |steered, unreached: &[&str]| decided(&view, steered, FRANKFURT, Family::V4, &table(unreached));
    assert_eq!(at(of_site, &[]), "fra First /10");
    assert_eq!(at(of_site, &["fra"]), "iad Failover /10");
    assert_eq!(at(STEERED, &["fra"]), "fra First /10", "another name is not touched");
    assert_eq!(at(of_site, &["fra", "iad", "sin"]), "fra First /10", "nobody reaches it");
}

#[test]
fn what_happens_when_all_are_down() {
    let all = &["fra", "iad", "sin"];
    let rows = [
        ("all-down = \"open\"", "fra FailOpen /10"),
        ("all-down = \"nodata\"", "AllDown /0 5s"),
        ("all-down = \"servfail\"", "ServFail /0"),
        ("all-down = [\"192.0.2.99\"]", "[192.0.2.99] /10 5s"),
    ];
    for (policy, wanted) in rows {
        assert_eq!(v4(&view(policy), FRANKFURT, all), wanted, "{policy}");
    }
}

#[test]
fn rules_by_how_close_their_word_is() {
    let text = r#"
        [[policy.rule]]
        networks = ["5.1.0.0/16", "2001:db8::/32"]
        pops = ["sin"]
        [[policy.rule]]
        name = "germany"
        countries = ["de"]
        pops = ["iad"]
        [[policy.rule]]
        continents = ["EU", "NA"]
        pops = ["sin", "iad"]
    "#;
    let view = view(text);
    let rows = [
        ("network before country", FRANKFURT, "sin First /16"),
        ("a country", "5.2.0.0/32", "iad First /15"),
        ("a network that the geo data does not know", "2001:db8::1/128", "sin First /32"),
        ("nobody's word", "36.64.1.130/32", "sin First /26"),
    ];
    for (name, client, wanted) in rows {
        assert_eq!(v4(&view, client, &[]), wanted, "{name}");
    }
    assert_eq!(v4(&view, FRANKFURT, &["sin"]), "fra Failover /16", "then by distance");
}

#[test]
fn only_these() {
    let text = "[[policy.rule]]\ncountries = [\"DE\"]\npops = [\"sin\"]\nonly = true";
    let view = view(text);
    assert_eq!(v4(&view, FRANKFURT, &[]), "sin First /10");
    assert_eq!(v4(&view, FRANKFURT, &["sin"]), "sin FailOpen /10");
    assert_eq!(v4(&view, NEW_YORK, &["sin"]), "iad First /20");
}

#[test]
fn unknown_clients() {
    let rows = [
        ("", "sin First /32 10s"),
        ("unknown = [\"iad\"]", "iad First /32 10s"),
        // Where it is makes no difference: nothing is unknown.
        ("order = \"failover\"\npops = [\"iad\", \"fra\"]", "iad First /0"),
    ];
    for (policy, wanted) in rows {
        assert_eq!(v4(&view(policy), UNKNOWN, &[]), wanted, "{policy}");
    }
}

#[test]
fn without_ecs_the_resolver_counts() {
    let view = view("");
    let off = Steered { ecs: false, ..STEERED };
    let of = |steered, resolver: &str| {
        let asker = Asker { resolver: resolver.parse().unwrap(), ..asker(NEW_YORK) };
        told(&view, &view.guide().decide(steered, asker, Family::V4, &health(&view, &[]), 60))
    };
    assert_eq!(of(STEERED, "5.1.2.3"), "iad First /20");
    assert_eq!(of(off, "5.1.2.3"), "fra First /0");
}

#[test]
fn a_prefix_ends_where_addresses_have_others_inside() {
    let text =
        "order = \"failover\"\npops = [\"iad\"]\n[[policy.rule]]\nnetworks = [\"198.51.100.0/24\"]\npops = [\"sin\"]";
    let (plain, mapped) = (view(text), view(text));
    mapped.use_maps(mapped.build_maps(&std::sync::atomic::AtomicBool::new(false)).unwrap());
    for view in [plain, mapped] {
        assert_eq!(v4(&view, "2a00::/56", &[]), "iad First /5", "2002::/16 is not in it");
        assert_eq!(v4(&view, "2002:c633:6401::/48", &[]), "sin First /40", "198.51.100.1");
        assert_eq!(v4(&view, "2001:0:1::/48", &[]), "iad First /56");
        assert_eq!(v4(&view, "2001:1::/48", &[]), "iad First /32");
    }
}

#[test]
fn weights_and_stickiness() {
    let sticky = view("order = \"weighted\"\npick = \"sticky\"\nweights = { fra = 3, iad = 1, sin = 0 }");
    let first = v4(&sticky, "5.1.2.3/32", &[]);
    assert_eq!(first, v4(&sticky, "5.1.2.77/32", &[]), "one network");
    let seen: BTreeSet<String> = (0..50).map(|n| v4(&sticky, &format!("5.1.{n}.0/24"), &[])).collect();
    let both = ["fra First /24".to_owned(), "iad First /24".to_owned()];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), both, "scope /24, and sin has no share");
    assert_eq!(v4(&sticky, "5.1.2.3/32", &["fra", "iad"]), "sin Failover /0", "but is there when nobody else is");

    let random = view("order = \"weighted\"");
    let at = |seconds: i64| {
        let asker = Asker { now: Timestamp::from_seconds(seconds), ..asker(FRANKFURT) };
        told(&random, &random.guide().decide(STEERED, asker, Family::V4, &health(&random, &[]), 60))
    };
    let seen: BTreeSet<String> = (0..50).map(|slot| at(slot * 60)).collect();
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(seen.iter().all(|answer| answer.ends_with("First /0")), "chance does not narrow the scope: {seen:?}");
}

#[test]
fn both_families_draw_alike() {
    let view = view("ring = \"20000 km\"");
    for n in 0..50 {
        let subnet = format!("5.{n}.2.0/24");
        let of = |family| decided(&view, STEERED, &subnet, family, &health(&view, &[]));
        assert_eq!(of(Family::V4), of(Family::V6));
    }
}

#[test]
fn spreading_who_lost_their_pop() {
    let view = view("spread = 2");
    assert_eq!(v4(&view, FRANKFURT, &[]), "fra First /10", "nothing to spread, nothing narrower");
    let seen: BTreeSet<String> = (0..50).map(|n| v4(&view, &format!("5.1.{n}.0/24"), &["fra"])).collect();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["iad Spread /24", "sin Spread /24"]);
    assert_eq!(v4(&view, "3.16.1.0/24", &["fra"]), "iad First /20", "the others stay where they are");
}

#[test]
fn several_pops() {
    let view = view("answers = 2");
    assert_eq!(v4(&view, FRANKFURT, &[]), "fra+iad First /10");
    assert_eq!(v4(&view, FRANKFURT, &["iad"]), "fra+sin First /10");
    assert_eq!(v4(&view, FRANKFURT, &["iad", "fra"]), "sin Failover /10");
    let decision = view.guide().decide(STEERED, asker(FRANKFURT), Family::V4, &health(&view, &[]), 60);
    let Verdict::Pops(chosen) = decision.verdict else { panic!("{:?}", decision.verdict) };
    let addresses = view.guide().addresses(&chosen, PolicyId(0), Family::V4, &health(&view, &[]), 0);
    let all = ["192.0.2.10", "198.51.100.10", "198.51.100.11"].map(|address| address.parse::<IpAddr>().unwrap());
    assert_eq!(addresses.to_vec(), all);
}

#[test]
fn rotation() {
    let view = view("order = \"failover\"\npops = [\"iad\"]\nrotate = true");
    let decision = view.guide().decide(STEERED, asker(FRANKFURT), Family::V4, &health(&view, &[]), 60);
    let Verdict::Pops(chosen) = decision.verdict else { panic!("{:?}", decision.verdict) };
    let first =
        |turn| view.guide().addresses(&chosen, PolicyId(0), Family::V4, &health(&view, &[]), turn)[0].to_string();
    assert_eq!([first(0), first(1), first(2)], ["198.51.100.10", "198.51.100.11", "198.51.100.10"]);
}

#[test]
fn an_unsettled_pop_shortens_the_answer() {
    let view = view("");
    let table = |unsettled: &str| {
        let pops = view.pops().iter();
        let of = |pop: &Pop| PopHealth { unsettled: pop.name == unsettled, ..PopHealth::unknown(pop) };
        HealthTable::new(FleetId::of(view.pops()), pops.map(of).collect())
    };
    let with = |unsettled: &str| decided(&view, STEERED, FRANKFURT, Family::V4, &table(unsettled));
    assert_eq!((with("fra"), with("iad")), ("fra First /10 5s".to_owned(), "fra First /10".to_owned()));
}

/// Policies of all kinds.
const POLICIES: [&str; 8] = [
    "",
    "ring = \"7000 km\"\npick = \"sticky\"",
    "spread = 2",
    "answers = 2\nspread = 3",
    "order = \"failover\"\npops = [[\"sin\", \"fra\"], \"iad\"]\npick = \"sticky\"",
    "[[policy.rule]]\nnetworks = [\"5.1.2.0/25\", \"5.0.0.0/9\", \"2a00:1::/32\"]\npops = [\"sin\"]\nonly = true",
    "[[policy.rule]]\ncountries = [\"DE\"]\npops = [\"sin\", [\"fra\", \"iad\"]]\n[[policy.rule]]\nnetworks = [\"3.16.1.2\"]\npops = [\"fra\"]",
    "bias = { sin = 80 }\nring = \"50 %\"",
];

/// Addresses at and around everything the geo data and the rules know.
fn addresses() -> impl Strategy<Value = IpAddr> {
    let known = ["5.0.0.0", "5.1.2.127", "5.63.255.255", "3.16.1.2", "36.64.1.128", "10.0.0.0", "255.255.255.255"];
    let near = (0..known.len(), any::<u32>(), 0u32..32).prop_map(move |(at, noise, keep)| {
        let base: std::net::Ipv4Addr = known[at].parse().unwrap();
        IpAddr::V4((base.to_bits() ^ noise.checked_shr(keep).unwrap_or(0)).into())
    });
    let known6 =
        ["2a00::", "2600:1::", "2a00:1::", "2002:501:203::", "::ffff:5.1.2.3", "2001:0:4136:e378:8000:63bf:3fff:fdd2"];
    let near6 = (0..known6.len(), any::<u128>(), 0u32..128).prop_map(move |(at, noise, keep)| {
        let base: std::net::Ipv6Addr = known6[at].parse().unwrap();
        IpAddr::V6((base.to_bits() ^ noise.checked_shr(keep).unwrap_or(0)).into())
    });
    prop_oneof![near, near6]
}

proptest! {
    /// With the map and without, in any state of health, the answer is the same, and within the answered scope everybody's is.
    #[test]
    fn the_map_and_the_geo_data_agree_and_scopes_are_exact(
        policy in 0..POLICIES.len(),
        states in proptest::collection::vec(proptest::sample::subsequence(vec!["fra", "iad", "sin"], 0..=3), 3),
        address in addresses(),
        others in proptest::collection::vec(any::<u128>(), 8),
    ) {
        thread_local!(static VIEWS: Vec<[View; 2]> = POLICIES.iter().map(|policy| {
            let of = |depth: &str| {
                let text = format!("[dns]\nranking-depth = {depth}\n{}\n[[policy]]\nname = \"default\"\n{policy}", fixture::CONFIG);
                fixture::view_of(&text, "sin")
            };
            let mapped = of("1");
            let maps = Maps::build(mapped.guide(), &std::sync::atomic::AtomicBool::new(false)).unwrap();
            mapped.guide().set_maps(Arc::new(maps));
            [of("1"), mapped]
        }).collect());
        VIEWS.with(|views| {
            let [plain, mapped] = &views[policy];
            let bits = if address.is_ipv4() { 32 } else { 128 };
            let whole = |address: IpAddr| Subnet { address, source: bits };
            for down in &states {
                let health = health(plain, down);
                for family in [Family::V4, Family::V6] {
                    let answer = |view: &View, address| {
                        let asker = Asker { subnet: Some(whole(address)), ..asker(FRANKFURT) };
                        let decision = view.guide().decide(STEERED, asker, family, &health, 60);
                        let told = told(view, &decision);
                        (told.split(" /").next().unwrap().to_owned(), decision.coverage.scope)
                    };
                    let (told, scope) = answer(mapped, address);
                    prop_assert_eq!(&answer(plain, address).0, &told);
                    prop_assert!(answer(plain, address).1 >= scope, "the map's scope is as wide as can be");
                    for other in &others {
                        // Alike in the first `scope` bits.
                        let inside = match address {
                            IpAddr::V4(v4) => {
                                let rest = (*other as u32).checked_shr(u32::from(scope)).unwrap_or(0);
                                IpAddr::V4((v4.to_bits() ^ rest).into())
                            }
                            IpAddr::V6(v6) => {
                                let rest = other.checked_shr(u32::from(scope)).unwrap_or(0);
                                IpAddr::V6((v6.to_bits() ^ rest).into())
                            }
                        };
                        prop_assert_eq!(&answer(mapped, inside).0, &told, "{} and {} in /{}", address, inside, scope);
                    }
                }
            }
            Ok(())
        })?;
    }
}
