//! PURGE, where the operator turned it on: purges the URL that is asked for, as `POST /v1/purge` of the admin API does.
//!
//! It never reaches an origin: where it is off it is refused, since an origin that is itself a cache could take it for an
//! order of ours.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use nearcast_shared::bearer;
use nearcast_shared::config::Secret;
use serde_json::json;

use super::exchange::{Answered, ClientExchange};
use crate::body::Body;
use crate::metrics::Outcome;
use crate::purge::{Mode, Scope};
use crate::refusal::Refusal;

/// Fields with which clients ask for a soft purge, Fastly's own and the one it is known by elsewhere.
const SOFT: [HeaderName; 2] = [HeaderName::from_static("soft-purge"), HeaderName::from_static("fastly-soft-purge")];

/// Whether a request is a purge.
pub(super) fn is_purge(method: &Method) -> bool {
    method.as_str() == "PURGE"
}

impl ClientExchange<'_> {
    pub(super) async fn purge(&self) -> Answered {
        let edge = &self.worker.edge;
        let mode = match order(self.view.purge_token.as_ref(), &self.parts.headers) {
            Ok(mode) => mode,
            Err(refusal) => return (self.refused(refusal), Outcome::Refused),
        };
        match edge.purges.purge(vec![Scope::Url(self.url)], mode).await {
            Ok(receipt) => {
                let id = receipt.id();
                tracing::info!(id, url = %self.address(), ?mode, "purge");
                let text = json!({ "id": id, "time": receipt.time(), "kind": "url", "entries": 1 });
                let mut response = Response::new(Body::bytes(Bytes::from(format!("{text}\n"))));
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                (response, Outcome::Purge)
            }
            Err(error) => {
                tracing::error!(%error, "a purge does not hold");
                (self.refused(Refusal::NotPurged), Outcome::Refused)
            }
        }
    }
}

/// What a PURGE with those fields is to do. `token`: the one it needs; `None`: the method is not served.
fn order(token: Option<&Secret>, fields: &HeaderMap) -> Result<Mode, Refusal> {
    let Some(token) = token else { return Err(Refusal::Method) };
    match bearer::given(fields) {
        None => Err(Refusal::NoToken),
        Some(given) if !token.is(given) => Err(Refusal::WrongToken),
        Some(_) => Ok(if SOFT.iter().any(|name| is_on(fields, name)) { Mode::Soft } else { Mode::Hard }),
    }
}

fn is_on(fields: &HeaderMap, name: &HeaderName) -> bool {
    fields.get(name).is_some_and(|value| matches!(value.as_bytes(), b"1" | b"true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders() {
        let token = Secret::new("correct-horse".to_owned());
        let good = ("authorization", "Bearer correct-horse");
        type Row<'a> = (&'a str, bool, &'a [(&'a str, &'a str)], Result<Mode, Refusal>);
        let rows: [Row<'_>; 8] = [
            ("off", false, &[good], Err(Refusal::Method)),
            ("no token", true, &[], Err(Refusal::NoToken)),
            ("another scheme", true, &[("authorization", "Basic eDp5")], Err(Refusal::NoToken)),
            ("a wrong token", true, &[("authorization", "Bearer correct-house")], Err(Refusal::WrongToken)),
            ("hard", true, &[good], Ok(Mode::Hard)),
            ("soft", true, &[good, ("soft-purge", "1")], Ok(Mode::Soft)),
            ("soft as Fastly spells it", true, &[good, ("fastly-soft-purge", "1")], Ok(Mode::Soft)),
            ("soft, but no", true, &[good, ("soft-purge", "0")], Ok(Mode::Hard)),
        ];
        for (name, is_on, fields, wanted) in rows {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.insert(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(order(Some(&token).filter(|_| is_on), &headers), wanted, "{name}");
        }
        assert!(is_purge(&Method::from_bytes(b"PURGE").unwrap()) && !is_purge(&Method::DELETE));
    }
}
