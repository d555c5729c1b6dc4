//! What waits to be written to disk. It can be read meanwhile, and taken back until it is written.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::Piece;
use crate::key::StoreKey;

/// Keys that wait to be taken away on disk; one more is only not taken away there until it is overwritten.
const REMOVALS_MAX: usize = 64 << 10;

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// For the writer: something came, or the end.
    came: Condvar,
    /// For those who wait until something was written.
    pub(super) went: Notify,
    limit: usize,
    /// Bytes that are written at once.
    portion: usize,
    /// Bytes that wait, as pieces count in memory.
    bytes: AtomicUsize,
}

#[derive(Debug, Default)]
struct Waiting {
    pieces: HashMap<StoreKey, Pending, RandomState>,
    /// Oldest first. What was taken back or put again since is still in here under its old number.
    order: VecDeque<(StoreKey, u64)>,
    removals: Vec<StoreKey>,
    number: u64,
    phase: Phase,
}

#[derive(Debug)]
struct Pending {
    piece: Piece,
    number: u64,
}

/// How the queue is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd)]
pub(super) enum Phase {
    /// In service.
    #[default]
    Open,
    /// No limit any more: what comes was in memory and would be lost. No pauses.
    Draining,
    /// The writer ends as soon as nothing waits.
    Closing,
    /// The writer ends at once.
    Abandoned,
}

/// One piece to be written.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) key: StoreKey,
    pub(super) piece: Piece,
    number: u64,
}

/// What the writer gets.
#[derive(Debug)]
pub(super) enum Portion {
    /// To be written, and keys to be taken away.
    Work(Vec<Next>, Vec<StoreKey>),
    /// Nothing comes any more.
    End,
}

impl Queue {
    pub(super) fn new(limit: usize, portion: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            came: Condvar::new(),
            went: Notify::new(),
            limit,
            portion,
            bytes: AtomicUsize::new(0),
        }
    }

    /// Lets `piece` wait, in place of what waits under its key; false when there is no room.
    pub(super) fn push(&self, key: StoreKey, piece: Piece) -> bool {
        let weight = piece.weight();
        let mut waiting = self.waiting.lock();
        if waiting.phase == Phase::Open && self.bytes.load(Ordering::Relaxed) + weight > self.limit {
            return false;
        }
        let number = waiting.number;
        waiting.number += 1;
        if let Some(old) = waiting.pieces.insert(key, Pending { piece, number }) {
            self.bytes.fetch_sub(old.piece.weight(), Ordering::Relaxed);
        }
        let before = self.bytes.fetch_add(weight, Ordering::Relaxed);
        waiting.order.push_back((key, number));
        waiting.forget_what_was_taken_back();
        // The writer looks by itself after its patience: it is not woken for each piece.
        let wake = waiting.order.len() == 1 || (before < self.portion && before + weight >= self.portion);
        drop(waiting);
        if wake {
            self.came.notify_one();
        }
        true
    }

    /// What waits under `key`.
    pub(super) fn get(&self, key: &StoreKey) -> Option<Piece> {
        if self.bytes() == 0 {
            return None;
        }
        self.waiting.lock().pieces.get(key).map(|pending| pending.piece.clone())
    }

    /// Whether something waits under `key`.
    pub(super) fn contains(&self, key: &StoreKey) -> bool {
        self.bytes() > 0 && self.waiting.lock().pieces.contains_key(key)
    }

    /// Takes back what waits under `key`, also when it is being written; says whether something did.
    pub(super) fn take_back(&self, key: &StoreKey) -> bool {
        if self.bytes() == 0 {
            return false;
        }
        let taken = self.waiting.lock().pieces.remove(key);
        if let Some(taken) = &taken {
            self.bytes.fetch_sub(taken.piece.weight(), Ordering::Relaxed);
        }
        taken.is_some()
    }

    /// What is on disk under `key` is to be taken away there, too.
    pub(super) fn push_removal(&self, key: StoreKey) {
        let mut waiting = self.waiting.lock();
        if waiting.removals.len() < REMOVALS_MAX {
            waiting.removals.push(key);
        }
        if waiting.removals.len() == 1 {
            self.came.notify_one();
        }
    }

    /// Waits until there is a portion, or some have waited for `patience`, or the queue is being emptied. What it gives
    /// out waits until [`Queue::finish`]. Blocks.
    pub(super) fn next(&self, patience: Duration) -> Portion {
        let mut waiting = self.waiting.lock();
        let mut since: Option<Instant> = None;
        loop {
            let any = !waiting.order.is_empty() || !waiting.removals.is_empty();
            match waiting.phase {
                Phase::Abandoned => return Portion::End,
                Phase::Closing if !any => return Portion::End,
                Phase::Closing | Phase::Draining if any => break,
                Phase::Closing | Phase::Draining | Phase::Open => {}
            }
            let waited = since.map(|since| since.elapsed());
            if any && (self.bytes() >= self.portion || waited.is_some_and(|waited| waited >= patience)) {
                break;
            }
            if any {
                let left = patience.saturating_sub(waited.unwrap_or_default());
                since = since.or_else(|| Some(Instant::now()));
                self.came.wait_for(&mut waiting, left.max(Duration::from_millis(1)));
            } else {
                since = None;
                self.came.wait(&mut waiting);
            }
        }
        let (mut all, mut weight) = (Vec::new(), 0);
        while weight < self.portion
            && let Some((key, number)) = waiting.order.pop_front()
        {
            let current = waiting.pieces.get(&key).filter(|pending| pending.number == number);
            if let Some(Pending { piece, .. }) = current {
                weight += piece.weight();
                all.push(Next { key, piece: piece.clone(), number });
            }
        }
        Portion::Work(all, std::mem::take(&mut waiting.removals))
    }

    /// The piece does not wait any more, because it was written or cannot be: `done` is called if it is wanted still,
    /// and nobody can take it back meanwhile.
    pub(super) fn finish(&self, next: &Next, done: impl FnOnce()) {
        let mut waiting = self.waiting.lock();
        if waiting.pieces.get(&next.key).is_some_and(|pending| pending.number == next.number)
            && let Some(pending) = waiting.pieces.remove(&next.key)
        {
            done();
            self.bytes.fetch_sub(pending.piece.weight(), Ordering::Relaxed);
        }
    }

    /// Waits for `pause`, or until the queue is being emptied. Blocks.
    pub(super) fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut waiting = self.waiting.lock();
        while waiting.phase == Phase::Open && !self.came.wait_until(&mut waiting, until).timed_out() {}
    }

    /// From now on.
    pub(super) fn enter(&self, phase: Phase) {
        let mut waiting = self.waiting.lock();
        if waiting.phase < phase {
            waiting.phase = phase;
        }
        drop(waiting);
        self.came.notify_all();
    }

    /// How it is used.
    pub(super) fn phase(&self) -> Phase {
        self.waiting.lock().phase
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes that may.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }
}

