//! A GET that an operator asks about, brought to the site, key and fields that a client's would have.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Uri, Version};
use nearcast_shared::config::Rule;
use thiserror::Error;

use crate::forwarding::Forwarding;
use crate::headers::Peer;
use crate::key::{Address, StoreKey, UrlId};
use crate::keying::Keyed;
use crate::policy::rules;
use crate::request;
use crate::view::{Site, View};
use crate::worker::Edge;

/// A GET that a client could send.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Of `http://` or `https://`.
    pub url: &'a Uri,
    /// The client's fields.
    pub fields: &'a HeaderMap,
    /// The client's address.
    pub client: IpAddr,
}

/// Why nobody here would answer it.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum NotServed {
    /// It is not a URL of a site.
    #[error("`{0}` is not a URL such as https://www.example.net/a?b")]
    NotAUrl(String),
    /// No site takes its host.
    #[error("no site takes the host `{0}`")]
    NoSite(String),
}

/// A URL as an operator writes it, and the site that takes it.
#[derive(Debug)]
pub struct Located {
    /// The site.
    pub site: Arc<Site>,
    /// Its scheme.
    pub https: bool,
    /// Lower case, without port.
    pub host: String,
    /// Path and query.
    pub target: String,
}

impl Located {
    /// Finds the site of a URL.
    ///
    /// # Errors
    /// When no site would take it.
    pub fn new(view: &View, url: &Uri) -> Result<Self, NotServed> {
        let not_a_url = || NotServed::NotAUrl(url.to_string());
        let https = match url.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(not_a_url()),
        };
        let named = url.host().filter(|host| !host.is_empty()).ok_or_else(not_a_url)?;
        let host = named.trim_end_matches('.').to_ascii_lowercase();
        let target = request::target(url).ok_or_else(not_a_url)?;
        let site = view.site(&host).ok_or_else(|| NotServed::NoSite(host.clone()))?.clone();
        Ok(Self { site, https, host, target: target.into_owned() })
    }
}

/// A question with what decides about it.
#[derive(Debug)]
pub struct Asked {
    /// The site that takes it.
    pub site: Arc<Site>,
    /// The scheme it is asked in.
    pub https: bool,
    host: String,
    /// The fields for the origin, by which answers are selected.
    pub fields: HeaderMap,
    /// What is keyed.
    pub keyed: Keyed<'static>,
    /// The id of its URL.
    pub url: UrlId,
    /// Whether the store is asked, or may keep the answer.
    looked_up: bool,
}

impl Asked {
    /// Brings a question to its key, in the URL's scheme or in `scheme`.
    ///
    /// # Errors
    /// When no site would take it.
    pub fn new(edge: &Edge, question: Question<'_>, scheme: Option<bool>) -> Result<Self, NotServed> {
        let view = edge.view.load();
        let Located { site, https, host, target } = Located::new(&view, question.url)?;
        let https = scheme.unwrap_or(https);
        let looked_up = bypass(&site, &target).is_none();
        let country = site.keying.country.then(|| edge.geo.load().locate(question.client).country).flatten();
        let peer = Peer { address: question.client, trusted: false, https, version: Version::HTTP_11 };
        let (keying, identity) = (&site.keying, &edge.identity);
        let forwarding = Forwarding { looked_up, keying, peer, identity, country: country.as_deref() };
        let fields = forwarding.fields(question.fields);
        let keyed = Keyed::new(keying, looked_up, target.into(), || &fields, country.as_deref());
        let address = Address { site: &site.name, https, host: &host, target: &keyed.target, parts: &keyed.parts };
        let url = address.url_id(&edge.secret);
        Ok(Self { site, https, host, fields, keyed, url, looked_up })
    }

    /// What it asks for, in the words of the key.
    pub fn address(&self) -> Address<'_> {
        let Keyed { target, parts, .. } = &self.keyed;
        Address { site: &self.site.name, https: self.https, host: &self.host, target, parts }
    }

    /// The entry of its URL.
    pub fn primary(&self, edge: &Edge) -> StoreKey {
        StoreKey::primary(self.url, self.https, &self.keyed.parts, &edge.secret)
    }

    /// The variant of its URL that `selecting` selects.
    pub fn variant(&self, selecting: &[u8], edge: &Edge) -> StoreKey {
        StoreKey::variant(self.url, self.https, &self.keyed.parts, selecting, &edge.secret)
    }

    /// The rule that keeps it from the cache.
    pub fn bypass(&self) -> Option<&Rule> {
        if self.looked_up { None } else { bypass(&self.site, &self.keyed.target) }
    }
}

fn bypass<'s>(site: &'s Site, target: &str) -> Option<&'s Rule> {
    rules::bypass_unseen(&site.caching.rules, target.split('?').next().unwrap_or_default())
}
