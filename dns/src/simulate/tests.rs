use nearcast_shared::geo::AddressFamily;
use proptest::prelude::*;

use super::*;
use crate::fixture;

const NAME: &str = "www.cdn.example.net";

fn view(policy: &str) -> View {
    fixture::view_of(&format!("{}\n[[policy]]\nname = \"default\"\n{policy}", fixture::CONFIG), "sin")
}

fn ids(view: &View, names: &[&str]) -> Vec<PopId> {
    let id = |name: &&str| view.pops().iter().position(|pop| pop.name == *name).unwrap();
    names.iter().map(|name| PopId(u16::try_from(id(name)).unwrap())).collect()
}

fn world(view: &View, family: AddressFamily, down: &[&str]) -> Simulation {
    let mut simulator = Simulator::new(view, AddressType::A, &ids(view, down));
    simulator.world(NAME, family, |_| {}).unwrap();
    simulator.finish()
}

/// Such as `fra 0.250 (0.500) from iad 0.250`.
fn told(simulation: &Simulation) -> Vec<String> {
    let told = |load: &Load| {
        let taken = load.took_over.iter().map(|taken| format!(" from {} {:.3}", taken.from, taken.share));
        format!("{} {:.3} ({:.3}){}", load.name, load.share, load.share_all_up, taken.collect::<String>())
    };
    simulation.loads.iter().map(told).collect()
}

/// 5.0.0.0/10 is in Frankfurt, 3.16.0.0/20 in New York, 36.64.1.128/26 in Jakarta: a world of 2^22 + 2^12 + 2^6 addresses.
#[test]
fn a_small_world() {
    let all = ["fra", "iad", "sin"];
    let rows: [(&str, &str, &[&str], &[&str]); 7] = [
        ("all up", "", &[], &["fra 0.999 (0.999)", "iad 0.001 (0.001)", "sin 0.000 (0.000)"]),
        (
            "the nearest down",
            "",
            &["fra"],
            &["fra 0.000 (0.999)", "iad 1.000 (0.001) from fra 0.999", "sin 0.000 (0.000)"],
        ),
        ("all down, open", "", &all, &["fra 0.999 (0.999)", "iad 0.001 (0.001)", "sin 0.000 (0.000)"]),
        (
            "all down, SERVFAIL",
            "all-down = \"servfail\"",
            &all,
            &[
                "fra 0.000 (0.999)",
                "iad 0.000 (0.001)",
                "sin 0.000 (0.000)",
                "SERVFAIL 1.000 (0.000) from fra 0.999 from iad 0.001 from sin 0.000",
            ],
        ),
        (
            "several PoPs in an answer",
            "answers = 2",
            &["iad"],
            &["fra 0.500 (0.500)", "iad 0.000 (0.500)", "sin 0.500 (0.000) from iad 0.500"],
        ),
        (
            "a network of its own",
            "[[policy.rule]]\nnetworks = [\"5.0.0.0/11\"]\npops = [\"sin\"]",
            &[],
            &["fra 0.500 (0.500)", "iad 0.001 (0.001)", "sin 0.500 (0.500)"],
        ),
        (
            "in the order given",
            "order = \"failover\"\npops = [\"iad\", \"sin\"]",
            &["iad"],
            &["fra 0.000 (0.000)", "iad 0.000 (1.000)", "sin 1.000 (0.000) from iad 1.000"],
        ),
    ];
    for (name, policy, down, wanted) in rows {
        assert_eq!(told(&world(&view(policy), AddressFamily::V4, down)), wanted, "{name}");
    }
}

#[test]
fn ipv6_counts_no_prefix_for_more_than_a_32() {
    // 2a00::/20 and 2600:1::/32.
    let simulation = world(&view(""), AddressFamily::V6, &[]);
    assert_eq!(told(&simulation), ["fra 0.500 (0.500)", "iad 0.500 (0.500)", "sin 0.000 (0.000)"]);
}

#[test]
fn weights_and_chance_are_met() {
    for pick in ["random", "sticky"] {
        let policy = format!("order = \"weighted\"\npick = \"{pick}\"\nweights = {{ fra = 1, iad = 2, sin = 1 }}");
        let simulation = world(&view(&policy), AddressFamily::V4, &["sin"]);
        let [fra, iad, sin] = simulation.loads.as_slice() else { panic!("{simulation:?}") };
        // 129 draws: one standard deviation is 0.044.
        let close = |have: f64, wanted: f64| (have - wanted).abs() < 0.15;
        assert!(close(fra.share_all_up, 0.25) && close(iad.share_all_up, 0.5), "{pick}: {:?}", told(&simulation));
        assert!(close(fra.share, 0.333) && close(iad.share, 0.667), "{pick}: {:?}", told(&simulation));
        assert_eq!(sin.share, 0.0);
        assert!((simulation.moved - sin.share_all_up).abs() < 1e-9, "{pick}: only those of sin move");
    }
}

