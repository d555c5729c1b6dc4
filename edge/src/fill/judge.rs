//! From the header of an origin's answer to what is kept of it, and what a later header changes.

use std::time::Duration;

use http::header::{AGE, CACHE_CONTROL, CONTENT_RANGE, EXPIRES, SET_COOKIE};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use nearcast_shared::config::SetCookie;

use crate::headers::{self, Identity};
use crate::key::{Address, HashSecret, TagId};
use crate::policy::control::{Control, SURROGATE_CONTROL};
use crate::policy::directives::{self, RequestDirectives, ResponseDirectives};
use crate::policy::freshness::{self, Exchange};
use crate::policy::groups::{self, CACHE_GROUPS};
use crate::policy::rules::Ruling;
use crate::policy::storable::{self, Case, NotStored};
use crate::policy::tags::{CACHE_TAG, SURROGATE_KEY, Tags};
use crate::policy::validator;
use crate::store::object::{Body, Hits, Object};
use crate::store::prepared::Prepared;
use crate::view::{Site, View};

/// Whose request an answer is to.
#[derive(Debug, Clone, Copy)]
pub struct Judge<'a> {
    /// The site.
    pub site: &'a Site,
    /// Bounds.
    pub view: &'a View,
    /// What we call ourselves.
    pub identity: &'a Identity,
    /// The request's fields as the origin got them.
    pub request: &'a HeaderMap,
    /// Whether the client came over TLS.
    pub https: bool,
    /// The host asked for.
    pub host: &'a str,
    /// Path and query, as they are keyed.
    pub target: &'a str,
    /// What else of the request is keyed.
    pub parts: &'a str,
    /// For the ids of groups.
    pub secret: &'a HashSecret,
    /// The tick of the fetch's start.
    pub tick: u64,
}

/// What is kept of an answer.
#[derive(Debug)]
pub struct Kept {
    /// The object, still without its body.
    pub object: Object,
    /// What the request's own client gets, when that is more.
    pub own: Option<HeaderMap>,
}

