//! From a client's request to the site it means, or the reason to refuse it.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{CACHE_CONTROL, COOKIE, HOST, IF_MODIFIED_SINCE, IF_NONE_MATCH, PRAGMA, RANGE};
use http::uri::Authority;
use http::{HeaderMap, Method, Uri, request};

use crate::headers::CDN_LOOP;
use crate::refusal::Refusal;
use crate::view::{Site, View};

/// The way a request came.
#[derive(Debug, Clone, Copy)]
pub struct Door<'a> {
    /// The port it came to.
    pub port: u16,
    /// Whether over TLS.
    pub https: bool,
    /// The name its TLS client asked for.
    pub server_name: Option<&'a str>,
}

/// A request that a site takes. Most are as they are keyed already: then nothing of them is copied.
#[derive(Debug)]
pub struct Admitted<'a> {
    /// The site.
    pub site: &'a Arc<Site>,
    /// Lower case, without port.
    pub host: Cow<'a, str>,
    /// Path and query.
    pub target: Cow<'a, str>,
}

/// Which fields a request has of those that make it another than a plain one for all of a page. One look at each name
/// says it; to search for each of them costs as much as all else of a hit's policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Special {
    /// Directives for caches.
    pub directives: bool,
    /// A condition or a range.
    pub selection: bool,
    /// Which content networks it came through.
    pub networks: bool,
}

impl Special {
    /// Of a request with that header.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for name in headers.keys() {
            match *name {
                CACHE_CONTROL | PRAGMA => found.directives = true,
                IF_NONE_MATCH | IF_MODIFIED_SINCE | RANGE => found.selection = true,
                _ => found.networks |= *name == CDN_LOOP,
            }
        }
        found
    }
}

/// Finds the site, or refuses.
///
/// # Errors
/// When the request breaks HTTP's rules, or nobody here takes it.
pub fn admit<'a>(parts: &'a request::Parts, door: Door<'_>, view: &'a View) -> Result<Admitted<'a>, Refusal> {
    if parts.method == Method::CONNECT || parts.method == Method::TRACE {
        return Err(Refusal::Method);
    }
    let is_over = |count| count > view.header_count_max;
    if is_over(parts.headers.len()) && is_over(field_count(parts)) {
        return Err(Refusal::TooManyFields);
    }
    let (host, port) = split(authority(parts)?)?;
    let site = view.site(&host).ok_or(Refusal::Misdirected)?;
    // Another port is another origin: its answers must not mix with ours. Who takes every host takes every port of it:
    // the port goes neither into the key nor to the origin, so there is nothing to mix.
    let default = if door.https { 443 } else { 80 };
    if port.is_some_and(|port| port != door.port && port != default) && !view.takes_every_host(site) {
        return Err(Refusal::Misdirected);
    }
    if door.https && !same_certificate(site, door.server_name, view) {
        return Err(Refusal::Misdirected);
    }
    let target = target(&parts.uri).ok_or(Refusal::BadRequest("The request target is not a path."))?;
    Ok(Admitted { site, host, target })
}

/// The lines of all fields. Of HTTP/1 none beyond the limit get here; HTTP/2 bounds their size alone.
fn field_count(parts: &request::Parts) -> usize {
    // "To allow for better compression efficiency, the Cookie header field MAY be split into separate header fields, each
    // with one or more cookie-pairs" (RFC 9113 section 8.2.3): together they are one.
    let crumbs = parts.headers.get_all(COOKIE).iter().count();
    parts.headers.len() - crumbs.saturating_sub(1)
}

/// Path and query, as they are keyed. "When a client .. the path is empty, "/" is sent" (RFC 9112 section 3.2.1), also
/// before a query.
pub fn target(uri: &Uri) -> Option<Cow<'_, str>> {
    match uri.path_and_query().map(|target| target.as_str()) {
        None | Some("") => Some("/".into()),
        Some(target) if target.starts_with('/') => Some(target.into()),
        Some(target) if target.starts_with('?') => Some(format!("/{target}").into()),
        Some(_) => None,
    }
}

/// Host, :authority or the absolute form's authority; they must not contradict one another (RFC 9112 section 3.2: "A
/// server MUST respond with a 400 status code to any HTTP/1.1 request message that lacks a Host header field and to any
/// request message that contains more than one Host header field line or a Host header field with an invalid field value").
fn authority(parts: &request::Parts) -> Result<&str, Refusal> {
    let mut lines = parts.headers.get_all(HOST).iter();
    let header = match (lines.next(), lines.next()) {
        (_, Some(_)) => return Err(Refusal::BadRequest("There is more than one Host.")),
        (Some(line), None) => Some(line.to_str().map_err(|_| Refusal::BadRequest("The Host is malformed."))?.trim()),
        (None, None) => None,
    };
    match (parts.uri.authority().map(Authority::as_str), header) {
        (Some(target), Some(header)) if !target.eq_ignore_ascii_case(header) => {
            Err(Refusal::BadRequest("The Host contradicts the request target."))
        }
        (Some(authority), _) | (None, Some(authority)) => Ok(authority),
        (None, None) => Err(Refusal::BadRequest("There is no Host.")),
    }
}