impl Waiting {
    /// Keeps the order about as short as what waits, also when the writer does not come for long.
    fn forget_what_was_taken_back(&mut self) {
        if self.order.len() > 1024 + 2 * self.pieces.len() {
            let pieces = &self.pieces;
            self.order.retain(|(key, number)| pieces.get(key).is_some_and(|pending| pending.number == *number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> StoreKey {
        StoreKey([number; 32])
    }

    fn piece(byte: u8) -> Piece {
        Piece::Chunk(vec![byte; 1000].into())
    }

    /// What is given out at once.
    fn next(queue: &Queue) -> Vec<Next> {
        match queue.next(Duration::ZERO) {
            Portion::Work(all, _) => all,
            Portion::End => Vec::new(),
        }
    }

    #[test]
    fn it_has_a_limit_until_it_is_drained() {
        let queue = Queue::new(2 * piece(0).weight(), 1 << 20);
        let pushed: Vec<bool> = (0..3).map(|n| queue.push(key(n), piece(n))).collect();
        assert_eq!(pushed, [true, true, false]);
        assert!(queue.push(key(0), piece(9)) || queue.bytes() <= queue.limit());
        queue.enter(Phase::Draining);
        assert!(queue.push(key(2), piece(2)));
    }

    #[test]
    fn what_waits_can_be_read_and_taken_back_even_while_it_is_written() {
        let queue = Queue::new(1 << 20, 1 << 20);
        for n in 0..3 {
            queue.push(key(n), piece(n));
        }
        assert_eq!(queue.get(&key(1)), Some(piece(1)));
        assert!(queue.take_back(&key(0)));
        let portion = next(&queue);
        assert_eq!(portion.iter().map(|next| next.key).collect::<Vec<_>>(), [key(1), key(2)]);
        assert_eq!(queue.get(&key(1)), Some(piece(1)), "until it is written");
        assert!(queue.take_back(&key(1)));
        queue.push(key(2), piece(7));
        let mut written = Vec::new();
        portion.iter().for_each(|next| queue.finish(next, || written.push(next.key)));
        assert!(written.is_empty(), "one was taken back, the other put anew");
        let portion = next(&queue);
        assert_eq!(portion.iter().map(|next| next.piece.clone()).collect::<Vec<_>>(), [piece(7)]);
        portion.iter().for_each(|next| queue.finish(next, || written.push(next.key)));
        assert_eq!((written, queue.bytes()), (vec![key(2)], 0));
    }

    #[test]
    fn what_was_taken_back_takes_no_room() {
        let queue = Queue::new(1 << 20, 1 << 20);
        for _ in 0..100_000 {
            queue.push(key(1), piece(1));
            queue.push(key(2), piece(2));
            queue.take_back(&key(1));
        }
        assert!(queue.waiting.lock().order.len() < 2000);
        assert_eq!(next(&queue).len(), 1);
    }

    #[test]
    fn the_writer_ends_when_all_is_written_or_at_once() {
        let queue = Queue::new(1 << 20, 1 << 20);
        queue.push(key(0), piece(0));
        queue.enter(Phase::Closing);
        assert_eq!(next(&queue).len(), 1, "first what waits");
        assert!(matches!(queue.next(Duration::MAX), Portion::End));
        let queue = Queue::new(1 << 20, 1 << 20);
        queue.push(key(0), piece(0));
        queue.enter(Phase::Abandoned);
        assert!(matches!(queue.next(Duration::MAX), Portion::End));
    }
}
