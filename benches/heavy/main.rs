//! What the tests show in small, at full size and by the clock: `cargo bench --bench heavy -- [NAME..] [--tenth]`.
//!
//! Each part starts the real binary before an origin of the tests' harness, prints what it saw beside what is demanded,
//! and the exit status is 1 if anything was missed. See benches/README.md.
#![expect(clippy::unwrap_used, reason = "a benchmark's own mistake may end it")]

use std::process::ExitCode;

#[path = "../../tests/it"]
mod it {
    #[expect(dead_code, reason = "the tests use the rest")]
    pub(crate) mod harness;
}

mod busy;
mod demand;
mod herd;
mod hot;
mod steered;
mod through;
mod uncacheable;

pub(crate) use it::harness;

use demand::Demands;

type Part = fn(&mut Demands, u64);

const PARTS: [(&str, &str, Part); 6] = [
    ("herd", "500 clients on a cold 100 MiB object from an origin of 10 MiB/s", herd::run),
    ("uncacheable", "200 clients on a no-store URL whose origin takes a second", uncacheable::run),
    ("stream", "20 GiB through a cache of 1 GiB", through::stream),
    ("scan", "a million objects, each asked for once, through a cache of 1 GiB", through::scan),
    ("steered", "5,000 DNS queries a second while PoPs die and everything is reloaded", steered::run),
    ("busy", "DNS while HTTP clients, floods and strangers take what they can", busy::run),
];

fn main() -> ExitCode {
    // Cargo adds --bench.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let (options, names): (Vec<_>, Vec<_>) = words.into_iter().partition(|word| word.starts_with("--"));
    let known = |name: &String| PARTS.iter().any(|(part, ..)| part == name);
    if !options.iter().all(|option| option == "--tenth") || !names.iter().all(known) {
        eprintln!(
            "usage: cargo bench --bench heavy -- [herd] [uncacheable] [stream] [scan] [steered] [busy] [--tenth]"
        );
        return ExitCode::from(2);
    }
    // A tenth of the bytes and requests: to see whether it works at all.
    let divisor = if options.is_empty() { 1 } else { 10 };
    let mut demands = Demands::default();
    for (name, what, part) in PARTS {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            println!("\n{name}: {what}{}", if divisor == 1 { "" } else { ", a tenth of it" });
            part(&mut demands, divisor);
        }
    }
    if demands.all_met() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
