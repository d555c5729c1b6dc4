//! Whole answers that a thread of UDP remembers, found by the bytes of their queries: what nothing has changed for is not worked
//! out again.
//!
//! ```text
//!   packet[2..]                    hash, keyed -> a set of 4 slots -> that very query, to the byte -> its answer
//!   packet[2..], who asks          the same, of what another resolver may be answered otherwise
//! ```
//!
//! A remembered answer is good on one [`Ground`]: the view, its maps, the health table, the texts and the manners that it was
//! made by, and the second of the clock. When any of these is another one, all that is remembered is old at once. A second, since nothing
//! that is remembered goes by less: draws go by whole seconds; what lives by the millisecond (texts, what zones show of their keys,
//! signatures) is not remembered ([`Alike::Nobody`]). That there is no such text holds while the clock does not go back. But for draws it all
//! would be right for longer; but so nothing that was not thought of can be wrong for longer.
//!
//! What is asked for once is not worth a slot, and a flood of random names is nothing else: an answer is kept when its query comes
//! for the second time, and only in the place of one that is old. So a flood neither drives anything out nor makes much work.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use foldhash::quality::RandomState;
use nearcast_shared::clock::Timestamp;
use nearcast_shared::health::HealthTable;

use super::{Sight, Tally};
use crate::answer::Alike;
use crate::manners::Manners;
use crate::texts::Texts;
use crate::view::View;

/// Slots that a query's answer may be in.
const WAYS: usize = 4;
/// Bytes of a query and its answer together, without their ids: a slot is six cache lines.
const ROOM: usize = 304;
/// Bytes of a query that is looked for; what is longer leaves no room for its answer, which repeats most of it.
const QUERY_MAX: usize = ROOM / 2;
/// Of a message's id.
const ID: usize = 2;

/// What a thread remembers.
#[derive(Debug, Default)]
pub(super) struct Memory {
    sets: Box<[Set]>,
    /// Nobody outside can make queries meet in a set. If they did it would cost time, and nothing else.
    hasher: RandomState,
    ground: Ground,
    /// The number of the ground, from 1.
    generation: u64,
}

/// One cache line, so that what is not remembered costs no more than a look at one or two of them.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Set {
    /// By slot, a part of the hash.
    tags: [u32; WAYS],
    /// Of queries that were not remembered, the last first.
    missed: [u32; WAYS],
    slots: [Option<Box<Slot>>; WAYS],
}

/// A query and its answer.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Slot {
    generation: u64,
    /// Whom it is for, if not for everyone.
    client: Option<IpAddr>,
    pub(super) tally: Tally,
    query: u16,
    reply: u16,
    /// The one behind the other, without ids.
    bytes: [u8; ROOM],
}

/// What all that is remembered goes by. The weak references keep the addresses from being used again, but nothing alive.
#[derive(Debug, Default)]
struct Ground {
    view: Weak<View>,
    /// Maps come to a view once they are made.
    mapped: bool,
    health: Weak<HealthTable>,
    texts: Weak<Texts>,
    manners: Weak<Manners>,
    /// The last moment.
    now: Timestamp,
}

/// Where an answer is to be remembered that was not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    everyone: u64,
    resolver: u64,
}

impl Memory {
    /// With room for so many answers, or somewhat more.
    pub(super) fn new(answers: usize) -> Self {
        Self { sets: (0..answers.div_ceil(WAYS)).map(|_| Set::default()).collect(), ..Self::default() }
    }

    /// Whether it has any room.
    pub(super) fn is_there(&self) -> bool {
        !self.sets.is_empty()
    }

    /// From now on answers are made by `sight`.
    pub(super) fn stand_on(&mut self, sight: &Sight) {
        if !self.ground.is(sight) {
            self.ground = Ground::of(sight);
            self.generation += 1;
        }
        self.ground.now = sight.now;
    }

    /// The answer to the query of `client`; or where it is to be remembered, if it can be.
    pub(super) fn find(&self, packet: &[u8], client: IpAddr) -> Result<&Slot, Option<Place>> {
        let query = packet.get(ID..).filter(|query| query.len() <= QUERY_MAX && self.is_there()).ok_or(None)?;
        let everyone = self.hasher.hash_one(query);
        if let Some(slot) = self.slot(everyone, query, None) {
            return Ok(slot);
        }
        let resolver = self.hasher.hash_one((everyone, client));
        self.slot(resolver, query, Some(client)).ok_or(Some(Place { everyone, resolver }))
    }