#[test]
fn the_clients_of_a_dead_pop_are_spread() {
    let simulation = world(&view("spread = 2"), AddressFamily::V4, &["fra"]);
    let [_, iad, sin] = simulation.loads.as_slice() else { panic!("{simulation:?}") };
    assert!(iad.share > 0.3 && sin.share > 0.3, "{:?}", told(&simulation));
    assert_eq!((iad.took_over.len(), sin.took_over.len()), (1, 1));
}

#[test]
fn lines_of_a_log() {
    let view = view("");
    let mut simulator = Simulator::new(&view, AddressType::A, &ids(&view, &["fra"]));
    for (client, length, count) in [(fixture::FRANKFURT, 32, 6), (fixture::NEW_YORK, 24, 3), (fixture::UNKNOWN, 24, 1)]
    {
        simulator.client(NAME, client.parse().unwrap(), length, count).unwrap();
    }
    assert!(simulator.client("fra.cdn.example.net", fixture::FRANKFURT.parse().unwrap(), 32, 1).is_err());
    let simulation = simulator.finish();
    // Who is unknown goes by the PoP that is asked.
    assert_eq!(told(&simulation), ["fra 0.000 (0.600)", "iad 0.900 (0.300) from fra 0.600", "sin 0.100 (0.100)"]);
    assert_eq!((simulation.weight, simulation.cells.len()), (10.0, 2));
}

#[test]
fn cells_show_who_has_them_and_who_moved() {
    let view = view("");
    let simulation = world(&view, AddressFamily::V4, &["fra"]);
    let told: Vec<(f64, f64, &str, bool)> = simulation
        .cells
        .iter()
        .map(|cell| (cell.at.latitude, cell.at.longitude, simulation.loads[cell.load].name.as_str(), cell.moved))
        .collect();
    assert_eq!(told, [(50.0, 8.5, "iad", true), (40.5, -74.0, "iad", false), (-6.0, 107.0, "sin", false)]);
    assert!((simulation.cells.iter().map(|cell| cell.share).sum::<f64>() - 1.0).abs() < 1e-9);
}

#[test]
fn nobody_known_is_nobody_carried() {
    let config = fixture::config(fixture::CONFIG, "sin");
    let view = View::compile(&config, std::sync::Arc::new(nearcast_shared::geo::GeoDb::empty()), &fixture::metrics());
    let simulation = world(&view.unwrap(), AddressFamily::V4, &[]);
    assert_eq!((simulation.weight, simulation.moved), (0.0, 0.0));
    assert!(simulation.loads.iter().all(|load| load.share == 0.0));
}

const POLICIES: [&str; 8] = [
    "",
    "spread = 2",
    "ring = \"7000 km\"",
    "ring = \"7000 km\"\npick = \"sticky\"\nspread = 3",
    "answers = 2\nspread = 2",
    "order = \"weighted\"",
    "order = \"failover\"\npops = [[\"sin\", \"fra\"], \"iad\"]",
    "[[policy.rule]]\nnetworks = [\"5.1.2.0/25\"]\npops = [\"sin\"]\nonly = true",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Shares are whole, and whoever is with a PoP that is up stays there.
    #[test]
    fn only_clients_of_the_dead_move(
        policy in 0..POLICIES.len(),
        down in proptest::sample::subsequence(vec!["fra", "iad", "sin"], 0..=3),
        v6 in any::<bool>(),
    ) {
        let family = if v6 { AddressFamily::V6 } else { AddressFamily::V4 };
        let simulation = world(&view(POLICIES[policy]), family, &down);
        let sum = |of: fn(&Load) -> f64| simulation.loads.iter().map(of).sum::<f64>();
        prop_assert!((sum(|load| load.share) - 1.0).abs() < 1e-9);
        prop_assert!((sum(|load| load.share_all_up) - 1.0).abs() < 1e-9);
        prop_assert!(!down.is_empty() || simulation.moved == 0.0);
        for load in &simulation.loads {
            let taken: f64 = load.took_over.iter().map(|taken| taken.share).sum();
            if load.state == LoadState::Up {
                prop_assert!((load.share - load.share_all_up - taken).abs() < 1e-9, "{:?}", told(&simulation));
            }
            for taken in &load.took_over {
                prop_assert!(down.contains(&taken.from.as_str()), "{:?}", told(&simulation));
            }
        }
    }
}
