//! From what is stored, or being stored, to the answer a client gets: conditions, ranges, and the header.

use std::sync::Arc;

use http::header::{
    ACCEPT_RANGES, AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use nearcast_shared::clock::Timestamp;

use crate::body::Body;
use crate::cache_status::{self, CacheStatus};
use crate::fill::Head;
use crate::fill::holes::Holes;
use crate::fill::reader::Reader;
use crate::headers::{self, CACHE_STATUS, Identity, Text};
use crate::key::UrlId;
use crate::policy::range::{self, Ranged};
use crate::policy::validator;
use crate::store::object::{self, Object};
use crate::store::prepared::Moment;
use crate::worker::Edge;

pub mod assembly;
mod multipart;

use assembly::Assembly;

/// What of a request matters once the object is known.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// GET or HEAD.
    pub method: &'a Method,
    /// Conditions and ranges.
    pub headers: &'a HeaderMap,
    /// Whether there is none of them among the headers.
    pub plain: bool,
    /// The time.
    pub now: Timestamp,
}

/// How much of a body an answer takes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Take {
    /// Nothing.
    Nothing,
    /// All.
    All,
    /// Bytes `first..end`.
    One(u64, u64),
    /// Several ranges.
    Many(Vec<(u64, u64)>),
}

/// The bytes of a stored body that must be here for the request, as the smallest range around them; `None`: it asks for
/// bytes that the body does not have.
///
/// "A cache MUST NOT use an incomplete response to answer requests unless the response has been made complete, or the
/// request is partial and specifies a range wholly within the incomplete response" (RFC 9111 section 3.3): a request
/// without a range needs all, also where it takes nothing.
pub fn needs(wanted: Wanted<'_>, object: &Object) -> Option<(u64, u64)> {
    let all = Some((0, object.length));
    if wanted.method != Method::GET || object.status != StatusCode::OK {
        return all;
    }
    match range::ranged(wanted.headers, &object.headers, object.length, wanted.now) {
        Ranged::Whole => all,
        Ranged::Part { first, end } => Some((first, end)),
        Ranged::Parts(parts) => {
            let first = parts.iter().map(|(first, _)| *first).min();
            first.zip(parts.iter().map(|(_, end)| *end).max())
        }
        Ranged::Unsatisfiable => None,
    }
}

/// Whether the answer would be several parts: each is looked for, and fetched, when its turn comes.
pub fn takes_parts(wanted: Wanted<'_>, object: &Object) -> bool {
    wanted.method == Method::GET
        && object.status == StatusCode::OK
        && matches!(range::ranged(wanted.headers, &object.headers, object.length, wanted.now), Ranged::Parts(_))
}

/// What bodies are put together with.
#[derive(Debug, Clone)]
pub struct Supply {
    /// Where pieces are.
    pub edge: Arc<Edge>,
    /// The URL.
    pub url: UrlId,
    /// How to fetch what turns out to be missing; `None`: it cannot be.
    pub holes: Option<Arc<Holes>>,
}

impl Supply {
    /// A body of `object`, still without any bytes.
    fn body(&self, object: &Arc<Object>) -> Assembly {
        Assembly::new(self.edge.clone(), self.url, object.https).completed_by(self.holes.clone(), object)
    }
}

/// What an answer from the store says of the cache.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// Who this node is.
    pub identity: &'a Identity,
    /// What it did.
    pub status: &'a CacheStatus,
    /// The key, for those who may see it.
    pub key: Option<&'a str>,
}

/// The answer from a stored object. What is missing of it is fetched while it is read.
pub fn from_store(
    wanted: Wanted<'_>,
    object: &Arc<Object>,
    told: Told<'_>,
    supply: impl FnOnce() -> Supply,
) -> Response<Body> {
    let headers = header(object, object.age(wanted.now).as_secs(), told);
    let (status, mut headers, take) = if wanted.plain {
        // It is prepared for that.
        let nothing = wanted.method == Method::HEAD || !may_have_body(object.status);
        (object.status, headers, if nothing { Take::Nothing } else { Take::All })
    } else {
        outline(wanted, object.status, headers, Some(object.length))
    };
    let stored = |supply: Supply, first, end| {
        let mut body = supply.body(object);
        body.range(object, first, end);
        Body::assembled(body)
    };
    let body = match (take, &object.body) {
        (Take::Nothing, _) => Body::empty(),
        (Take::All, object::Body::Inline(bytes)) => Body::bytes(bytes.clone()),
        // Offsets within an inline body are within its length, which is a usize.
        (Take::One(first, end), object::Body::Inline(bytes)) => Body::bytes(bytes.slice(first as usize..end as usize)),
        (Take::All, object::Body::Spans(_)) => stored(supply(), 0, object.length),
        (Take::One(first, end), object::Body::Spans(_)) => stored(supply(), first, end),
        (Take::Many(parts), _) => {
            let mut body = supply().body(object);
            multipart::write(&mut body, &mut headers, object, &parts);
            Body::assembled(body)
        }
    };
    respond(status, headers, body)
}

