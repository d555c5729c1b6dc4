//! A small shared cache, from the words of RFC 9111, 5861, 9213 and of this project's own decisions; it shares nothing with
//! the cache it is held against.
//!
//! Where the words leave a choice, every choice is followed: a [`State`] is one way things may stand, and a step that is
//! allowed leads from it to all states that fit what was seen. No state left means that the node did what it must not.

mod change;
mod fetch;
mod keep;
mod rules;
mod shown;
mod update;

use super::answer::{Given, Tag};
use super::ask::{AskSpec, Method, Selecting, Tags};
use super::sites::{Revalidation, Site};
use rules::{Sure, Window, effective, forbids_reuse, forbids_stale};

/// The rules, for one history.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Model {
    pub(crate) site: Site,
    /// When the history began, in milliseconds.
    pub(crate) began: i64,
    /// One rule may be wrong, to see that it is noticed.
    pub(crate) mistake: Option<Mistake>,
}

/// A rule that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mistake {
    LifetimeLonger,
    AgeForgotten,
    MaxAgeFirst,
    VaryForgotten,
    PrivateForgotten,
    AuthorizationForgotten,
    MustRevalidateForgotten,
    StaleIfErrorForgotten,
    InvalidationForgotten,
    UpdateForgotten,
}

/// What is stored, by URL.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct State {
    urls: [Vec<Stored>; 2],
    /// Whether any answer of the URL said Vary.
    varied: [bool; 2],
    /// Of all that was ever stored of it: that something was forgotten may be noticed when a 304 names it.
    tags: [Vec<Tag>; 2],
}

#[derive(Debug, Clone, PartialEq)]
struct Stored {
    body: String,
    /// Its fields, as the newest answer about it left them.
    says: Given,
    selecting: Selecting,
    /// Whether clients get `X-Secret`.
    secret: bool,
    /// When a client last had it validated though it was fresh.
    granted: Option<i64>,
    doubt: Doubt,
    /// It may have been given up: a cache is free to, for instance when the URL seems to have changed.
    lost: bool,
}

/// What later answers say against what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    Nothing,
    /// An answer to HEAD did not agree.
    Stale,
    /// The URL was changed: not without validation.
    Invalid,
}

/// One request of the origin's side.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) method: String,
    pub(crate) conditions: Conditions,
    pub(crate) said: Said,
}

/// The conditions of a request.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Conditions {
    pub(crate) tags: Option<Tags>,
    /// `If-Modified-Since`, in seconds since the epoch.
    pub(crate) since: Option<i64>,
}

/// How the origin answered.
#[derive(Debug, Clone)]
pub(crate) enum Said {
    Whole(Given),
    NotModified(Given),
    Nothing,
}

/// What the client saw.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) lines: Vec<(String, String)>,
    /// `Cache-Status` without the cache's name.
    pub(crate) cache: String,
}

/// What a cache may do with a request, before anything is known of the origin.
#[derive(Debug, Clone, Copy)]
enum Plan {
    /// Answers from what is stored.
    Serve {
        which: usize,
        refresh: Sure,
        stale: bool,
    },
    Forward {
        selected: Option<usize>,
        grant: bool,
    },
    /// `only-if-cached`.
    Refuse,
}

impl State {
    /// Whether it forgot to say Vary, and may thus be no answer to this request.
    fn is_doubtful(&self, ask: &AskSpec, stored: &Stored) -> bool {
        self.varied[ask.url] && stored.says.vary.is_none() && stored.selecting != ask.selecting
    }
}

/// The states that may be now, or why there is none.
pub(crate) type Judged = (Vec<State>, Vec<String>);

impl Model {
    /// One request of a client, and what came of it.
    pub(crate) fn step(&self, state: &State, ask: &AskSpec, now: i64, seen: &[Exchange], shown: &Shown) -> Judged {
        let (mut states, mut against) = (Vec::new(), Vec::new());
        let mut judge = |name: String, judged: Result<Vec<State>, String>| match judged {
            Ok(more) => more.into_iter().for_each(|state| add(&mut states, state)),
            Err(why) => against.push(format!("{name}, but {why}")),
        };
        if !ask.method.is_safe() {
            judge("it goes to the origin".to_owned(), self.change(state, ask, now, seen, shown));
        } else {
            for plan in self.plans(state, ask, now) {
                judge(self.named(state, ask, plan, now), self.follow(state, ask, plan, now, seen, shown));
            }
        }
        (states, against)
    }

