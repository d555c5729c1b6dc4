//! Domain names as the wire has them: length-prefixed labels up to the root's zero byte, at most 255 bytes in all
//! (RFC 1035 section 3.1). Names are compared in lower case; letter case is kept only in the question's own bytes.

use std::borrow::Borrow;
use std::fmt;

/// Bytes of the longest name, RFC 1035 section 2.3.4.
pub(crate) const WIRE_MAX: usize = 255;

/// A name in lower-cased wire form.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Name(Box<[u8]>);

impl Name {
    /// From text such as `www.example.net`, with or without the trailing dot. `None` when it is not a name: an empty
    /// label, one over 63 bytes, or more than 255 bytes in all.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut wire = Vec::with_capacity(text.len() + 2);
        for label in text.split('.') {
            let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
            wire.push(length);
            wire.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        wire.push(0);
        (wire.len() <= WIRE_MAX).then(|| Self(wire.into_boxed_slice()))
    }

    /// The wire form.
    pub(crate) fn wire(&self) -> &[u8] {
        &self.0
    }

    /// How many labels it has, the root not counted.
    pub(crate) fn labels(&self) -> usize {
        suffixes(&self.0).count()
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, suffix) in suffixes(&self.0).enumerate() {
            let dot = if position == 0 { "" } else { "." };
            let (length, rest) = suffix.split_first().expect("a suffix starts with a label");
            write!(f, "{dot}{}", rest[..usize::from(*length)].escape_ascii())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A name from a query in lower case, on the stack.
pub(crate) struct Lowered {
    bytes: [u8; WIRE_MAX],
    length: usize,
}

impl Lowered {
    /// `wire` must be a valid name of at most 255 bytes, as the decoder guarantees.
    pub(crate) fn new(wire: &[u8]) -> Self {
        let mut bytes = [0; WIRE_MAX];
        bytes[..wire.len()].copy_from_slice(wire);
        // Length bytes are at most 63, below any letter.
        bytes.make_ascii_lowercase();
        Self { bytes, length: wire.len() }
    }

    /// The wire form.
    pub(crate) fn wire(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The name itself, then each name above it; the root is left out.
pub(crate) fn suffixes(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = wire;
    std::iter::from_fn(move || {
        let length = usize::from(*rest.first()?);
        if length == 0 {
            return None;
        }
        let here = rest;
        rest = rest.get(1 + length..)?;
        Some(here)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_wire() {
        let name = Name::parse("WWW.Example.net.").unwrap();
        assert_eq!(name.wire(), b"\x03www\x07example\x03net\x00");
        assert_eq!(name.to_string(), "www.example.net");
        assert_eq!(name.labels(), 3);
    }

    #[test]
    fn what_is_not_a_name() {
        let long_label = "a".repeat(64);
        let long_name = ["abcdefg"; 32].join(".");
        for text in ["", ".", "a..b", ".a", &long_label, &long_name] {
            assert!(Name::parse(text).is_none(), "{text}");
        }
        assert!(Name::parse(&["abcdefg"; 31].join(".")).is_some());
    }

    #[test]
    fn suffixes_go_up_to_the_top_level() {
        let name = Name::parse("a.b.c").unwrap();
        let all: Vec<&[u8]> = suffixes(name.wire()).collect();
        assert_eq!(all, [&b"\x01a\x01b\x01c\x00"[..], b"\x01b\x01c\x00", b"\x01c\x00"]);
        assert_eq!(suffixes(b"\x00").count(), 0);
    }

    #[test]
    fn lowering_leaves_length_bytes_alone() {
        let label = "Q".repeat(63);
        let wire = [&[63], label.as_bytes(), &[0]].concat();
        let lowered = Lowered::new(&wire);
        assert_eq!(lowered.wire(), [&[63], label.to_ascii_lowercase().as_bytes(), &[0]].concat());
    }
}
