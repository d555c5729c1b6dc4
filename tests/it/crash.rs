//! A node that is killed: no wrong byte afterwards, and what was on disk is there again.

use crate::harness::client::Plain;
use crate::harness::eventually;
use crate::harness::gate::Gate;
use crate::harness::node::Setup;
use crate::harness::process::Process;
use crate::harness::shelf::{Got, Shelf};

/// Objects that an earlier process left on disk.
const EARLIER: u64 = 150;

/// Fetches that run when the node is killed.
const FILLS: u64 = 1000;

#[test]
fn killed_in_the_middle_of_a_thousand_fetches() {
    // A third ends at once, so that much of it is written by then; a third just when the node dies, and a third never.
    let (last_moment, never) = (Gate::default(), Gate::default());
    let gates = [None, Some(last_moment.clone()), Some(never.clone())];
    let ends_at_once = |number: u64| number < EARLIER || number.is_multiple_of(3);
    let shelf = Shelf::holding(move |number| match ends_at_once(number) {
        true => None,
        false => gates[usize::try_from(number % 3).unwrap()].clone(),
    });
    // So little memory that most of it must go to disk.
    let mut setup = Setup::new(&shelf.origin).set("cache.memory", "\"8 MiB\"").disk();
    setup.sites[0].push_str("\ndisk = \"always\"");

    let first = Process::run(&setup);
    for _twice in 0..2 {
        (0..EARLIER).for_each(|number| assert!(matches!(shelf.ask(first.http(), number), Got::Whole { .. })));
    }
    first.signal("TERM");
    assert_eq!(first.exit_code(), Some(0));
    let asked = shelf.origin.asked();

    let second = Process::run(&setup);
    let numbers = EARLIER..EARLIER + FILLS;
    let mut clients: Vec<_> = numbers.clone().map(|number| (number, Plain::connect(second.http()))).collect();
    clients.iter_mut().for_each(|(number, client)| shelf.send(client, *number));
    eventually("all fetches", || shelf.origin.asked() >= asked + clients.len());
    let (mut ended, mut running): (Vec<_>, Vec<_>) = clients.into_iter().partition(|(number, _)| ends_at_once(*number));
    for (number, client) in &mut ended {
        assert_eq!(shelf.receive(client, *number), Got::Whole { edition: 1, hit: false }, "{number}");
    }
    last_moment.open();
    second.signal("KILL");
    assert_eq!(second.exit_code(), None);
    let outcomes = running.iter_mut().map(|(number, client)| shelf.receive(client, *number));
    let broken = outcomes.filter(|got| *got == Got::Broken).count();
    assert!(broken as u64 >= FILLS / 3, "only {broken} were cut off: it was not in the middle");
    never.open();

    shelf.bring_out_next_edition();
    let third = Process::run(&setup);
    for number in 0..EARLIER + FILLS {
        match shelf.ask(third.http(), number) {
            Got::Whole { edition, hit } => assert_eq!(edition == 1, hit, "{number}: the old one only from the store"),
            Got::Broken => panic!("{number}: no answer"),
        }
        assert!(number >= EARLIER || shelf.origin.count(&format!("/{number}")) <= 1, "{number} was on disk");
    }
}