    fn slot(&self, hash: u64, query: &[u8], client: Option<IpAddr>) -> Option<&Slot> {
        let set = &self.sets[self.number(hash)];
        let way = set.tags.iter().position(|known| *known == tag(hash))?;
        let slot = set.slots[way].as_deref()?;
        (slot.generation == self.generation && slot.client == client && slot.query() == query).then_some(slot)
    }

    /// Remembers the answer to the query of `client`, if it is the second time that it comes.
    pub(super) fn keep(&mut self, place: Place, packet: &[u8], client: IpAddr, told: (Tally, Alike), reply: &[u8]) {
        let (tally, alike) = told;
        let (hash, client) = match alike {
            Alike::Everyone => (place.everyone, None),
            Alike::Resolver => (place.resolver, Some(client)),
            Alike::Nobody => return,
        };
        let (Some(query), Some(reply)) = (packet.get(ID..), reply.get(ID..)) else { return };
        if query.len() + reply.len() > ROOM {
            return;
        }
        let (number, generation) = (self.number(hash), self.generation);
        let set = &mut self.sets[number];
        let Some(way) = set.way(tag(hash), generation) else { return };
        let slot = set.slots[way].get_or_insert_with(|| Box::new(Slot::empty(tally)));
        set.tags[way] = tag(hash);
        (slot.generation, slot.client, slot.tally) = (generation, client, tally);
        // Both are far below 16 bits.
        (slot.query, slot.reply) = (query.len() as u16, reply.len() as u16);
        slot.bytes[..query.len()].copy_from_slice(query);
        slot.bytes[query.len()..query.len() + reply.len()].copy_from_slice(reply);
    }

    /// How many slots there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.sets.iter().flat_map(|set| &set.slots).flatten().count()
    }

    /// The set of a hash, by its upper bits; its lower ones are the tag.
    fn number(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.sets.len() as u128) >> 64) as usize
    }
}

fn tag(hash: u64) -> u32 {
    hash as u32
}

impl Set {
    /// Where a query with that tag is to be remembered: where it was before, or, when it comes for the second time, in place of the
    /// oldest; never in place of what is still good.
    fn way(&mut self, tag: u32, generation: u64) -> Option<usize> {
        let before = self.tags.iter().zip(&self.slots).position(|(known, slot)| *known == tag && slot.is_some());
        if before.is_some() {
            return before;
        }
        if !self.missed.contains(&tag) {
            self.missed.rotate_right(1);
            self.missed[0] = tag;
            return None;
        }
        let made = |way: &usize| self.slots[*way].as_ref().map_or(0, |slot| slot.generation);
        (0..WAYS).min_by_key(made).filter(|oldest| made(oldest) < generation)
    }
}

impl Slot {
    fn empty(tally: Tally) -> Self {
        Self { generation: 0, client: None, tally, query: 0, reply: 0, bytes: [0; ROOM] }
    }

    fn query(&self) -> &[u8] {
        &self.bytes[..usize::from(self.query)]
    }

    /// Writes the answer to `packet`, which asks for it.
    pub(super) fn write(&self, packet: &[u8], out: &mut Vec<u8>) {
        let (_, reply) = self.bytes.split_at(usize::from(self.query));
        out.clear();
        out.extend_from_slice(&packet[..ID]);
        out.extend_from_slice(&reply[..usize::from(self.reply)]);
    }
}

impl Ground {
    fn of(sight: &Sight) -> Self {
        Self {
            view: Arc::downgrade(&sight.view),
            mapped: sight.view.maps().is_some(),
            health: Arc::downgrade(&sight.health),
            texts: Arc::downgrade(&sight.texts),
            manners: Arc::downgrade(&sight.manners),
            now: sight.now,
        }
    }

    fn is(&self, sight: &Sight) -> bool {
        fn same<T>(held: &Weak<T>, seen: &Arc<T>) -> bool {
            held.as_ptr() == Arc::as_ptr(seen)
        }
        same(&self.view, &sight.view)
            && self.mapped == sight.view.maps().is_some()
            && same(&self.health, &sight.health)
            && same(&self.texts, &sight.texts)
            && same(&self.manners, &sight.manners)
            && self.now.seconds() == sight.now.seconds()
            && self.now <= sight.now
    }
}
