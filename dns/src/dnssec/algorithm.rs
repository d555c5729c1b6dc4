//! The algorithms that zones are signed with, and their key pairs.

use std::fmt;

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use zeroize::Zeroizing;

/// A signing algorithm (RFC 8624 section 3.1: these two are a MUST and a RECOMMENDED).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA over P-256 with SHA-256 (RFC 6605), which every validator knows.
    EcdsaP256,
    /// Ed25519 (RFC 8080).
    Ed25519,
}

impl Algorithm {
    const ALL: [Self; 2] = [Self::EcdsaP256, Self::Ed25519];

    /// Its number in DNSKEY and RRSIG records.
    pub fn number(self) -> u8 {
        match self {
            Self::EcdsaP256 => 13,
            Self::Ed25519 => 15,
        }
    }

    /// Its name in key files.
    pub fn mnemonic(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ECDSAP256SHA256",
            Self::Ed25519 => "ED25519",
        }
    }

    pub(crate) fn numbered(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.number() == number)
    }

    /// Bytes of a public key in a DNSKEY record.
    pub(crate) fn public_length(self) -> usize {
        match self {
            Self::EcdsaP256 => 64,
            Self::Ed25519 => 32,
        }
    }
}

/// A private key, ready to sign.
pub(crate) enum KeyPair {
    EcdsaP256(Box<EcdsaKeyPair>, SystemRandom),
    Ed25519(Box<Ed25519KeyPair>),
}

impl KeyPair {
    /// From the bytes of a key file: the private value and the public key as the DNSKEY record has it. `None` when they are
    /// no keys or do not belong together.
    pub(crate) fn new(algorithm: Algorithm, private: &[u8], public: &[u8]) -> Option<Self> {
        Some(match algorithm {
            Algorithm::EcdsaP256 => {
                // RFC 6605 section 4: the public key is "the uncompressed form of a curve point" without its first byte.
                let point = [&[4], public].concat();
                let pair =
                    EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, private, &point);
                Self::EcdsaP256(Box::new(pair.ok()?), SystemRandom::new())
            }
            Algorithm::Ed25519 => {
                Self::Ed25519(Box::new(Ed25519KeyPair::from_seed_and_public_key(private, public).ok()?))
            }
        })
    }

    /// A new one; `None` when the system has no randomness.
    pub(crate) fn generate(algorithm: Algorithm) -> Option<Self> {
        Some(match algorithm {
            Algorithm::EcdsaP256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).ok()?;
                Self::EcdsaP256(Box::new(pair), SystemRandom::new())
            }
            Algorithm::Ed25519 => Self::Ed25519(Box::new(Ed25519KeyPair::generate().ok()?)),
        })
    }

    /// The public key as a DNSKEY record has it.
    pub(crate) fn public(&self) -> Vec<u8> {
        match self {
            Self::EcdsaP256(pair, _) => pair.public_key().as_ref().iter().skip(1).copied().collect(),
            Self::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// The private value as key files have it.
    pub(crate) fn private(&self) -> Option<Zeroizing<Vec<u8>>> {
        let bytes = match self {
            Self::EcdsaP256(pair, _) => pair.private_key().as_be_bytes().ok()?.as_ref().to_vec(),
            Self::Ed25519(pair) => pair.seed().ok()?.as_be_bytes().ok()?.as_ref().to_vec(),
        };
        Some(Zeroizing::new(bytes))
    }

    /// The signature of `data` as an RRSIG record has it; `None` when the library fails.
    pub(crate) fn sign(&self, data: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::EcdsaP256(pair, random) => Some(pair.sign(random, data).ok()?.as_ref().to_vec()),
            Self::Ed25519(pair) => Some(pair.try_sign(data).ok()?.as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_come_back_from_their_bytes() {
        for algorithm in Algorithm::ALL {
            let pair = KeyPair::generate(algorithm).unwrap();
            let (private, public) = (pair.private().unwrap(), pair.public());
            assert_eq!(public.len(), algorithm.public_length());
            let again = KeyPair::new(algorithm, &private, &public).unwrap();
            assert_eq!(again.public(), public);
            assert_eq!(again.sign(b"data").unwrap().len(), 64);
            let other = KeyPair::generate(algorithm).unwrap().public();
            assert!(KeyPair::new(algorithm, &private, &other).is_none(), "of another pair");
            assert!(KeyPair::new(algorithm, &private[1..], &public).is_none(), "too short");
            assert_eq!(format!("{pair:?}"), "KeyPair(..)");
            assert_eq!(Algorithm::numbered(algorithm.number()), Some(algorithm));
        }
        assert_eq!(Algorithm::numbered(8), None);
    }
}
