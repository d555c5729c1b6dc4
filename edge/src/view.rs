//! What a request needs of the config, compiled once and replaced whole.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderValue;
use http::uri::{Authority, Scheme};
use ipnet::IpNet;
use nearcast_shared::config::{Caching, Config, Domain, Keying, OriginHost, Secret};
use rustls::sign::CertifiedKey;

use crate::key::{HashSecret, SiteHash};
use crate::metrics::{EdgeMetrics, SiteMetrics};
use crate::policy::freshness::Bounds;
use crate::policy::tags::TagLimits;
use crate::tls::{self, CertificateError};

/// One site, ready to serve.
#[derive(Debug)]
pub struct Site {
    /// Its name: in keys, purges, metrics and logs.
    pub name: String,
    /// What the ids of its URLs begin with.
    pub hash: SiteHash,
    /// `http` or `https`.
    pub origin_scheme: Scheme,
    /// The origin's host and port.
    pub origin: Authority,
    /// The Host that the origin is sent; `None`: the client's.
    pub origin_host: Option<HeaderValue>,
    /// Whose X-Forwarded-* is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How its answers are kept.
    pub caching: Caching,
    /// What its keys are made of.
    pub keying: Keying,
    /// For TLS.
    pub certificate: Option<Arc<CertifiedKey>>,
    /// Its counters.
    pub metrics: SiteMetrics,
}

impl Site {
    /// Whether `address` is one of its trusted proxies.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(&address))
    }
}

/// The edge's view of the config.
#[derive(Debug)]
pub struct View {
    /// Nobody but the operator chooses them.
    hosts: HashMap<String, Arc<Site>, foldhash::fast::RandomState>,
    any: Option<Arc<Site>>,
    /// Bytes of the largest body that is stored.
    pub object_max: u64,
    /// The same of bodies of unknown length.
    pub unannounced_max: u64,
    /// Bounds of lifetimes.
    pub bounds: Bounds,
    /// How long a key whose answer could not be stored is fetched without waiting for others.
    pub uncacheable_for: Duration,
    /// How long a request waits for another's fetch.
    pub wait_max: Duration,
    /// Fetches that run at once.
    pub fills_max: usize,
    /// Bytes of bodies with connections, beyond which they get copies.
    pub pinned_max: u64,
    /// Tries in a row to go on with a body that broke off.
    pub resumes_max: u32,
    /// How long beyond its lifetime an answer serves while the origin cannot be reached.
    pub stale_max: Duration,
    /// Stored answers per URL.
    pub variants_max: usize,
    /// Tags of an answer.
    pub tag_limits: TagLimits,
    /// The token that a PURGE needs; `None`: the method is not served.
    pub purge_token: Option<Secret>,
    /// Clients that see more in Cache-Status.
    pub detail_to: Vec<IpNet>,
    /// Fields of a request.
    pub header_count_max: usize,
    /// Bytes of a request's body.
    pub request_body_max: u64,
    /// A client that sends no byte of its body for so long is cut off.
    pub receive_timeout: Duration,
    /// A reader that holds up all others of a body that is not stored is cut off after so long.
    pub send_timeout: Duration,
    /// For requests that belong to no site.
    pub no_site: SiteMetrics,
}

impl View {
    /// Compiles the view; `secret` is for keys.
    ///
    /// # Errors
    /// When a certificate cannot be used.
    pub fn compile(config: &Config, metrics: &EdgeMetrics, secret: &HashSecret) -> Result<Self, CertificateError> {
        let (mut hosts, mut any) = (HashMap::default(), None);
        for site in &config.sites {
            let certificate = site.tls.as_ref().map(tls::load).transpose()?;
            let authority = site.origin.authority().cloned().unwrap_or_else(|| Authority::from_static("invalid"));
            let host = match &site.origin_host {
                OriginHost::Client => None,
                OriginHost::Origin => HeaderValue::from_str(authority.as_str()).ok(),
                OriginHost::Fixed(name) => HeaderValue::from_str(name).ok(),
            };
            let compiled = Arc::new(Site {
                name: site.name.clone(),
                hash: SiteHash::of(&site.name, secret),
                origin_scheme: site.origin.scheme().cloned().unwrap_or(Scheme::HTTP),
                origin: authority,
                origin_host: host,
                trusted_proxies: site.trusted_proxies.clone(),
                caching: site.caching.clone(),
                keying: site.keying.clone(),
                certificate,
                metrics: metrics.site(&site.name),
            });
            for domain in &site.domains {
                match domain {
                    Domain::Name(name) => {
                        hosts.insert(name.clone(), compiled.clone());
                    }
                    Domain::Any => any = Some(compiled.clone()),
                }
            }
        }
        Ok(Self {
            hosts,
            any,
            object_max: config.cache.object_max,
            unannounced_max: config.cache.unannounced_max,
            bounds: Bounds {
                lifetime_max: config.cache.lifetime_max,
                heuristic_max: config.cache.heuristic_max,
                heuristic_error_max: config.cache.heuristic_error_max,
            },
            wait_max: config.cache.wait_max,
            fills_max: config.limits.fills,
            pinned_max: config.limits.pinned,
            resumes_max: config.origin.resumes,
            stale_max: config.cache.stale_max,
            uncacheable_for: config.cache.uncacheable_for,
            variants_max: config.cache.variants_max,
            tag_limits: TagLimits { count: config.cache.tags_max, bytes: config.cache.tags_size },
            purge_token: config.admin.token.clone().filter(|_| config.admin.purge_method),
            detail_to: config.cache.detail_to.clone(),
            header_count_max: config.limits.header_count,
            request_body_max: config.limits.request_body,
            receive_timeout: config.limits.receive_timeout,
            send_timeout: config.limits.send_timeout,
            no_site: metrics.site(""),
        })
    }

    /// The site that takes `host` (lower case, without port).
    pub fn site(&self, host: &str) -> Option<&Arc<Site>> {
        self.hosts.get(host).or(self.any.as_ref())
    }

    /// Every site, perhaps more than once.
    pub fn sites(&self) -> impl Iterator<Item = &Arc<Site>> {
        self.hosts.values().chain(&self.any)
    }

    /// Whether `site` is the one that takes every host.
    pub fn takes_every_host(&self, site: &Arc<Site>) -> bool {
        self.any.as_ref().is_some_and(|any| Arc::ptr_eq(any, site))
    }

    /// Whether `address` may see key and detail in Cache-Status.
    pub fn shows_detail_to(&self, address: IpAddr) -> bool {
        self.detail_to.iter().any(|network| network.contains(&address))
    }
}
