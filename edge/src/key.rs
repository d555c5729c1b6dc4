//! What an object is stored under: site, scheme, host, path and query, and what else the site's keys are made of. What is
//! keyed is what is forwarded, byte for byte, but for the case of the host; [`crate::keying`] sees to it.

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

/// The keyed 128-bit id of a URL without its scheme: a purge of a URL covers both schemes, all parts and all variants. Its
/// highest 16 bits are the site's mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UrlId(pub u128);

impl UrlId {
    /// The id of the URL in one scheme, for what concerns that alone.
    #[must_use]
    pub fn of_scheme(self, https: bool) -> Self {
        const MARKS: [u128; 2] = [0x6874_7470 << 64, 0x0068_7474_7073 << 64];
        Self(self.0 ^ MARKS[usize::from(https)])
    }
}

/// What the store tells sites apart by: 16 bits of each id, so that a key alone says whose it is. Two sites may share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SiteMark(pub u16);

impl SiteMark {
    /// The mark of the site with that name.
    pub fn of(site: &str, secret: &HashSecret) -> Self {
        let mut hasher = SipHasher24::new_with_key(&secret.0);
        hasher.write(site.as_bytes());
        Self((hasher.finish() >> 48) as u16)
    }

    fn on(self, id: u128) -> u128 {
        id >> 16 | u128::from(self.0) << 112
    }

    fn from(id: u128) -> Self {
        Self((id >> 112) as u16)
    }
}

/// The keyed 128-bit id of a group of answers (RFC 9875): groups are of one scheme and host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GroupId(pub u128);

/// The keyed 128-bit id of a tag: of all answers that name it, or of one site's alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TagId(pub u128);

impl TagId {
    /// The id of a tag, wherever it is named.
    pub fn of(tag: &[u8], secret: &HashSecret) -> Self {
        let mut hasher = SipHasher24::new_with_key(&secret.0);
        // No URL or group begins so.
        hasher.write(b"\0tag\0");
        hasher.write(tag);
        Self(hasher.finish128().as_u128())
    }

    /// The id of the same tag at one site alone.
    #[must_use]
    pub fn within(self, space: TagSpace) -> Self {
        Self(self.0 ^ space.0)
    }
}

/// What tells a site's tags from those of all sites. Not keyed: ids of tags are, so that none can be made to meet another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagSpace(u128);

impl TagSpace {
    /// Of the site with that name.
    pub fn of(site: &str) -> Self {
        let mut hasher = SipHasher24::new();
        hasher.write(site.as_bytes());
        Self(hasher.finish128().as_u128())
    }
}

/// What a request asks for, in the words of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address<'a> {
    /// The site's name.
    pub site: &'a str,
    /// Whether the client came over TLS.
    pub https: bool,
    /// Lower case, without the port.
    pub host: &'a str,
    /// Path and query, after the site's rules for queries.
    pub target: &'a str,
    /// What else of the request is keyed ([`crate::keying::Keyed::parts`]); often empty.
    pub parts: &'a str,
}

/// What the ids of a site's URLs begin with: the same for all of them, so that it is hashed once.
#[derive(Clone)]
pub struct SiteHash {
    mark: SiteMark,
    begun: SipHasher24,
}

impl SiteHash {
    /// Of the site with that name.
    pub fn of(site: &str, secret: &HashSecret) -> Self {
        let mut begun = SipHasher24::new_with_key(&secret.0);
        end_part(&mut begun, site);
        Self { mark: SiteMark::of(site, secret), begun }
    }

    /// The id of a URL; host and target as an [`Address`] has them.
    pub fn url_id(&self, host: &str, target: &str) -> UrlId {
        let mut hasher = self.begun;
        end_part(&mut hasher, host);
        end_part(&mut hasher, target);
        UrlId(self.mark.on(hasher.finish128().as_u128()))
    }
}

impl fmt::Debug for SiteHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SiteHash(..)")
    }
}

/// A NUL can stand in none of the parts, so that no two addresses run together alike.
fn end_part(hasher: &mut SipHasher24, part: &str) {
    hasher.write(part.as_bytes());
    hasher.write_u8(0);
}

