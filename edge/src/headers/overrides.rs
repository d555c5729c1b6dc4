//! Fields of requests that origins believe though any client can write them.

/// Fields from which frameworks and servers take the URL, the host, the scheme or the method in place of the real ones, or
/// a part of their own state. They are not in the key, so they do not pass.
const OVERRIDES: [&str; 23] = [
    "x-host",
    "x-host-override",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-http-destinationurl",
    "x-override-url",
    "x-base-url",
    "x-proxy-url",
    "x-url-scheme",
    "x-scheme",
    "x-protocol",
    "x-arr-ssl",
    "front-end-https",
    "x-front-end-https",
    "forwarded-host",
    "x-forwarded",
    // CGI programs take it for their own proxy (CVE-2016-5385).
    "proxy",
    // Within Next.js (CVE-2025-29927, CVE-2024-46982).
    "x-middleware-subrequest",
    "x-middleware-prefetch",
    "x-matched-path",
    "x-now-route-matches",
];

/// So do all that begin like this, but for X-Forwarded-For and X-Forwarded-Proto, which we write ourselves.
const OVERRIDE_PREFIXES: [&str; 4] = ["x-forwarded-", "x-original-", "x-rewrite-", "x-invoke-"];

/// Fields in which proxies and content networks say who and where the client is, and which certificate it has shown. From
/// others than trusted proxies they do not pass.
const CLAIMS: [&str; 23] = [
    "forwarded",
    "x-forwarded-for",
    "forwarded-for",
    "x-forward-for",
    "x-real-ip",
    "client-ip",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-originating-ip",
    "x-remote-ip",
    "x-remote-addr",
    "x-envoy-external-address",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-appengine-user-ip",
    "x-appengine-country",
    "fastly-client-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-ipcountry",
    // RFC 9440 section 2.4 has them removed where no certificate was asked for.
    "client-cert",
    "client-cert-chain",
];

/// So are all that begin like this.
const CLAIM_PREFIX: &str = "cloudfront-viewer-";

/// Whether `name` could make an origin answer for another URL than the one that is keyed.
pub(super) fn is_override(name: &str) -> bool {
    let ours = matches!(name, "x-forwarded-for" | "x-forwarded-proto");
    !ours && (OVERRIDES.contains(&name) || OVERRIDE_PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

/// Whether `name` says who or where the client is.
pub(super) fn is_claim(name: &str) -> bool {
    CLAIMS.contains(&name) || name.starts_with(CLAIM_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let rows = [
            ("x-original-url", true, false),
            ("x-forwarded-prefix", true, false),
            ("x-forwarded", true, false),
            ("x-forwarded-proto", false, false),
            ("x-forwarded-for", false, true),
            ("cloudfront-viewer-country", false, true),
            ("cf-connecting-ip", false, true),
            ("forwarded", false, true),
            ("host", false, false),
            ("x-hostess", false, false),
            ("x-requested-with", false, false),
            ("destination", false, false),
        ];
        for (name, overrides, claims) in rows {
            assert_eq!((is_override(name), is_claim(name)), (overrides, claims), "{name}");
        }
        for name in OVERRIDES.iter().chain(&CLAIMS) {
            assert!(http::HeaderName::from_lowercase(name.as_bytes()).is_ok(), "{name}");
        }
    }
}
