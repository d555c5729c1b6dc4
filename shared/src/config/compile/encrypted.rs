//! DNS over TLS, HTTPS and QUIC.

use std::time::Duration;

use toml::Spanned;

use super::super::file::{self, At};
use super::super::{Certificate, Encrypted, Listen, ListenAddress};
use super::Compiler;
use crate::health::HEALTH_PATH;

impl Compiler<'_> {
    pub(super) fn encrypted(&mut self, dns: &file::Dns) -> Encrypted {
        let (tls, https) = (&dns.tls, &dns.https);
        let path = https.path.as_ref().and_then(|path| self.doh_path(path));
        Encrypted {
            connections: self.number("dns.tls.connections", &tls.connections, 1..=1_000_000, 1000) as usize,
            per_client: self.number("dns.tls.per-client", &tls.per_client, 1..=1_000_000, 100) as usize,
            handshake_timeout: or_default!(
                self,
                timeout,
                "dns.tls.handshake-timeout",
                tls.handshake_timeout,
                Duration::from_secs(5)
            ),
            path: path.unwrap_or_else(|| "/dns-query".to_owned()),
            on_sites: https.on_sites.unwrap_or_default(),
        }
    }

    /// The certificate and key, both of which an encrypted listener needs.
    pub(super) fn dns_certificate(&mut self, tls: &file::DnsTls, listen: &Listen) -> Option<Certificate> {
        let users = [("listen.dot", &listen.dot), ("listen.doh", &listen.doh), ("listen.doq", &listen.doq)];
        let user = users.into_iter().find(|(_, addresses)| !addresses.is_empty()).map(|(key, _)| key);
        let mut part = |key: &str, given: &At<String>, other: &At<String>| match (given, other, user) {
            (Some(given), _, _) => self.path(key, given),
            (None, None, None) => None,
            (None, _, Some(user)) => {
                self.missing(None, key, &format!("missing; path of a PEM file, which {user} needs"));
                None
            }
            (None, Some(other), None) => {
                self.missing(Some(other.span()), key, "missing; path of a PEM file");
                None
            }
        };
        let certificate = part("dns.tls.certificate", &tls.certificate, &tls.key);
        let key = part("dns.tls.key", &tls.key, &tls.certificate);
        Some(Certificate { certificate: certificate?, key: key? })
    }

    /// RFC 9250 section 4.1.1: "DoQ connections MUST NOT use UDP port 53."
    pub(super) fn doq_ports(&mut self, doq: &[Spanned<String>]) {
        let is_53 = |entry: &&Spanned<String>| match entry.get_ref().parse::<ListenAddress>() {
            Ok(ListenAddress::Socket(address)) => address.port() == 53,
            Ok(ListenAddress::Any(port)) => port == 53,
            // Told already.
            Err(_) => false,
        };
        for entry in doq.iter().filter(is_53) {
            let message = format!("`{}`: port 53 is not for QUIC; the usual one is 853", entry.get_ref());
            self.gather.at(Some(entry.span()), "listen.doq", message);
        }
    }

    fn doh_path(&mut self, given: &Spanned<String>) -> Option<String> {
        let path = given.get_ref();
        let is_path = path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic() && !b"?#{}\\\"".contains(&b));
        if !is_path || path == HEALTH_PATH {
            let message = format!("`{path}` is not a path such as \"/dns-query\", without a query");
            self.gather.at(Some(given.span()), "dns.https.path", message);
            return None;
        }
        Some(path.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Config, Inputs};

    fn told(text: &str) -> String {
        let text = format!("{text}\n[[pop]]\nname = \"fra\"\naddresses = [\"192.0.2.1\"]\n");
        let parsed = Config::parse(&text, Path::new("/etc/nearcast/nearcast.toml"), &Inputs::default());
        parsed.map_or_else(|mistakes| mistakes.to_string(), |_| String::new())
    }

    #[test]
    fn listeners_need_a_certificate() {
        const TLS: &str = "[dns.tls]\ncertificate = \"dns.pem\"\nkey = \"dns.key\"\n";
        let listen = |key: &str| format!("[listen]\n{key} = [\":853\"]\n");
        for key in ["dot", "doh", "doq"] {
            let both = told(&listen(key));
            for part in ["certificate", "key"] {
                let wanted = format!("dns.tls.{part}: missing; path of a PEM file, which listen.{key} needs");
                assert!(both.contains(&wanted), "{both}");
            }
            assert_eq!(told(&format!("{}{TLS}", listen(key))), "", "{key}");
        }
        assert_eq!(told(TLS), "", "another PoP may have the listeners");
        let half = told("[dns.tls]\nkey = \"dns.key\"\n");
        assert!(half.contains(":2: dns.tls.certificate: missing"), "{half}");
    }

    #[test]
    fn quic_is_not_on_port_53() {
        const TLS: &str = "[dns.tls]\ncertificate = \"dns.pem\"\nkey = \"dns.key\"\n";
        let rows = [
            ("doq", ":853", true),
            ("doq", "192.0.2.1:5353", true),
            ("doq", ":53", false),
            ("doq", "192.0.2.1:53", false),
            ("doq", "[2001:db8::1]:53", false),
            ("dot", ":53", true),
        ];
        for (key, address, right) in rows {
            let told = told(&format!("[listen]\n{key} = [\"{address}\"]\n{TLS}"));
            let wanted = format!(":2: listen.doq: `{address}`: port 53 is not for QUIC");
            assert!(if right { told.is_empty() } else { told.contains(&wanted) }, "{key} {address}: {told}");
        }
    }

    #[test]
    fn paths() {
        let rows = [
            ("/dns-query", true),
            ("/", true),
            ("/a/b", true),
            ("dns-query", false),
            ("", false),
            ("/dns-query{?dns}", false),
            ("/a b", false),
            ("/.nearcast/health", false),
        ];
        for (path, right) in rows {
            let told = told(&format!("[dns.https]\npath = \"{path}\"\n"));
            assert_eq!(told.is_empty(), right, "{path}: {told}");
            assert!(right || told.contains("dns.https.path: `"), "{path}: {told}");
        }
    }
}
