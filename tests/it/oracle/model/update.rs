//! What a 304, or an answer to HEAD, does to what is stored.

use super::fetch::{Kept, Outcome, Outcomes};
use super::keep::hides_secret;
use super::rules::{Sure, effective};
use super::{Conditions, Doubt, Exchange, Mistake, Model, Said, State, Stored};
use crate::oracle::answer::{Given, Tag};
use crate::oracle::ask::AskSpec;
use crate::oracle::sites::Cookies;

impl Model {
    /// An answer to HEAD.
    ///
    /// > the cache SHOULD update the stored response with the header fields provided in the HEAD response [if validators
    /// > and Content-Length match]; otherwise, the cache SHOULD consider the stored response to be stale (RFC 9111 section
    /// > 4.3.5).
    pub(super) fn headed(&self, state: &State, ask: &AskSpec, given: &Given) -> Outcomes {
        let free = given.status != 200 || ask.directives().no_store || ask.authorization || !self.may_keep(given);
        let mut states = vec![state.clone()];
        for (which, old) in state.urls[ask.url].iter().enumerate() {
            if !old.selecting.same(ask.selecting, old.says.vary) {
                continue;
            }
            let says = &old.says;
            let same = (says.etag, says.modified, says.padding) == (given.etag, given.modified, given.padding);
            let differs = says.padding != given.padding
                || (given.etag.is_some() && given.etag != says.etag)
                || (given.modified.is_some() && given.modified != says.modified);
            let doubt = if old.doubt == Doubt::Nothing { Doubt::Stale } else { old.doubt };
            let stale = Stored { doubt, ..old.clone() };
            // With its new fields it may be nothing that a cache keeps, or belong elsewhere.
            let revaried = given.vary.is_some() && given.vary != says.vary;
            let keeps = self.keeps(&merged(old, given).says) == Sure::Yes && !revaried;
            let sure =
                !free && keeps && !state.is_doubtful(ask, old) && says.status == 200 && old.doubt != Doubt::Invalid;
            let mut choices = match (sure, same, differs) {
                (true, true, _) => self.updated(old, ask, given),
                (true, _, true) => vec![stale],
                _ => {
                    let mut choices = vec![Stored { lost: true, ..old.clone() }, Stored { lost: true, ..stale }];
                    if given.status == 200 && !differs {
                        choices.extend(self.updated(old, ask, given));
                    }
                    choices
                }
            };
            choices.iter_mut().for_each(|choice| choice.lost |= old.lost);
            states = replaced(&states, ask, which, &choices);
        }
        states.into_iter().map(|state| (Outcome::Whole(given.clone(), Kept::Not), state)).collect()
    }

    /// Which stored answers a 304 may be about, and whether the origin is asked again instead.
    ///
    /// > If the new response contains one or more strong validators [..], then each of those strong validators identifies
    /// > a selected representation for update (RFC 9111 section 4.3.4).
    pub(super) fn is_about(
        &self,
        state: &State,
        ask: &AskSpec,
        selected: Option<usize>,
        given: &Given,
    ) -> (Vec<usize>, Sure) {
        let all = &state.urls[ask.url];
        // One that may not change what is stored, or changes so much that it may not be shared or varies on other fields,
        // may be too little or too much for a 304.
        let again = |which: usize| {
            let varies = given.vary.is_some() && given.vary != all[which].says.vary;
            let new = merged(&all[which], given);
            let shared = self.is_for(ask, &all[which]) == Sure::Yes && self.is_for(ask, &new) == Sure::Yes;
            let plain = shared && !ask.directives().no_store && !varies && self.keeps(&new.says) == Sure::Yes;
            if plain { Sure::No } else { Sure::Either }
        };
        if let Some(tag) = given.etag {
            let named: Vec<usize> = (0..all.len()).filter(|which| all[*which].says.etag == Some(tag)).collect();
            return match selected {
                Some(which) if named.contains(&which) => (vec![which], again(which)),
                // A weak tag may be that of several variants.
                Some(_) if tag != Tag::C && named.iter().any(|which| !all[*which].lost) => {
                    let sure = named.iter().map(|which| again(*which)).fold(Sure::No, |all, one| all | one);
                    (named, sure)
                }
                _ if named.is_empty() => (named, Sure::Yes),
                _ => (named, Sure::Either),
            };
        }
        match selected {
            // It says nothing of what it is about, or not all.
            Some(which) if given.modified.is_some() && given.modified == all[which].says.modified => {
                (vec![which], if all[which].says.etag.is_some() { Sure::Either } else { again(which) })
            }
            Some(which) => (vec![which], Sure::Either),
            None => ((0..all.len()).collect(), Sure::Either),
        }
    }

