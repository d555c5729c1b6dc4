//! One key of a zone.

use std::fmt;

use aws_lc_rs::digest;
use nearcast_shared::clock::Timestamp;

use super::algorithm::{Algorithm, KeyPair};
use super::times::Times;
use crate::name::Name;

/// The Zone Key bit (RFC 4034 section 2.1.1).
const ZONE: u16 = 0x0100;
/// The Secure Entry Point bit (RFC 4034 section 2.1.1): the parent's DS record is about this key.
const SEP: u16 = 0x0001;
/// The bit of a key that its owner takes back (RFC 5011 section 7).
const REVOKED: u16 = 0x0080;

/// A key pair, whose it is and when it is used.
pub struct Key {
    zone: Name,
    flags: u16,
    algorithm: Algorithm,
    public: Vec<u8>,
    tag: u16,
    pair: KeyPair,
    /// When it is used.
    pub times: Times,
    /// Lines of its file that mean nothing here, to be written again as they are.
    pub(crate) other: Vec<String>,
}

impl Key {
    /// A new key that signs all of `zone`; `None` when the system has no randomness.
    pub fn generate(zone: &Name, algorithm: Algorithm, times: Times) -> Option<Self> {
        Some(Self::from_pair(zone, ZONE | SEP, algorithm, KeyPair::generate(algorithm)?, times))
    }

    pub(crate) fn from_pair(zone: &Name, flags: u16, algorithm: Algorithm, pair: KeyPair, times: Times) -> Self {
        let public = pair.public();
        let mut key = Self { zone: zone.clone(), flags, algorithm, public, tag: 0, pair, times, other: Vec::new() };
        key.tag = tag(&key.dnskey());
        key
    }

    /// Whether a key with those flags can sign a zone here.
    pub(crate) fn judge_flags(flags: u16) -> Result<(), &'static str> {
        if flags & REVOKED != 0 {
            Err("the key is revoked, which is not supported; move its files away")
        } else if flags & !(ZONE | SEP) != 0 || flags & ZONE == 0 {
            Err("its flags are not those of a zone's key, which are 257 or 256")
        } else {
            Ok(())
        }
    }

    /// The zone it is of.
    pub fn zone(&self) -> &Name {
        &self.zone
    }

    /// Its number in DS and RRSIG records (RFC 4034 appendix B).
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// What it signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// 257 or 256.
    pub fn flags(&self) -> u16 {
        self.flags
    }

    /// Whether the parent's DS record is about it.
    pub fn is_entry(&self) -> bool {
        self.flags & SEP != 0
    }

    /// The public key as its DNSKEY record has it.
    pub(crate) fn public(&self) -> &[u8] {
        &self.public
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.pair
    }

    /// The data of its DNSKEY record, and of its CDNSKEY record (RFC 4034 section 2.1; the protocol is always 3).
    pub(crate) fn dnskey(&self) -> Box<[u8]> {
        [&self.flags.to_be_bytes()[..], &[3, self.algorithm.number()], &self.public].concat().into()
    }

    /// The data of its DS record, and of its CDS record, with SHA-256 (RFC 4509).
    pub(crate) fn ds(&self) -> Box<[u8]> {
        let digest = digest::digest(&digest::SHA256, &[self.zone.wire(), &self.dnskey()].concat());
        [&self.tag.to_be_bytes()[..], &[self.algorithm.number(), 2], digest.as_ref()].concat().into()
    }

    /// Its DS record as the parent's zone file has it.
    pub fn ds_text(&self) -> String {
        let ds = self.ds();
        let digest: String = ds[4..].iter().map(|byte| format!("{byte:02X}")).collect();
        format!("{}. IN DS {} {} 2 {digest}", self.zone, self.tag, self.algorithm.number())
    }

    /// Whether it can be told from `other` by what DS and RRSIG records say.
    pub fn is_alike(&self, other: &Self) -> bool {
        (self.tag, self.algorithm) == (other.tag, other.algorithm)
    }

    /// When it was made; files of before timing metadata do not say.
    pub(crate) fn created(&self) -> Option<Timestamp> {
        self.times.created
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { zone, flags, algorithm, tag, times, .. } = self;
        write!(f, "Key {{ {zone} {flags} {algorithm:?} {tag}, {times:?} }}")
    }
}

/// RFC 4034 appendix B.
fn tag(dnskey: &[u8]) -> u16 {
    let pairs = dnskey.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let sum: u32 = pairs.sum();
    let folded = sum.wrapping_add(sum >> 16 & 0xffff);
    u16::try_from(folded & 0xffff).unwrap_or_default()
}
