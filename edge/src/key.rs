//! What an object is stored under. What is keyed is what is forwarded: site, scheme, host, path and query, byte for
//! byte, but for the case of the host.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

/// The node's secret for hashing keys, so that nobody can craft two URLs of one id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashSecret(pub [u8; 16]);

impl fmt::Debug for HashSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashSecret(..)")
    }
}

/// The keyed 128-bit id of a URL without its scheme: a purge of a URL covers both schemes and all variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UrlId(pub u128);

/// What a request asks for, in the words of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address<'a> {
    /// The site's name.
    pub site: &'a str,
    /// Whether the client came over TLS.
    pub https: bool,
    /// Lower case, without the port.
    pub host: &'a str,
    /// Path and query as the client sent them.
    pub target: &'a str,
}

impl Address<'_> {
    /// The id of the URL.
    pub fn url_id(&self, secret: &HashSecret) -> UrlId {
        let mut hasher = SipHasher24::new_with_key(&secret.0);
        // A NUL can stand in none of the parts, so that no two addresses run together alike.
        for part in [self.site, self.host, self.target] {
            hasher.write(part.as_bytes());
            hasher.write_u8(0);
        }
        UrlId(hasher.finish128().as_u128())
    }
}

impl fmt::Display for Address<'_> {
    /// For people: the URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.https { "https" } else { "http" }, self.host, self.target)
    }
}

/// What the store knows a piece by.
///
/// ```text
/// 0               16     17       18        26       30  32
/// | id            | kind | scheme | version | number | 0 |
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreKey(pub [u8; 32]);

impl StoreKey {
    /// The entry of a URL: the object itself, or what its answers vary on.
    pub fn primary(url: UrlId, https: bool) -> Self {
        Self::new(url.0, b'p', https, 0, 0)
    }

    /// One variant of a URL; `text` is what the request selects it by.
    pub fn variant(url: UrlId, https: bool, text: &[u8], secret: &HashSecret) -> Self {
        let mut hasher = SipHasher24::new_with_key(&secret.0);
        hasher.write(&url.0.to_le_bytes());
        hasher.write(text);
        Self::new(hasher.finish128().as_u128(), b'v', https, 0, 0)
    }

    /// Piece `number` of a body of that URL, in one version. Only objects name versions, so that old pieces cannot be
    /// reached.
    pub fn chunk(url: UrlId, https: bool, version: u64, number: u32) -> Self {
        Self::new(url.0, b'c', https, version, number)
    }

    fn new(id: u128, kind: u8, https: bool, version: u64, number: u32) -> Self {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&id.to_le_bytes());
        bytes[16] = kind;
        bytes[17] = u8::from(https);
        bytes[18..26].copy_from_slice(&version.to_le_bytes());
        bytes[26..30].copy_from_slice(&number.to_le_bytes());
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: HashSecret = HashSecret([7; 16]);

    fn id(site: &str, host: &str, target: &str) -> UrlId {
        Address { site, https: false, host, target }.url_id(&SECRET)
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(id("a", "bc", "/"), id("ab", "c", "/"));
        assert_ne!(id("a", "b", "/c"), id("a", "b/", "c"));
    }

    #[test]
    fn the_secret_matters() {
        let address = Address { site: "a", https: false, host: "b", target: "/" };
        assert_ne!(address.url_id(&SECRET), address.url_id(&HashSecret([8; 16])));
    }

    #[test]
    fn kinds_schemes_versions_and_numbers_differ() {
        let url = id("a", "b", "/");
        let keys = [
            StoreKey::primary(url, false),
            StoreKey::primary(url, true),
            StoreKey::variant(url, false, b"gzip", &SECRET),
            StoreKey::variant(url, false, b"br", &SECRET),
            StoreKey::chunk(url, false, 1, 0),
            StoreKey::chunk(url, false, 1, 1),
            StoreKey::chunk(url, false, 2, 0),
        ];
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }

    proptest! {
        /// What is keyed is what is forwarded: equal ids imply equal hosts and targets.
        #[test]
        fn equal_ids_mean_equal_addresses(a in "[a-c]{0,2}", b in "[a-c/?]{0,2}", c in "[a-c]{0,2}", d in "[a-c/?]{0,2}") {
            prop_assert_eq!(id("s", &a, &b) == id("s", &c, &d), (&a, &b) == (&c, &d));
        }
    }
}
