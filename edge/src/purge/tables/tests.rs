//! The tables, compared with looking at every record.

use super::*;
use crate::key::{GroupId, TagId, UrlId};
use crate::purge::prefixes::Prefix;
use crate::purge::record::NodeId;
use proptest::prelude::*;

const SECRET: HashSecret = HashSecret([7; 16]);

fn site() -> impl Strategy<Value = String> {
    "[st]"
}

/// Paths that may be read in two ways, too.
fn path() -> impl Strategy<Value = String> {
    "/(a|b|%61|/|\\./){0,3}"
}

fn scope() -> impl Strategy<Value = (Scope, Option<String>)> {
    prop_oneof![
        1 => Just((Scope::All, None)),
        1 => site().prop_map(|site| (Scope::Site(site), None)),
        4 => (site(), "/[ab/]{0,3}").prop_map(|(site, prefix)| {
            (Scope::Prefix(site, Prefix::of(&prefix, &SECRET).unwrap()), Some(prefix))
        }),
        2 => (0u128..3).prop_map(|id| (Scope::Url(UrlId(id)), None)),
        2 => (0u128..3, any::<bool>()).prop_map(|(id, https)| (Scope::Url(UrlId(id).of_scheme(https)), None)),
        2 => (0u128..3).prop_map(|id| (Scope::Group(GroupId(id)), None)),
        2 => (0u128..3).prop_map(|id| (Scope::Tag(TagId(id)), None)),
        2 => (0u128..3, site()).prop_map(|(id, site)| (Scope::Tag(TagId(id).within(TagSpace::of(&site))), None)),
    ]
}

fn records() -> impl Strategy<Value = Vec<(Record, Option<String>)>> {
    let record = (scope(), 1u64..100, any::<bool>()).prop_map(|((scope, prefix), tick, soft)| {
        // What covers everything is early, so that the others matter.
        let tick = if scope == Scope::All { tick / 10 } else { tick };
        let mode = if soft { Mode::Soft } else { Mode::Hard };
        (Record { node: NodeId(1), sequence: tick, tick, mode, scope }, prefix)
    });
    proptest::collection::vec(record, 0..20)
}

#[derive(Debug)]
struct Owned {
    site: String,
    url: u128,
    https: bool,
    target: String,
    groups: Vec<GroupId>,
    tags: Vec<TagId>,
    tick: u64,
}

impl Owned {
    fn subject(&self) -> Subject<'_> {
        let Self { site, target, groups, tags, .. } = self;
        Subject { site, url: UrlId(self.url), https: self.https, target, groups, tags, tick: self.tick }
    }
}

fn subject() -> impl Strategy<Value = Owned> {
    let groups = proptest::collection::vec((0u128..4).prop_map(GroupId), 0..3);
    let tags = proptest::collection::vec((0u128..4).prop_map(TagId), 0..3);
    (site(), 0u128..4, any::<bool>(), path(), "(\\?/a)?", groups, tags, 1u64..100).prop_map(
        |(site, url, https, path, query, groups, tags, tick)| Owned {
            site,
            url,
            https,
            target: path + &query,
            groups,
            tags,
            tick,
        },
    )
}

fn covers(scope: &Scope, prefix: Option<&str>, subject: &Subject<'_>) -> bool {
    match scope {
        Scope::All => true,
        Scope::Site(site) => site == subject.site,
        Scope::Prefix(site, _) => {
            let path = subject.target.split('?').next().unwrap();
            let prefix = prefix.unwrap();
            site == subject.site && (path.starts_with(prefix) || rules::as_origins_read(path).starts_with(prefix))
        }
        Scope::Url(url) => *url == subject.url || *url == subject.url.of_scheme(subject.https),
        Scope::Group(group) => subject.groups.contains(group),
        Scope::Tag(tag) => {
            let space = TagSpace::of(subject.site);
            subject.tags.iter().any(|own| own == tag || own.within(space) == *tag)
        }
    }
}

/// What all records together say.
fn wanted(records: &[(Record, Option<String>)], subject: &Subject<'_>) -> Verdict {
    let latest = |mode: Mode| {
        let matching =
            records.iter().filter(|(r, prefix)| r.mode == mode && covers(&r.scope, prefix.as_deref(), subject));
        matching.map(|(record, _)| record.tick).max().filter(|tick| *tick >= subject.tick)
    };
    match (latest(Mode::Hard), latest(Mode::Soft)) {
        (Some(_), _) => Verdict::Gone,
        (None, Some(tick)) => Verdict::Soft { tick },
        (None, None) => Verdict::Alive,
    }
}

#[test]
fn a_purge_of_everything_that_is_not_logged_hides_none_that_is() {
    let tables = Tables::new(SECRET);
    let everything = |tick| Record { node: NodeId(1), sequence: tick, tick, mode: Mode::Hard, scope: Scope::All };
    for (tick, logged, wanted) in [(5, true, 5), (9, false, 5), (7, true, 7), (9, true, 9)] {
        tables.apply(&everything(tick), logged);
        assert_eq!(tables.all_purged(), wanted);
    }
    tables.apply(&Record { mode: Mode::Soft, ..everything(10) }, true);
    assert_eq!(tables.all_purged(), 9, "a soft one takes nothing away");
}

proptest! {
    #[test]
    fn the_latest_of_all_that_covers_counts(records in records(), subject in subject()) {
        let subject = subject.subject();
        let tables = Tables::new(SECRET);
        records.iter().for_each(|(record, _)| tables.apply(record, true));
        prop_assert_eq!(tables.verdict(&subject), wanted(&records, &subject));

        // What the log needs is enough.
        let again = Tables::new(SECRET);
        records.iter().filter(|(record, _)| tables.needs(record)).for_each(|(record, _)| again.apply(record, true));
        prop_assert_eq!(again.verdict(&subject), tables.verdict(&subject), "from what is needed");
        prop_assert!(again.len() <= tables.len());
    }

    #[test]
    fn what_is_forgotten_is_what_is_older(records in records(), subject in subject(), oldest in 0u64..100) {
        let subject = subject.subject();
        let tables = Tables::new(SECRET);
        records.iter().for_each(|(record, _)| tables.apply(record, true));
        tables.forget(oldest);
        let left: Vec<_> = records.into_iter().filter(|(r, _)| r.tick >= oldest || r.scope == Scope::All).collect();
        prop_assert_eq!(tables.verdict(&subject), wanted(&left, &subject));
        prop_assert!(tables.ticks().iter().all(|tick| *tick >= oldest));
        let counted: usize = Kind::ALL.into_iter().map(|kind| tables.count(kind)).sum();
        prop_assert_eq!(tables.ticks().len() + tables.count(Kind::All), counted);
        prop_assert!(counted <= tables.len());
    }

    /// While a later purge of the same scope is in force but not yet in the log, the log keeps the earlier one.
    #[test]
    fn what_is_not_logged_supersedes_nothing(records in records()) {
        let tables = Tables::new(SECRET);
        records.iter().for_each(|(record, _)| tables.apply(record, true));
        let needed: Vec<_> = records.iter().map(|(record, _)| tables.needs(record)).collect();
        for (record, _) in &records {
            tables.apply(&Record { tick: 200, ..record.clone() }, false);
        }
        for ((record, _), needed) in records.iter().zip(needed) {
            prop_assert!(!needed || tables.needs(record));
        }
    }
}
