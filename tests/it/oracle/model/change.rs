//! What a method that is not safe does to the store.

use super::rules::Sure;
use super::{Doubt, Exchange, Mistake, Model, Said, Shown, State, shown};
use crate::oracle::answer::Given;
use crate::oracle::ask::{AskSpec, Method};

impl Model {
    /// > A cache MUST invalidate the target URI when it receives a non-error status code in response to an unsafe request
    /// > method. [..] A cache MAY invalidate other URIs [..]: the URI(s) in the Location and Content-Location (RFC 9111
    /// > section 4.4).
    pub(super) fn change(
        &self,
        state: &State,
        ask: &AskSpec,
        now: i64,
        seen: &[Exchange],
        shown: &Shown,
    ) -> Result<Vec<State>, String> {
        let [one] = seen else { return Err(format!("the origin was asked {} time(s)", seen.len())) };
        if one.method != ask.method.text() {
            return Err(format!("the origin was asked with {}", one.method));
        }
        let given = match &one.said {
            Said::Nothing => return shown::is_gateway_error(shown).map(|()| vec![state.clone()]),
            Said::NotModified(given) | Said::Whole(given) => given,
        };
        shown::passes(given, ask, shown)?;
        let mut states = vec![self.invalidated(state, ask, given)];
        if self.is_for_later(ask, given) {
            states.extend(self.inserted(&states[0], ask, None, now, given));
        }
        Ok(states)
    }

    fn invalidated(&self, state: &State, ask: &AskSpec, given: &Given) -> State {
        if !(200..400).contains(&given.status) || self.mistake == Some(Mistake::InvalidationForgotten) {
            return state.clone();
        }
        let mut next = state.clone();
        for url in [Some(ask.url), given.location, given.content_location].into_iter().flatten() {
            for stored in &mut next.urls[url] {
                (stored.doubt, stored.lost) = (Doubt::Invalid, true);
            }
        }
        next
    }

    /// > Responses to POST requests are only cacheable when they include explicit freshness information and a
    /// > Content-Location header field that has the same value as the POST's target URI. A cached POST response can be
    /// > reused to satisfy a later GET or HEAD request (RFC 9110 section 9.3.3).
    fn is_for_later(&self, ask: &AskSpec, given: &Given) -> bool {
        let as_get = AskSpec { method: Method::Get, ..ask.clone() };
        ask.method == Method::Post
            && given.content_location == Some(ask.url)
            && self.explicit_ms(given).is_some()
            && self.is_storable(&as_get, given) != Sure::No
    }
}