    /// A 304.
    pub(super) fn not_modified(
        &self,
        state: &State,
        ask: &AskSpec,
        selected: Option<usize>,
        given: &Given,
        conditions: &Conditions,
    ) -> Outcomes {
        let mut outcomes = Outcomes::new();
        let all = &state.urls[ask.url];
        for which in self.is_about(state, ask, selected, given).0 {
            let choices = self.updated(&all[which], ask, given);
            let unsure = choices.iter().any(|choice| choice.lost);
            for choice in &choices {
                for mut next in replaced(std::slice::from_ref(state), ask, which, std::slice::from_ref(choice)) {
                    if selected != Some(which) {
                        // It is what this request selects, too, beside what it selected or in its place.
                        if let Some(other) = selected {
                            next.urls[ask.url][other].lost = true;
                        }
                        let also = Stored { selecting: ask.selecting, lost: true, ..choice.clone() };
                        if !next.urls[ask.url].contains(&also) {
                            next.urls[ask.url].push(also);
                        }
                    }
                    outcomes.push((Outcome::Validated(Box::new(merged(&all[which], given))), next.clone()));
                    if unsure {
                        outcomes.push((Outcome::Validated(Box::new(all[which].clone())), next));
                    }
                }
            }
        }
        let exchange = Exchange { method: String::new(), conditions: conditions.clone(), said: Said::Nothing };
        if ask.is_conditional() && self.passes_own(ask, &exchange).is_ok() {
            outcomes.push((Outcome::Passed, state.clone()));
        }
        outcomes
    }

    /// What a stored answer may be after a 304 or an answer to HEAD.
    fn updated(&self, old: &Stored, ask: &AskSpec, given: &Given) -> Vec<Stored> {
        if self.mistake == Some(Mistake::UpdateForgotten) {
            return vec![old.clone()];
        }
        let new = merged(old, given);
        let unchanged = Stored { lost: true, ..old.clone() };
        let revaried = given.vary.is_some() && given.vary != old.says.vary;
        let bare = Given { cookie: false, ..new.says.clone() };
        if !self.may_keep(&bare) {
            return vec![unchanged];
        }
        let mut choices = vec![new.clone()];
        if revaried {
            let mut still = new.clone();
            still.says.vary = old.says.vary;
            choices.push(still);
        }
        let asked = !ask.directives().no_store && self.is_for(ask, &new) == Sure::Yes;
        let cookie = given.cookie && self.site.cookies != Cookies::Store;
        if revaried || cookie || !asked || self.keeps(&bare) != Sure::Yes {
            choices.iter_mut().for_each(|choice| choice.lost = true);
            choices.push(unchanged);
        }
        choices
    }
}

/// > the cache MUST add each header field in the provided response to the stored response, replacing field values that are
/// > already present (RFC 9111 section 3.2), but for those of the body itself.
fn merged(old: &Stored, given: &Given) -> Stored {
    let mut says = old.says.clone();
    says.serial = given.serial;
    says.at = given.at;
    says.date = given.date;
    says.age = given.age;
    says.control = given.control.or(says.control);
    says.targeted = given.targeted.or(says.targeted);
    says.expires = given.expires.or(says.expires);
    says.modified = given.modified.or(says.modified);
    says.vary = given.vary.or(says.vary);
    says.cookie |= given.cookie;
    let renewed = |name: &str| given.lines.iter().any(|(have, _)| have.eq_ignore_ascii_case(name));
    says.lines.retain(|(name, _)| name == "etag" || !renewed(name));
    says.lines.extend(given.lines.iter().filter(|(name, _)| name != "etag").cloned());
    let hidden = hides_secret(&effective(&says).0);
    let secret = (old.secret || given.line("x-secret").is_some()) && !hidden;
    Stored { says, secret, doubt: Doubt::Nothing, lost: false, ..old.clone() }
}

/// Each state with each of the choices.
fn replaced(states: &[State], ask: &AskSpec, which: usize, choices: &[Stored]) -> Vec<State> {
    let mut all = Vec::new();
    for state in states {
        for choice in choices {
            let mut next = state.clone();
            next.urls[ask.url][which] = choice.clone();
            super::add(&mut all, next);
        }
    }
    all
}
