//! Whether an answer may be stored (RFC 9111 section 3).

use http::header::{AUTHORIZATION, ETAG, LAST_MODIFIED, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderName, Method, StatusCode};

use nearcast_shared::config::SetCookie;

use super::control::Control;
use super::directives::RequestDirectives;
use super::freshness;
use super::rules::Ruling;

/// Why an answer is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotStored {
    /// Only answers to GET are.
    Method,
    /// The request said no-store.
    RequestNoStore,
    /// The answer said no-store.
    NoStore,
    /// The answer said private.
    Private,
    /// The request had Authorization and the answer does not allow it (section 3.5).
    Authorization,
    /// A status that is not stored: interim, partial, or an error without explicit freshness.
    Status,
    /// `Vary: *`.
    VaryAll,
    /// It sets a cookie.
    SetCookie,
    /// Neither fresh for any time nor possible to validate.
    NoUse,
    /// Its end cannot be told from a broken connection.
    CloseDelimited,
    /// Larger than the configured limit.
    TooLarge,
    /// must-understand, and a status whose caching rules we do not know.
    NotUnderstood,
    /// A part of what nobody knows, or that contradicts itself.
    Part,
    /// A rule of the operator.
    Rule,
}

impl NotStored {
    /// The word for it in Cache-Status' `detail` and in logs.
    pub fn token(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::RequestNoStore => "request-no-store",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::Status => "status",
            Self::VaryAll => "vary-all",
            Self::SetCookie => "set-cookie",
            Self::NoUse => "no-freshness",
            Self::CloseDelimited => "close-delimited",
            Self::TooLarge => "too-large",
            Self::NotUnderstood => "not-understood",
            Self::Part => "part",
            Self::Rule => "rule",
        }
    }
}

/// A request and the header of its answer.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The request's fields.
    pub request: &'a HeaderMap,
    /// The request's directives.
    pub wishes: &'a RequestDirectives,
    /// The answer's status; that of the whole when it is a part.
    pub status: StatusCode,
    /// The answer's fields.
    pub response: &'a HeaderMap,
    /// What governs it, after the rules had their say.
    pub control: &'a Control,
    /// What the operator says of it.
    pub ruling: &'a Ruling<'a>,
    /// What becomes of cookies.
    pub cookies: SetCookie,
}

/// Judges an answer by its header. `Ok` means it may be stored.
///
/// # Errors
/// The first reason not to.
pub fn storable(case: Case<'_>) -> Result<(), NotStored> {
    let Case { request, status, response, .. } = case;
    let said = &case.control.directives;
    if case.method != Method::GET {
        return Err(NotStored::Method);
    }
    if case.ruling.bypass.is_some() {
        return Err(NotStored::Rule);
    }
    if case.wishes.no_store {
        return Err(NotStored::RequestNoStore);
    }
    // "When a cache that implements the must-understand directive receives a response that includes it, the cache SHOULD
    // ignore the no-store directive if it understands and implements the status code's caching requirements" (section
    // 5.2.2.3).
    if said.must_understand && !is_understood(status) {
        return Err(NotStored::NotUnderstood);
    }
    if said.no_store && !said.must_understand {
        return Err(NotStored::NoStore);
    }
    if said.private {
        return Err(NotStored::Private);
    }
    // "A shared cache MUST NOT use a cached response to a request with an Authorization header field .. unless the
    // response contains a Cache-Control field with a response directive that allows it" (section 3.5).
    let allows = said.public || said.must_revalidate || said.s_maxage.is_some();
    if request.contains_key(AUTHORIZATION) && !allows {
        return Err(NotStored::Authorization);
    }
    let explicit = freshness::is_explicit(response, case.control) || case.ruling.ttl.is_some();
    status_is_stored(status, explicit, said.public)?;
    // No 5xx on a validator alone: a heuristic needs a date.
    if status == StatusCode::NOT_IMPLEMENTED && !explicit && !response.contains_key(LAST_MODIFIED) {
        return Err(NotStored::Status);
    }
    if varies_on_all(response) {
        return Err(NotStored::VaryAll);
    }
    if response.contains_key(SET_COOKIE) && case.cookies == SetCookie::Bypass {
        return Err(NotStored::SetCookie);
    }
    let validator = response.contains_key(ETAG) || response.contains_key(LAST_MODIFIED);
    if !explicit && !validator {
        return Err(NotStored::NoUse);
    }
    Ok(())
}

/// "A final status" with "explicit freshness", or one "defined as heuristically cacheable", or `public` (section 3).
/// 1xx are never final, 304 and 416 are about another answer, and an error that a client can make an origin say, or that
/// passes, needs an explicit lifetime.
fn status_is_stored(status: StatusCode, explicit: bool, public: bool) -> Result<(), NotStored> {
    let code = status.as_u16();
    // "Responses with the 428 [429, 431, 511] status code MUST NOT be stored by a cache" (RFC 6585 sections 3 to 6).
    let never = code < 200 || matches!(code, 206 | 304 | 416 | 428 | 429 | 431 | 511);
    let blameable = matches!(code, 400 | 413 | 431) || code >= 500;
    let heuristic = freshness::is_heuristic(status) || (public && !blameable);
    if never || !(explicit || heuristic) { Err(NotStored::Status) } else { Ok(()) }
}

