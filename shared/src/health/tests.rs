//! The board as its users see it: results in, a table out.

use std::time::Duration;

use super::*;
use crate::config::Inputs;

fn config(text: &str) -> Config {
    let inputs = Inputs { pop: Some("fra".to_owned()), ..Inputs::default() };
    Config::parse(text, Path::new("test.toml"), &inputs).unwrap()
}

fn pop(name: &str, addresses: &[u8]) -> String {
    let addresses: Vec<String> = addresses.iter().map(|octet| format!("\"192.0.2.{octet}\"")).collect();
    format!("[[pop]]\nname = \"{name}\"\nlocation = [0, 0]\naddresses = [{}]\n", addresses.join(", "))
}

fn three() -> Config {
    config(&[pop("fra", &[1]), pop("iad", &[2]), pop("sin", &[3])].concat())
}

/// A board and the clock it lives by.
struct Bench {
    board: Arc<HealthBoard>,
    clock: Clock,
}

impl Bench {
    fn new(config: &Config, forced_file: Option<&Path>) -> Self {
        let clock = Clock::manual(Timestamp::from_seconds(1000));
        Self { board: HealthBoard::new(config, forced_file, &clock).unwrap(), clock }
    }

    /// Reports of what is probed at 192.0.2.`octet`: `+` good, `-` bad, `o` overloaded, `l` leaving, a second after the other.
    fn report(&self, octet: u8, results: &str) {
        for result in results.chars() {
            let plain = Report::plain(Ok(()), Duration::from_millis(5));
            let report = match result {
                '-' => Report { result: Err("refused".to_owned()), ..plain },
                'l' => Report { result: Err("leaving".to_owned()), leaving: true, ..plain },
                'o' => Report { overloaded: true, ..plain },
                _ => plain,
            };
            self.report_in_full(octet, &report);
            self.clock.advance(1000);
        }
    }

    fn report_in_full(&self, octet: u8, report: &Report) {
        let host = format!("192.0.2.{octet}");
        for (id, _) in self.board.targets().into_iter().filter(|(_, target)| target.host == host) {
            self.board.report(id, report.clone());
        }
    }

    fn ups(&self) -> Vec<bool> {
        self.board.table().pops.iter().map(|pop| pop.up).collect()
    }
}

#[test]
fn nothing_is_down_before_a_full_first_round() {
    let bench = Bench::new(&three(), None);
    bench.report(1, "-----");
    assert_eq!(bench.ups(), [true, true, true]);
    assert!(bench.board.table().address_is_up(PopId(0), 0) && bench.board.table().is_unsettled(PopId(1)));
    bench.report(2, "+");
    bench.report(3, "+");
    assert_eq!(bench.ups(), [false, true, true]);
}

#[test]
fn forced_states_beat_probes_and_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("forced.json");
    let Bench { board, .. } = Bench::new(&three(), Some(&file));
    let ups = |board: &HealthBoard| -> Vec<bool> { board.table().pops.iter().map(|pop| pop.up).collect() };
    board.force("iad", Some(Forced::Drain.into())).unwrap();
    assert_eq!(ups(&board), [true, false, true]);
    assert_eq!(board.says(), Says::Up);
    board.force("fra", Some(Forced::Drain.into())).unwrap();
    assert_eq!(board.says(), Says::Drained, "a drained node says so to its probers");

    let again = Bench::new(&three(), Some(&file)).board;
    assert_eq!((ups(&again), again.says()), (vec![false, false, true], Says::Drained));
    again.force("iad", None).unwrap();
    again.force("fra", Some(Forced::Up.into())).unwrap();
    assert_eq!(ups(&again), [true, true, true]);
    assert!(matches!(again.force("nowhere", None), Err(ForceError::UnknownPop(_))));
}

