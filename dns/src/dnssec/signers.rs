//! Signs sets online and keeps the signatures: one for each distinct set, since there are PoP sets and not clients.
//!
//! ```text
//!   a worker's own        no lock, the sets it is asked for most
//!     | not there, or to be renewed
//!   the node's            64 shards; `Kept` apart from `Passing`, so that names that nobody has push out nothing else
//!     | not there                        | to be renewed: one thread does, the others go on with the old one
//!   the clock is believed? the budget allows it? -> sign
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nearcast_shared::clock::{Clock, Timestamp};
use nearcast_shared::config::Dnssec;
use parking_lot::Mutex;
use siphasher::sip128::{Hasher128, SipHasher13};
use smallvec::SmallVec;

use super::budget::{Asker, Budget, Pool};
use super::canonical::{Set, signed_data};
use super::generations::Generations;
use super::guard::{ClockState, Guard};
use super::keys::Keys;
use super::metrics::Outcome;
use super::rrsig::{Rrsig, Window, labels};
use super::zone::{Signing, ZoneKeys};
use crate::name::Lowered;

const SHARDS: usize = 64;

/// Sets that a worker keeps for itself, of what zones have and of what passes.
const LOCAL: [usize; 2] = [4096, 256];

/// The data of a set's RRSIG records: of one, or two of the DNSKEY set while keys change.
pub(crate) type Signatures = SmallVec<[Arc<[u8]>; 1]>;

/// Why a set is not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Too many are made this second; a client that proves its address may have more luck.
    Limited,
    /// The time of day is not known: no signature would be good.
    Clock,
    /// The cryptographic library failed.
    Failed,
}

#[derive(Debug)]
struct Signed {
    rdatas: Signatures,
    /// From then on it is to be renewed.
    due: Timestamp,
    ends: Timestamp,
    /// Somebody renews it.
    claimed: AtomicBool,
    /// It was asked for when it was due, and could not be renewed.
    wanted: AtomicBool,
}

/// A set that is to be signed.
#[derive(Clone, Copy)]
struct Work<'w> {
    keys: &'w ZoneKeys,
    signing: &'w Signing,
    set: &'w Set<'w>,
    id: u128,
    pool: Pool,
    asker: Asker,
    wall: Timestamp,
}

/// What a worker keeps for itself.
#[derive(Debug)]
pub(crate) struct Local([Generations<Signed>; 2]);

impl Default for Local {
    /// Without room, for those that are many, such as connections.
    fn default() -> Self {
        Self([Generations::new(0), Generations::new(0)])
    }
}

impl Local {
    /// For a worker, of which there are few.
    pub(crate) fn of_worker() -> Self {
        Self(LOCAL.map(Generations::new))
    }
}

/// Makes and keeps signatures; outlives reloads.
#[derive(Debug)]
pub struct Signers {
    clock: Clock,
    guard: Guard,
    budget: Budget,
    /// Of the hash that tells sets apart; nobody outside can foresee it.
    secret: [u8; 16],
    /// By [`Pool`], then by shard.
    held: [Vec<Mutex<Generations<Arc<Signed>>>>; 2],
    /// The shard that is looked through next.
    sweep: AtomicUsize,
    /// Some zone is signed, so that it matters what the clock says.
    needed: AtomicBool,
}

/// What is kept, and what is thought of the clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignersStatus {
    /// For what zones have.
    pub kept: Held,
    /// For names that do not exist, or only through a wildcard.
    pub passing: Held,
    /// What is wrong with the time of day, and what to do, as a sentence.
    pub clock: Option<String>,
}

/// Signatures of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// How many sets.
    pub count: usize,
    /// When the one ends that ends first.
    pub ends: Option<Timestamp>,
}

impl Signers {
    /// `noted` is when the node ran last, by the clock of then.
    pub fn new(config: &Dnssec, clock: Clock, secret: [u8; 16], noted: Timestamp) -> Self {
        let guard = Guard::new(clock.now(), clock.steady(), noted);
        let shards = || (0..SHARDS).map(|_| Mutex::new(Generations::new(0))).collect();
        let made = Self {
            clock,
            guard,
            budget: Budget::new(config.signatures_per_second),
            secret,
            held: [shards(), shards()],
            sweep: AtomicUsize::new(0),
            needed: AtomicBool::new(false),
        };
        made.resize(config);
        made
    }

    /// Takes over the limits and keys of a config that comes into force.
    pub fn reconfigure(&self, config: &Dnssec, keys: &Keys) {
        self.budget.set_rate(config.signatures_per_second);
        self.resize(config);
        self.use_keys(keys);
    }

