//! The Cache-Status field (RFC 9211): what the cache did, for whoever looks.

use std::fmt::Write;

use http::{HeaderMap, HeaderValue, StatusCode};

use crate::headers::{CACHE_STATUS, Identity};

/// Why a request went to the origin (RFC 9211 section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// Configured or remembered not to use the cache.
    Bypass,
    /// The method.
    Method,
    /// Nothing is stored for the URL.
    UriMiss,
    /// Something is, but not for this request.
    VaryMiss,
    /// What is stored is stale.
    Stale,
    /// The request's own directives.
    Request,
    /// Only parts of it are stored.
    Partial,
}

impl Forward {
    fn token(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
            Self::Request => "request",
            Self::Partial => "partial",
        }
    }
}

/// One member of the list: this cache's.
#[derive(Debug, Clone, Default)]
pub struct CacheStatus {
    /// Served from the store without asking.
    pub hit: bool,
    /// Why it was asked.
    pub forward: Option<Forward>,
    /// What the origin answered, when that is not what the client gets.
    pub forward_status: Option<StatusCode>,
    /// Whether the answer is being stored.
    pub stored: bool,
    /// Whether the fetch was another request's.
    pub collapsed: bool,
    /// Seconds of freshness left; negative when stale.
    pub ttl: Option<i64>,
    /// A word on why, for those who may see it.
    pub detail: Option<&'static str>,
}

impl CacheStatus {
    /// From the store.
    pub fn hit(ttl: i64) -> Self {
        Self { hit: true, ttl: Some(ttl), ..Self::default() }
    }

    /// From the origin.
    pub fn forward(why: Forward) -> Self {
        Self { forward: Some(why), ..Self::default() }
    }

    /// Adds this cache's member behind those of caches closer to the origin. `key` is shown only to those who may see
    /// more, and so is `detail` (RFC 9211 section 6).
    pub fn add_to(&self, headers: &mut HeaderMap, identity: &Identity, key: Option<&str>) {
        let mut text = String::with_capacity(64);
        for line in headers.get_all(CACHE_STATUS).iter().filter_map(|line| line.to_str().ok()) {
            text.push_str(line);
            text.push_str(", ");
        }
        text.push_str(&identity.name);
        // Writing to a String cannot fail.
        let _infallible = self.write(&mut text, key);
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(CACHE_STATUS, value);
        }
    }

    fn write(&self, text: &mut String, key: Option<&str>) -> std::fmt::Result {
        if self.hit {
            text.push_str("; hit");
        }
        if let Some(forward) = self.forward {
            write!(text, "; fwd={}", forward.token())?;
        }
        if let Some(status) = self.forward_status {
            write!(text, "; fwd-status={}", status.as_u16())?;
        }
        if let Some(ttl) = self.ttl {
            write!(text, "; ttl={ttl}")?;
        }
        if self.stored {
            text.push_str("; stored");
        }
        if self.collapsed {
            text.push_str("; collapsed");
        }
        if let Some(key) = key {
            text.push_str("; key=\"");
            for c in key.chars().filter(|c| (' '..='~').contains(c)) {
                if matches!(c, '"' | '\\') {
                    text.push('\\');
                }
                text.push(c);
            }
            text.push('"');
            if let Some(detail) = self.detail {
                write!(text, "; detail={detail}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members() {
        let identity = Identity { name: "nearcast-fra".to_owned(), loop_id: String::new() };
        let show = |status: &CacheStatus, key: Option<&str>, before: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in before {
                headers.append(CACHE_STATUS, HeaderValue::from_static(value));
            }
            status.add_to(&mut headers, &identity, key);
            headers[CACHE_STATUS].to_str().unwrap().to_owned()
        };
        let miss = CacheStatus { stored: true, detail: Some("x"), ..CacheStatus::forward(Forward::UriMiss) };
        assert_eq!(show(&CacheStatus::hit(59), None, &[]), "nearcast-fra; hit; ttl=59");
        assert_eq!(show(&miss, None, &["a; hit", "b"]), "a; hit, b, nearcast-fra; fwd=uri-miss; stored");
        let shown = show(&miss, Some("http://h/\"é"), &[]);
        assert_eq!(shown, "nearcast-fra; fwd=uri-miss; stored; key=\"http://h/\\\"\"; detail=x");
    }
}
