//! The newest part of a body that is being fetched.

use std::collections::VecDeque;

use bytes::Bytes;

/// Bytes kept though they are stored already, for readers that are nearly there.
pub(super) const KEEP: u64 = 512 << 10;

/// Segments as they came, in order, without gaps.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// With the offset of its first byte each.
    segments: VecDeque<(u64, Bytes)>,
    /// Offset in the body of the first byte of the first segment.
    start: u64,
    /// Offset behind the last byte.
    end: u64,
}

impl Window {
    /// What comes is the body from `offset` on.
    pub(super) fn begin_at(&mut self, offset: u64) {
        (self.start, self.end) = (offset, offset);
    }

    /// Adds what came next.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let at = self.end;
        self.end += bytes.len() as u64;
        self.segments.push_back((at, bytes));
    }

    /// Makes one segment of those from `offset` on.
    pub(super) fn join_from(&mut self, offset: u64) {
        let first = self.segments.partition_point(|(at, _)| *at < offset);
        if self.segments.len() - first > 1 {
            let (at, _) = self.segments[first];
            let parts: Vec<Bytes> = self.segments.drain(first..).map(|(_, part)| part).collect();
            self.segments.push_back((at, parts.concat().into()));
        }
    }

    /// Offset of the first byte that is still here.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Offset behind the last byte.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// What is here from `offset` on, up to the end of its segment. Empty when nothing is.
    pub(super) fn from(&self, offset: u64) -> Bytes {
        if !(self.start..self.end).contains(&offset) {
            return Bytes::new();
        }
        let behind = self.segments.partition_point(|(at, _)| *at <= offset);
        let Some((at, segment)) = behind.checked_sub(1).and_then(|last| self.segments.get(last)) else {
            return Bytes::new();
        };
        // The difference is smaller than the segment's length, which is a usize.
        segment.slice((offset - at) as usize..)
    }

    /// Lets go of segments that end at or before `until`, as long as more than enough remains.
    pub(super) fn trim(&mut self, until: u64) {
        while let Some((_, first)) = self.segments.front() {
            let behind = self.start + first.len() as u64;
            if behind > until || self.end - behind < KEEP {
                return;
            }
            self.start = behind;
            self.segments.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_is_beyond_the_kept_part_goes() {
        let mut window = Window::default();
        let mebibyte = Bytes::from(vec![0; 1 << 20]);
        for _ in 0..6 {
            window.push(mebibyte.clone());
        }
        window.trim(1 << 20);
        assert_eq!(window.start(), 1 << 20);
        window.trim(6 << 20);
        assert_eq!(window.start(), 5 << 20, "the newest part stays");
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_pushed(
            lengths in proptest::collection::vec((1usize..50, proptest::option::of(0u64..1000)), 1..30),
        ) {
            let mut window = Window::default();
            let mut whole = Vec::new();
            for (length, join_from) in lengths {
                let part: Vec<u8> = (0..length).map(|i| (whole.len() + i) as u8).collect();
                whole.extend_from_slice(&part);
                window.push(part.into());
                if let Some(offset) = join_from {
                    window.join_from(offset);
                    let after = window.segments.iter().filter(|(at, _)| *at >= offset).count();
                    prop_assert!(after <= 1);
                }
            }
            let (mut read, mut offset) = (Vec::new(), 0);
            while offset < window.end() {
                let part = window.from(offset);
                prop_assert!(!part.is_empty());
                offset += part.len() as u64;
                read.extend_from_slice(&part);
            }
            prop_assert_eq!(read, whole);
            prop_assert!(window.from(offset).is_empty());
        }
    }
}
