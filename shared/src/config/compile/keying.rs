//! What a site's keys are made of.

use http::HeaderName;
use toml::Spanned;

use super::super::file;
use super::super::{Keying, Pattern};
use super::{Compiler, is_token};

impl Compiler<'_> {
    pub(super) fn keying(&mut self, site: &file::Site) -> Keying {
        let query = &site.query;
        if let (Some(_), Some(drop)) = (&query.keep, &query.drop) {
            let message = "give keep or drop, not both: keep leaves out all that it does not name";
            self.gather.at(Some(drop.span()), "site.query.drop", message);
        }
        if let Some(keep) = query.keep.as_ref().filter(|keep| keep.get_ref().is_empty()) {
            let message = "an empty list; name what to keep, or write drop = [\"*\"] to leave out the whole query";
            self.gather.at(Some(keep.span()), "site.query.keep", message);
        }
        let mut patterns = |key: &str, given: &file::At<Vec<Spanned<String>>>| {
            let judge = |entry: &Spanned<String>| self.judge(key, entry.span(), parameter(entry.get_ref()));
            given.as_ref().map(|list| list.get_ref().iter().filter_map(judge).collect::<Vec<_>>())
        };
        let query_keep = patterns("site.query.keep", &query.keep);
        let query_drop = patterns("site.query.drop", &query.drop).unwrap_or_default();
        Keying {
            query_sort: query.sort.unwrap_or_default(),
            query_keep,
            query_drop,
            headers: self.set("site.key-headers", site.key_headers.as_deref(), header),
            cookies: self.set("site.key-cookies", site.key_cookies.as_deref(), cookie),
            country: site.key_country.unwrap_or_default(),
            rewrite: site.key_rewrite.unwrap_or(true),
        }
    }

    /// Sorted, each once.
    fn set<T: AsRef<str> + PartialEq>(
        &mut self,
        key: &str,
        given: Option<&[Spanned<String>]>,
        read: fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let judge = |entry: &Spanned<String>| self.judge(key, entry.span(), read(entry.get_ref()));
        let mut set: Vec<T> = given.unwrap_or_default().iter().filter_map(judge).collect();
        set.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
        set.dedup();
        set
    }
}

fn parameter(text: &str) -> Result<Pattern, String> {
    if text.is_empty() || text.contains(['=', '&', '#']) {
        return Err(format!("`{text}` is not the name of a query parameter, such as \"page\" or \"utm_*\""));
    }
    Ok(Pattern::new(text))
}

fn cookie(text: &str) -> Result<String, String> {
    // "cookie-name = token" (RFC 6265 section 4.1.1).
    if !is_token(text) || text.contains('*') {
        return Err(format!("`{text}` is not the name of a cookie, such as \"currency\""));
    }
    Ok(text.to_owned())
}

fn header(text: &str) -> Result<HeaderName, String> {
    let form = || format!("`{text}` is not the name of a request field, such as \"x-tier\"");
    let name: HeaderName = text.parse().map_err(|_| form())?;
    if text.contains('*') {
        return Err(form());
    }
    let why = match name.as_str() {
        "host" => "is part of every key already",
        "cookie" => "differs from client to client; use key-cookies = [\"name\"]",
        "authorization" | "proxy-authorization" => {
            "differs from client to client, and no key makes its answers shareable"
        }
        "connection" | "content-length" | "expect" | "http2-settings" | "keep-alive" | "proxy-authenticate"
        | "proxy-connection" | "te" | "trailer" | "transfer-encoding" | "upgrade" => {
            "is about one connection or message, not about what is asked for"
        }
        "cache-control"
        | "if-match"
        | "if-modified-since"
        | "if-none-match"
        | "if-range"
        | "if-unmodified-since"
        | "pragma"
        | "range" => "is answered from what is stored under one key, whatever it says",
        "cdn-loop" | "forwarded" | "surrogate-capability" | "via" | "x-real-ip" => TELLS_THE_WAY,
        name if name.starts_with("x-forwarded-") => TELLS_THE_WAY,
        _ => return Ok(name),
    };
    Err(format!("`{name}` {why}; leave it out"))
}

const TELLS_THE_WAY: &str = "tells which way the request came, not what is asked for";