impl Address<'_> {
    /// The id of the URL.
    pub fn url_id(&self, secret: &HashSecret) -> UrlId {
        SiteHash::of(self.site, secret).url_id(self.host, self.target)
    }

    /// The id of a group that an answer of this URL names. Two answers have the same group when they name the same string
    /// and "both share the same URI origin" (RFC 9875 section 2.1): scheme and host.
    pub fn group_id(&self, group: &str, secret: &HashSecret) -> GroupId {
        let mut hasher = SipHasher24::new_with_key(&secret.0);
        for part in [self.site, if self.https { "https" } else { "http" }, self.host, group] {
            end_part(&mut hasher, part);
        }
        GroupId(hasher.finish128().as_u128())
    }
}

impl fmt::Display for Address<'_> {
    /// For people: the URL, and the parts where there are any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.https { "https" } else { "http" }, self.host, self.target)?;
        if self.parts.is_empty() { Ok(()) } else { write!(f, " ({})", self.parts) }
    }
}

/// The kinds of pieces of bodies, large and not.
const LARGE: u8 = b'l';
const SMALL: u8 = b'c';

/// What the store knows a piece by.
///
/// ```text
/// 0               16     17       18        26       30  32
/// | id            | kind | scheme | version | number | 0 |
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreKey(pub [u8; 32]);

impl StoreKey {
    /// The entry of a URL, under the `parts` of an [`Address`]: the object itself, or what its answers vary on.
    pub fn primary(url: UrlId, https: bool, parts: &str, secret: &HashSecret) -> Self {
        Self::new(within(url, parts, secret), b'p', https, 0, 0)
    }

    /// One variant of a URL under `parts`; `text` is what the request selects it by.
    pub fn variant(url: UrlId, https: bool, parts: &str, text: &[u8], secret: &HashSecret) -> Self {
        let id = keyed_hash(within(url, parts, secret), text, secret);
        Self::new(id, b'v', https, 0, 0)
    }

    /// Piece `number` of a body of that URL, in one version. Only objects name versions, so that old pieces cannot be
    /// reached. Pieces of a `large` body are kept apart from all else in memory.
    pub fn chunk(url: UrlId, https: bool, version: u64, number: u32, large: bool) -> Self {
        Self::new(url.0, if large { LARGE } else { SMALL }, https, version, number)
    }

    /// Whose it is.
    pub fn site(&self) -> SiteMark {
        SiteMark(u16::from_le_bytes([self.0[14], self.0[15]]))
    }

    /// Whether it is of a URL of `https://`.
    pub fn is_https(&self) -> bool {
        self.0[17] != 0
    }

    /// Whether it is a piece of a large body.
    pub fn is_of_a_large_body(&self) -> bool {
        self.0[16] == LARGE
    }

