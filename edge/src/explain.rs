//! What the cache would do with a request now, and why: every rule that decides, for `nearcast explain`. Nothing is
//! fetched and nothing is changed.

use std::time::Duration;

use http::HeaderMap;
use http::header::{ETAG, LAST_MODIFIED};
use serde::Serialize;

use crate::policy::control::Source;
use crate::policy::directives::{RequestDirectives, ResponseDirectives};
use crate::policy::reuse::{Reuse, Standing, Why};
use crate::purge::Verdict;
use crate::question::{Asked, NotServed, Question};
use crate::store::Piece;
use crate::store::object::Object;
use crate::variant;
use crate::worker::Edge;

/// What would happen, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The site that takes the host.
    pub site: String,
    /// What it is stored under: the URL, and what else of the request the site keys.
    pub key: String,
    /// The path and query that the origin is asked for.
    pub sent: String,
    /// What would happen now, in a sentence.
    pub verdict: String,
    /// The site's rule that keeps the request from the cache.
    pub bypassed_by: Option<String>,
    /// The names of the fields that select among the URL's stored answers.
    pub selected_by: Vec<String>,
    /// How many of those are stored.
    pub variants: usize,
    /// The answer that is stored for this request.
    pub stored: Option<Stored>,
    /// Why the last answer was not stored, while that is remembered.
    pub not_stored: Option<&'static str>,
}

/// A stored answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stored {
    /// Its status.
    pub status: u16,
    /// Bytes of its body.
    pub length: u64,
    /// Whether all of them are here.
    pub complete: bool,
    /// Seconds.
    pub age: u64,
    /// Seconds.
    pub lifetime: u64,
    /// Who says so: a directive, a heuristic, or a rule of the site.
    pub lifetime_by: String,
    /// The field that governs it.
    pub governed_by: Source,
    /// Its directives, as far as they decide.
    pub directives: Vec<String>,
    /// Seconds for which clients may keep it, when a rule says so.
    pub browser_ttl: Option<u64>,
    /// Its ETag.
    pub etag: Option<String>,
    /// Its Last-Modified.
    pub last_modified: Option<String>,
    /// Whether a purge covers it, so that it is not used.
    pub purged: bool,
    /// Seconds since a soft purge made it stale.
    pub softly_purged: Option<u64>,
}

/// Explains what would become of a request.
///
/// # Errors
/// When no site would take it.
pub async fn explain(edge: &Edge, question: Question<'_>) -> Result<Explanation, NotServed> {
    let asked = Asked::new(edge, question, None)?;
    let (site, address) = (&asked.site, asked.address());
    let bypass = asked.bypass();
    let mut told = Explanation {
        site: site.name.clone(),
        key: address.to_string(),
        sent: asked.keyed.sent_target().to_owned(),
        verdict: String::new(),
        bypassed_by: bypass.map(|rule| rule.name.clone()),
        selected_by: Vec::new(),
        variants: 0,
        stored: None,
        not_stored: None,
    };
    if let Some(rule) = bypass {
        told.verdict = format!("the origin is asked, past the cache: rule `{}` says so", rule.name);
        return Ok(told);
    }
    let mut key = asked.primary(edge);
    let mut found = edge.store.look(&key).await;
    if let Some(Piece::Base(base)) = &found {
        told.selected_by = base.vary.iter().map(ToString::to_string).collect();
        told.variants = base.variants.len();
        key = asked.variant(&variant::selecting_text(&base.vary, &asked.fields), edge);
        found = edge.store.look(&key).await;
    }
    told.not_stored = edge.uncacheable.of(&key, edge.clock.now()).map(|reason| reason.token());
    let object = match &found {
        Some(Piece::Object(object)) if object.is_for(&address) => Some(object),
        _ => None,
    };
    let found = object.map(|object| {
        let now = edge.clock.now();
        let purges = edge.verdict(&site.name, asked.url, object, now);
        (object, purges, object.standing(now, site.caching.grace, purges))
    });
    told.stored = found.map(|(object, purges, standing)| Stored::of(object, standing, purges == Verdict::Gone));
    let alive = found.filter(|(_, purges, _)| *purges != Verdict::Gone).map(|(.., standing)| standing);
    told.verdict = verdict(alive, &asked.fields, told.not_stored);
    Ok(told)
}

fn verdict(standing: Option<Standing<'_>>, fields: &HeaderMap, not_stored: Option<&str>) -> String {
    let Some(standing) = standing else {
        return match not_stored {
            Some(reason) => format!("the origin is asked, without waiting for others: not stored lately ({reason})"),
            None => "the origin is asked: nothing is stored".to_owned(),
        };
    };
    let (left, stale) = (standing.left().as_secs(), if standing.purged.is_some() { "softly purged" } else { "stale" });
    match standing.reuse(&RequestDirectives::parse(fields)) {
        Reuse::Fresh => format!("served from the cache: fresh for {left} s more"),
        Reuse::StaleAllowed => format!("served from the cache though {stale}: the request says max-stale"),
        Reuse::StaleWhileRevalidate => format!("served from the cache though {stale}, and refreshed behind"),
        Reuse::Validate(Why::Stale) => match standing.purged {
            Some(purged) => format!("the origin is asked: softly purged {} s ago", purged.as_secs()),
            None => format!("the origin is asked: stale for {} s", standing.staleness().as_secs()),
        },
        Reuse::Validate(Why::Response) => "the origin is asked: the answer says no-cache".to_owned(),
        Reuse::Validate(Why::Request) => {
            format!("the request insists on asking the origin; fresh for {left} s more (client-revalidation decides)")
        }
    }
}

impl Stored {
    /// What is to be said of an answer.
    pub(crate) fn of(object: &Object, standing: Standing<'_>, purged: bool) -> Self {
        let text = |name| object.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        Self {
            status: object.status.as_u16(),
            length: object.length,
            complete: object.is_complete(),
            age: standing.age.as_secs(),
            lifetime: object.lifetime.duration.as_secs(),
            lifetime_by: object.lifetime.by.to_string(),
            governed_by: object.source,
            directives: directives(&object.directives),
            browser_ttl: object.browser_ttl.map(|ttl| ttl.as_secs()),
            etag: text(ETAG),
            last_modified: text(LAST_MODIFIED),
            purged,
            softly_purged: standing.purged.filter(|_| !purged).map(|ago| ago.as_secs()),
        }
    }
}

fn directives(said: &ResponseDirectives) -> Vec<String> {
    let flags = [
        ("no-store", said.no_store),
        ("no-cache", said.no_cache),
        ("private", said.private),
        ("public", said.public),
        ("must-revalidate", said.must_revalidate),
        ("proxy-revalidate", said.proxy_revalidate),
    ];
    let times = [
        ("max-age", said.max_age),
        ("s-maxage", said.s_maxage),
        ("stale-while-revalidate", said.stale_while_revalidate),
        ("stale-if-error", said.stale_if_error),
    ];
    let flags = flags.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name.to_owned());
    let time = |(name, time): (&str, Option<Duration>)| time.map(|time| format!("{name}={}", time.as_secs()));
    flags.chain(times.into_iter().filter_map(time)).collect()
}