/// Host in lower case without its port and trailing dot, and the port.
fn split(authority: &str) -> Result<(Cow<'_, str>, Option<u16>), Refusal> {
    match usual(authority) {
        Some((host, port)) => Ok((host.into(), port)),
        None => parsed(authority).map(|(host, port)| (host.into(), port)),
    }
}

/// The same of what is a name in lower case already, with a port or without, as nearly all are.
fn usual(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, Some(port.parse().ok()?)),
        Some(_) => return None,
        None => (authority, None),
    };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    (!host.is_empty() && !host.ends_with('.') && host.bytes().all(plain)).then_some((host, port))
}

fn parsed(authority: &str) -> Result<(String, Option<u16>), Refusal> {
    let malformed = Refusal::BadRequest("The Host is malformed.");
    let parsed: Authority = authority.parse().map_err(|_| malformed)?;
    if authority.contains('@') || parsed.host().is_empty() {
        return Err(malformed);
    }
    let port = match authority[parsed.host().len()..].strip_prefix(':') {
        None | Some("") => None,
        Some(_) => Some(parsed.port_u16().ok_or(malformed)?),
    };
    let host = parsed.host().to_ascii_lowercase();
    Ok((host.strip_suffix('.').map(str::to_owned).unwrap_or(host), port))
}

