//! What the tests are made of: a scripted origin, nodes, and clients that see every byte. Every wait polls a condition
//! and has a deadline.

use std::time::{Duration, Instant};

pub(crate) mod client;
pub(crate) mod delv;
pub(crate) mod dns;
pub(crate) mod encrypted;
pub(crate) mod fleet;
pub(crate) mod flood;
pub(crate) mod gate;
pub(crate) mod geo;
pub(crate) mod h2;
pub(crate) mod hardship;
pub(crate) mod kdig;
pub(crate) mod load;
pub(crate) mod loopback;
pub(crate) mod node;
pub(crate) mod nsd;
pub(crate) mod origin;
pub(crate) mod peer;
pub(crate) mod process;
pub(crate) mod saturation;
pub(crate) mod shelf;
pub(crate) mod signed;
pub(crate) mod strangers;
pub(crate) mod tls;
pub(crate) mod unbound;
pub(crate) mod vast;
pub(crate) mod wire;

/// Longer than anything here takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// `length` bytes that look random and differ with `seed`.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The SHA-256 of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> Vec<u8> {
    let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    suite.common.hash_provider.hash(bytes).as_ref().to_vec()
}