#[test]
fn forced_states_end_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("forced.json");
    let bench = Bench::new(&three(), Some(&file));
    let hold =
        Hold { who: Some("ann".to_owned()), why: Some("work".to_owned()), until: Some(1060), ..Forced::Down.into() };
    for pop in ["iad", "sin"] {
        bench.board.force(pop, Some(hold.clone())).unwrap();
    }
    bench.clock.advance(59_999);
    bench.board.tick();
    assert_eq!(bench.ups(), [true, false, false]);
    assert_eq!(bench.board.status()[1].hold, Some(Hold { since: Some(1000), ..hold.clone() }));
    assert_eq!(bench.board.status()[1].history[0].why, "down by ann: work");
    bench.clock.advance(1);
    bench.board.tick();
    assert_eq!(bench.ups(), [true, true, true]);
    assert_eq!(Holds::read(&file).unwrap(), Holds::default());

    // Its end came while nobody was there.
    let mut holds = Holds::default();
    holds.set("iad", Some(Hold { until: Some(999), ..hold.clone() }));
    holds.set("sin", Some(hold));
    holds.write(&file).unwrap();
    let again = Bench::new(&three(), Some(&file));
    assert_eq!(again.ups(), [true, true, false]);
    assert!(Holds::read(&file).unwrap().of("iad").is_none());
}

#[test]
fn a_hold_that_outlives_its_pop_can_be_lifted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("forced.json");
    let board = Bench::new(&three(), Some(&file)).board;
    board.force("iad", Some(Forced::Drain.into())).unwrap();
    assert!(board.orphaned_holds().is_empty());
    board.reconfigure(&config(&pop("fra", &[1])));
    let orphans = board.orphaned_holds();
    assert_eq!((orphans.len(), orphans[0].pop.as_str(), orphans[0].hold.state), (1, "iad", Forced::Drain));
    assert!(board.force("iad", Some(Forced::Up.into())).is_err(), "nobody new is held");
    board.force("iad", None).unwrap();
    assert!(board.orphaned_holds().is_empty());
    assert_eq!(Holds::read(&file).unwrap(), Holds::default());
    assert!(board.force("iad", None).is_err(), "nothing is left to be lifted");
}

#[test]
fn addresses_that_are_down_are_left_out_of_a_pop_that_is_up() {
    let bench = Bench::new(&config(&pop("fra", &[1, 2])), None);
    let seen = || {
        let table = bench.board.table();
        (table.is_up(PopId(0)), [0, 1].map(|position| table.address_is_up(PopId(0), position)))
    };
    bench.report(1, "+");
    bench.report(2, "+--");
    assert_eq!(seen(), (true, [true, true]));
    bench.report(2, "-");
    assert_eq!(seen(), (true, [true, false]));
    bench.report(1, "---");
    assert_eq!(seen(), (false, [false, false]));
    bench.board.force("fra", Some(Forced::Up.into())).unwrap();
    assert_eq!(seen(), (true, [true, true]));
}

#[test]
fn a_pop_needs_its_share_of_addresses() {
    let text = format!("[health]\naddresses-min = \"60%\"\n{}", pop("fra", &[1, 2]));
    let bench = Bench::new(&config(&text), None);
    bench.report(1, "+");
    bench.report(2, "+---");
    assert_eq!(bench.ups(), [false]);
    assert_eq!(bench.board.status()[0].history[0].why, "probes: 1 of 2 well");
}

#[test]
fn unsettled_while_a_change_is_near_and_after_it() {
    let bench = Bench::new(&three(), None);
    let unsettled = || bench.board.table().is_unsettled(PopId(1));
    for octet in 1..=3 {
        bench.report(octet, "+");
    }
    assert!(!unsettled());
    bench.report(2, "-");
    assert!(unsettled(), "one bad result");
    bench.report(2, "+");
    assert!(!unsettled(), "and a good one");
    bench.report(2, "---");
    assert!(unsettled() && !bench.ups()[1], "it fell just now");
    bench.clock.advance(27_999);
    bench.board.tick();
    assert!(unsettled());
    bench.clock.advance(1001);
    bench.board.tick();
    assert!(!unsettled(), "that was long ago");
    bench.report(2, "+");
    assert!(unsettled(), "on its way back");
    bench.report(2, "-");
    bench.board.force("iad", Some(Forced::Up.into())).unwrap();
    assert!(unsettled(), "an operator's word is a change, too");
    bench.clock.advance(31_000);
    bench.report(2, "+");
    assert!(!unsettled(), "probes change nothing now");
}

