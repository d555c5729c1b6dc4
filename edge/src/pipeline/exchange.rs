//! One admitted request, and what both ways through the edge need of it.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, Method, Response, request};
use hyper::body::Incoming;
use nearcast_shared::clock::Timestamp;
use nearcast_shared::config::Rule;

use super::cached::Known;
use super::purged;
use crate::body::Body;
use crate::cache_status::CacheStatus;
use crate::deliver::{self, Supply, Told, Wanted};
use crate::fill::FillKey;
use crate::fill::task::Plan;
use crate::forwarding::Forwarding;
use crate::headers::{self, Peer};
use crate::key::{Address, StoreKey, UrlId};
use crate::keying::Keyed;
use crate::listener::connection::Connection;
use crate::metrics::Outcome;
use crate::origin::Failure;
use crate::policy::directives::RequestDirectives;
use crate::policy::location;
use crate::policy::reuse::Standing;
use crate::policy::rules;
use crate::refusal::Refusal;
use crate::request::{Admitted, Special};
use crate::store::object::{Base, Object};
use crate::variant;
use crate::view::{Site, View};
use crate::worker::Worker;

/// One admitted request on its way.
pub(super) struct ClientExchange<'a> {
    pub(super) worker: &'a Arc<Worker>,
    pub(super) view: &'a Arc<View>,
    pub(super) site: &'a Arc<Site>,
    pub(super) peer: Peer,
    pub(super) parts: &'a request::Parts,
    /// The fields for the origin, once they are needed.
    forwarded: OnceLock<Arc<HeaderMap>>,
    pub(super) host: Cow<'a, str>,
    /// The port that the request came to.
    pub(super) port: u16,
    pub(super) country: Option<String>,
    /// Whether the store is asked, or may keep the answer.
    pub(super) looked_up: bool,
    pub(super) keyed: Keyed<'a>,
    pub(super) url: UrlId,
    pub(super) wishes: RequestDirectives,
    pub(super) special: Special,
}

pub(super) type Answered = (Response<Body>, Outcome);

impl<'a> ClientExchange<'a> {
    pub(super) fn new(
        worker: &'a Arc<Worker>,
        view: &'a Arc<View>,
        connection: &Connection,
        admitted: Admitted<'a>,
        parts: &'a request::Parts,
    ) -> Self {
        let Admitted { site, host, target } = admitted;
        let trusted = site.trusts(connection.peer);
        let https = headers::came_over_tls(&parts.headers, connection.is_https(), trusted);
        let special = Special::of(&parts.headers);
        let wishes =
            if special.directives { RequestDirectives::parse(&parts.headers) } else { RequestDirectives::default() };
        let port = connection.door().port;
        let peer = Peer { address: connection.peer, trusted, https, version: parts.version };
        let country = site.keying.country.then(|| country(worker, site, peer, &parts.headers)).flatten();
        let looked_up = is_looked_up(site, &parts.method, &target);
        let forwarded: OnceLock<Arc<HeaderMap>> = OnceLock::new();
        let forwarding = Forwarding {
            looked_up,
            keying: &site.keying,
            peer,
            identity: &worker.edge.identity,
            country: country.as_deref(),
        };
        let fields = || forwarded.get_or_init(|| fields(forwarding, parts).into()).as_ref();
        let keyed = Keyed::new(&site.keying, looked_up, target, fields, country.as_deref());
        let url = site.hash.url_id(&host, &keyed.target);
        Self { worker, view, site, peer, parts, forwarded, host, port, country, looked_up, keyed, url, wishes, special }
    }

    /// The answer, by what is `known` of what the store has.
    pub(super) async fn answer(&self, body: Incoming, known: Known) -> Answered {
        if self.is_looping() {
            return (self.refused(Refusal::Loop), Outcome::Refused);
        }
        match self.parts.method {
            // A body of a GET is neither keyed nor forwarded.
            Method::GET | Method::HEAD => self.cached(known).await,
            // What is rarer than a miss is not to make the state of one larger.
            _ if purged::is_purge(&self.parts.method) => Box::pin(self.purge()).await,
            _ => Box::pin(self.pass_with(body)).await,
        }
    }

    /// Whether it has been here before.
    pub(super) fn is_looping(&self) -> bool {
        self.special.networks && headers::is_looping(&self.parts.headers, &self.worker.edge.identity)
    }

    /// The rule that takes it past the cache.
    pub(super) fn bypass(&self) -> Option<&Rule> {
        if self.looked_up { None } else { bypass(self.site, &self.keyed.target) }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.worker.edge.clock.now()
    }