/// A connection may be reused for another host only if the same certificate is presented for it.
fn same_certificate(site: &Arc<Site>, server_name: Option<&str>, view: &View) -> bool {
    let Some(shown) = view.site(server_name.unwrap_or_default()) else { return false };
    match (&shown.certificate, &site.certificate) {
        (Some(a), Some(b)) => Arc::ptr_eq(shown, site) || a.cert == b.cert,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::HashSecret;
    use crate::metrics::EdgeMetrics;
    use http::Request;
    use nearcast_shared::config::{Config, Inputs};
    use proptest::prelude::*;

    fn view(domains: &str) -> View {
        let text = format!(
            "[[pop]]\nname = \"a\"\naddresses = [\"192.0.2.1\"]\n[[site]]\ndomains = {domains}\norigin = \"http://origin.test\"\n"
        );
        let config = Config::parse(&text, std::path::Path::new("test.toml"), &Inputs::default()).unwrap();
        View::compile(&config, &EdgeMetrics::default(), &HashSecret([1; 16])).unwrap()
    }

    fn parts(method: &str, target: &str, hosts: &[&str]) -> request::Parts {
        let mut builder = Request::builder().method(method).uri(target);
        for host in hosts {
            builder = builder.header(HOST, *host);
        }
        builder.body(()).unwrap().into_parts().0
    }

    const PLAIN: Door<'_> = Door { port: 8080, https: false, server_name: None };

    #[test]
    fn table() {
        let view = view("[\"www.test\"]");
        let bad = |why| Err(Refusal::BadRequest(why));
        type Row<'a> = (&'a str, &'a str, &'a str, &'a [&'a str], Result<(&'a str, &'a str), Refusal>);
        let rows: [Row<'_>; 19] = [
            ("plain", "GET", "/a?b", &["www.test"], Ok(("www.test", "/a?b"))),
            ("case and trailing dot", "GET", "/", &["WWW.Test."], Ok(("www.test", "/"))),
            ("the listener's port", "GET", "/", &["www.test:8080"], Ok(("www.test", "/"))),
            ("the default port", "GET", "/", &["www.test:80"], Ok(("www.test", "/"))),
            ("another port", "GET", "/", &["www.test:81"], Err(Refusal::Misdirected)),
            ("an empty port", "GET", "/", &["www.test:"], Ok(("www.test", "/"))),
            ("an impossible port", "GET", "/", &["www.test:99999"], bad("The Host is malformed.")),
            ("another host", "GET", "/", &["other.test"], Err(Refusal::Misdirected)),
            ("no host", "GET", "/", &[], bad("There is no Host.")),
            ("two hosts", "GET", "/", &["www.test", "www.test"], bad("There is more than one Host.")),
            ("userinfo", "GET", "/", &["a@www.test"], bad("The Host is malformed.")),
            ("absolute form", "GET", "http://www.test/a", &["www.test"], Ok(("www.test", "/a"))),
            ("absolute form without Host", "GET", "http://www.test", &[], Ok(("www.test", "/"))),
            (
                "contradiction",
                "GET",
                "http://other.test/",
                &["www.test"],
                bad("The Host contradicts the request target."),
            ),
            ("absolute form with a bare query", "GET", "http://www.test?b", &[], Ok(("www.test", "/?b"))),
            ("asterisk form", "OPTIONS", "*", &["www.test"], bad("The request target is not a path.")),
            ("CONNECT", "CONNECT", "www.test:443", &["www.test"], Err(Refusal::Method)),
            ("TRACE", "TRACE", "/", &["www.test"], Err(Refusal::Method)),
            ("other methods", "PURGE", "/", &["www.test"], Ok(("www.test", "/"))),
        ];
        for (name, method, target, hosts, wanted) in rows {
            let parts = parts(method, target, hosts);
            let found = admit(&parts, PLAIN, &view);
            let found = found.as_ref().map(|a| (&*a.host, &*a.target)).map_err(|refusal| *refusal);
            assert_eq!(found, wanted, "{name}");
        }
    }

    #[test]
    fn a_site_that_takes_every_host() {
        let view = view("[\"*\"]");
        let bad = Err(Refusal::BadRequest("The Host is malformed."));
        let rows = [
            ("a name", "anything.test", Ok("anything.test")),
            ("the listener's port", "[::1]:8080", Ok("[::1]")),
            ("an address", "127.0.0.1", Ok("127.0.0.1")),
            ("another port", "anything.test:81", Ok("anything.test")),
            ("the other scheme's port", "anything.test:443", Ok("anything.test")),
            ("another port of an address", "[::1]:8000", Ok("[::1]")),
            ("an impossible port", "anything.test:99999", bad),
            ("userinfo", "a@anything.test", bad),
        ];
        for (name, host, wanted) in rows {
            let parts = parts("GET", "/", &[host]);
            let found = admit(&parts, PLAIN, &view);
            assert_eq!(found.as_ref().map(|a| &*a.host).map_err(|refusal| *refusal), wanted, "{name}");
        }
        let absolute = parts("GET", "http://anything.test:81/a", &["anything.test:81"]);
        assert_eq!(admit(&absolute, PLAIN, &view).unwrap().target, "/a");
    }

    #[test]
    fn a_site_with_names_of_its_own_beside_every_host() {
        let view = view("[\"www.test\", \"*\"]");
        for host in ["www.test:81", "other.test:81"] {
            let parts = parts("GET", "/", &[host]);
            assert!(admit(&parts, PLAIN, &view).is_ok(), "{host}");
        }
    }

    #[test]
    fn what_is_special() {
        let plain = Special::default();
        let rows = [
            ("x-other", plain),
            ("cookie", plain),
            ("if-range", plain),
            ("cache-control", Special { directives: true, ..plain }),
            ("pragma", Special { directives: true, ..plain }),
            ("if-none-match", Special { selection: true, ..plain }),
            ("if-modified-since", Special { selection: true, ..plain }),
            ("range", Special { selection: true, ..plain }),
            ("cdn-loop", Special { networks: true, ..plain }),
        ];
        for (name, wanted) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, http::HeaderValue::from_static("www.test"));
            headers.insert(name, http::HeaderValue::from_static("1"));
            headers.insert("user-agent", http::HeaderValue::from_static("test"));
            assert_eq!(Special::of(&headers), wanted, "{name}");
        }
    }

    #[test]
    fn fields_are_counted() {
        let view = view("[\"www.test\"]");
        let with = |name: &str, count: usize| {
            let mut parts = parts("GET", "/", &["www.test"]);
            let name: http::HeaderName = name.parse().unwrap();
            for _ in 0..count {
                parts.headers.append(&name, http::HeaderValue::from_static("a=1"));
            }
            admit(&parts, PLAIN, &view).err()
        };
        // Host is the 128th.
        assert_eq!((with("x", 99), with("x", 100)), (None, Some(Refusal::TooManyFields)));
        assert_eq!(with("cookie", 400), None, "the pieces of one Cookie");
    }

    proptest! {
        #[test]
        fn what_is_usual_needs_no_parser(authority in "[a-zA-Z0-9.:_\\-\\[\\]@%]{0,12}|[a-z.]{0,4}(:[0-9]{0,6})?") {
            if let Some((host, port)) = usual(&authority) {
                prop_assert_eq!(Ok((host.to_owned(), port)), parsed(&authority));
            }
        }
    }
}