#[test]
fn a_clock_that_is_set_back_keeps_nothing_unsettled() {
    let bench = Bench::new(&three(), None);
    for octet in 1..=3 {
        bench.report(octet, "+");
    }
    bench.report(2, "---++---");
    assert_eq!(bench.board.status()[1].targets[0].need, Some(4));
    bench.clock.advance(-3_600_000);
    bench.board.tick();
    assert!(!bench.board.table().is_unsettled(PopId(1)));
    assert_eq!(bench.board.status()[1].targets[0].need, Some(2), "nor down");
}

#[test]
fn a_flapping_target_is_held_down() {
    let bench = Bench::new(&three(), None);
    for octet in 1..=3 {
        bench.report(octet, "+");
    }
    bench.report(2, "---++---++");
    assert_eq!(bench.ups(), [true, false, true], "the second time takes longer");
    assert_eq!(bench.board.status()[1].targets[0].need, Some(4));
    bench.report(2, "++");
    assert_eq!(bench.ups(), [true, true, true]);
    let target = bench.board.status()[1].targets[0].clone();
    assert_eq!((target.changes, target.need), (5, None));
    let ups: Vec<bool> = target.history.iter().map(|change| change.up).collect();
    assert_eq!(ups, [true, false, true, false, true], "the newest first");
    assert_eq!(target.history[1].why, "refused");
}

#[test]
fn a_hold_leaves_no_trace_in_what_probes_say() {
    let bench = Bench::new(&three(), None);
    for octet in 1..=3 {
        bench.report(octet, "+");
    }
    for _ in 0..5 {
        bench.board.force("iad", Some(Forced::Drain.into())).unwrap();
        bench.report(2, "llllll");
        assert_eq!(bench.ups(), [true, false, true]);
        bench.board.force("iad", None).unwrap();
        assert_eq!(bench.ups(), [true, true, true], "at once");
        bench.report(2, "+");
    }
    // Nobody is there during the work.
    bench.board.force("iad", Some(Forced::Down.into())).unwrap();
    bench.report(2, "---");
    bench.board.force("iad", None).unwrap();
    assert_eq!((bench.ups()[1], bench.board.status()[1].targets[0].need), (false, Some(2)), "it is down indeed");
    bench.report(2, "++---");
    assert_eq!(bench.board.status()[1].targets[0].need, Some(2), "its first fall");
}

#[test]
fn a_node_that_leaves_in_order_does_not_flap() {
    let bench = Bench::new(&three(), None);
    for octet in 1..=3 {
        bench.report(octet, "+");
    }
    for _ in 0..3 {
        bench.report(2, "lll--");
        assert_eq!(bench.ups(), [true, false, true]);
        bench.report(2, "++");
        assert_eq!(bench.ups(), [true, true, true]);
    }
}

#[test]
fn overload_takes_out_a_share_of_the_pops_only() {
    let names = ["fra", "iad", "sin", "gru"];
    let pops: Vec<String> = names.iter().zip(1..).map(|(name, octet)| pop(name, &[octet])).collect();
    let bench = Bench::new(&config(&pops.concat()), None);
    for octet in 1..=4 {
        bench.report(octet, "o");
    }
    assert_eq!(bench.ups(), [false, true, true, true], "a quarter of four, the first");
    assert_eq!(bench.board.table().pops[0].reason, Reason::Overloaded);
    bench.report(1, "+");
    assert_eq!(bench.ups(), [true, false, true, true], "the next in its place");
    bench.report(4, "---");
    assert_eq!(bench.ups(), [true, true, true, false], "a quarter of three is none");
}

