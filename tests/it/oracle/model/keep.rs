//! What a whole answer does to the store.

use super::fetch::{Kept, Outcome, Outcomes};
use super::rules::{Sure, effective};
use super::{Doubt, Model, State, Stored};
use crate::oracle::answer::{Control, Given, Scope};
use crate::oracle::ask::{AskSpec, Method};

impl Model {
    /// A whole answer to GET.
    pub(super) fn whole(
        &self,
        state: &State,
        ask: &AskSpec,
        selected: Option<usize>,
        now: i64,
        given: &Given,
        behind: bool,
    ) -> Outcomes {
        let mut sure = self.is_storable(ask, given);
        if behind && sure == Sure::No {
            // What the client may not leave behind, the cache may: the request is its own.
            let own = AskSpec { authorization: false, control: None, method: Method::Get, ..ask.clone() };
            sure = self.is_storable(&own, given).at_most_may();
        }
        let mut outcomes = Outcomes::new();
        for side in sure.sides() {
            let (kept, states) = match side {
                true => (Kept::Stored, self.inserted(state, ask, selected, now, given)),
                false => (Kept::Not, vec![without(state, ask, given)]),
            };
            outcomes.extend(states.into_iter().map(|state| (Outcome::Whole(given.clone(), kept), state)));
        }
        outcomes
    }

    /// With a new stored answer.
    pub(super) fn inserted(
        &self,
        state: &State,
        ask: &AskSpec,
        selected: Option<usize>,
        now: i64,
        given: &Given,
    ) -> Vec<State> {
        let vary = given.vary;
        let granted = selected.and_then(|which| state.urls[ask.url][which].granted);
        let mut next = state.clone();
        next.varied[ask.url] |= vary.is_some();
        next.tags[ask.url].extend(given.etag);
        let is_replaced = |old: &Stored| {
            // Where one of several answers forgot to say Vary, it may stay for the requests that are like its own.
            let narrowly = vary.is_none() && next.varied[ask.url];
            let like = if narrowly { old.selecting == ask.selecting } else { old.selecting.same(ask.selecting, vary) };
            old.says.vary == vary && like
        };
        next.urls[ask.url].retain(|old| !is_replaced(old));
        for old in &mut next.urls[ask.url] {
            // Nobody need keep answers that vary on something else.
            old.lost |= old.says.vary != vary || old.selecting.same(ask.selecting, old.says.vary);
        }
        next.urls[ask.url].push(Stored {
            body: given.body(),
            says: given.clone(),
            selecting: ask.selecting,
            secret: given.line("x-secret").is_some() && !hides_secret(&effective(given).0),
            granted: None,
            doubt: Doubt::Nothing,
            lost: false,
        });
        let mut all = vec![next.clone()];
        // The limit on what clients force may count by URL, too.
        if granted.is_some_and(|last| now - last < 1000) {
            next.urls[ask.url].last_mut().expect("just stored").granted = granted;
            all.push(next);
        }
        all
    }
}

/// Whether clients that come later do not get `X-Secret`.
pub(super) fn hides_secret(control: &Control) -> bool {
    control.private == Scope::Secret || control.no_cache == Scope::Secret
}

/// When the answer is not stored: what is may stay, or be given up as the URL no longer gives it. A failure of the origin
/// says nothing of it.
fn without(state: &State, ask: &AskSpec, given: &Given) -> State {
    let mut next = state.clone();
    next.urls[ask.url].iter_mut().for_each(|stored| stored.lost |= given.status < 500);
    next
}
