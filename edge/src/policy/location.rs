//! Other URLs that an unsafe request changed: those that the fields Location and Content-Location of its answer name.
//!
//! A client that follows such a field sends the target that it resolved, and clients differ in how they do that. Both
//! ways count:
//! - as RFC 3986 says, byte for byte: nothing is encoded or decoded, and what breaks its grammar names nothing;
//! - as browsers do it (WHATWG URL): they encode what the grammar forbids, and `'` in a query, and take `\` for `/`.
//!
//! For what people and frameworks write the two agree, and there is one target.

use fluent_uri::{Uri, UriRef};
use http::header::{CONTENT_LOCATION, LOCATION};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName};
use url::{Position, Url};

/// The URL of a request, and the names that its origin knows it by.
#[derive(Debug, Clone, Copy)]
pub struct Base<'a> {
    /// Whether the client came over TLS.
    pub https: bool,
    /// The host asked for: lower case, without port and trailing dot.
    pub host: &'a str,
    /// The port that the request came to; a URL without a port means the same host, too.
    pub port: u16,
    /// Path and query as the client sent them.
    pub target: &'a str,
    /// How the origin is asked.
    pub origin_scheme: &'a Scheme,
    /// Where the origin is: an origin that knows nothing of us calls itself that.
    pub origin: &'a Authority,
    /// The Host that the origin is sent: most make their own URLs of it.
    pub origin_host: &'a str,
}

/// The request targets, other than the request's own, that Location and Content-Location name on the same host; each once.
///
/// "A cache MUST NOT trigger an invalidation under these conditions if the origin (as per section 4.3.1 of HTTP) of the
/// URI to be invalidated differs from that of the target URI" (RFC 9111 section 4.4): scheme, host and port have to be the
/// request's, either as the client sent it or as the origin got it. A field of several lines, or with userinfo, names
/// nothing.
pub fn same_host_targets(headers: &HeaderMap, base: &Base<'_>) -> Vec<String> {
    let mut targets: Vec<String> = Vec::new();
    for reference in [LOCATION, CONTENT_LOCATION].iter().filter_map(|name| only_line(headers, name)) {
        for target in [by_rfc(reference, base), by_browsers(reference, base)].into_iter().flatten() {
            if target != base.target && !targets.contains(&target) {
                targets.push(target);
            }
        }
    }
    targets
}

/// Whether Content-Location says that the answer is what a GET of the request's own URL would give.
pub fn is_of_its_own_url(headers: &HeaderMap, base: &Base<'_>) -> bool {
    only_line(headers, &CONTENT_LOCATION).and_then(|reference| by_rfc(reference, base)).as_deref() == Some(base.target)
}

fn only_line<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut lines = headers.get_all(name).iter();
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    std::str::from_utf8(line.as_bytes()).ok()
}

fn by_rfc(reference: &str, base: &Base<'_>) -> Option<String> {
    let absolute = base.url();
    let found = UriRef::parse(reference).ok()?.resolve_against(&Uri::parse(absolute.as_str()).ok()?).ok()?;
    let authority = found.authority().filter(|authority| !authority.has_userinfo())?;
    let port = authority.port_to_u16().ok()?;
    if !base.is_same(found.scheme().as_str(), authority.host(), port) {
        return None;
    }
    // "If the path is empty, "/" is sent" (RFC 9112 section 3.2.1).
    let path = Some(found.path().as_str()).filter(|path| !path.is_empty()).unwrap_or("/");
    Some(found.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}")))
}

fn by_browsers(reference: &str, base: &Base<'_>) -> Option<String> {
    let found = Url::parse(&base.url()).ok()?.join(reference).ok()?;
    let anonymous = found.username().is_empty() && found.password().is_none();
    let same = anonymous && base.is_same(found.scheme(), found.host_str()?, found.port());
    same.then(|| found[Position::BeforePath..Position::AfterQuery].to_owned())
}

