//! How the files of the disk tier look, byte for byte. Numbers are little-endian.
//!
//! ```text
//! data file  = record*
//! record     = magic:u32 payload_bytes:u32 checksum:u64 key:[u8;32] payload     (payload: see `codec`)
//! index file = frame*
//! frame      = magic:u32 count:u32 checksum:u64 entry*                          (one frame a batch)
//! entry      = key:[u8;32] offset:u32 bytes:u32                                 (bytes of the record; 0: taken away)
//! ```
//!
//! Checksums are XXH64 of all that follows them, seeded with the number before them. They find what a disk does by
//! itself; that a record is the one asked for is told by its key, which nobody outside can craft.

use bytes::Bytes;
use twox_hash::XxHash64;

use super::Piece;
use crate::key::StoreKey;

/// Bytes of a record before its payload.
pub(super) const HEADER: usize = 48;

/// No record is larger: the largest chunk and much more.
pub(super) const RECORD_MAX: u32 = 16 << 20;

const RECORD: u32 = 0x4e43_5231;
const FRAME: u32 = 0x4e43_4631;
const FRAME_HEADER: usize = 16;
const ENTRY: usize = 40;

/// Why a record cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Its bytes are not those that were written.
    Damaged,
    /// It is another's: two keys of one hash, or a place that was used again.
    Other,
    /// It is whole, but this version cannot read it.
    Format,
}

/// Appends the record of `piece` and returns its bytes, or nothing when it cannot be written: `out` is as it was then.
pub(super) fn write(out: &mut Vec<u8>, key: &StoreKey, piece: &Piece) -> Option<u32> {
    let start = out.len();
    out.resize(start + HEADER, 0);
    let length = match piece.encode(out) {
        Ok(()) => u32::try_from(out.len() - start).ok().filter(|length| *length <= RECORD_MAX),
        Err(error) => {
            tracing::debug!(%error, "a piece cannot be encoded");
            None
        }
    };
    let Some(length) = length else {
        out.truncate(start);
        return None;
    };
    let payload = length - HEADER as u32;
    let record = &mut out[start..];
    record[16..HEADER].copy_from_slice(&key.0);
    record[..4].copy_from_slice(&RECORD.to_le_bytes());
    record[4..8].copy_from_slice(&payload.to_le_bytes());
    let checksum = XxHash64::oneshot(payload.into(), &record[16..]);
    record[8..16].copy_from_slice(&checksum.to_le_bytes());
    Some(length)
}

/// The key of a whole record.
pub(super) fn verify(record: &[u8]) -> Result<StoreKey, Unreadable> {
    if record.len() < HEADER {
        return Err(Unreadable::Damaged);
    }
    let payload = u32_at(record, 4);
    let whole = u32_at(record, 0) == RECORD
        && payload as usize == record.len() - HEADER
        && u64_at(record, 8) == XxHash64::oneshot(payload.into(), &record[16..]);
    if whole { Ok(key_at(record, 16)) } else { Err(Unreadable::Damaged) }
}

/// The piece in the record of `key`.
pub(super) fn read(record: Bytes, key: &StoreKey) -> Result<Piece, Unreadable> {
    if verify(&record)? != *key {
        return Err(Unreadable::Other);
    }
    Piece::decode(record.slice(HEADER..)).map_err(|_| Unreadable::Format)
}

/// One line of an index file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Whose.
    pub(super) key: StoreKey,
    /// Where its record is in the data file.
    pub(super) offset: u32,
    /// Bytes of the record; zero: what was known under the key is taken away.
    pub(super) bytes: u32,
}

/// Bytes of the frame of so many entries.
pub(super) fn frame_bytes(entries: usize) -> usize {
    FRAME_HEADER + ENTRY * entries
}