    /// Zones are signed by `keys` from now on.
    pub fn use_keys(&self, keys: &Keys) {
        self.needed.store(keys.count() > 0, Ordering::Relaxed);
        self.guard.look(self.clock.now(), self.clock.steady());
        self.tell_of_clock();
    }

    /// An operator says that the clock is right, whatever it was before.
    pub fn believe_clock(&self) {
        self.guard.believe(self.clock.now(), self.clock.steady());
        self.tell_of_clock();
    }

    /// The present moment as keys are judged by when they are read: the later, if there are two that may be it.
    pub fn latest(&self) -> Timestamp {
        let wall = self.clock.now();
        self.now(wall).max(wall)
    }

    fn resize(&self, config: &Dnssec) {
        for (shards, capacity) in self.held.iter().zip([config.signatures_kept, config.signatures_passing]) {
            shards.iter().for_each(|shard| shard.lock().set_capacity(capacity.div_ceil(SHARDS)));
        }
    }

    /// What is to be gone by for keys' times while the machine says that it is `wall`: the same, unless the clock was set.
    pub(crate) fn now(&self, wall: Timestamp) -> Timestamp {
        self.guard.now(wall)
    }

    /// The signatures of `set`, which is of the zone with `keys`; `wall` is what the machine's clock says.
    pub(crate) fn sign(
        &self,
        keys: &ZoneKeys,
        local: &mut Local,
        set: &Set<'_>,
        pool: Pool,
        asker: Asker,
        wall: Timestamp,
    ) -> Result<Signatures, Refused> {
        let now = self.guard.now(wall);
        let signing = keys.at(now).signing(set.rtype);
        let id = self.id(signing, set);
        // By whichever clock it is later.
        let latest = now.max(wall);
        if let Some(signed) = local.0[pool as usize].get(id)
            && latest < signed.due
        {
            keys.count(Outcome::Cached);
            return Ok(signed.rdatas.clone());
        }
        let shard = &self.held[pool as usize][shard_of(id)];
        let found = shard.lock().get(id).cloned();
        let work = Work { keys, signing, set, id, pool, asker, wall };
        let (outcome, result) = match found {
            Some(signed) if latest < signed.due => (Outcome::Cached, Ok(signed)),
            Some(signed) if now.min(wall) < signed.ends => self.renewed(&work, signed),
            Some(_) | None => self
                .made(&work)
                .map_or_else(|refused| (refused.outcome(), Err(refused)), |signed| (Outcome::Made, Ok(signed))),
        };
        keys.count(outcome);
        let signed = result?;
        if latest < signed.due {
            // A copy of its own: what all workers count references of goes to and fro between cores.
            local.0[pool as usize].insert(id, signed.copy());
        }
        Ok(signed.rdatas.clone())
    }

    fn renewed(&self, work: &Work<'_>, old: Arc<Signed>) -> (Outcome, Result<Arc<Signed>, Refused>) {
        if old.claimed.swap(true, Ordering::Acquire) {
            return (Outcome::Due, Ok(old));
        }
        match self.made(work) {
            Ok(new) => (Outcome::Renewed, Ok(new)),
            Err(refused) => {
                old.wanted.store(true, Ordering::Relaxed);
                old.claimed.store(false, Ordering::Release);
                // While the clocks are too far apart for a new one, what is good by one of them is all there is.
                if work.wall.max(self.guard.now(work.wall)) < old.ends || refused == Refused::Clock {
                    (Outcome::Due, Ok(old))
                } else {
                    (refused.outcome(), Err(refused))
                }
            }
        }
    }

    fn made(&self, work: &Work<'_>) -> Result<Arc<Signed>, Refused> {
        let &Work { keys, signing, set, id, pool, asker, wall } = work;
        let steady = self.clock.steady();
        let moments = self.guard.moments(wall, steady).ok_or(Refused::Clock)?;
        if !self.budget.take(pool, asker, steady) {
            return Err(Refused::Limited);
        }
        let [draw, ..] = halves(id);
        let window = Window::new(&keys.terms, moments, draw);
        let sign = |key: &super::key::Key| {
            let rrsig = Rrsig {
                covered: set.rtype,
                algorithm: key.algorithm().number(),
                labels: labels(set.owner),
                ttl: set.ttl,
                window,
                tag: key.tag(),
                signer: &keys.zone,
            };
            let mut rdata = Vec::with_capacity(18 + keys.zone.wire().len() + 64);
            rrsig.write(&mut rdata);
            rdata.extend(key.pair().sign(&signed_data(&rrsig, set))?);
            Some(Arc::from(rdata))
        };
        let rdatas: Option<Signatures> = signing.keys(keys).map(sign).collect();
        let signed = Arc::new(Signed {
            rdatas: rdatas.ok_or(Refused::Failed)?,
            due: window.due,
            ends: window.ends,
            claimed: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
        });
        self.held[pool as usize][shard_of(id)].lock().insert(id, signed.clone());
        Ok(signed)
    }

