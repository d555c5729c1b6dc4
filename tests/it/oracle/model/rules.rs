//! The rules by which a stored answer is judged, each from its own words.

use std::ops::BitOr;

use super::{Doubt, Mistake, Model, Stored};
use crate::oracle::answer::{Control, Expiry, Given, Number, Scope, Targeted, Vary};
use crate::oracle::ask::{AskSpec, Method};
use crate::oracle::sites::Cookies;

/// What must be, must not be, or is left to the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sure {
    Yes,
    No,
    Either,
}

impl Sure {
    /// Which of the two may be.
    pub(super) fn sides(self) -> &'static [bool] {
        match self {
            Self::Yes => &[true],
            Self::No => &[false],
            Self::Either => &[true, false],
        }
    }

    pub(super) fn allows(self, side: bool) -> bool {
        self.sides().contains(&side)
    }

    /// `surely` implies `perhaps`.
    pub(super) fn between(surely: bool, perhaps: bool) -> Self {
        if surely {
            Self::Yes
        } else if perhaps {
            Self::Either
        } else {
            Self::No
        }
    }

    /// Left to the cache unless it must not be.
    pub(super) fn at_most_may(self) -> Self {
        if self == Self::No { self } else { Self::Either }
    }
}

impl From<bool> for Sure {
    fn from(sure: bool) -> Self {
        if sure { Self::Yes } else { Self::No }
    }
}

impl BitOr for Sure {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::No, Self::No) => Self::No,
            _ => Self::Either,
        }
    }
}

/// Seconds beyond the lifetime of a window that an answer opens; between the two it is the cache's choice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    surely: i64,
    at_most: i64,
}

const HEURISTIC_MAX_S: i64 = 86_400;
pub(super) const STALE_MAX_S: i64 = 86_400;

/// > If a cache recognizes a targeted field [..], it MUST use it [..] and ignore Cache-Control and Expires (RFC 9213
/// > section 2.2).
pub(super) fn effective(given: &Given) -> (Control, Option<Expiry>) {
    match given.targeted {
        Some(Targeted::Valid(mut control)) => {
            // A value of another type than the directive's is as if it were not there.
            let valid = |number: Option<Number>| number.filter(|number| *number != Number::Invalid);
            control.max_age = valid(control.max_age);
            control.s_maxage = valid(control.s_maxage);
            control.stale_while_revalidate = valid(control.stale_while_revalidate);
            control.stale_if_error = valid(control.stale_if_error);
            (control, None)
        }
        Some(Targeted::Invalid) | None => (given.control.unwrap_or_default(), given.expires),
    }
}

/// > When stale, [must-revalidate, proxy-revalidate, s-maxage] MUST NOT be used without validation (RFC 9111 sections
/// > 5.2.2.2, 5.2.2.8, 5.2.2.10).
pub(super) fn forbids_stale(control: &Control) -> bool {
    control.must_revalidate || control.proxy_revalidate || control.s_maxage.is_some() || forbids_reuse(control)
}

/// > The no-cache response directive, in its unqualified form, indicates that the response MUST NOT be used to satisfy any
/// > other request without forwarding it for validation (RFC 9111 section 5.2.2.4).
pub(super) fn forbids_reuse(control: &Control) -> bool {
    control.no_cache == Scope::Whole
}

/// > In this specification, the following response directives have such an effect: must-revalidate, public, and s-maxage
/// > (RFC 9111 section 3.5).
fn is_shareable(control: &Control) -> bool {
    control.must_revalidate || control.public || control.s_maxage.is_some()
}

