//! What the RFCs require of a shared cache, and what they allow it, as an outsider would measure it: an origin plays back
//! scripted answers, a client sends scripted requests, and the origin counts. Nothing is believed because the cache says it.
//!
//! One file per topic; `case.rs` explains the language. Other documents name a case `conformance::<file>::<case>`.

use std::collections::HashSet;
use std::thread;

use bench::Bench;
use case::Case;

mod bench;
mod case;
mod desk;
mod moment;

/// A topic: its name, its cases, and the sites it needs beside the plain one.
type File = (&'static str, fn() -> Vec<Case>, &'static [(&'static str, &'static str)]);

macro_rules! files {
    ($($file:ident),* $(,)?) => {
        $(
            mod $file;

            #[test]
            fn $file() {
                play((stringify!($file), $file::cases, $file::SITES));
            }
        )*

        const FILES: &[File] = &[$((stringify!($file), $file::cases, $file::SITES)),*];
    };
}

files! {
    freshness, directives, dates, age, heuristic, statuses, fields, update304, validation, conditional, vary, requests, methods,
    invalidation, stale, ranges, partial, targeted, surrogate, personal, framing, groups, keys, reports,
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
    assert!(names.len() >= 300, "{}", names.len());
    let mut known = HashSet::new();
    let twice: Vec<&String> = names.iter().filter(|name| !known.insert(name.as_str())).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let odd = |name: &&String| !name.chars().all(|sign| sign.is_ascii_alphanumeric() || "-_:".contains(sign));
    assert_eq!(names.iter().find(odd), None, "a name is a part of a path");
}

/// The shipped program has no clock of ours: what needs no time to pass, in as many threads as there are files.
#[test]
fn the_real_binary() {
    let bench = Bench::binary();
    let failures = |(file, cases, _): &File| -> (usize, Vec<String>) {
        let cases: Vec<Case> = cases().into_iter().filter(Case::suits_the_binary).collect();
        (cases.len(), cases.iter().filter_map(|case| bench.play(&format!("{file}-"), case).err()).collect())
    };
    let results: Vec<(usize, Vec<String>)> = thread::scope(|scope| {
        let running: Vec<_> = FILES.iter().map(|file| scope.spawn(|| failures(file))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let played: usize = results.iter().map(|(played, _)| played).sum();
    let failures: Vec<String> = results.into_iter().flat_map(|(_, failures)| failures).collect();
    assert!(failures.is_empty(), "{} of {played} failed\n{}", failures.len(), failures.join("\n"));
    assert!(played >= 40, "{played}");
}
