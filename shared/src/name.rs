//! Domain names as the wire has them: length-prefixed labels up to the root's zero byte, at most 255 bytes in all
//! (RFC 1035 section 3.1). Names are compared in lower case; letter case is kept only in the question's own bytes.

use std::borrow::Borrow;
use std::fmt;

use smallvec::SmallVec;

/// Bytes of the longest name, RFC 1035 section 2.3.4.
pub const WIRE_MAX: usize = 255;

/// A name in lower-cased wire form.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// From text such as `www.example.net`, with or without the trailing dot. `None` when it is not a name: an empty
    /// label, one over 63 bytes, or more than 255 bytes in all.
    pub fn parse(text: &str) -> Option<Self> {
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

    /// The name above all others.
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// From the wire form, uncompressed, in any letter case. `None` when it is not exactly one name.
    pub fn from_wire(wire: &[u8]) -> Option<Self> {
        let whole = wire.len() <= WIRE_MAX && length(wire) == Some(wire.len());
        whole.then(|| Self(wire.to_ascii_lowercase().into_boxed_slice()))
    }

    /// The name that this label and `parent` make; `None` when it would be too long.
    pub fn below(label: &[u8], parent: &Self) -> Option<Self> {
        let length = u8::try_from(label.len()).ok()?;
        Self::from_wire(&[&[length], label, parent.wire()].concat())
    }

    /// The wire form.
    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    /// The name above it; `None` above a top-level name.
    pub fn parent(&self) -> Option<Self> {
        suffixes(&self.0).nth(1).map(|wire| Self(wire.into()))
    }

    /// Whether `other` is this very name or below it.
    pub fn holds(&self, other: &Self) -> bool {
        suffixes(&other.0).any(|suffix| *suffix == *self.0)
    }

    /// Whether its first label is the asterisk (RFC 4592 section 2.1.1).
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }

    /// How many labels it has, the root not counted.
    pub fn labels(&self) -> usize {
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
            f.write_str(dot)?;
            for byte in &rest[..usize::from(*length)] {
                match byte {
                    // RFC 1035 section 5.1: what would be read as something else.
                    b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => write!(f, "\\{}", char::from(*byte))?,
                    b'!'..=b'~' => write!(f, "{}", char::from(*byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A name from a query in lower case, on the stack unless it is a long one.
#[derive(Clone)]
pub struct Lowered(SmallVec<[u8; INLINE]>);

/// Bytes of nearly all names; it is moved about, so not more of them than needed.
const INLINE: usize = 64;

impl Lowered {
    /// `wire` must be a valid name of at most 255 bytes, as the decoder guarantees.
    pub fn new(wire: &[u8]) -> Self {
        let mut bytes = SmallVec::from_slice(wire);
        // Length bytes are at most 63, below any letter.
        bytes.make_ascii_lowercase();
        Self(bytes)
    }

    /// The wire form.
    pub fn wire(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Lowered {
    fn eq(&self, other: &Self) -> bool {
        self.wire() == other.wire()
    }
}

impl Eq for Lowered {}

impl fmt::Debug for Lowered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wire().escape_ascii().fmt(f)
    }
}

/// How many bytes the name at the start of `wire` takes; `None` when there is none, or one that is compressed.
pub fn length(wire: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match usize::from(*wire.get(at)?) {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + length,
            _ => return None,
        }
    }
}

/// The name itself, then each name above it; the root is left out.
pub fn suffixes(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
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
    fn wire_and_text() {
        let rows: [(&[u8], Option<&str>); 8] = [
            (b"\x03wWw\x01a\x00", Some("www.a")),
            // RFC 1035 section 5.1: "\X where X is any character other than a digit (0-9), is used to quote that
            // character [..]" and "\DDD where each D is a digit is the octet corresponding to the decimal number".
            (b"\x04a.b\\\x02\x07 \x00", Some("a\\.b\\\\.\\007\\032")),
            (b"\x01*\x01a\x00", Some("*.a")),
            (b"\x00", Some("")),
            (b"\x01a\x00\x00", None),
            (b"\x01a", None),
            (b"\x01a\xc0\x0c", None),
            (&[1; 300], None),
        ];
        for (wire, text) in rows {
            assert_eq!(Name::from_wire(wire).map(|name| name.to_string()).as_deref(), text, "{wire:?}");
        }
    }

    #[test]
    fn above_and_below() {
        let name = |text| Name::parse(text).unwrap();
        assert_eq!(name("a.b.c").parent(), Some(name("b.c")));
        assert_eq!(name("c").parent(), None);
        assert_eq!(Name::below(b"A", &name("b.c")), Some(name("a.b.c")));
        assert_eq!(Name::below(&[b'a'; 64], &name("b.c")), None);
        assert!(name("b.c").holds(&name("b.c")) && name("b.c").holds(&name("a.b.c")));
        assert!(!name("b.c").holds(&name("xb.c")) && !name("b.c").holds(&name("c")));
        assert!(name("*.c").is_wildcard() && !name("a.*.c").is_wildcard() && !name("**.c").is_wildcard());
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
