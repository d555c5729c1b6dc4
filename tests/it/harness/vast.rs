//! A body of any size that nobody has to hold: its bytes are known by their offsets.

use std::sync::Arc;

use super::noise;

/// Bytes between two places where the body says where it is.
const PAGE: usize = 16 << 10;

/// Where in the noise a page may begin.
const SHIFTS: u64 = 4093;

/// A body of `length` bytes. Each page is noise shifted by a distance of its own and begins with its number, so that no
/// part of it, nor of that of another seed, passes for another.
#[derive(Debug, Clone)]
pub(crate) struct Vast {
    /// Bytes of all of it.
    pub(crate) length: u64,
    noise: Arc<Vec<u8>>,
}

impl Vast {
    pub(crate) fn new(length: u64, seed: u64) -> Self {
        Self { length, noise: Arc::new(noise(PAGE + usize::try_from(SHIFTS).unwrap(), seed)) }
    }

    /// The next bytes from `offset` on: no more than a page, none at the end.
    pub(crate) fn piece(&self, offset: u64, end: u64) -> Vec<u8> {
        let (number, skip) = (offset / PAGE as u64, usize::try_from(offset % PAGE as u64).unwrap());
        let from = usize::try_from(number.wrapping_mul(2_654_435_761) % SHIFTS).unwrap();
        let mut page = self.noise[from..from + PAGE].to_vec();
        page[..8].copy_from_slice(&number.to_le_bytes());
        let left = usize::try_from(end.min(self.length).saturating_sub(offset)).unwrap_or(usize::MAX);
        page.truncate(left.saturating_add(skip));
        page.split_off(skip.min(page.len()))
    }

    /// Bytes `first..end`, when so many can be held.
    pub(crate) fn part(&self, first: u64, end: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let piece = self.piece(first + bytes.len() as u64, end);
            if piece.is_empty() {
                return bytes;
            }
            bytes.extend_from_slice(&piece);
        }
    }

    /// Whether `bytes` are those at `offset`.
    pub(crate) fn has(&self, offset: u64, mut bytes: &[u8]) -> bool {
        let mut at = offset;
        while !bytes.is_empty() {
            let piece = self.piece(at, at + bytes.len() as u64);
            if piece.is_empty() || !bytes.starts_with(&piece) {
                return false;
            }
            bytes = &bytes[piece.len()..];
            at += piece.len() as u64;
        }
        true
    }
}
