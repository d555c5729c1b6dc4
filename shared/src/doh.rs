//! DNS over HTTPS (RFC 8484) as the HTTP plane sees it: a path whose requests are somebody else's to answer. The two planes
//! know nothing of one another; who knows both puts the one's answers here for the other.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, request};

/// Bytes of the longest query that is taken. The media type allows 65535 (RFC 8484 section 6), and no query needs as many as
/// these: a question, a cookie, a subnet and padding. What one client may have waiting depends on it.
pub const QUERY_BYTES_MAX: usize = 4096;

/// From a request, its body and its client's address to the answer.
pub type Respond = dyn Fn(&request::Parts, &[u8], IpAddr) -> Response<Bytes> + Send + Sync;

/// Requests that are DNS queries.
#[derive(Clone)]
pub struct Doh {
    /// Where they come to, whatever the host.
    pub path: String,
    /// How they are answered. Waits for nothing.
    pub respond: Arc<Respond>,
}

impl fmt::Debug for Doh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doh").field("path", &self.path).finish_non_exhaustive()
    }
}