    fn follow(
        &self,
        state: &State,
        ask: &AskSpec,
        plan: Plan,
        now: i64,
        seen: &[Exchange],
        shown: &Shown,
    ) -> Result<Vec<State>, String> {
        match plan {
            Plan::Refuse => match (shown.status, seen.len()) {
                (504, 0) => Ok(vec![state.clone()]),
                (status, asked) => Err(format!("the status is {status}, and the origin was asked {asked} time(s)")),
            },
            Plan::Serve { which, refresh, .. } => {
                self.shows_stored(&state.urls[ask.url][which], ask, now, shown, true)?;
                match (seen.is_empty(), refresh) {
                    (true, Sure::Yes) => Err("the origin was not asked for a newer one".to_owned()),
                    (false, Sure::No) => Err(format!("the origin was asked {} time(s)", seen.len())),
                    (true, _) => Ok(vec![state.clone()]),
                    (false, _) => self.refresh(state, ask, which, now, seen),
                }
            }
            Plan::Forward { selected, grant } => {
                let mut state = state.clone();
                if let (Some(which), true) = (selected, grant) {
                    state.urls[ask.url][which].granted = Some(now);
                }
                self.forward(&state, ask, selected, now, seen, shown)
            }
        }
    }

    /// All that may be done with a request for it.
    fn plans(&self, state: &State, ask: &AskSpec, now: i64) -> Vec<Plan> {
        let mut plans = Vec::new();
        let (suitable, none) = self.suitable(state, ask);
        for which in suitable {
            self.plans_for(&state.urls[ask.url][which], which, ask, now, &mut plans);
        }
        if none {
            plans.push(Plan::Forward { selected: None, grant: false });
        }
        if ask.directives().only_if_cached {
            for plan in &mut plans {
                if let Plan::Forward { .. } = plan {
                    *plan = Plan::Refuse;
                }
            }
            // Stale within a window, or fresh but not enough for this client: refusing is right, too.
            if ask.is_demanding() || plans.iter().any(|plan| matches!(plan, Plan::Serve { refresh: Sure::Yes, .. })) {
                plans.push(Plan::Refuse);
            }
        }
        plans
    }

    /// The stored answers that this request selects: the newest (RFC 9111 section 4), and before those that forgot to say
    /// Vary one that does (section 4.1). And whether there may be none.
    fn suitable(&self, state: &State, ask: &AskSpec) -> (Vec<usize>, bool) {
        let all = &state.urls[ask.url];
        let matches = |stored: &Stored| {
            let vary = if self.mistake == Some(Mistake::VaryForgotten) { None } else { stored.says.vary };
            stored.selecting.same(ask.selecting, vary)
        };
        let rank = |which: &usize| (all[*which].says.vary.is_some(), all[*which].says.date);
        let mut matching: Vec<usize> = (0..all.len()).filter(|which| matches(&all[*which])).collect();
        matching.sort_by_key(|which| std::cmp::Reverse(rank(which)));
        // Where the best may be gone, the next best comes in.
        let sure = matching.iter().find(|which| !all[**which].lost && !state.is_doubtful(ask, &all[**which])).copied();
        if let Some(sure) = sure {
            matching.retain(|which| rank(which) >= rank(&sure));
        }
        (matching, sure.is_none())
    }

    fn plans_for(&self, stored: &Stored, which: usize, ask: &AskSpec, now: i64, plans: &mut Vec<Plan>) {
        let (control, _) = effective(&stored.says);
        let forward = |grant| Plan::Forward { selected: Some(which), grant };
        if stored.doubt == Doubt::Invalid || forbids_reuse(&control) {
            plans.push(forward(false));
            return;
        }
        if self.is_for(ask, stored) == Sure::Either {
            plans.push(forward(false));
        }
        for fresh in self.is_fresh(stored, now).sides() {
            if *fresh {
                for (served, grant) in self.demands(stored, ask, now) {
                    plans.push(match served {
                        true => Plan::Serve { which, refresh: Sure::No, stale: false },
                        false => forward(grant),
                    });
                }
                continue;
            }
            let forbidden = forbids_stale(&control) && self.mistake != Some(Mistake::MustRevalidateForgotten);
            for (served, refresh) in self.stale(stored, ask, forbidden, now) {
                plans.push(if served { Plan::Serve { which, refresh, stale: true } } else { forward(false) });
            }
        }
    }