/// The header of the answer with all of a stored body.
fn header(object: &Object, age: u64, told: Told<'_>) -> HeaderMap {
    let Told { identity, status, key } = told;
    // Of hits nothing else is said, but to those who may see more.
    let moment = status.ttl.filter(|_| status.hit && key.is_none()).map(|ttl| Moment { age, ttl });
    object.prepared.header(
        moment,
        || prepare(object, identity),
        |headers, begun| {
            headers.insert(AGE, Text::number(age));
            if let Some(lifetime) = told_browsers(object, object.headers.get(CACHE_CONTROL), age) {
                headers.insert(CACHE_CONTROL, lifetime);
            }
            if let Some(begun) = begun {
                headers.insert(CACHE_STATUS, status.completed(begun, key));
            }
        },
    )
}

/// The header of all answers from a stored object: with every field that they have, so that a copy of it need not grow.
fn prepare(object: &Object, identity: &Identity) -> HeaderMap {
    let mut headers = object.headers.clone();
    headers.insert(AGE, HeaderValue::from_static("0"));
    if object.status == StatusCode::OK && !headers.contains_key(ACCEPT_RANGES) {
        headers.insert(ACCEPT_RANGES, BYTES);
    }
    let mut headers = headers_of_all(headers, Some(object.length).filter(|_| may_have_body(object.status)));
    headers::add_via(&mut headers, Version::HTTP_11, identity);
    cache_status::begin(&mut headers, identity);
    headers
}

const BYTES: HeaderValue = HeaderValue::from_static("bytes");

