//! Random histories of one or two URLs: the clock moves, a client asks, the origin has its answer ready.

use proptest::prelude::*;
use proptest::{collection, option, sample};

use super::answer::{AnswerSpec, Control, Expires, Mood, Number, Reaction, Scope, Tag, Targeted, Vary};
use super::ask::{AskControl, AskSpec, Color, Language, MaxStale, Method, Selecting, Tags};
use super::sites::Site;

/// What happens, in order, on one site.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct History {
    pub(crate) site: Site,
    pub(crate) steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Seconds; the clock may be set back.
    Wait(i64),
    /// A request, and how the origin would answer what comes of it.
    Ask(Box<AskSpec>, Box<Reaction>),
}

/// Any history. All that can be chosen has its plainest choice first, for shrinking.
pub(crate) fn histories(sites: Vec<Site>) -> impl Strategy<Value = History> {
    (sample::select(sites), tastes()).prop_flat_map(|(site, taste)| {
        collection::vec(steps(taste), 2..=12).prop_map(move |steps| History { site, steps })
    })
}

/// What the answers of one history have in common: without it most steps would have nothing to do with one another.
#[derive(Debug, Clone)]
struct Taste {
    vary: Vary,
    etag: Option<Tag>,
    modified: Option<i64>,
    control: Option<Control>,
}

fn tastes() -> impl Strategy<Value = Taste> {
    let vary =
        prop_oneof![6 => Just(Vary::Nothing), 3 => Just(Vary::Color), 1 => Just(Vary::Language), 1 => Just(Vary::Both)];
    let control = prop_oneof![6 => controls().prop_map(Some), 1 => Just(None)];
    (vary, option::weighted(0.7, tags()), option::weighted(0.4, modified()), control)
        .prop_map(|(vary, etag, modified, control)| Taste { vary, etag, modified, control })
}

fn steps(taste: Taste) -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (asks(), reactions(taste)).prop_map(|(ask, reaction)| Step::Ask(Box::new(ask), Box::new(reaction))),
        2 => waits().prop_map(Step::Wait),
    ]
}

/// Around the lifetimes and windows of [`seconds`], and now and then back.
fn waits() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => sample::select(vec![1, 2, 9, 10, 11, 19, 20, 21, 50, 59, 60, 61, 70]),
        2 => sample::select(vec![3599, 3600, 3601, 86_399, 86_400, 86_461, 200_000]),
        1 => sample::select(vec![-1, -5, -61, -3600]),
    ]
}

fn seconds() -> impl Strategy<Value = u32> {
    prop_oneof![4 => Just(60), 4 => Just(10), 2 => Just(0), 1 => Just(3600), 1 => Just(1)]
}

fn numbers() -> impl Strategy<Value = Number> {
    prop_oneof![24 => seconds().prop_map(Number::Seconds), 1 => Just(Number::Huge), 1 => Just(Number::Invalid)]
}

fn tags() -> impl Strategy<Value = Tag> {
    sample::select(Tag::ALL.to_vec())
}

fn modified() -> impl Strategy<Value = i64> {
    prop_oneof![2 => Just(1000), 2 => Just(100_000), 1 => Just(2_000_000)]
}

fn spellings() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0), 4 => any::<u64>()]
}

fn scopes() -> impl Strategy<Value = Scope> {
    prop_oneof![16 => Just(Scope::Nothing), 1 => Just(Scope::Whole), 1 => Just(Scope::Secret)]
}

fn rarely(one_in: u32) -> impl Strategy<Value = bool> {
    prop_oneof![one_in - 1 => Just(false), 1 => Just(true)]
}

fn controls() -> impl Strategy<Value = Control> {
    let numbers = (
        option::weighted(0.8, numbers()),
        option::weighted(0.12, numbers()),
        option::weighted(0.25, numbers()),
        option::weighted(0.25, numbers()),
    );
    let flags = (rarely(16), scopes(), scopes(), rarely(8), rarely(10), rarely(16), rarely(16));
    (numbers, flags).prop_map(|(numbers, flags)| Control {
        max_age: numbers.0,
        s_maxage: numbers.1,
        stale_while_revalidate: numbers.2,
        stale_if_error: numbers.3,
        no_store: flags.0,
        no_cache: flags.1,
        private: flags.2,
        public: flags.3,
        must_revalidate: flags.4,
        proxy_revalidate: flags.5,
        must_understand: flags.6,
    })
}

fn targeted() -> impl Strategy<Value = Targeted> {
    prop_oneof![
        3 => controls().prop_map(|mut control| {
            // Not a Structured Field's way to say it.
            let whole = |scope| if scope == Scope::Secret { Scope::Nothing } else { scope };
            control.no_cache = whole(control.no_cache);
            control.private = whole(control.private);
            Targeted::Valid(control)
        }),
        1 => Just(Targeted::Invalid),
    ]
}

fn expires() -> impl Strategy<Value = Expires> {
    prop_oneof![
        4 => prop_oneof![Just(60), Just(10), Just(3600), Just(0), Just(-10)].prop_map(Expires::In),
        1 => Just(Expires::Invalid),
        1 => Just(Expires::Twice(60)),
    ]
}