    /// What stays of it from one version of a body to the next, however large that is.
    pub fn without_version(&self) -> [u8; 32] {
        let mut bytes = self.0;
        bytes[18..26].fill(0);
        if bytes[16] == LARGE {
            bytes[16] = SMALL;
        }
        bytes
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

/// The id of `parts` of a URL; without parts the URL's own.
fn within(url: UrlId, parts: &str, secret: &HashSecret) -> u128 {
    if parts.is_empty() { url.0 } else { keyed_hash(url.0, parts.as_bytes(), secret) }
}

fn keyed_hash(id: u128, text: &[u8], secret: &HashSecret) -> u128 {
    let mut hasher = SipHasher24::new_with_key(&secret.0);
    hasher.write(&id.to_le_bytes());
    hasher.write(text);
    SiteMark::from(id).on(hasher.finish128().as_u128())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: HashSecret = HashSecret([7; 16]);

    fn id(site: &str, host: &str, target: &str) -> UrlId {
        Address { site, https: false, host, target, parts: "" }.url_id(&SECRET)
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(id("a", "bc", "/"), id("ab", "c", "/"));
        assert_ne!(id("a", "b", "/c"), id("a", "b/", "c"));
    }

    #[test]
    fn the_secret_matters() {
        let address = Address { site: "a", https: false, host: "b", target: "/", parts: "" };
        assert_ne!(address.url_id(&SECRET), address.url_id(&HashSecret([8; 16])));
    }

    #[test]
    fn kinds_schemes_versions_and_numbers_differ() {
        let url = id("a", "b", "/");
        let keys = [
            StoreKey::primary(url, false, "", &SECRET),
            StoreKey::primary(url, true, "", &SECRET),
            StoreKey::primary(url, false, "br", &SECRET),
            StoreKey::variant(url, false, "", b"gzip", &SECRET),
            StoreKey::variant(url, false, "", b"br", &SECRET),
            StoreKey::variant(url, false, "br", b"", &SECRET),
            StoreKey::variant(url, false, "br", b"br", &SECRET),
            StoreKey::variant(url, false, "b", b"rbr", &SECRET),
            StoreKey::chunk(url, false, 1, 0, false),
            StoreKey::chunk(url, false, 1, 1, false),
            StoreKey::chunk(url, false, 2, 0, false),
            StoreKey::chunk(url, false, 1, 0, true),
        ];
        assert!(keys.iter().all(|key| key.site() == SiteMark::of("a", &SECRET)));
        assert!(keys.iter().map(StoreKey::is_https).eq((0..keys.len()).map(|at| at == 1)));
        assert!(keys.iter().map(StoreKey::is_of_a_large_body).eq((0..keys.len()).map(|at| at == 11)));
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn groups_are_of_one_site_scheme_and_host() {
        let group =
            |site, https, host, group| Address { site, https, host, target: "/", parts: "" }.group_id(group, &SECRET);
        let ids = [
            group("a", false, "b", "g"),
            group("x", false, "b", "g"),
            group("a", true, "b", "g"),
            group("a", false, "x", "g"),
            group("a", false, "b", "G"),
            group("a", false, "bg", ""),
        ];
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        let elsewhere = Address { site: "a", https: false, host: "b", target: "/other?x", parts: "" };
        assert_eq!(elsewhere.group_id("g", &SECRET), ids[0]);
    }

    #[test]
    fn tags_are_of_all_sites_or_of_one() {
        let (a, b) = (TagId::of(b"a", &SECRET), TagId::of(b"b", &SECRET));
        let spaces = ["www", "shop"].map(TagSpace::of);
        let ids = [a, b, a.within(spaces[0]), a.within(spaces[1]), b.within(spaces[0]), TagId::of(b"", &SECRET)];
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        assert_eq!(a.within(spaces[0]), TagId::of(b"a", &SECRET).within(TagSpace::of("www")));
        assert_ne!(a, TagId::of(b"a", &HashSecret([8; 16])));
    }

    proptest! {
        /// What is keyed is what is forwarded: equal ids imply equal hosts and targets.
        #[test]
        fn equal_ids_mean_equal_addresses(a in "[a-c]{0,2}", b in "[a-c/?]{0,2}", c in "[a-c]{0,2}", d in "[a-c/?]{0,2}") {
            prop_assert_eq!(id("s", &a, &b) == id("s", &c, &d), (&a, &b) == (&c, &d));
        }

        /// Nor does anything run together where parts and selecting texts come in.
        #[test]
        fn equal_keys_mean_equal_everything(one in keyed(), other in keyed()) {
            let keys = |(host, target, parts, text): &(String, String, String, String)| {
                let url = id("s", host, target);
                let variant = StoreKey::variant(url, false, parts, text.as_bytes(), &SECRET);
                (StoreKey::primary(url, false, parts, &SECRET), variant)
            };
            let (one_keys, other_keys) = (keys(&one), keys(&other));
            prop_assert_eq!(one_keys.0 == other_keys.0, (&one.0, &one.1, &one.2) == (&other.0, &other.1, &other.2));
            prop_assert_eq!(one_keys.1 == other_keys.1, one == other);
            prop_assert!(one_keys.0 != other_keys.1);
        }
    }

    /// Host, target, parts and selecting text: few enough letters that equal ones and shifted ones come up.
    fn keyed() -> impl Strategy<Value = (String, String, String, String)> {
        ("[ab]{0,1}", "[ab/?]{0,2}", "[ab;]{0,2}", "[ab;]{0,2}")
    }
}