    /// Tells sets apart, whatever the order of their records and the letter case of their name.
    fn id(&self, signing: &Signing, set: &Set<'_>) -> u128 {
        use std::hash::Hasher;
        let keyed = || SipHasher13::new_with_key(&self.secret);
        // Sums do not hang on order. What is added are keyed hashes, so that nobody can make two sums equal.
        let mut sum = 0_u128;
        (set.rdatas)(&mut |rdata| {
            let mut hasher = keyed();
            hasher.write(rdata);
            sum = sum.wrapping_add(hasher.finish128().as_u128());
        });
        let mut hasher = keyed();
        hasher.write_u64(signing.id);
        hasher.write_u64(u64::from(set.ttl) << 32 | u64::from(set.rtype));
        hasher.write_u128(sum);
        hasher.write(Lowered::new(set.owner).wire());
        hasher.finish128().as_u128()
    }

    /// To be called every second: looks at the clocks, and at a part of what is kept.
    pub fn tick(&self) {
        if self.guard.look(self.clock.now(), self.clock.steady()).is_some() {
            self.tell_of_clock();
        }
        let (now, shard) = (self.now(self.clock.now()), self.sweep.fetch_add(1, Ordering::Relaxed) % SHARDS);
        for shards in &self.held {
            // Whatever is asked for was renewed, or is wanted.
            shards[shard].lock().retain(|signed| now < signed.due || signed.is_wanted(now));
        }
    }

    fn tell_of_clock(&self) {
        match explain(self.guard.state()) {
            Some(what) if self.needed.load(Ordering::Relaxed) => {
                tracing::error!(what, "the time of day is not believed");
            }
            Some(what) => tracing::debug!(what, "the time of day is not believed"),
            None => tracing::debug!("the time of day is believed"),
        }
    }

    /// The present moment, if the clock is believed: what is told to [`Signers::new`] at the next start.
    pub fn believed(&self) -> Option<Timestamp> {
        (self.guard.state() == ClockState::Steady).then(|| self.clock.now())
    }

    /// What is kept, and what is thought of the clock.
    pub fn status(&self) -> SignersStatus {
        let [kept, passing] = self.held.each_ref().map(|shards| {
            shards.iter().fold(Held::default(), |held, shard| {
                let shard = shard.lock();
                let ends = shard.values().map(|signed| signed.ends).chain(held.ends).min();
                Held { count: held.count + shard.len(), ends }
            })
        });
        SignersStatus { kept, passing, clock: explain(self.guard.state()) }
    }
}

impl Refused {
    fn outcome(self) -> Outcome {
        match self {
            Self::Limited => Outcome::Limited,
            Self::Clock => Outcome::Clock,
            Self::Failed => Outcome::Failed,
        }
    }
}

impl Signed {
    fn is_wanted(&self, now: Timestamp) -> bool {
        self.wanted.load(Ordering::Relaxed) && now < self.ends
    }

    fn copy(&self) -> Self {
        let (claimed, wanted) = Default::default();
        let rdatas = self.rdatas.iter().map(|rdata| Arc::from(&**rdata)).collect();
        Self { rdatas, due: self.due, ends: self.ends, claimed, wanted }
    }
}

fn explain(state: ClockState) -> Option<String> {
    let order = "if it is right, say `nearcast reload --clock-is-right`";
    let both = "signatures are made to be good by both times, if these are at most 30 days apart";
    match state {
        ClockState::Steady => None,
        ClockState::Set(by_ms) => Some(format!("the clock was set by {} s: {both}; {order}", by_ms / 1000)),
        ClockState::Wrong => Some(format!(
            "the clock was set back by more than 30 days: signatures are made by the time that it should be; set the clock, \
             or {order}"
        )),
        ClockState::Behind(noted, _) => Some(format!(
            "the clock is before {} (UTC), when this node ran last as the file `clock` of its state folder has it, or when \
             this version was made: {both}; \
             set the clock, or {order}",
            super::times::stamp(noted)
        )),
    }
}

fn halves(id: u128) -> [u64; 2] {
    [id >> 64, id & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or_default())
}

fn shard_of(id: u128) -> usize {
    let [high, _] = halves(id);
    // Not the bits that the maps in the shards go by.
    usize::try_from(high >> 58).unwrap_or_default() % SHARDS
}

#[cfg(test)]
mod tests;
