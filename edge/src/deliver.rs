//! From what is stored, or being stored, to the answer a client gets: conditions, ranges, and the header.

use std::sync::Arc;

use http::header::{ACCEPT_RANGES, AGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use nearcast_shared::clock::Timestamp;

use crate::body::Body;
use crate::fill::Head;
use crate::fill::reader::Reader;
use crate::key::StoreKey;
use crate::policy::range::{self, Ranged};
use crate::policy::validator;
use crate::store::Store;
use crate::store::object::{self, Object};

pub mod stored;

use stored::StoredReader;

/// What of a request matters once the object is known.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// GET or HEAD.
    pub method: &'a Method,
    /// Conditions and ranges.
    pub headers: &'a HeaderMap,
}

/// The answer from a whole stored object.
pub fn from_store(wanted: Wanted<'_>, object: &Object, key: StoreKey, store: &Store, now: Timestamp) -> Response<Body> {
    let mut headers = object.headers.clone();
    headers.insert(AGE, HeaderValue::from(object.age(now).as_secs()));
    let read = |first: u64, end: u64| match &object.body {
        // Offsets within an inline body are within its length, which is a usize.
        object::Body::Inline(bytes) => Body::bytes(bytes.slice(first as usize..end as usize)),
        object::Body::Chunks => Body::stored(StoredReader::new(store.clone(), key, object.version, first, end)),
    };
    assemble(wanted, object.status, headers, Some(object.length), |part| match part {
        Some((first, end)) => read(first, end),
        None => read(0, object.length),
    })
}

/// The answer from a fetch that may still run.
pub fn from_fill(wanted: Wanted<'_>, head: &Arc<Head>, reader: Reader, store: &Store) -> Response<Body> {
    let headers = head.object.headers.clone();
    assemble(wanted, head.object.status, headers, head.length, |part| {
        let (first, end) = part.map_or((0, head.length), |(first, end)| (first, Some(end)));
        Body::filling(reader.body(head.clone(), store.clone(), first, end))
    })
}

/// Whether all pieces of the body are at hand, as far as indexes tell: a hole found later breaks the answer off.
pub fn is_whole(object: &Object, key: StoreKey, store: &Store) -> bool {
    (0..object.chunks()).all(|number| store.contains(&key.chunk(object.version, number)))
}

fn assemble(
    wanted: Wanted<'_>,
    status: StatusCode,
    mut headers: HeaderMap,
    length: Option<u64>,
    body: impl FnOnce(Option<(u64, u64)>) -> Body,
) -> Response<Body> {
    // Conditions and ranges are about what GET would answer with 200 (RFC 9110 sections 13.2.1 and 14.2).
    if status == StatusCode::OK && validator::client_has_it(wanted.headers, &headers) {
        return not_modified(headers);
    }
    let ranged = match length {
        Some(length) if status == StatusCode::OK && wanted.method == Method::GET => {
            range::ranged(wanted.headers, &headers, length)
        }
        _ => Ranged::Whole,
    };
    if status == StatusCode::OK && length.is_some() && !headers.contains_key(ACCEPT_RANGES) {
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }
    match (ranged, length) {
        (Ranged::Unsatisfiable, Some(length)) => unsatisfiable(headers, length),
        (Ranged::Part { first, end }, Some(length)) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(end - first));
            headers.insert(CONTENT_RANGE, content_range(&format!("bytes {first}-{}/{length}", end - 1)));
            respond(StatusCode::PARTIAL_CONTENT, headers, body(Some((first, end))))
        }
        _ => {
            match length {
                Some(length) if may_have_body(status) => {
                    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
                }
                _ => {
                    headers.remove(CONTENT_LENGTH);
                }
            }
            let bodiless = wanted.method == Method::HEAD || !may_have_body(status);
            respond(status, headers, if bodiless { Body::empty() } else { body(None) })
        }
    }
}

fn may_have_body(status: StatusCode) -> bool {
    status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

fn respond(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// "The server generating a 304 response MUST generate any of the following header fields that would have been sent in a
/// 200 response" (RFC 9110 section 15.4.5); what describes the body itself stays out.
fn not_modified(mut headers: HeaderMap) -> Response<Body> {
    let about_the_body = ["content-length", "content-encoding", "content-language", "content-range", "content-type"];
    about_the_body.iter().for_each(|name| drop(headers.remove(*name)));
    respond(StatusCode::NOT_MODIFIED, headers, Body::empty())
}

fn unsatisfiable(stored: HeaderMap, length: u64) -> Response<Body> {
    let keep =
        |name: &HeaderName| !matches!(name.as_str(), "content-length" | "content-encoding" | "etag" | "last-modified");
    let mut headers: HeaderMap = HeaderMap::new();
    for (name, value) in stored.iter().filter(|(name, _)| keep(name) && **name != CONTENT_TYPE) {
        headers.append(name.clone(), value.clone());
    }
    headers.insert(CONTENT_RANGE, content_range(&format!("bytes */{length}")));
    respond(StatusCode::RANGE_NOT_SATISFIABLE, headers, Body::empty())
}

fn content_range(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits and ASCII punctuation")
}