/// The final statuses of RFC 9110 and the others that ask nothing special of a cache.
fn is_understood(status: StatusCode) -> bool {
    let code = status.as_u16();
    matches!(code, 200..=208 | 226 | 300..=308 | 400..=417 | 421..=426 | 451 | 500..=508 | 510)
}

fn varies_on_all(response: &HeaderMap) -> bool {
    // What cannot be read might vary on anything.
    let unusable = |name: &str| name == "*" || (!name.is_empty() && name.parse::<HeaderName>().is_err());
    let mut lines = response.get_all(VARY).iter().map(|line| line.to_str());
    lines.any(|line| line.map_or(true, |line| line.split(',').map(str::trim).any(unusable)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    type Pairs<'a> = &'a [(&'static str, &'a str)];

    fn map(pairs: Pairs<'_>) -> HeaderMap {
        pairs.iter().map(|(name, value)| ((*name).parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn judge(request: Pairs<'_>, status: u16, response: Pairs<'_>) -> Result<(), NotStored> {
        let (request, response) = (map(request), map(response));
        storable(Case {
            method: &Method::GET,
            request: &request,
            wishes: &RequestDirectives::parse(&request),
            status: StatusCode::from_u16(status).unwrap(),
            response: &response,
            control: &Control::of(&response, "d"),
            ruling: &Ruling::default(),
            cookies: SetCookie::Bypass,
        })
    }

    #[test]
    fn table() {
        const FRESH: (&str, &str) = ("cache-control", "max-age=60");
        const TAG: (&str, &str) = ("etag", "\"a\"");
        let secret: Pairs<'_> = &[("authorization", "Basic x")];
        type Row<'a> = (&'a str, Pairs<'a>, u16, Pairs<'a>, Result<(), NotStored>);
        let rows: [Row<'_>; 34] = [
            ("explicitly fresh", &[], 200, &[FRESH], Ok(())),
            ("only a validator", &[], 200, &[TAG], Ok(())),
            ("nothing", &[], 200, &[], Err(NotStored::NoUse)),
            ("no-store", &[], 200, &[("cache-control", "no-store, max-age=60")], Err(NotStored::NoStore)),
            ("private", &[], 200, &[("cache-control", "private, max-age=60")], Err(NotStored::Private)),
            ("request no-store", &[("cache-control", "no-store")], 200, &[FRESH], Err(NotStored::RequestNoStore)),
            ("Authorization", secret, 200, &[FRESH], Err(NotStored::Authorization)),
            ("Authorization with public", secret, 200, &[("cache-control", "public, max-age=60")], Ok(())),
            ("Authorization with s-maxage", secret, 200, &[("cache-control", "s-maxage=60")], Ok(())),
            (
                "Authorization with must-revalidate",
                secret,
                200,
                &[("cache-control", "max-age=1, must-revalidate")],
                Ok(()),
            ),
            ("Vary: *", &[], 200, &[FRESH, ("vary", "accept, *")], Err(NotStored::VaryAll)),
            ("a Vary that cannot be read", &[], 200, &[FRESH, ("vary", "accept, a b")], Err(NotStored::VaryAll)),
            ("a cookie", &[], 200, &[FRESH, ("set-cookie", "a=b")], Err(NotStored::SetCookie)),
            ("404 with a validator", &[], 404, &[TAG], Ok(())),
            ("404 fresh", &[], 404, &[FRESH], Ok(())),
            ("500 with a validator", &[], 500, &[TAG], Err(NotStored::Status)),
            ("500 explicitly fresh", &[], 500, &[FRESH], Ok(())),
            ("400 with a validator", &[], 400, &[TAG], Err(NotStored::Status)),
            ("400 explicitly fresh", &[], 400, &[FRESH], Ok(())),
            ("400 with a validator and public", &[], 400, &[TAG, ("cache-control", "public")], Err(NotStored::Status)),
            ("503 with a validator and public", &[], 503, &[TAG, ("cache-control", "public")], Err(NotStored::Status)),
            ("302 with a validator and public", &[], 302, &[TAG, ("cache-control", "public")], Ok(())),
            ("501 with a validator", &[], 501, &[TAG], Err(NotStored::Status)),
            ("501 with a date for a heuristic", &[], 501, &[("last-modified", "x")], Ok(())),
            ("429 explicitly fresh", &[], 429, &[FRESH], Err(NotStored::Status)),
            ("304", &[], 304, &[FRESH], Err(NotStored::Status)),
            ("599 explicitly fresh", &[], 599, &[FRESH], Ok(())),
            (
                "no-store with must-understand",
                &[],
                200,
                &[("cache-control", "no-store, must-understand, max-age=1")],
                Ok(()),
            ),
            (
                "must-understand and a status we do not know",
                &[],
                299,
                &[("cache-control", "must-understand, max-age=1")],
                Err(NotStored::NotUnderstood),
            ),
            ("a qualified private", &[], 200, &[("cache-control", "private=\"x\", max-age=1")], Ok(())),
            ("302 with a validator", &[], 302, &[TAG], Err(NotStored::Status)),
            ("302 explicitly fresh", &[], 302, &[FRESH], Ok(())),
            ("206", &[], 206, &[FRESH], Err(NotStored::Status)),
            ("unknown status explicitly fresh", &[], 299, &[FRESH], Ok(())),
        ];
        for (name, request, status, response, wanted) in rows {
            assert_eq!(judge(request, status, response), wanted, "{name}");
        }
    }
}
