//! One admitted request, and what both ways through the edge need of it.

use std::sync::{Arc, OnceLock};

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Response, request};
use hyper::body::Incoming;
use nearcast_shared::clock::Timestamp;

use crate::body::Body;
use crate::cache_status::CacheStatus;
use crate::deliver::Wanted;
use crate::headers::{self, Peer};
use crate::key::{Address, UrlId};
use crate::listener::connection::Connection;
use crate::metrics::Outcome;
use crate::origin::Failure;
use crate::policy::directives::RequestDirectives;
use crate::policy::reuse::Standing;
use crate::refusal::Refusal;
use crate::request::Admitted;
use crate::store::object::Object;
use crate::variant;
use crate::view::{Site, View};
use crate::worker::Worker;

/// One admitted request on its way.
pub(super) struct ClientExchange<'a> {
    pub(super) worker: &'a Arc<Worker>,
    pub(super) view: &'a Arc<View>,
    pub(super) site: Arc<Site>,
    pub(super) peer: Peer,
    pub(super) parts: request::Parts,
    /// The fields for the origin, once they are needed.
    forwarded: OnceLock<HeaderMap>,
    pub(super) host: String,
    pub(super) target: String,
    pub(super) url: UrlId,
    pub(super) wishes: RequestDirectives,
}

pub(super) type Answered = (Response<Body>, Outcome);

impl<'a> ClientExchange<'a> {
    pub(super) fn new(
        worker: &'a Arc<Worker>,
        view: &'a Arc<View>,
        connection: &Connection,
        admitted: Admitted,
        parts: request::Parts,
    ) -> Self {
        let Admitted { site, host, target } = admitted;
        let trusted = site.trusts(connection.peer);
        let https = headers::came_over_tls(&parts.headers, connection.is_https(), trusted);
        let url = Address { site: &site.name, https, host: &host, target: &target }.url_id(&worker.edge.secret);
        let wishes = RequestDirectives::parse(&parts.headers);
        let peer = Peer { address: connection.peer, trusted, https, version: parts.version };
        Self { worker, view, site, peer, parts, forwarded: OnceLock::new(), host, target, url, wishes }
    }

    pub(super) async fn answer(&self, body: Incoming) -> Answered {
        if headers::is_looping(&self.parts.headers, &self.worker.edge.identity) {
            return (Refusal::Loop.response(), Outcome::Refused);
        }
        match self.parts.method {
            // A body of a GET is neither keyed nor forwarded.
            Method::GET | Method::HEAD => self.cached().await,
            _ => self.pass_with(body).await,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.worker.edge.clock.now()
    }

    pub(super) fn standing<'o>(&self, object: &'o Object, now: Timestamp) -> Standing<'o> {
        object.standing(now, self.site.caching.grace)
    }

    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub(super) fn address(&self) -> Address<'_> {
        Address { site: &self.site.name, https: self.peer.https, host: &self.host, target: &self.target }
    }

    pub(super) fn wanted(&self) -> Wanted<'_> {
        Wanted { method: &self.parts.method, headers: &self.parts.headers }
    }

    /// The client's fields as the origin gets them. Answers are selected by these: what is keyed is what is forwarded.
    pub(super) fn forwarded(&self) -> &HeaderMap {
        self.forwarded.get_or_init(|| {
            let mut fields = self.parts.headers.clone();
            variant::canonicalize_accept_encoding(&mut fields);
            headers::for_origin(&mut fields, self.peer, &self.worker.edge.identity);
            if matches!(self.parts.method, Method::GET | Method::HEAD) {
                fields.remove(CONTENT_LENGTH);
            }
            fields
        })
    }

    pub(super) fn failed(&self, failure: Failure, status: &CacheStatus) -> Response<Body> {
        self.with_status(Refusal::Origin(failure).response(), status)
    }

    pub(super) fn with_status(&self, mut response: Response<Body>, status: &CacheStatus) -> Response<Body> {
        let shown = self.view.shows_detail_to(self.peer.address).then(|| self.address().to_string());
        status.add_to(response.headers_mut(), &self.worker.edge.identity, shown.as_deref());
        response
    }
}

/// Seconds of freshness left; negative when stale.
pub(super) fn ttl(object: &Object, now: Timestamp) -> i64 {
    let seconds = |duration: std::time::Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    seconds(object.lifetime.duration) - seconds(object.age(now))
}