impl Base<'_> {
    fn url(&self) -> String {
        format!("{}://{}{}", scheme_of(self.https), self.host, self.target)
    }

    /// Whether scheme, host and port are the request's, in one of its names.
    fn is_same(&self, scheme: &str, host: &str, port: Option<u16>) -> bool {
        let scheme = scheme.to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(host);
        let default = default_port(&scheme);
        let port = port.or(default);
        let client = scheme == scheme_of(self.https)
            && host.eq_ignore_ascii_case(self.host)
            && (port == default || port == Some(self.port));
        let names = [Some(self.origin.clone()), self.origin_host.parse().ok()];
        client
            || scheme == self.origin_scheme.as_str()
                && names
                    .iter()
                    .flatten()
                    .any(|name| host.eq_ignore_ascii_case(name.host()) && port == name.port_u16().or(default))
    }
}

fn scheme_of(https: bool) -> &'static str {
    if https { "https" } else { "http" }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::uri::PathAndQuery;
    use proptest::prelude::*;

    /// Location's targets of a request for `http://www.test/a/b?c` at port 8080; its site's origin is
    /// `https://origin.test:8443` and is sent `Host: app.test`.
    fn of(location: &[u8]) -> Vec<String> {
        located(&[(LOCATION, location)], "/a/b?c", false)
    }

    fn located(fields: &[(HeaderName, &[u8])], target: &str, https: bool) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        let origin = Authority::from_static("origin.test:8443");
        let base = Base {
            https,
            host: "www.test",
            port: 8080,
            target,
            origin_scheme: &Scheme::HTTPS,
            origin: &origin,
            origin_host: "app.test",
        };
        same_host_targets(&headers, &base)
    }

    #[test]
    fn references() {
        // Most rows are RFC 3986 section 5.4's, on our base.
        let rows: &[(&str, &[&str])] = &[
            ("/x", &["/x"]),
            ("/x?y", &["/x?y"]),
            ("x", &["/a/x"]),
            ("./x", &["/a/x"]),
            ("x/", &["/a/x/"]),
            ("../x", &["/x"]),
            ("../../../x", &["/x"]),
            ("..", &["/"]),
            (".", &["/a/"]),
            ("/x/./y/../z", &["/x/z"]),
            ("/x/%2e%2E/z", &["/z"]),
            ("?y", &["/a/b?y"]),
            ("?", &["/a/b?"]),
            ("x?y/../z", &["/a/x?y/../z"]),
            (";x", &["/a/;x"]),
            ("/x#y", &["/x"]),
            ("/x?y#z?", &["/x?y"]),
            ("/x//y", &["/x//y"]),
            ("//www.test/x", &["/x"]),
            ("//www.test", &["/"]),
            ("//www.test?y", &["/?y"]),
            ("http://www.test/x", &["/x"]),
            // The request's own.
            ("", &[]),
            ("#x", &[]),
            ("b?c", &[]),
            ("/a/b?c", &[]),
            // Nothing is decoded or encoded, other cases of it are other targets.
            ("/%41%2f%c3?%7E", &["/%41%2f%c3?%7E"]),
            ("/~x!$&()*+,;=:@", &["/~x!$&()*+,;=:@"]),
            // Where browsers send something else than RFC 3986 says.
            ("/x?y='1'", &["/x?y='1'", "/x?y=%271%27"]),
            ("/x'y", &["/x'y"]),
            // What RFC 3986 forbids, and browsers make up for.
            ("/x y", &["/x%20y"]),
            ("/ä", &["/%C3%A4"]),
            ("/x|y", &["/x|y"]),
            ("\\x", &["/x"]),
            ("http:/x", &["/x"]),
        ];
        for (location, wanted) in rows {
            assert_eq!(of(location.as_bytes()), *wanted, "{location}");
        }
    }

    #[test]
    fn hosts() {
        let rows = [
            ("case", "HTTP://WWW.Test/x", true),
            ("the trailing dot", "http://www.test./x", true),
            ("the scheme's port", "http://www.test:80/x", true),
            ("the port it came to", "http://www.test:8080/x", true),
            ("an empty port", "http://www.test:/x", true),
            ("another port", "http://www.test:81/x", false),
            ("an impossible port", "http://www.test:99999/x", false),
            ("another scheme", "https://www.test/x", false),
            ("another host", "http://other.test/x", false),
            ("a host within", "http://a.www.test/x", false),
            ("a longer host", "http://www.test.other/x", false),
            ("another host without a scheme", "//other.test/x", false),
            ("another host by backslashes", "/\\other.test/x", false),
            ("userinfo", "http://me@www.test/x", false),
            ("the host as userinfo", "http://www.test@other.test/x", false),
            ("the host as userinfo with a backslash", "http://other.test\\@www.test/x", false),
            ("no host", "http:///x", false),
            ("another kind of URL", "mailto:www.test", false),
            ("a script", "javascript:/x", false),
            ("the origin's name", "https://origin.test:8443/x", true),
            ("the origin's name in capitals", "https://ORIGIN.test:8443/x", true),
            ("the origin's name on another port", "https://origin.test/x", false),
            ("the origin's name with another scheme", "http://origin.test:8443/x", false),
            ("the Host that it was sent", "https://app.test/x", true),
            ("the Host that it was sent, and a port", "https://app.test:443/x", true),
            ("the Host that it was sent, on another port", "https://app.test:8443/x", false),
        ];
        for (name, location, same) in rows {
            let wanted: &[&str] = if same { &["/x"] } else { &[] };
            assert_eq!(of(location.as_bytes()), wanted, "{name}");
        }
        assert_eq!(located(&[(LOCATION, b"https://www.test/x")], "/", true), ["/x"], "over TLS");
        assert_eq!(located(&[(LOCATION, b"http://www.test/x")], "/", true), [""; 0], "over TLS, to plain HTTP");
    }

    #[test]
    fn fields() {
        let (one, other): (&[u8], &[u8]) = (b"/x", b"/y");
        let both = [(LOCATION, one), (CONTENT_LOCATION, other)];
        assert_eq!(located(&both, "/", false), ["/x", "/y"]);
        assert_eq!(located(&[(LOCATION, one), (CONTENT_LOCATION, one)], "/", false), ["/x"], "the same");
        assert_eq!(located(&[(LOCATION, one), (LOCATION, other)], "/", false), [""; 0], "two lines");
        assert_eq!(located(&[(LOCATION, b"/\xff")], "/", false), [""; 0], "not UTF-8");
        assert_eq!(located(&[], "/", false), [""; 0], "none");
        // What RFC 3986 would not have let the client send.
        assert_eq!(located(&[(LOCATION, b"x")], "/{a}/b", false), ["/%7Ba%7D/x"]);
    }

    #[test]
    fn an_answer_of_its_own_url() {
        let origin = Authority::from_static("origin.test");
        let base = Base {
            https: false,
            host: "www.test",
            port: 80,
            target: "/a?b",
            origin_scheme: &Scheme::HTTP,
            origin: &origin,
            origin_host: "origin.test",
        };
        let rows = [
            ("/a?b", true),
            ("?b", true),
            ("", true),
            ("http://www.test/a?b", true),
            ("/a", false),
            ("/A?b", false),
            ("http://other.test/a?b", false),
        ];
        for (value, wanted) in rows {
            let headers = [(CONTENT_LOCATION, HeaderValue::from_static(value))].into_iter().collect();
            assert_eq!(is_of_its_own_url(&headers, &base), wanted, "{value}");
        }
        assert!(!is_of_its_own_url(&HeaderMap::new(), &base));
    }

    /// A byte that a field value can have.
    fn field_byte() -> impl Strategy<Value = u8> {
        prop_oneof![Just(b'\t'), b' '..=b'~', 0x80..=0xffu8]
    }

    proptest! {
        #[test]
        fn any_bytes_name_targets_or_nothing(location in proptest::collection::vec(field_byte(), 0..60)) {
            for target in of(&location) {
                prop_assert!(target.starts_with('/') && !target.contains('#'));
                let sent = PathAndQuery::try_from(target.as_str()).unwrap();
                prop_assert_eq!(sent.as_str(), target.as_str());
            }
        }

        #[test]
        fn likely_references_name_what_is_found_again(location in "[a-z./?#:@%'|\\\\]{0,12}") {
            for target in of(location.as_bytes()) {
                let again = of(format!("http://www.test{target}").as_bytes());
                prop_assert!(again.contains(&target) || target == "/a/b?c", "{} {:?}", target, again);
            }
        }

        #[test]
        fn other_hosts_are_never_touched(
            (before, after) in ("[a-z.:@%]{0,6}", "[a-z.:@%]{0,6}"),
            start in "(https?:)?[/\\\\]{2,3}",
        ) {
            prop_assert_eq!(of(format!("{start}{before}other.example{after}/x").as_bytes()), [""; 0]);
        }
    }
}
