//! What the demo's origin serves.

use bytes::Bytes;
use nearcast_shared::trust;
use rustls::crypto::hash::HashAlgorithm;

/// Bytes of `/video.bin`.
const VIDEO_BYTES: usize = 20 << 20;

/// A file of the origin.
#[derive(Debug)]
pub(super) struct Asset {
    pub(super) path: &'static str,
    pub(super) content_type: &'static str,
    pub(super) cache_control: &'static str,
    /// Strong, with its quotes.
    pub(super) etag: String,
    pub(super) body: Bytes,
    sha256: String,
}

/// All of them; `/video.bin` is the last.
#[derive(Debug)]
pub(super) struct Assets(Vec<Asset>);

impl Assets {
    /// Makes them; the same at every start.
    pub(super) fn new() -> Self {
        let html = "text/html; charset=utf-8";
        let css = "text/css; charset=utf-8";
        let js = "text/javascript; charset=utf-8";
        let text = |text: &'static str| Bytes::from_static(text.as_bytes());
        // A page changes at the same URL and must be looked after; what it links may be kept for long.
        let (page, linked, media) =
            ("public, max-age=60, stale-while-revalidate=30", "public, max-age=3600", "public, max-age=86400");
        Self(vec![
            Asset::new("/", html, page, text(include_str!("www/index.html"))),
            Asset::new("/app.css", css, linked, text(include_str!("www/app.css"))),
            Asset::new("/app.js", js, linked, text(include_str!("www/app.js"))),
            Asset::new("/pops.svg", "image/svg+xml", linked, text(include_str!("www/pops.svg"))),
            Asset::new("/video.bin", "application/octet-stream", media, noise(VIDEO_BYTES).into()),
        ])
    }

    pub(super) fn find(&self, path: &str) -> Option<&Asset> {
        self.0.iter().find(|asset| asset.path == path)
    }

    /// What `sha256sum` says of `/video.bin`.
    pub(super) fn video_sha256(&self) -> &str {
        self.0.last().map_or("", |asset| &asset.sha256)
    }
}

impl Asset {
    fn new(path: &'static str, content_type: &'static str, cache_control: &'static str, body: Bytes) -> Self {
        let sha256 = sha256(&body);
        Self { path, content_type, cache_control, etag: format!("\"{}\"", &sha256[..16]), body, sha256 }
    }
}

/// In hexadecimal digits.
fn sha256(bytes: &[u8]) -> String {
    let suites = trust::provider().cipher_suites.clone();
    let hashes = suites.iter().filter_map(|suite| Some(suite.tls13()?.common.hash_provider));
    let hash = hashes.into_iter().find(|hash| hash.algorithm() == HashAlgorithm::SHA256);
    let hash = hash.expect("TLS 1.3 requires a suite with SHA-256 (RFC 8446 section 9.1)");
    hash.hash(bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The output of SplitMix64, which does not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state: u64 = 0x6e65_6172_6361_7374;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_is_the_standard_one() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(b""), empty);
    }

    #[test]
    fn the_page_links_what_there_is() {
        let assets = Assets::new();
        let page = std::str::from_utf8(&assets.find("/").unwrap().body).unwrap();
        let links = page.split(['"']).filter(|part| part.starts_with('/'));
        assert_eq!(links.clone().filter(|link| assets.find(link).is_none()).count(), 0);
        assert!(links.count() >= 4);
    }

    #[test]
    fn the_video_is_the_same_at_every_start() {
        assert_eq!(noise(20), noise(32)[..20]);
        let assets = Assets::new();
        assert_eq!(assets.find("/video.bin").unwrap().body.len(), 20 * 1024 * 1024);
        assert_eq!(assets.video_sha256(), assets.0.last().unwrap().sha256);
    }
}