#[test]
fn origins_are_unreached_when_no_node_of_a_pop_reaches_them() {
    let site = "[[site]]\ndomains = [\"www.test\"]\norigin = \"http://o.test\"\nname = \"www\"\n";
    let bench = Bench::new(&config(&[&pop("fra", &[1, 2]), site].concat()), None);
    let reaches = || bench.board.table().reaches_origin(PopId(0), "www");
    let without = Report { unreached: vec![SiteHash::of("www")], ..Report::plain(Ok(()), Duration::ZERO) };
    bench.report_in_full(1, &without);
    bench.report(2, "+");
    assert!(reaches(), "the other one does");
    bench.report_in_full(2, &without);
    assert!(!reaches() && bench.ups()[0]);
    assert_eq!(bench.board.status()[0].origins_unreached, ["www"]);
    bench.report(1, "+");
    assert!(reaches());
    bench.report(1, "---");
    assert!(!reaches(), "only those that are up count");
}

#[test]
fn sites_that_share_an_origin_are_unreached_together() {
    let site = |name: &str, origin: &str| {
        format!("[[site]]\ndomains = [\"{name}.test\"]\norigin = \"{origin}\"\nname = \"{name}\"\n")
    };
    let many: String = (0..1000).map(|number| site(&format!("s{number}"), "http://o.test")).collect();
    let others = [site("port", "http://o.test:81"), site("tls", "https://o.test")].concat();
    let text = [pop("fra", &[1]), many, others].concat();
    let bench = Bench::new(&config(&text), None);
    let told = Report { unreached: vec![SiteHash::of("s7")], ..Report::plain(Ok(()), Duration::ZERO) };
    bench.report_in_full(1, &told);
    let table = bench.board.table();
    assert!((0..1000).all(|number| !table.reaches_origin(PopId(0), &format!("s{number}"))));
    assert!(table.reaches_origin(PopId(0), "port") && table.reaches_origin(PopId(0), "tls"));
    drop(table);
    bench.report(1, "+");
    assert!(bench.board.table().reaches_origin(PopId(0), "s7"));
}

#[test]
fn a_leaving_node_is_out_of_its_own_answers() {
    let bench = Bench::new(&three(), None);
    bench.board.leave();
    assert_eq!(bench.ups(), [false, true, true]);
    assert_eq!(bench.board.says(), Says::Leaving);
}

#[test]
fn a_new_target_does_not_bring_back_those_that_are_down() {
    let bench = Bench::new(&three(), None);
    for (octet, results) in [(1, "+"), (2, "---"), (3, "+")] {
        bench.report(octet, results);
    }
    let more = config(&[pop("fra", &[1]), pop("iad", &[2]), pop("sin", &[3]), pop("gru", &[4])].concat());
    bench.board.reconfigure(&more);
    assert_eq!(bench.ups(), [true, false, true, true]);
}

#[test]
fn what_is_known_survives_a_reload() {
    let bench = Bench::new(&three(), None);
    for (octet, results) in [(1, "+"), (2, "---"), (3, "+")] {
        bench.report(octet, results);
    }
    let late = bench.board.targets()[0].0;
    let moved = [pop("iad", &[2]), pop("fra", &[1, 9]), pop("sin", &[3])].concat();
    let other_port = moved.replace("addresses = [\"192.0.2.2\"]", "addresses = [\"192.0.2.2\"]\nprobe = { port = 1 }");
    bench.board.reconfigure(&config(&other_port));
    assert_eq!(bench.ups(), [false, true, true], "by name and address, asked in another way or not");
    for _ in 0..3 {
        bench.board.report(late, Report::plain(Err("late".to_owned()), Duration::ZERO));
    }
    assert_eq!(bench.ups(), [false, true, true], "late results are of nobody");
    let view = three().pops;
    let seen = bench.board.table();
    let seen = seen.seen_by(FleetId::of(&view), &view);
    assert_eq!([0, 1, 2].map(|id| seen.is_up(PopId(id))), [true, false, true], "the view of before reads by name");
    bench.board.reconfigure(&config(&pop("fra", &[1])));
    let seen = bench.board.table();
    let seen = seen.seen_by(FleetId::of(&view), &view);
    assert_eq!([0, 1, 2].map(|id| seen.is_up(PopId(id))), [true, false, true], "those that went, too");
}