fn may_have_body(status: StatusCode) -> bool {
    status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

/// Fields that an answer gets on its way: Age, Accept-Ranges, Via and Cache-Status.
const ADDED: usize = 4;

/// The answer from a fetch that may still run; `own`: to the request that caused it. `stored` is what was there before.
/// `None`: the client wants bytes that neither brings.
pub fn from_fill(
    wanted: Wanted<'_>,
    head: &Arc<Head>,
    reader: Reader,
    own: bool,
    stored: Option<&Arc<Object>>,
    supply: Supply,
) -> Option<Response<Body>> {
    let mut headers = match &head.own {
        Some(all) if own => all.clone(),
        _ => head.object.headers.clone(),
    };
    headers.reserve(ADDED);
    let age = head.object.age(wanted.now).as_secs();
    if !own {
        // "When a stored response is used to satisfy a request without validation, a cache MUST generate an Age header
        // field" (RFC 9111 section 4).
        headers.insert(AGE, HeaderValue::from(age));
    }
    if let Some(lifetime) = told_browsers(&head.object, headers.get(CACHE_CONTROL), age) {
        headers.insert(CACHE_CONTROL, lifetime);
    }
    let (status, mut headers, take) = outline(wanted, head.object.status, headers, head.length);
    if let object::Body::Inline(bytes) = &head.object.body {
        return Some(match take {
            Take::Nothing => respond(status, headers, Body::empty()),
            // Offsets within an inline body are within its length, which is a usize.
            Take::One(first, end) => respond(status, headers, Body::bytes(bytes.slice(first as usize..end as usize))),
            Take::All | Take::Many(_) => {
                respond(head.object.status, headers_of_all(headers, head.length), Body::bytes(bytes.clone()))
            }
        });
    }
    let (first, end) = match (take, head.length) {
        (Take::Nothing, _) => return Some(respond(status, headers, Body::empty())),
        // Several ranges of what is still coming: the whole, which section 14.2 of RFC 9110 always allows.
        (Take::All | Take::Many(_), length) if head.is_whole() => {
            let headers = headers_of_all(headers, length);
            // What its reader finds gone from the store is fetched again: then nothing of it is known to be there.
            let mut body = supply.body(&head.object);
            body.fill(reader.body(head.clone(), supply.edge.store.clone(), 0, length));
            return Some(respond(head.object.status, headers, Body::assembled(body)));
        }
        (Take::One(first, end), _) => (first, end),
        (Take::All, Some(length)) => (0, length),
        (Take::All | Take::Many(_), _) => return None,
    };
    // A part comes, and the rest is stored, or can be fetched.
    let length = head.length?;
    let (from, to) = (head.coming.first.clamp(first, end), head.coming.end?.clamp(first, end));
    let of_one_body = |it: &&Arc<Object>| it.is_of_one_body_with(length, &head.object.original_headers(), wanted.now);
    let known = stored.filter(of_one_body).cloned().unwrap_or_else(|| head.object.clone());
    let is_here = known.missing(first, from).is_none() && known.missing(to, end).is_none();
    let can_be_had = from < to && supply.holes.is_some() && known.can_be_completed(wanted.now);
    if !is_here && !can_be_had {
        // What comes of what the client asked for: the origin has its reasons.
        let part = own && status == StatusCode::PARTIAL_CONTENT && from < to;
        return part.then(|| {
            describe_part(&mut headers, from, to, length);
            let mut body = supply.body(&known);
            body.fill(reader.body(head.clone(), supply.edge.store.clone(), from, Some(to)));
            respond(status, headers, Body::assembled(body))
        });
    }
    let mut body = supply.body(&known);
    body.range(&known, first, from);
    body.fill(reader.body(head.clone(), supply.edge.store.clone(), from, Some(to)));
    body.range(&known, to, end);
    Some(respond(status, headers, Body::assembled(body)))
}

/// What the operator has clients told of lifetimes, beside the `rest`. Clients subtract Age, so it is added.
fn told_browsers(object: &Object, rest: Option<&HeaderValue>, age: u64) -> Option<HeaderValue> {
    let lifetime = format!("max-age={}", object.browser_ttl?.as_secs().saturating_add(age));
    let value = match rest.and_then(|rest| rest.to_str().ok()) {
        Some(rest) => format!("{rest}, {lifetime}"),
        None => lifetime,
    };
    Some(HeaderValue::try_from(value).expect("directives are visible ASCII"))
}

/// Status and header of the answer, and how much of the body it takes. `length`: of the whole body, when known.
fn outline(
    wanted: Wanted<'_>,
    status: StatusCode,
    mut headers: HeaderMap,
    length: Option<u64>,
) -> (StatusCode, HeaderMap, Take) {
    // "A server MUST ignore the conditional request header fields .. if its response to the same request without those
    // conditions .. would be a status code other than a 2xx (Successful) or 412" (RFC 9110 section 13.2.1).
    if !wanted.plain && status.is_success() && validator::client_has_it(wanted.headers, &headers, wanted.now) {
        return (StatusCode::NOT_MODIFIED, not_modified(headers), Take::Nothing);
    }
    let ranged = match length {
        Some(length) if !wanted.plain && status == StatusCode::OK && wanted.method == Method::GET => {
            range::ranged(wanted.headers, &headers, length, wanted.now)
        }
        _ => Ranged::Whole,
    };
    if status == StatusCode::OK && length.is_some() && !headers.contains_key(ACCEPT_RANGES) {
        headers.insert(ACCEPT_RANGES, BYTES);
    }
    match (ranged, length) {
        (Ranged::Unsatisfiable, Some(length)) => {
            (StatusCode::RANGE_NOT_SATISFIABLE, unsatisfiable(headers, length), Take::Nothing)
        }
        (Ranged::Part { first, end }, Some(length)) => {
            describe_part(&mut headers, first, end, length);
            (StatusCode::PARTIAL_CONTENT, headers, Take::One(first, end))
        }
        (Ranged::Parts(parts), Some(_)) => (StatusCode::PARTIAL_CONTENT, headers, Take::Many(parts)),
        _ => {
            let headers = headers_of_all(headers, length.filter(|_| may_have_body(status)));
            let nothing = wanted.method == Method::HEAD || !may_have_body(status);
            (status, headers, if nothing { Take::Nothing } else { Take::All })
        }
    }
}

fn headers_of_all(mut headers: HeaderMap, length: Option<u64>) -> HeaderMap {
    match length {
        Some(length) if headers::content_length(&headers) == Some(length) => {}
        Some(length) => drop(headers.insert(CONTENT_LENGTH, Text::number(length))),
        None => drop(headers.remove(CONTENT_LENGTH)),
    }
    headers
}

fn describe_part(headers: &mut HeaderMap, first: u64, end: u64, length: u64) {
    headers.insert(CONTENT_LENGTH, Text::number(end - first));
    headers.insert(CONTENT_RANGE, content_range(&format!("bytes {first}-{}/{length}", end - 1)));
}

fn respond(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// "The server generating a 304 response MUST generate any of the following header fields that would have been sent in a
/// 200 response" (RFC 9110 section 15.4.5); what describes the body itself stays out.
fn not_modified(mut headers: HeaderMap) -> HeaderMap {
    for name in [ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_RANGE, CONTENT_TYPE] {
        headers.remove(name);
    }
    headers
}

fn unsatisfiable(stored: HeaderMap, length: u64) -> HeaderMap {
    let keep =
        |name: &HeaderName| !matches!(name.as_str(), "content-length" | "content-encoding" | "etag" | "last-modified");
    let mut headers: HeaderMap = HeaderMap::new();
    for (name, value) in stored.iter().filter(|(name, _)| keep(name) && **name != CONTENT_TYPE) {
        headers.append(name.clone(), value.clone());
    }
    headers.insert(CONTENT_RANGE, content_range(&format!("bytes */{length}")));
    headers
}

fn content_range(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits and ASCII punctuation")
}