/// RFC 9110 section 15.1.
fn is_heuristic(status: u16) -> bool {
    matches!(status, 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Defined by RFC 9110.
fn is_understood(status: u16) -> bool {
    !matches!(status, 299 | 499 | 599)
}

/// > Responses with the 428 [429, 431, 511] status code MUST NOT be stored by a cache (RFC 6585 sections 3 to 6).
fn never_stored(status: u16) -> bool {
    matches!(status, 428 | 429 | 431 | 511)
}

/// What `stale-if-error` calls an error.
pub(super) fn is_error(status: u16) -> bool {
    matches!(status, 500 | 502 | 503 | 504)
}

impl Model {
    fn mistaken(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// Milliseconds, when the answer says it itself (RFC 9111 section 4.2.1).
    pub(super) fn explicit_ms(&self, given: &Given) -> Option<i64> {
        let (control, expires) = effective(given);
        let numbers = match self.mistaken(Mistake::MaxAgeFirst) {
            false => control.s_maxage.or(control.max_age),
            true => control.max_age.or(control.s_maxage),
        };
        let seconds = numbers.map(Number::seconds).or_else(|| {
            expires.map(|expires| match expires {
                Expiry::At(at) => (at - given.date).max(0),
                Expiry::Past => 0,
            })
        })?;
        Some(1000 * (seconds + i64::from(self.mistaken(Mistake::LifetimeLonger))))
    }

    /// Milliseconds, at least and at most; by a tenth of the time since it was modified when it says nothing (RFC 9111
    /// section 4.2.2).
    pub(super) fn lifetime_ms(&self, given: &Given) -> (i64, i64) {
        if let Some(explicit) = self.explicit_ms(given) {
            return (explicit, explicit);
        }
        let since = given.modified.map_or(0, |modified| given.date - modified);
        let most = (since * 100).clamp(0, 1000 * HEURISTIC_MAX_S);
        // A lifetime may be counted in whole seconds. Errors are kept briefly, whatever that is.
        let least = if given.status >= 400 { 0 } else { most - most % 1000 };
        (least, most)
    }

    /// Seconds (RFC 9111 section 4.2.3). Unknown when the clock was set back since.
    pub(super) fn age_s(&self, given: &Given, now: i64) -> Option<i64> {
        let apparent = (given.at.div_euclid(1000) - given.date).max(0);
        let value = if self.mistaken(Mistake::AgeForgotten) { 0 } else { given.age.map_or(0, Number::seconds) };
        (now >= given.at).then(|| apparent.max(value) + (now - given.at) / 1000)
    }

    /// > response_is_fresh = (freshness_lifetime > current_age)
    pub(super) fn is_fresh(&self, stored: &Stored, now: i64) -> Sure {
        let (least, most) = self.lifetime_ms(&stored.says);
        match (stored.doubt, self.age_s(&stored.says, now)) {
            (Doubt::Stale | Doubt::Invalid, _) => Sure::No,
            (Doubt::Nothing, None) => Sure::Either,
            (Doubt::Nothing, Some(age)) => Sure::between(least > 1000 * age, most > 1000 * age),
        }
    }

    /// Whether it is stale by no more than a window's seconds. At its very end the words leave both.
    pub(super) fn is_within(&self, stored: &Stored, window: Window, now: i64) -> Sure {
        let known = if stored.doubt == Doubt::Nothing { self.age_s(&stored.says, now) } else { None };
        let Some(age) = known else {
            return if window.at_most >= 0 { Sure::Either } else { Sure::No };
        };
        let (least, most) = self.lifetime_ms(&stored.says);
        let (stale_least, stale_most) = (1000 * age - most, 1000 * age - least);
        Sure::between(stale_most < 1000 * window.surely, stale_least <= 1000 * window.at_most)
    }

    /// RFC 5861 section 3, and the site's grace.
    pub(super) fn while_revalidate(&self, control: &Control) -> Window {
        self.window(control.stale_while_revalidate, control.stale_if_error.is_some())
    }

    /// RFC 5861 section 4, and the site's grace.
    pub(super) fn if_error(&self, control: &Control) -> Window {
        if self.mistaken(Mistake::StaleIfErrorForgotten) {
            return Window { surely: 0, at_most: -1 };
        }
        self.window(control.stale_if_error, control.stale_while_revalidate.is_some())
    }

    fn window(&self, said: Option<Number>, other_said: bool) -> Window {
        let grace = self.site.grace;
        match said {
            Some(Number::Invalid) => Window { surely: 0, at_most: grace },
            Some(number) => Window::exactly(number.seconds()),
            // An answer that speaks of one window only may be said to have spoken.
            None if other_said => Window { surely: -1, at_most: if grace > 0 { grace } else { -1 } },
            None if grace == 0 => Window { surely: -1, at_most: -1 },
            None => Window::exactly(grace),
        }
    }

    /// Whether the answer to this request is stored (RFC 9111 section 3).
    pub(super) fn is_storable(&self, ask: &AskSpec, given: &Given) -> Sure {
        let (control, _) = effective(given);
        if ask.method != Method::Get || ask.directives().no_store {
            return Sure::No;
        }
        let authorized = ask.authorization && !self.mistaken(Mistake::AuthorizationForgotten);
        if authorized && !is_shareable(&control) { Sure::No } else { self.keeps(given) }
    }

    /// Whether it is stored, whoever asked.
    pub(super) fn keeps(&self, given: &Given) -> Sure {
        let (control, _) = effective(given);
        if !self.may_keep(given) {
            return Sure::No;
        }
        if self.explicit_ms(given).is_some() {
            return Sure::Yes;
        }
        let validator = given.etag.is_some() || given.modified.is_some();
        match given.status {
            // Both of the kinds that may and of those that must not.
            501 if validator => Sure::Either,
            400 | 413 | 431 | 500.. => Sure::No,
            status => (validator && (is_heuristic(status) || control.public)).into(),
        }
    }

    /// Whether the answer itself allows a shared cache to keep it.
    pub(super) fn may_keep(&self, given: &Given) -> bool {
        let (control, _) = effective(given);
        let understood = is_understood(given.status);
        let no_store = control.no_store && !(control.must_understand && understood);
        let private = control.private == Scope::Whole && !self.mistaken(Mistake::PrivateForgotten);
        !no_store
            && !never_stored(given.status)
            && !private
            && (understood || !control.must_understand)
            && given.vary != Some(Vary::Star)
            && (!given.cookie || self.site.cookies != Cookies::Bypass)
    }

    /// Whether a request with credentials may get what is stored.
    pub(super) fn is_for(&self, ask: &AskSpec, stored: &Stored) -> Sure {
        match ask.authorization && !is_shareable(&effective(&stored.says).0) {
            true => Sure::Either,
            false => Sure::Yes,
        }
    }

    /// Whether what is stored, though stale, may stand in when the origin fails: with an answer that says so, or without.
    pub(super) fn stands_in(&self, ask: &AskSpec, stored: &Stored, answered: bool, now: i64) -> Sure {
        let (control, _) = effective(&stored.says);
        let fresh = self.is_fresh(stored, now);
        if stored.doubt == Doubt::Invalid || forbids_reuse(&control) {
            return Sure::No;
        }
        let stale = if forbids_stale(&control) && !self.mistaken(Mistake::MustRevalidateForgotten) {
            Sure::No
        } else if answered {
            self.is_within(stored, self.if_error(&control), now)
        } else {
            let disconnected = self.is_within(stored, Window::exactly(STALE_MAX_S), now);
            self.is_within(stored, self.if_error(&control), now) | disconnected
        };
        // Where stale could have been served without asking, it may be after, too.
        let seconds = |window| self.is_within(stored, window, now).at_most_may();
        let taken =
            ask.directives().max_stale.map_or(Sure::No, |most| seconds(Window::exactly(most.number().seconds())));
        let stale = match forbids_stale(&control) {
            true => stale,
            false => stale | seconds(self.while_revalidate(&control)) | taken,
        };
        let sure = match fresh {
            // The client wanted it validated: to serve it without is a choice.
            Sure::Yes => Sure::Either,
            Sure::Either => stale.at_most_may() | Sure::Either,
            Sure::No => stale,
        };
        // So it is when the client's own words limit what it takes.
        let limited = ask.is_demanding();
        let limited = limited || ask.directives().no_store;
        match self.is_for(ask, stored) {
            Sure::Yes if !limited => sure,
            _ => sure.at_most_may(),
        }
    }
}

impl Window {
    pub(super) fn exactly(seconds: i64) -> Self {
        Self { surely: seconds, at_most: seconds }
    }
}
