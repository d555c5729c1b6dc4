//! Whether a stored answer may be served now (RFC 9111 section 4): the one decision behind every cached request.

use std::time::Duration;

use super::directives::{RequestDirectives, ResponseDirectives};

/// How a stored answer stands at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing<'a> {
    /// Its age now.
    pub age: Duration,
    /// Its freshness lifetime.
    pub lifetime: Duration,
    /// Its own directives.
    pub directives: &'a ResponseDirectives,
    /// How long it serves beyond its lifetime when it says nothing of that itself: the operator's grace.
    pub grace: Duration,
    /// How long ago a soft purge ended its lifetime.
    pub purged: Option<Duration>,
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

/// How an origin failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failing {
    /// It gave no answer at all: the cache is "disconnected" (RFC 9111 section 4.2.4).
    Disconnected,
    /// It answered with 500, 502, 503 or 504 (RFC 5861 section 4), or with what is not HTTP.
    Error,
}

impl Standing<'_> {
    /// Whether its lifetime is not over. "response_is_fresh = (freshness_lifetime > current_age)" (section 4.2).
    ///
    /// A soft purge ends it, whatever the answer says.
    pub fn is_fresh(&self) -> bool {
        self.purged.is_none() && self.lifetime > self.age
    }

    /// For how long it has been stale: since its lifetime or a soft purge ended that, whichever was first.
    pub fn staleness(&self) -> Duration {
        self.age.saturating_sub(self.lifetime).max(self.purged.unwrap_or_default())
    }

    /// What is left of its lifetime.
    pub fn left(&self) -> Duration {
        if self.is_fresh() { self.lifetime.saturating_sub(self.age) } else { Duration::ZERO }
    }

    /// Seconds of freshness left, as RFC 9211 counts them; negative when stale.
    pub fn ttl(&self) -> i64 {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        let own = seconds(self.lifetime).saturating_sub(seconds(self.age));
        self.purged.map_or(own, |purged| own.min(-seconds(purged)))
    }

    /// The decision. What the client asks never loosens what the origin demands.
    pub fn reuse(&self, wishes: &RequestDirectives) -> Reuse {
        // Section 5.2.2.4: no-cache "MUST NOT be used to satisfy any other request without forwarding it for validation
        // and receiving a successful response".
        if self.directives.no_cache {
            return Reuse::Validate(Why::Response);
        }
        let too_old = wishes.max_age.is_some_and(|limit| self.age > limit && wishes.max_stale.is_none());
        let too_stale = wishes.min_fresh.is_some_and(|wanted| self.left() < wanted);
        if wishes.no_cache || too_old || too_stale {
            return Reuse::Validate(if self.is_fresh() { Why::Request } else { Why::Stale });
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
        // "Unless the max-stale request directive is also present, the client does not wish to receive a stale response"
        // (section 5.2.1.1).
        let takes_stale = wishes.max_age.is_none() || wishes.max_stale.is_some();
        if takes_stale && self.staleness() < self.directives.stale_while_revalidate.unwrap_or(self.grace) {
            return Reuse::StaleWhileRevalidate;
        }
        Reuse::Validate(Why::Stale)
    }

    /// Whether it may stand in for an origin that fails. "A cache MUST NOT generate a stale response unless it is
    /// disconnected or doing so is explicitly permitted by the client or origin server" (RFC 9111 section 4.2.4); RFC 5861
    /// section 4 permits it, in the answer or in the request. Without an answer from the origin it may be stale by up to `disconnected_max`.
    pub fn stands_in(&self, failing: Failing, wishes: &RequestDirectives, disconnected_max: Duration) -> bool {
        if self.directives.no_cache {
            return false;
        }
        if self.is_fresh() {
            return true;
        }
        if self.directives.forbids_stale() {
            return false;
        }
        let said = self.directives;
        // What may be served while it is refreshed may be served when that fails.
        let permitted = said.stale_if_error.unwrap_or(self.grace.max(said.stale_while_revalidate.unwrap_or_default()));
        let permitted = permitted.max(wishes.stale_if_error.unwrap_or_default());
        let disconnected = failing == Failing::Disconnected && self.staleness() < disconnected_max;
        disconnected || self.staleness() < permitted
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

    const GRACE: Duration = Duration::ZERO;

    fn said(response: &str) -> (Duration, ResponseDirectives) {
        let directives = ResponseDirectives::parse(&control(response));
        (directives.s_maxage.or(directives.max_age).unwrap_or_default(), directives)
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
            (
                "a client that says max-age takes nothing stale",
                69,
                "max-age=60, stale-while-revalidate=10",
                "max-age=99",
                Validate(Why::Stale),
            ),
            ("beyond stale-while-revalidate", 70, "max-age=60, stale-while-revalidate=10", "", Validate(Why::Stale)),
        ];
        for (name, age, response, request, wanted) in rows {
            let wishes = RequestDirectives::parse(&control(request));
            let (lifetime, directives) = said(response);
            let standing = Standing {
                age: Duration::from_secs(age),
                lifetime,
                directives: &directives,
                grace: GRACE,
                purged: None,
            };
            assert_eq!(standing.reuse(&wishes), wanted, "{name}");
        }
    }

    #[test]
    fn errors() {
        use Failing::{Disconnected, Error};
        let rows = [
            ("nothing said", 61, "max-age=60", 0, Error, false),
            ("nothing said, and no answer", 61, "max-age=60", 0, Disconnected, true),
            ("no answer for too long", 160, "max-age=60", 0, Disconnected, false),
            ("within stale-if-error", 69, "max-age=60, stale-if-error=10", 0, Error, true),
            ("beyond it", 70, "max-age=60, stale-if-error=10", 0, Error, false),
            ("beyond it, and no answer", 70, "max-age=60, stale-if-error=10", 0, Disconnected, true),
            (
                "must-revalidate forbids it",
                61,
                "max-age=60, stale-if-error=10, must-revalidate",
                0,
                Disconnected,
                false,
            ),
            ("s-maxage forbids it", 61, "s-maxage=60", 9, Disconnected, false),
            ("within the operator's grace", 69, "max-age=60", 10, Error, true),
            ("the answer's own word goes before it", 69, "max-age=60, stale-if-error=0", 10, Error, false),
            ("what is fresh stands in", 59, "max-age=60, must-revalidate", 0, Error, true),
            ("but not what must be asked for", 59, "max-age=60, no-cache", 0, Disconnected, false),
        ];
        for (name, age, response, grace, failing, wanted) in rows {
            let (lifetime, directives) = said(response);
            let (age, grace) = (Duration::from_secs(age), Duration::from_secs(grace));
            let standing = Standing { age, lifetime, directives: &directives, grace, purged: None };
            let wishes = RequestDirectives::default();
            assert_eq!(standing.stands_in(failing, &wishes, Duration::from_secs(100)), wanted, "{name}");
        }
        let (lifetime, directives) = said("max-age=60");
        let age = Duration::from_secs(69);
        let standing = Standing { age, lifetime, directives: &directives, grace: Duration::ZERO, purged: None };
        let allows = |wishes: &str| {
            standing.stands_in(Error, &RequestDirectives::parse(&control(wishes)), Duration::from_secs(100))
        };
        assert!(allows("stale-if-error=10") && !allows("stale-if-error=9"), "a client may permit it, too");
    }

    #[test]
    fn grace_serves_while_it_is_refreshed() {
        let (lifetime, directives) = said("max-age=60");
        let at = |age| Standing {
            age: Duration::from_secs(age),
            lifetime,
            directives: &directives,
            grace: Duration::from_secs(10),
            purged: None,
        };
        let wishes = RequestDirectives::default();
        assert_eq!(at(69).reuse(&wishes), Reuse::StaleWhileRevalidate);
        assert_eq!(at(70).reuse(&wishes), Reuse::Validate(Why::Stale));
    }

    #[test]
    fn a_soft_purge_ends_the_lifetime() {
        use Reuse::{StaleAllowed, StaleWhileRevalidate, Validate};
        let swr = "max-age=60, stale-while-revalidate=10";
        let rows = [
            ("nothing lets it be served", 0, "max-age=60", "", Validate(Why::Stale)),
            ("within stale-while-revalidate, counted from the purge", 9, swr, "", StaleWhileRevalidate),
            ("at the very moment", 0, swr, "", StaleWhileRevalidate),
            ("beyond it", 10, swr, "", Validate(Why::Stale)),
            ("a client that takes what is stale", 5, "max-age=60", "max-stale=5", StaleAllowed),
            ("but not so stale", 6, "max-age=60", "max-stale=5", Validate(Why::Stale)),
            ("a client that wants it fresh", 0, swr, "min-fresh=1", Validate(Why::Stale)),
            ("must-revalidate", 0, "max-age=60, must-revalidate", "max-stale", Validate(Why::Stale)),
        ];
        for (name, purged, response, request, wanted) in rows {
            let (lifetime, directives) = said(response);
            let permitted = response == swr && purged < 10;
            let purged = Some(Duration::from_secs(purged));
            let standing =
                Standing { age: Duration::from_secs(30), lifetime, directives: &directives, grace: GRACE, purged };
            assert_eq!(standing.reuse(&RequestDirectives::parse(&control(request))), wanted, "{name}");
            let stands_in = standing.stands_in(Failing::Error, &RequestDirectives::default(), Duration::ZERO);
            assert_eq!(stands_in, permitted, "{name}");
        }
        let (lifetime, directives) = said("max-age=60");
        let standing = |age, purged| Standing {
            age: Duration::from_secs(age),
            lifetime,
            directives: &directives,
            grace: GRACE,
            purged: Some(Duration::from_secs(purged)),
        };
        assert_eq!(standing(100, 10).staleness(), Duration::from_secs(40), "its lifetime ended before");
        assert_eq!(standing(65, 10).staleness(), Duration::from_secs(10), "the purge came before that");
        assert_eq!((standing(10, 5).left(), standing(10, 5).ttl()), (Duration::ZERO, -5));
        assert_eq!(standing(100, 5).ttl(), -40);
    }
}
