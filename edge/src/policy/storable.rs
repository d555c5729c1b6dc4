//! Whether an answer may be stored (RFC 9111 section 3).

use http::header::{AUTHORIZATION, ETAG, LAST_MODIFIED, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::directives::{RequestDirectives, ResponseDirectives};
use super::freshness;

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
        }
    }
}

/// Judges an answer by its header. `Ok` means it may be stored.
///
/// # Errors
/// The first reason not to.
pub fn storable(
    method: &Method,
    request: &HeaderMap,
    wishes: &RequestDirectives,
    status: StatusCode,
    response: &HeaderMap,
    directives: &ResponseDirectives,
) -> Result<(), NotStored> {
    if method != Method::GET {
        return Err(NotStored::Method);
    }
    if wishes.no_store {
        return Err(NotStored::RequestNoStore);
    }
    if directives.no_store {
        return Err(NotStored::NoStore);
    }
    if directives.private {
        return Err(NotStored::Private);
    }
    // "A shared cache MUST NOT use a cached response to a request with an Authorization header field .. unless the
    // response contains a Cache-Control field with a response directive that allows it" (section 3.5).
    let allows = directives.public || directives.must_revalidate || directives.s_maxage.is_some();
    if request.contains_key(AUTHORIZATION) && !allows {
        return Err(NotStored::Authorization);
    }
    let explicit = freshness::is_explicit(response, directives);
    status_is_stored(status, explicit || directives.public)?;
    if varies_on_all(response) {
        return Err(NotStored::VaryAll);
    }
    if response.contains_key(SET_COOKIE) {
        return Err(NotStored::SetCookie);
    }
    let validator = response.contains_key(ETAG) || response.contains_key(LAST_MODIFIED);
    if !explicit && !validator {
        return Err(NotStored::NoUse);
    }
    Ok(())
}

/// 1xx are never final, 206 and 304 are no whole answers, and an error without explicit freshness is stored only when
/// its status is heuristically cacheable.
fn status_is_stored(status: StatusCode, explicit: bool) -> Result<(), NotStored> {
    let code = status.as_u16();
    let partial = code < 200 || code == 206 || code == 304 || code == 416;
    // A client can make an origin say these of a URL: stored, they would take it from all others.
    let blameable = matches!(code, 400 | 413 | 431);
    if partial || blameable || (!explicit && (code >= 500 || !freshness::is_heuristic(status))) {
        return Err(NotStored::Status);
    }
    Ok(())
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
        let wishes = RequestDirectives::parse(&request);
        let directives = ResponseDirectives::parse(&response);
        let status = StatusCode::from_u16(status).unwrap();
        storable(&Method::GET, &request, &wishes, status, &response, &directives)
    }

    #[test]
    fn table() {
        const FRESH: (&str, &str) = ("cache-control", "max-age=60");
        const TAG: (&str, &str) = ("etag", "\"a\"");
        let secret: Pairs<'_> = &[("authorization", "Basic x")];
        type Row<'a> = (&'a str, Pairs<'a>, u16, Pairs<'a>, Result<(), NotStored>);
        let rows: [Row<'_>; 24] = [
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
            ("400 explicitly fresh", &[], 400, &[FRESH], Err(NotStored::Status)),
            ("431 explicitly fresh", &[], 431, &[FRESH], Err(NotStored::Status)),
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
