//! Many objects of mixed sizes, every byte of which is known, before a node whose store is done harm to. The origin may
//! bring out a new edition of all of them: an answer must be wholly of one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::client::{Ask, Begun, Plain};
use super::gate::Gate;
use super::origin::{Origin, Reply};
use super::vast::Vast;
use super::wire::End;

/// The objects, each under its number.
pub(crate) struct Shelf {
    pub(crate) origin: Origin,
    edition: Arc<AtomicU64>,
}

/// What came for a number; its bytes are right, as far as they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Got {
    /// All of it.
    Whole { edition: u64, hit: bool },
    /// An error of the connection, before or within the body.
    Broken,
}

impl Shelf {
    pub(crate) fn new() -> Self {
        Self::holding(|_| None)
    }

    /// Of what `held` has a gate for, the first edition waits there after half of its body.
    pub(crate) fn holding(held: impl Fn(u64) -> Option<Gate> + Send + Sync + 'static) -> Self {
        let edition = Arc::new(AtomicU64::new(1));
        let current = edition.clone();
        let origin = Origin::start(move |seen| {
            let number = seen.target.trim_start_matches('/').parse().unwrap();
            let edition = current.load(Ordering::SeqCst);
            let vast = body(number, edition);
            match held(number).filter(|_| edition == 1) {
                Some(gate) => {
                    let (half, length) = (vast.length / 2, vast.length);
                    Reply::new(200).control("max-age=3600").vast(&vast, 0, half).wait(&gate).vast(&vast, half, length)
                }
                // Some have a strong validator, so that what is missing of them may be asked for.
                None if number % 2 == 0 => Reply::ranged(seen, &vast, &format!("\"{number}-{edition}\"")),
                None => Reply::new(200).control("max-age=3600").vast(&vast, 0, vast.length),
            }
        });
        Self { origin, edition }
    }

    /// From now on the origin has another body for each number.
    pub(crate) fn bring_out_next_edition(&self) {
        self.edition.fetch_add(1, Ordering::SeqCst);
    }

    /// Asks a node for a number. Wrong bytes, and such as end cleanly too early, are a panic.
    pub(crate) fn ask(&self, to: SocketAddr, number: u64) -> Got {
        let mut client = Plain::connect(to);
        self.send(&mut client, number);
        self.receive(&mut client, number)
    }

    /// The first half of that.
    pub(crate) fn send(&self, client: &mut Plain, number: u64) {
        client.send(&Ask::get(&format!("/{number}")));
    }

    /// The second half.
    pub(crate) fn receive(&self, client: &mut Plain, number: u64) -> Got {
        let Some(begun) = client.begun("GET") else { return Got::Broken };
        self.judge(client, begun, number)
    }

    fn judge(&self, client: &mut Plain, begun: Begun, number: u64) -> Got {
        let answer = client.rest(begun);
        if answer.status != 200 {
            assert!(answer.status >= 500, "{number}: {}", answer.status);
            return Got::Broken;
        }
        let editions = 1..=self.edition.load(Ordering::SeqCst);
        let edition = editions.into_iter().find(|edition| body(number, *edition).has(0, &answer.body));
        let edition = edition.unwrap_or_else(|| panic!("{number}: wrong bytes, {} of them", answer.body.len()));
        match answer.end {
            End::Clean => {
                assert_eq!(answer.body.len() as u64, body(number, edition).length, "{number}: a clean end too early");
                Got::Whole { edition, hit: answer.is_hit() }
            }
            End::Broken => Got::Broken,
        }
    }
}

/// Most are small, some within one lookup, some in many pieces.
fn body(number: u64, edition: u64) -> Vast {
    let length = match number % 50 {
        0 => 2_500_000,
        rest if rest % 10 == 1 => 400_000 + 1_000 * number,
        rest if rest % 3 == 0 => 100 + number,
        _ => 20_000 + 97 * number,
    };
    Vast::new(length, number * 100 + edition)
}