fn statuses() -> impl Strategy<Value = u16> {
    prop_oneof![
        30 => Just(200),
        3 => Just(503),
        4 => sample::select(vec![500, 502, 504]),
        5 => sample::select(vec![203, 204, 300, 301, 308, 404, 405, 410, 414]),
        3 => sample::select(vec![201, 302, 303, 307, 400, 403, 429, 431, 501, 299, 499, 599]),
    ]
}

fn answers(taste: Taste) -> impl Strategy<Value = AnswerSpec> {
    // Mostly to the taste of the history.
    let control = {
        let usual = taste.control;
        prop_oneof![5 => Just(usual), 3 => option::weighted(0.85, controls())]
    };
    let etag = prop_oneof![3 => Just(taste.etag), 1 => option::of(tags())];
    let modified = prop_oneof![4 => Just(taste.modified), 1 => option::of(modified())];
    let vary = prop_oneof![
        14 => Just(taste.vary),
        1 => sample::select(vec![Vary::Nothing, Vary::Color, Vary::Both, Vary::Star]),
    ];
    let first = (statuses(), control, option::weighted(0.1, targeted()), option::weighted(0.12, expires()));
    let dates =
        prop_oneof![4 => Just(None), 3 => Just(Some(0)), 1 => sample::select(vec![Some(-10), Some(-100), Some(50)])];
    let ages = option::weighted(
        0.12,
        prop_oneof![
            4 => prop_oneof![Just(5), Just(10), Just(50), Just(0)].prop_map(Number::Seconds),
            1 => Just(Number::Invalid),
        ],
    );
    let second = (dates, ages, etag, modified, vary);
    let urls = || option::weighted(0.1, 0..2usize);
    let third = (rarely(20), rarely(4), urls(), urls(), prop_oneof![4 => Just(0usize), 1 => Just(3)], spellings());
    (first, second, third).prop_map(|(first, second, third)| AnswerSpec {
        status: first.0,
        control: first.1,
        targeted: first.2,
        expires: first.3,
        date: second.0,
        age: second.1,
        etag: second.2,
        modified: second.3,
        vary: second.4,
        cookie: third.0,
        secret: third.1,
        location: third.2,
        content_location: third.3,
        padding: third.4,
        spelling: third.5,
    })
}

fn reactions(taste: Taste) -> impl Strategy<Value = Reaction> {
    let moods = prop_oneof![
        12 => Just(Mood::Honest),
        3 => Just(Mood::Blind),
        2 => Just(Mood::HangUp),
        2 => Just(Mood::Unchanged),
        1 => Just(Mood::UnchangedBare),
    ];
    (answers(taste), moods).prop_map(|(answer, mood)| Reaction { answer, mood })
}

fn asks() -> impl Strategy<Value = AskSpec> {
    let methods = prop_oneof![
        40 => Just(Method::Get),
        4 => Just(Method::Head),
        1 => Just(Method::Post),
        1 => Just(Method::Delete),
        1 => Just(Method::Frob),
    ];
    let urls = prop_oneof![9 => Just(0usize), 1 => Just(1usize)];
    let color = prop_oneof![5 => Just(Color::Absent), 1 => Just(Color::Empty), 3 => Just(Color::Red), 1 => Just(Color::RedBlue)];
    let language =
        prop_oneof![5 => Just(Language::Absent), 2 => Just(Language::German), 1 => Just(Language::GermanEnglish)];
    let conditions =
        (option::weighted(0.12, wanted()), option::weighted(0.08, prop_oneof![Just(1000), Just(0), Just(100_000)]));
    let rest = (rarely(16), spellings(), rarely(24));
    (methods, urls, option::weighted(0.3, ask_controls()), color, language, conditions, rest).prop_map(
        |(method, url, control, color, language, conditions, rest)| AskSpec {
            method,
            url,
            control,
            pragma: rest.2,
            if_none_match: conditions.0,
            if_modified_since: conditions.1,
            selecting: Selecting { color, language },
            authorization: rest.0,
            spelling: rest.1,
        },
    )
}

fn wanted() -> impl Strategy<Value = Tags> {
    prop_oneof![
        4 => sample::subsequence(Tag::ALL.to_vec(), 1..=2).prop_map(Tags::Of),
        1 => Just(Tags::Any),
    ]
}

fn ask_controls() -> impl Strategy<Value = AskControl> {
    let stale = prop_oneof![1 => Just(MaxStale::Any), 3 => seconds().prop_map(MaxStale::Seconds)];
    let numbers = (option::weighted(0.2, seconds()), option::weighted(0.15, seconds()), option::weighted(0.25, stale));
    (rarely(4), rarely(8), numbers, rarely(6)).prop_map(|(no_cache, no_store, numbers, only_if_cached)| AskControl {
        no_cache,
        no_store,
        max_age: numbers.0,
        min_fresh: numbers.1,
        max_stale: numbers.2,
        only_if_cached,
    })
}