/// The frame of `entries`.
pub(super) fn frame(entries: &[Entry]) -> Vec<u8> {
    let count = u32::try_from(entries.len()).expect("a batch has far fewer entries");
    let mut out = Vec::with_capacity(frame_bytes(entries.len()));
    out.extend(FRAME.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend([0; 8]);
    for entry in entries {
        out.extend(entry.key.0);
        out.extend(entry.offset.to_le_bytes());
        out.extend(entry.bytes.to_le_bytes());
    }
    let checksum = XxHash64::oneshot(count.into(), &out[FRAME_HEADER..]);
    out[8..16].copy_from_slice(&checksum.to_le_bytes());
    out
}

/// The entries of an index file, up to the first frame that is not whole, and how many of its bytes those took.
pub(super) fn frames(mut bytes: &[u8], mut each: impl FnMut(Entry)) -> usize {
    let all = bytes.len();
    while bytes.len() >= FRAME_HEADER && u32_at(bytes, 0) == FRAME {
        let count = u32_at(bytes, 4);
        let body = (count as usize).saturating_mul(ENTRY);
        let Some(entries) = bytes.get(FRAME_HEADER..FRAME_HEADER.saturating_add(body)) else { break };
        if u64_at(bytes, 8) != XxHash64::oneshot(count.into(), entries) {
            break;
        }
        for entry in entries.chunks_exact(ENTRY) {
            each(Entry { key: key_at(entry, 0), offset: u32_at(entry, 32), bytes: u32_at(entry, 36) });
        }
        bytes = &bytes[FRAME_HEADER + body..];
    }
    all - bytes.len()
}

fn key_at(bytes: &[u8], at: usize) -> StoreKey {
    let mut key = [0; 32];
    key.copy_from_slice(&bytes[at..at + 32]);
    StoreKey(key)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(record: &[u8], key: &StoreKey) -> Result<Piece, Unreadable> {
        super::read(Bytes::copy_from_slice(record), key)
    }

    fn piece(bytes: &[u8]) -> Piece {
        Piece::Chunk(bytes.to_vec().into())
    }

    fn entries(numbers: &[(u8, u32, u32)]) -> Vec<Entry> {
        numbers
            .iter()
            .map(|(key, offset, bytes)| Entry { key: StoreKey([*key; 32]), offset: *offset, bytes: *bytes })
            .collect()
    }

    fn read_frames(bytes: &[u8]) -> (Vec<Entry>, usize) {
        let mut all = Vec::new();
        let whole = frames(bytes, |entry| all.push(entry));
        (all, whole)
    }

    #[test]
    fn another_key_is_told_apart() {
        let mut out = Vec::new();
        write(&mut out, &StoreKey([1; 32]), &piece(b"hello")).unwrap();
        assert_eq!(read(&out, &StoreKey([2; 32])), Err(Unreadable::Other));
    }

    #[test]
    fn a_piece_of_another_format_is_told_apart() {
        let key = StoreKey([1; 32]);
        let mut out = Vec::new();
        write(&mut out, &key, &piece(b"hello")).unwrap();
        out[HEADER] ^= 0xff;
        let payload = u32_at(&out, 4);
        let checksum = XxHash64::oneshot(payload.into(), &out[16..]);
        out[8..16].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(read(&out, &key), Err(Unreadable::Format));
    }

    #[test]
    fn what_is_too_large_leaves_nothing_behind() {
        let mut out = vec![7];
        assert_eq!(write(&mut out, &StoreKey([1; 32]), &piece(&vec![0; RECORD_MAX as usize])), None);
        assert_eq!(out, [7]);
    }

    proptest! {
        #[test]
        fn records_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..200), before in 0usize..9) {
            let key = StoreKey([3; 32]);
            let mut out = vec![0; before];
            let length = write(&mut out, &key, &piece(&bytes)).unwrap();
            prop_assert_eq!(out.len() - before, length as usize);
            prop_assert_eq!(read(&out[before..], &key), Ok(piece(&bytes)));
        }

        /// No flip of a bit, wherever, is read as anything; nor is a record that was cut.
        #[test]
        fn damage_is_found(bytes in proptest::collection::vec(any::<u8>(), 0..100), at in any::<proptest::sample::Index>(), bit in 0u8..8) {
            let key = StoreKey([3; 32]);
            let mut out = Vec::new();
            write(&mut out, &key, &piece(&bytes)).unwrap();
            let at = at.index(out.len());
            prop_assert!(read(&out[..at], &key).is_err());
            out[at] ^= 1 << bit;
            prop_assert!(read(&out, &key).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _either = read(&bytes, &StoreKey([0; 32]));
            let framed = [&FRAME.to_le_bytes()[..], &bytes].concat();
            prop_assert!(read_frames(&framed).1 <= framed.len());
        }

        /// A torn or damaged frame ends what is read; those before it stay.
        #[test]
        fn frames_up_to_the_first_that_is_not_whole(
            first in proptest::collection::vec((any::<u8>(), any::<u32>(), any::<u32>()), 0..5),
            second in proptest::collection::vec((any::<u8>(), any::<u32>(), any::<u32>()), 1..5),
            at in any::<proptest::sample::Index>(), bit in 0u8..8,
        ) {
            let (first, second) = (entries(&first), entries(&second));
            let (one, two) = (frame(&first), frame(&second));
            let mut both = [&one[..], &two].concat();
            prop_assert_eq!(read_frames(&both), ([&first[..], &second].concat(), both.len()));
            let at = one.len() + at.index(two.len());
            prop_assert_eq!(read_frames(&both[..at]), (first.clone(), one.len()));
            both[at] ^= 1 << bit;
            prop_assert_eq!(read_frames(&both), (first, one.len()));
        }
    }
}