    /// Whether a fresh answer is served although the client may want more, and else whether that uses up what clients may
    /// force.
    fn demands(&self, stored: &Stored, ask: &AskSpec, now: i64) -> Vec<(bool, bool)> {
        let unmet = self.is_unmet(stored, ask, now);
        let mut all = Vec::new();
        for unmet in unmet.sides() {
            match (unmet, self.site.revalidation) {
                (false, _) | (true, Revalidation::Ignore) => all.push((true, false)),
                (true, Revalidation::Honor) => all.push((false, false)),
                (true, Revalidation::Limit) => match stored.granted {
                    Some(last) if now < last => all.extend([(true, false), (false, true)]),
                    Some(last) if now - last < 1000 => all.push((true, false)),
                    _ => {
                        all.push((false, true));
                        if ask.directives().only_if_cached {
                            all.extend([(true, false), (false, false)]);
                        }
                    }
                },
            }
        }
        all
    }

    /// Whether a fresh answer is not what the client asked for (RFC 9111 section 5.2.1).
    fn is_unmet(&self, stored: &Stored, ask: &AskSpec, now: i64) -> Sure {
        let directives = ask.directives();
        let (least, most) = self.lifetime_ms(&stored.says);
        let age = self.age_s(&stored.says, now);
        let older = |seconds: u32| age.map_or(Sure::Either, |age| Sure::from(age > i64::from(seconds)));
        // With max-stale beside it a client may be said to take older ones.
        let older =
            |seconds| if directives.max_stale.is_some() { older(seconds).at_most_may() } else { older(seconds) };
        let too_short = |seconds: u32| {
            age.map_or(Sure::Either, |age| {
                let wanted = 1000 * (age + i64::from(seconds));
                Sure::between(most < wanted, least < wanted)
            })
        };
        Sure::from(ask.says_no_cache())
            | directives.max_age.map_or(Sure::No, older)
            | directives.min_fresh.map_or(Sure::No, too_short)
    }

    /// Whether a stale answer is served, and whether the origin is then asked for a newer one.
    fn stale(&self, stored: &Stored, ask: &AskSpec, forbidden: bool, now: i64) -> Vec<(bool, Sure)> {
        if forbidden {
            return vec![(false, Sure::No)];
        }
        let (control, _) = effective(&stored.says);
        let directives = ask.directives();
        let within = self.is_within(stored, self.while_revalidate(&control), now);
        let taken = directives
            .max_stale
            .map_or(Sure::No, |most| self.is_within(stored, Window::exactly(most.number().seconds()), now));
        // How far clients may force validation is said of what is fresh only; and beside max-stale such words contradict it.
        let mut all = Vec::new();
        let serve = if ask.is_demanding() { (taken | within).at_most_may() } else { taken | within };
        if serve.allows(true) {
            let refresh = match (taken, within) {
                (Sure::No, _) => Sure::Yes,
                (_, Sure::No) => Sure::No,
                _ => Sure::Either,
            };
            all.push((true, refresh));
        }
        if serve.allows(false) {
            all.push((false, Sure::No));
        }
        all
    }

    fn named(&self, state: &State, ask: &AskSpec, plan: Plan, now: i64) -> String {
        let about = |which: usize| {
            let stored = &state.urls[ask.url][which];
            let age = self.age_s(&stored.says, now).map_or("unknown".to_owned(), |age| age.to_string());
            let (_, lifetime_ms) = self.lifetime_ms(&stored.says);
            format!("\"{}\" (age {age} s, lifetime {lifetime_ms} ms, doubt {:?})", stored.body, stored.doubt)
        };
        match plan {
            Plan::Serve { which, stale: false, .. } => format!("{} is fresh and serves", about(which)),
            Plan::Serve { which, stale: true, .. } => format!("{} serves though stale", about(which)),
            Plan::Forward { selected: None, .. } => "nothing stored: to the origin".to_owned(),
            Plan::Forward { selected: Some(which), .. } => format!("{} must be validated", about(which)),
            Plan::Refuse => "only-if-cached: 504".to_owned(),
        }
    }
}

fn add(states: &mut Vec<State>, state: State) {
    if !states.contains(&state) {
        states.push(state);
    }
}

/// Whether it asks with GET, so that the answer may be stored.
fn is_get(method: &str) -> bool {
    method == Method::Get.text()
}