impl Judge<'_> {
    /// What is kept of an answer with that header.
    ///
    /// # Errors
    /// Why it is not.
    pub fn keep(&self, status: StatusCode, received: &HeaderMap, exchange: Exchange) -> Result<Kept, NotStored> {
        let mut fields = received.clone();
        headers::strip_hop_by_hop(&mut fields);
        headers::record_date(&mut fields, exchange.response_time);
        // A part is kept as a part of the whole.
        let is_part = status == StatusCode::PARTIAL_CONTENT;
        if is_part {
            fields.remove(CONTENT_RANGE);
        }
        let status = if is_part { StatusCode::OK } else { status };
        self.judge(status, fields, freshness::initial_age(received, exchange), exchange)
    }

    /// The stored answer with what `received`, the header of a 304, a 206 or of an answer to HEAD, changes of it. What else
    /// `received` brought for the request's own client alone is in `own`.
    ///
    /// # Errors
    /// Why it may not be kept any more.
    pub fn freshen(&self, stored: &Object, received: &HeaderMap, exchange: Exchange) -> Result<Kept, NotStored> {
        let mut fields = received.clone();
        headers::strip_hop_by_hop(&mut fields);
        headers::record_date(&mut fields, exchange.response_time);
        // A cookie that comes with a 304 is one client's; what is stored has none unless the site shares cookies.
        if self.site.caching.set_cookie != SetCookie::Store {
            fields.remove(SET_COOKIE);
        }
        let merged = validator::updated(&stored.original_headers(), &fields);
        let mut merged = merged;
        if !received.contains_key(AGE) {
            merged.remove(AGE);
        }
        let initial_age = freshness::initial_age(received, exchange);
        let kept = self.judge(stored.status, merged, initial_age, exchange)?;
        let object =
            Object { length: stored.length, body: stored.body.clone(), hits: stored.hits.clone(), ..kept.object };
        Ok(Kept { object, own: kept.own })
    }

    fn judge(
        &self,
        status: StatusCode,
        mut fields: HeaderMap,
        initial_age: Duration,
        exchange: Exchange,
    ) -> Result<Kept, NotStored> {
        let caching = &self.site.caching;
        let path = self.target.split('?').next().unwrap_or_default();
        let ruling = Ruling::of(&caching.rules, path, status, &fields);
        let control = ruling.overrule(Control::of(&fields, &self.identity.name));
        storable::storable(Case {
            method: &Method::GET,
            request: self.request,
            wishes: &RequestDirectives::parse(self.request),
            status,
            response: &fields,
            control: &control,
            ruling: &ruling,
            cookies: caching.set_cookie,
        })?;
        headers::take_out_of_buffers(&mut fields);
        let lifetime = freshness::lifetime(status, &fields, &control, &ruling, exchange, self.view.bounds);
        let address = Address {
            site: &self.site.name,
            https: self.https,
            host: self.host,
            target: self.target,
            parts: self.parts,
        };
        let groups = groups::groups(&fields, &CACHE_GROUPS);
        let groups = groups.iter().map(|group| address.group_id(group, self.secret)).collect();
        let tags = Tags::of(&fields, self.view.tag_limits);
        if tags.truncated {
            self.site.metrics.tags_truncated.inc();
        }
        let tags = tags.tags.iter().map(|tag| TagId::of(tag, self.secret)).collect();
        let browser_ttl = ruling.browser_ttl.and_then(|rule| rule.browser_ttl);
        let (own, hidden) = self.divide(&mut fields, &control.directives, browser_ttl);
        let object = Object {
            site: self.site.name.clone(),
            https: self.https,
            host: self.host.to_owned(),
            target: self.target.to_owned(),
            parts: self.parts.to_owned(),
            status,
            headers: fields,
            hidden,
            exchange,
            initial_age,
            lifetime,
            browser_ttl,
            directives: control.directives,
            source: control.source,
            groups,
            tags,
            tick: self.tick,
            length: 0,
            body: Body::Spans(Vec::new()),
            hits: Hits::default(),
            prepared: Prepared::default(),
        };
        Ok(Kept { object, own })
    }

    /// Takes out of `fields` what later clients do not get. First: all that the request's own client gets, if that is more;
    /// second: what no client gets, for later updates.
    fn divide(
        &self,
        fields: &mut HeaderMap,
        said: &ResponseDirectives,
        browser_ttl: Option<Duration>,
    ) -> (Option<HeaderMap>, HeaderMap) {
        let mut hidden = HeaderMap::new();
        // "Surrogates .. must remove it": it is written for us (Edge Architecture, section 2.2).
        take(fields, &SURROGATE_CONTROL, &mut hidden);
        // Tags are the cache's own business, and may tell more of a site than its clients should know.
        take(fields, &SURROGATE_KEY, &mut hidden);
        take(fields, &CACHE_TAG, &mut hidden);
        if browser_ttl.is_some() {
            let rest = directives::without_lifetimes(fields);
            take(fields, &CACHE_CONTROL, &mut hidden);
            take(fields, &EXPIRES, &mut hidden);
            fields.extend(rest.map(|rest| (CACHE_CONTROL, rest)));
        }
        let mut named: Vec<&HeaderName> = said.private_fields.iter().chain(&said.no_cache_fields).collect();
        if self.site.caching.set_cookie == SetCookie::Strip {
            named.push(&SET_COOKIE);
        }
        named.retain(|name| fields.contains_key(*name));
        let own = (!named.is_empty()).then(|| fields.clone());
        named.iter().for_each(|name| drop(fields.remove(*name)));
        (own, hidden)
    }
}

/// Moves all lines of a field.
fn take(from: &mut HeaderMap, name: &HeaderName, to: &mut HeaderMap) {
    if let http::header::Entry::Occupied(lines) = from.entry(name) {
        let (name, lines) = lines.remove_entry_mult();
        to.extend(lines.map(|line| (name.clone(), line)));
    }
}
