//! How much of a body a fetch is for, and whom it serves besides.

/// How much of a body is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Extent {
    /// All of it.
    Whole,
    /// Bytes `first..end` of we do not know what, up to the borders of chunks.
    Part {
        /// Offset of the first byte.
        first: u64,
        /// Offset behind the last; `None`: to the end.
        end: Option<u64>,
        /// The hash of the client's If-Range, which decides whether a part comes at all; 0: there is none.
        condition: u64,
    },
    /// What the client's Range says, in its own words: its last bytes. The hash of that and If-Range.
    Own(u64),
    /// The bytes `first..end` that are missing from what is stored.
    Missing {
        /// Offset of the first byte.
        first: u64,
        /// Offset behind the last.
        end: u64,
    },
}

/// A request waits at a fetch of more for the bytes it wants if they are at most so many bytes away.
const NEAR: u64 = 4 << 20;

impl Extent {
    /// Whether a fetch of this brings what `wanted` is after, and soon, with bytes `from..reached` of the body at hand. Only
    /// the first of what is missing must come: the rest is asked for later.
    pub(super) fn serves(self, wanted: Self, (from, reached): (u64, u64)) -> bool {
        // It may not have begun.
        let near = reached.max(self.first()).saturating_add(NEAR);
        let is_near = |at: u64| at <= near;
        // What has gone through already would have to come from the store, which does not have what is missing.
        let still_comes = |at: u64| from <= at && is_near(at);
        match (self, wanted) {
            (Self::Whole, Self::Part { first, .. }) => is_near(first),
            (Self::Whole, Self::Missing { first, .. }) => still_comes(first),
            (Self::Part { first: 0, end: None, condition: 0 }, Self::Whole) => true,
            (
                Self::Part { first, end, condition },
                Self::Part { first: wanted, end: wanted_end, condition: wanted_condition },
            ) => {
                let covers = end.is_none_or(|end| wanted_end.is_some_and(|wanted| wanted <= end));
                condition == wanted_condition && first <= wanted && covers && is_near(wanted)
            }
            (Self::Missing { first, end }, Self::Missing { first: wanted, .. }) => {
                (first..end).contains(&wanted) && still_comes(wanted)
            }
            (own, wanted) => own == wanted,
        }
    }

    /// Offset of the first byte, as far as it is known.
    fn first(self) -> u64 {
        match self {
            Self::Whole | Self::Own(_) => 0,
            Self::Part { first, .. } | Self::Missing { first, .. } => first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_fetch_serves_which_request() {
        const MIB: u64 = 1 << 20;
        let part = |first, end, condition| Extent::Part { first, end, condition };
        let missing = |first, end| Extent::Missing { first, end };
        let rows = [
            ("the same", Extent::Whole, Extent::Whole, (0, 0), true),
            ("a part of what comes whole", Extent::Whole, part(0, Some(MIB), 0), (0, 0), true),
            ("a part that comes later", Extent::Whole, part(90 * MIB, Some(91 * MIB), 0), (0, 80 * MIB), false),
            ("a part that has come", Extent::Whole, part(MIB, Some(2 * MIB), 0), (0, 80 * MIB), true),
            ("a missing part of what comes whole", Extent::Whole, missing(MIB, 2 * MIB), (0, 0), true),
            ("the last bytes of what comes whole", Extent::Whole, Extent::Own(1), (0, 0), false),
            ("all, where all was asked for as a part", part(0, None, 0), Extent::Whole, (0, 0), true),
            ("all, of what comes under a condition", part(0, None, 7), Extent::Whole, (0, 0), false),
            ("all, where the end alone comes", part(MIB, None, 0), Extent::Whole, (0, 0), false),
            ("a smaller part", part(0, Some(2 * MIB), 0), part(MIB, Some(2 * MIB), 0), (0, 0), true),
            ("a part of all from there", part(0, None, 0), part(MIB, Some(2 * MIB), 0), (0, 0), true),
            ("all from there, where a part comes", part(0, Some(MIB), 0), part(0, None, 0), (0, 0), false),
            ("a part that reaches further", part(0, Some(2 * MIB), 0), part(MIB, Some(3 * MIB), 0), (0, 0), false),
            ("another condition", part(0, Some(2 * MIB), 0), part(0, Some(2 * MIB), 7), (0, 0), false),
            ("a hole that reaches further", missing(0, 2 * MIB), missing(MIB, 9 * MIB), (0, 0), true),
            ("a hole behind it", missing(0, 2 * MIB), missing(2 * MIB, 3 * MIB), (0, 0), false),
            ("a hole and a cold part", missing(0, 2 * MIB), part(0, Some(MIB), 0), (0, 0), false),
            ("all, where a hole is filled", missing(0, 2 * MIB), Extent::Whole, (0, 0), false),
            ("other last bytes", Extent::Own(1), Extent::Own(2), (0, 0), false),
            ("a hole that has gone through", Extent::Whole, missing(MIB, 2 * MIB), (79 * MIB, 80 * MIB), false),
            ("a hole that is at hand", Extent::Whole, missing(79 * MIB, 90 * MIB), (79 * MIB, 80 * MIB), true),
            (
                "a hole that another hole's fetch has gone through",
                missing(0, 9 * MIB),
                missing(0, MIB),
                (MIB, 2 * MIB),
                false,
            ),
            (
                "the same far hole, before it comes",
                missing(90 * MIB, 91 * MIB),
                missing(90 * MIB, 91 * MIB),
                (0, 0),
                true,
            ),
            ("the same far part, before it comes", part(90 * MIB, None, 0), part(90 * MIB, None, 0), (0, 0), true),
        ];
        for (name, running, wanted, at_hand, serves) in rows {
            assert_eq!(running.serves(wanted, at_hand), serves, "{name}");
        }
    }
}