    pub(super) fn standing<'o>(&self, object: &'o Object, now: Timestamp) -> Standing<'o> {
        self.worker.edge.standing(self.site, self.url, object, now)
    }

    pub(super) fn address(&self) -> Address<'_> {
        let Keyed { target, parts, .. } = &self.keyed;
        Address { site: &self.site.name, https: self.peer.https, host: &self.host, target, parts }
    }

    pub(super) fn primary(&self, https: bool) -> StoreKey {
        StoreKey::primary(self.url, https, &self.keyed.parts, &self.worker.edge.secret)
    }

    pub(super) fn variant(&self, selecting: &[u8]) -> StoreKey {
        StoreKey::variant(self.url, self.peer.https, &self.keyed.parts, selecting, &self.worker.edge.secret)
    }

    /// What URLs in the answer's fields are relative to.
    pub(super) fn base(&self) -> location::Base<'_> {
        let origin_host = self.site.origin_host.as_ref().and_then(|host| host.to_str().ok());
        location::Base {
            https: self.peer.https,
            host: &self.host,
            port: self.port,
            target: self.keyed.sent_target(),
            origin_scheme: &self.site.origin_scheme,
            origin: &self.site.origin,
            origin_host: origin_host.unwrap_or(&self.host),
        }
    }

    /// What to fetch.
    pub(super) fn plan_of(&self, key: FillKey, stored: Option<Arc<Object>>, base: Option<Arc<Base>>) -> Plan {
        Plan {
            key,
            site: self.site.clone(),
            https: self.peer.https,
            host: self.host.clone().into_owned(),
            target: self.keyed.target.clone().into_owned(),
            parts: self.keyed.parts.clone(),
            sent_target: self.keyed.sent_target().to_owned(),
            url: self.url,
            headers: self.forwarded_once().clone(),
            stored,
            base,
            needed: (0, 0),
            detached: false,
        }
    }

    pub(super) fn wanted(&self, now: Timestamp) -> Wanted<'_> {
        Wanted { method: &self.parts.method, headers: &self.parts.headers, plain: !self.special.selection, now }
    }

    /// The client's fields as the origin gets them. Answers are selected by these: what is keyed is what is forwarded.
    pub(super) fn forwarded(&self) -> &HeaderMap {
        self.forwarded_once()
    }

    fn forwarded_once(&self) -> &Arc<HeaderMap> {
        self.forwarded.get_or_init(|| fields(self.forwarding(), self.parts).into())
    }

    /// What it selects by, of answers that vary on these fields.
    pub(super) fn selecting(&self, vary: &[HeaderName]) -> Vec<u8> {
        match self.forwarded.get() {
            Some(forwarded) => variant::selecting_text(vary, forwarded),
            None => self.forwarding().selecting(&self.parts.headers, vary),
        }
    }

    fn forwarding(&self) -> Forwarding<'_> {
        Forwarding {
            looked_up: self.looked_up,
            keying: &self.site.keying,
            peer: self.peer,
            identity: &self.worker.edge.identity,
            country: self.country.as_deref(),
        }
    }

    pub(super) fn failed(&self, failure: Failure, status: &CacheStatus) -> Response<Body> {
        self.with_status(self.refused(Refusal::Origin(failure)), status)
    }

    pub(super) fn refused(&self, refusal: Refusal) -> Response<Body> {
        refusal.response(&self.worker.edge.identity)
    }

    pub(super) fn with_status(&self, mut response: Response<Body>, status: &CacheStatus) -> Response<Body> {
        status.add_to(response.headers_mut(), &self.worker.edge.identity, self.shown_key().as_deref());
        response
    }

    /// The answer from what is stored.
    pub(super) fn stored_answer(
        &self,
        object: &Arc<Object>,
        status: &CacheStatus,
        now: Timestamp,
        supply: impl FnOnce() -> Supply,
    ) -> Response<Body> {
        let key = self.shown_key();
        let told = Told { identity: &self.worker.edge.identity, status, key: key.as_deref() };
        deliver::from_store(self.wanted(now), object, told, supply)
    }

    /// The key, for those who may see it.
    fn shown_key(&self) -> Option<String> {
        self.view.shows_detail_to(self.peer.address).then(|| self.address().to_string())
    }
}

/// Whether the store is asked, or may keep the answer. Other requests are not rewritten: a page that the operator takes
/// past the cache needs its session's cookie.
fn is_looked_up(site: &Site, method: &Method, target: &str) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && bypass(site, target).is_none()
}

/// The rule that takes a target past the cache.
fn bypass<'s>(site: &'s Site, target: &str) -> Option<&'s Rule> {
    rules::bypass_unseen(&site.caching.rules, target.split('?').next().unwrap_or_default())
}

/// The client's country, where it is known.
fn country(worker: &Worker, site: &Site, peer: Peer, fields: &HeaderMap) -> Option<String> {
    let client = headers::client_address(fields, peer.address, |address| site.trusts(address));
    worker.edge.geo.load().locate(client).country
}

fn fields(forwarding: Forwarding<'_>, parts: &request::Parts) -> HeaderMap {
    let mut fields = forwarding.fields(&parts.headers);
    // A body of a GET is neither keyed nor forwarded.
    if matches!(parts.method, Method::GET | Method::HEAD) {
        fields.remove(CONTENT_LENGTH);
    }
    fields
}
