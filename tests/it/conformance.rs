//! What the RFCs require of a shared cache, and what they allow it, as an outsider would measure it: an origin plays
//! back scripted answers, a client sends scripted requests, and the origin counts. Nothing is believed because the
//! cache says it.
//!
//! One file per topic; `case.rs` explains the language. Other documents name a case `conformance::<file>::<case>`.

use std::collections::HashSet;
use std::thread;

use bench::Bench;
use case::Case;

mod age;
mod bench;
mod case;
mod combined;
mod conditional;
mod dates;
mod desk;
mod directives;
mod fields;
mod framing;
mod freshness;
mod groups;
mod heuristic;
mod invalidation;
mod keys;
mod methods;
mod moment;
mod one_second;
mod partial;
mod personal;
mod ranges;
mod reply;
mod reports;
mod requests;
mod rules;
mod stale;
mod statuses;
mod surrogate;
mod targeted;
mod update304;
mod validation;
mod vary;

/// A topic: its name, its cases, and the sites it needs beside the plain one.
type File = (&'static str, fn() -> Vec<Case>, &'static [(&'static str, &'static str)]);

macro_rules! files {
    ($($file:ident),* $(,)?) => {
        $(
            #[test]
            fn $file() {
                play((stringify!($file), $file::cases, $file::SITES));
            }
        )*

        const FILES: &[File] = &[$((stringify!($file), $file::cases, $file::SITES)),*];
    };
}

files! {
    freshness, directives, dates, age, heuristic, statuses, fields, update304, validation, conditional, vary, requests,
    methods, invalidation, stale, ranges, partial, combined, targeted, surrogate, personal, framing, groups, keys, reports, one_second,
    rules,
}

/// All cases of a file, one after the other, through a node in this process.
fn play((file, cases, sites): File) {
    let cases = cases();
    let bench = Bench::here(sites, &cases);
    let failures: Vec<String> = cases.iter().filter_map(|case| bench.play(file, case).err()).collect();
    assert!(failures.is_empty(), "{} of {} failed\n{}", failures.len(), cases.len(), failures.join("\n"));
}

/// The names of all cases, as other documents have them.
pub(crate) fn names() -> Vec<String> {
    let of_file = |(file, cases, _): &File| {
        let file = *file;
        cases().into_iter().map(move |case| format!("conformance::{file}::{}", case.name))
    };
    FILES.iter().flat_map(of_file).collect()
}

#[test]
fn there_are_enough_cases_and_each_has_its_own_name() {
    let names = names();
    println!("{} cases", names.len());
    assert!(names.len() >= 300, "{}", names.len());
    let mut known = HashSet::new();
    let twice: Vec<&String> = names.iter().filter(|name| !known.insert(name.as_str())).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let odd = |name: &&String| !name.chars().all(|sign| sign.is_ascii_alphanumeric() || "-_:".contains(sign));
    assert_eq!(names.iter().find(odd), None, "a name is a part of a path");
}

/// The shipped program has no clock of ours: what needs little time to pass, and all that at once.
#[test]
fn the_real_binary() {
    let bench = Bench::binary();
    let failures = |file: &str, cases: &[Case]| -> Vec<String> {
        cases.iter().filter_map(|case| bench.play(&format!("{file}-binary"), case).err()).collect()
    };
    let mut played = 0;
    let failures: Vec<String> = thread::scope(|scope| {
        let mut running = Vec::new();
        for (file, cases, _) in FILES {
            let suitable = cases().into_iter().filter(Case::suits_the_binary);
            let (quick, slow): (Vec<Case>, Vec<Case>) = suitable.partition(|case| case.seconds() == 0);
            played += quick.len() + slow.len();
            running.push(scope.spawn(move || failures(file, &quick)));
            running.extend(slow.into_iter().map(|case| scope.spawn(move || failures(file, &[case]))));
        }
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{} of {played} failed\n{}", failures.len(), failures.join("\n"));
    assert!(played >= 40, "{played}");
}
