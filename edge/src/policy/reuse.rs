//! Whether a stored answer may be served now (RFC 9111 section 4): the one decision behind every cached request.

use std::time::Duration;

use super::directives::{RequestDirectives, ResponseDirectives};

/// How a stored answer stands at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its age now.
    pub age: Duration,
    /// Its freshness lifetime.
    pub lifetime: Duration,
    /// Its own directives.
    pub directives: ResponseDirectives,
}

/// What may be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// Serve it.
    Fresh,
    /// Serve it though stale: the request allows it (max-stale).
    StaleAllowed,
    /// Serve it and refresh it in the background (stale-while-revalidate).
    StaleWhileRevalidate,
    /// Ask the origin first.
    Validate(Why),
}

/// Why the origin must be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its lifetime is over.
    Stale,
    /// The client insists (no-cache, max-age, min-fresh).
    Request,
    /// The answer itself insists (no-cache).
    Response,
}

impl Standing {
    /// Whether its lifetime is not over. "response_is_fresh = (freshness_lifetime > current_age)" (section 4.2).
    pub fn is_fresh(&self) -> bool {
        self.lifetime > self.age
    }

    /// For how long it has been stale.
    pub fn staleness(&self) -> Duration {
        self.age.saturating_sub(self.lifetime)
    }

    /// The decision. What the client asks never loosens what the origin demands.
    pub fn reuse(&self, wishes: &RequestDirectives) -> Reuse {
        // Section 5.2.2.4: no-cache "MUST NOT be used to satisfy a subsequent request without successful validation".
        if self.directives.no_cache {
            return Reuse::Validate(Why::Response);
        }
        let left = self.lifetime.saturating_sub(self.age);
        let too_old = wishes.max_age.is_some_and(|limit| self.age > limit && wishes.max_stale.is_none());
        let too_stale = wishes.min_fresh.is_some_and(|wanted| left < wanted);
        if wishes.no_cache || too_old || too_stale {
            return Reuse::Validate(Why::Request);
        }
        if self.is_fresh() {
            return Reuse::Fresh;
        }
        if self.directives.forbids_stale() {
            return Reuse::Validate(Why::Stale);
        }
        if wishes.max_stale.is_some_and(|limit| self.staleness() <= limit) {
            return Reuse::StaleAllowed;
        }
        match self.directives.stale_while_revalidate {
            Some(window) if self.staleness() < window => Reuse::StaleWhileRevalidate,
            _ => Reuse::Validate(Why::Stale),
        }
    }

    /// Whether it may stand in when the origin fails (RFC 5861 section 4; RFC 9111 section 4.2.4).
    pub fn serves_on_error(&self) -> bool {
        let window = self.directives.stale_if_error.or(self.directives.stale_while_revalidate);
        !self.directives.forbids_stale() && window.is_some_and(|window| self.staleness() < window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::CACHE_CONTROL;
    use http::{HeaderMap, HeaderValue};

    fn control(value: &str) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.insert(CACHE_CONTROL, HeaderValue::from_str(value).unwrap());
        map
    }

    fn standing(age: u64, response: &str) -> Standing {
        let directives = ResponseDirectives::parse(&control(response));
        let lifetime = directives.s_maxage.or(directives.max_age).unwrap_or_default();
        Standing { age: Duration::from_secs(age), lifetime, directives }
    }

    #[test]
    fn table() {
        use Reuse::{Fresh, StaleAllowed, StaleWhileRevalidate, Validate};
        let rows = [
            ("fresh", 59, "max-age=60", "", Fresh),
            ("stale at its lifetime", 60, "max-age=60", "", Validate(Why::Stale)),
            ("answer says no-cache", 0, "max-age=60, no-cache", "", Validate(Why::Response)),
            ("client says no-cache", 0, "max-age=60", "no-cache", Validate(Why::Request)),
            ("younger than the client's max-age", 9, "max-age=60", "max-age=10", Fresh),
            ("older than the client's max-age", 11, "max-age=60", "max-age=10", Validate(Why::Request)),
            ("min-fresh met", 50, "max-age=60", "min-fresh=10", Fresh),
            ("min-fresh missed", 51, "max-age=60", "min-fresh=10", Validate(Why::Request)),
            ("max-stale", 65, "max-age=60", "max-stale=5", StaleAllowed),
            ("beyond max-stale", 66, "max-age=60", "max-stale=5", Validate(Why::Stale)),
            ("any max-stale", 9999, "max-age=60", "max-stale", StaleAllowed),
            ("max-stale against must-revalidate", 61, "max-age=60, must-revalidate", "max-stale", Validate(Why::Stale)),
            (
                "max-stale against proxy-revalidate",
                61,
                "max-age=60, proxy-revalidate",
                "max-stale",
                Validate(Why::Stale),
            ),
            ("max-stale against s-maxage", 61, "s-maxage=60", "max-stale", Validate(Why::Stale)),
            ("within stale-while-revalidate", 69, "max-age=60, stale-while-revalidate=10", "", StaleWhileRevalidate),
            ("beyond stale-while-revalidate", 70, "max-age=60, stale-while-revalidate=10", "", Validate(Why::Stale)),
        ];
        for (name, age, response, request, wanted) in rows {
            let wishes = RequestDirectives::parse(&control(request));
            assert_eq!(standing(age, response).reuse(&wishes), wanted, "{name}");
        }
    }

    #[test]
    fn errors() {
        let rows = [
            ("nothing said", 61, "max-age=60", false),
            ("within stale-if-error", 69, "max-age=60, stale-if-error=10", true),
            ("beyond it", 70, "max-age=60, stale-if-error=10", false),
            ("must-revalidate forbids it", 61, "max-age=60, stale-if-error=10, must-revalidate", false),
        ];
        for (name, age, response, wanted) in rows {
            assert_eq!(standing(age, response).serves_on_error(), wanted, "{name}");
        }
    }
}
