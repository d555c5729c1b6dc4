//! Purges, over restarts and with a clock in the test's hand.

use super::*;
use crate::key::{TagId, TagSpace};

const URL: UrlId = UrlId(7);
const GROUP: GroupId = GroupId(7);
const TAG: TagId = TagId(7);
const RECORDS_MAX: usize = 2_000;
const KEEP_MS: u64 = 1_000_000_000;
const NOW: Timestamp = Timestamp(5_000);
const SECRET: HashSecret = HashSecret([7; 16]);

fn open(folder: &Path, now: i64) -> Arc<Purges> {
    open_with(folder, &Clock::manual(Timestamp(now)))
}

fn open_with(folder: &Path, clock: &Clock) -> Arc<Purges> {
    Purges::open(opening(&folder.join("purge.log")), clock, PurgeMetrics::default()).unwrap()
}

fn opening(path: &Path) -> Opening<'_> {
    Opening { path, expected: false, keep_ms: KEEP_MS, node: NodeId(1), records_max: RECORDS_MAX, secret: SECRET }
}

/// A fetch of `URL` at site `s` that names `GROUP` and `TAG` among others.
fn subject(tick: u64) -> Subject<'static> {
    const GROUPS: &[GroupId] = &[GroupId(1), GROUP, GroupId(2)];
    const TAGS: &[TagId] = &[TagId(1), TAG, TagId(2)];
    Subject { site: "s", url: URL, https: false, target: "/p/10?q", groups: GROUPS, tags: TAGS, tick }
}

/// A fetch that none of the scopes is about.
fn other(tick: u64) -> Subject<'static> {
    let (groups, tags) = (&[GroupId(URL.0 + 1)], &[TagId(URL.0 + 1)]);
    Subject { site: "t", url: UrlId(8), https: false, target: "/p/2", groups, tags, tick }
}

/// One of each kind, all of which cover [`subject`].
fn scopes() -> [Scope; 7] {
    [
        Scope::Url(URL),
        Scope::Group(GROUP),
        Scope::Tag(TAG),
        Scope::Tag(TAG.within(TagSpace::of("s"))),
        Scope::Prefix("s".to_owned(), Prefix::of("/p/1", &SECRET).unwrap()),
        Scope::Site("s".to_owned()),
        Scope::All,
    ]
}

impl Purges {
    fn says(&self, subject: Subject<'_>) -> Verdict {
        self.verdict(&subject, NOW)
    }

    async fn hard(&self, scope: Scope) -> Receipt {
        self.purge(vec![scope], Mode::Hard).await.unwrap()
    }
}

#[tokio::test]
async fn a_purge_covers_what_started_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let purges = open(folder.path(), 5_000);
    for scope in scopes() {
        let before = purges.tick();
        assert_eq!(purges.says(subject(before)), Verdict::Alive);
        let (everything, kind) = (scope == Scope::All, scope.kind());
        let receipt = purges.hard(scope).await;
        let after = purges.tick();
        assert!(before < receipt.tick && receipt.tick < after && purges.count(kind) > 0);
        assert_eq!(purges.says(subject(before)), Verdict::Gone);
        assert_eq!(purges.says(subject(after)), Verdict::Alive);
        assert_eq!(purges.says(other(before)) == Verdict::Gone, everything);
    }
    assert_eq!(Kind::ALL.map(|kind| purges.count(kind)), [1, 0, 0, 0, 0, 0], "the last one says it all");
}

#[tokio::test]
async fn a_soft_purge_makes_stale_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let purges = open(folder.path(), 5_000);
    for scope in scopes() {
        let before = purges.tick();
        let Receipt { tick, .. } = purges.purge(vec![scope.clone()], Mode::Soft).await.unwrap();
        assert_eq!(purges.says(subject(before)), Verdict::Soft { tick });
        assert_eq!(purges.says(subject(purges.tick())), Verdict::Alive);
        purges.hard(scope).await;
        assert_eq!(purges.says(subject(before)), Verdict::Gone);
    }
}

#[tokio::test]
async fn a_batch_has_one_tick() {
    let folder = tempfile::tempdir().unwrap();
    let purges = open(folder.path(), 5_000);
    let before = purges.tick();
    let scopes = (0..1_000).map(|id| Scope::Url(UrlId(id))).collect();
    let Receipt { tick, .. } = purges.purge(scopes, Mode::Soft).await.unwrap();
    for id in 0..1_000 {
        assert_eq!(purges.says(Subject { url: UrlId(id), ..subject(before) }), Verdict::Soft { tick });
    }
    assert_eq!(purges.records(), 1_000);
    drop(purges);
    let again = open(folder.path(), 6_000);
    assert_eq!((again.records(), again.says(subject(before))), (1_000, Verdict::Soft { tick }));
}

#[tokio::test]
async fn purges_survive_restarts_and_a_clock_set_back() {
    for scope in scopes() {
        let folder = tempfile::tempdir().unwrap();
        let purges = open(folder.path(), 7_200_000);
        let before = purges.tick();
        purges.hard(scope).await;
        drop(purges);
        for hour in [1, 0, 2] {
            let again = open(folder.path(), 3_600_000 * hour + 3_600_000);
            assert_eq!(again.says(subject(before)), Verdict::Gone);
            assert_eq!(again.says(subject(again.tick())), Verdict::Alive, "what is fetched now is not covered");
        }
    }
}

#[tokio::test]
async fn sequences_go_on_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let sequence = |purges: &Purges| purges.metrics.sequence.get();
    for turn in 1..4 {
        let purges = open(folder.path(), 5_000);
        purges.purge(vec![Scope::All, Scope::Url(URL)], Mode::Hard).await.unwrap();
        // Told after the answer; the next answer comes after that.
        purges.hard(Scope::All).await;
        assert!((3 * turn - 1..=3 * turn).contains(&sequence(&purges)), "{}", sequence(&purges));
    }
}

#[tokio::test]
async fn invalidations_hold_at_once_and_survive_a_restart_once_written() {
    let folder = tempfile::tempdir().unwrap();
    let purges = open(folder.path(), 5_000);
    let before = purges.tick();
    let of_url = Subject { groups: &[], ..subject(before) };
    let of_group = Subject { url: UrlId(8), ..subject(before) };
    purges.invalidate("s", URL, false);
    assert_eq!((purges.says(of_url), purges.says(of_group)), (Verdict::Gone, Verdict::Alive));
    assert_eq!(purges.says(Subject { https: true, ..of_url }), Verdict::Alive, "the other scheme's is another");
    purges.invalidate_group("s", GROUP);
    assert_eq!(purges.says(of_group), Verdict::Gone);
    // Orders are written in turn.
    purges.hard(Scope::Url(UrlId(99))).await;
    assert_eq!(purges.records(), 3);
    drop(purges);
    let again = open(folder.path(), 6_000);
    assert_eq!(again.records(), 3);
    assert_eq!((again.says(of_url), again.says(of_group)), (Verdict::Gone, Verdict::Gone));
}

#[test]
fn invalidations_that_could_not_be_written_are_written_later() {
    let folder = tempfile::tempdir().unwrap();
    let (path, clock) = (folder.path().join("purge.log"), Clock::manual(NOW));
    let (purges, mut writer, inbox) = Purges::begin(opening(&path), &clock, PurgeMetrics::default()).unwrap();
    let before = purges.tick();
    writer.log.fail(true);
    purges.invalidate("s", URL, false);
    writer.commit(&purges, inbox.try_recv().ok(), &inbox);
    writer.log.fail(false);
    writer.commit(&purges, None, &inbox);
    let of_url = Subject { groups: &[], ..subject(before) };
    assert_eq!(open(folder.path(), 6_000).says(of_url), Verdict::Gone);
}

#[tokio::test]
async fn invalidations_without_room_in_the_queue_take_the_site() {
    let folder = tempfile::tempdir().unwrap();
    let purges = open(folder.path(), 5_000);
    let before = purges.tick();
    purges.overflowed.lock().insert("s".to_owned());
    purges.hard(Scope::Url(UrlId(99))).await;
    drop(purges);
    let again = open(folder.path(), 6_000);
    assert_eq!((again.says(subject(before)), again.says(other(before))), (Verdict::Gone, Verdict::Alive));
}

#[tokio::test]
async fn what_outlived_the_records_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let purges = open(folder.path(), 5_000);
    let subject = subject(purges.tick());
    assert_eq!(purges.verdict(&subject, Timestamp(5_000 + KEEP_MS as i64)), Verdict::Alive);
    let later = Timestamp(6_000 + KEEP_MS as i64);
    assert_eq!(purges.verdict(&subject, later), Verdict::Gone);
    purges.set_keep(2 * KEEP_MS);
    assert_eq!(purges.verdict(&subject, later), Verdict::Alive, "nothing was forgotten");
}

#[tokio::test]
async fn records_expire_while_the_node_runs() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let purges = open_with(folder.path(), &clock);
    let early = purges.tick();
    for scope in scopes() {
        purges.hard(scope).await;
    }
    clock.advance(KEEP_MS as i64 / 2);
    purges.hard(Scope::Url(UrlId(99))).await;
    let middle = purges.tick();
    clock.advance(KEEP_MS as i64 / 2 + KEEP_MS as i64 / 100);
    let now = clock.now();
    // Forgotten after the first answer; the second comes after that.
    purges.hard(Scope::Url(UrlId(98))).await;
    purges.hard(Scope::Url(UrlId(98))).await;
    assert_eq!(Kind::ALL.map(|kind| purges.count(kind)), [1, 0, 0, 2, 0, 0]);
    let all = [(early, Verdict::Gone), (middle, Verdict::Alive), (purges.tick(), Verdict::Alive)];
    for (tick, wanted) in all {
        assert_eq!(purges.verdict(&subject(tick), now), wanted);
    }
    // A clock set back brings nothing back.
    assert_eq!(purges.verdict(&subject(early), NOW), Verdict::Gone);
    drop(purges);
    let again = open(folder.path(), now.0);
    assert_eq!((again.count(Kind::Url), again.says(subject(early))), (2, Verdict::Gone));
}

#[tokio::test]
async fn a_clock_far_ahead_for_a_moment_leaves_all_storable() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let purges = open_with(folder.path(), &clock);
    for jump in [10 * KEEP_MS as i64, -10 * KEEP_MS as i64] {
        clock.advance(jump);
        purges.hard(Scope::Url(URL)).await;
        purges.hard(Scope::Url(URL)).await;
    }
    assert_eq!(purges.says(subject(purges.tick())), Verdict::Alive);
    drop(purges);
    let again = open(folder.path(), NOW.0);
    assert_eq!(again.says(subject(again.tick())), Verdict::Alive);
}

#[tokio::test]
async fn clients_cannot_fill_the_tables() {
    let folder = tempfile::tempdir().unwrap();
    let purges = open(folder.path(), 5_000);
    let before = purges.tick();
    let some = |count: u128| (100..100 + count).map(|id| Scope::Url(UrlId(id))).collect::<Vec<_>>();
    purges.purge(some(RECORDS_MAX as u128 / 2 - 1), Mode::Hard).await.unwrap();
    purges.invalidate("s", UrlId(9), false);
    assert_eq!((purges.says(subject(before)), purges.count(Kind::Site)), (Verdict::Alive, 0));
    purges.invalidate_group("s", GroupId(9));
    assert_eq!((purges.says(subject(before)), purges.count(Kind::Site)), (Verdict::Gone, 1));
    assert_eq!((purges.count(Kind::Group), purges.says(other(before))), (0, Verdict::Alive));
}

#[tokio::test]
async fn the_oldest_go_when_there_are_too_many() {
    let folder = tempfile::tempdir().unwrap();
    let purges = open(folder.path(), 5_000);
    let urls = |from: u128, count: u128| (from..from + count).map(|id| Scope::Url(UrlId(id))).collect::<Vec<_>>();
    let first = purges.tick();
    purges.purge(urls(1_000, 600), Mode::Hard).await.unwrap();
    // The tick right behind may go, too.
    let second = purges.tick() + 1;
    assert_eq!(purges.tick(), second);
    purges.purge(urls(2_000, 1_400), Mode::Hard).await.unwrap();
    assert_eq!(purges.says(subject(first)), Verdict::Alive);
    // One too many; they are forgotten after the answer, and the next answer comes after that.
    purges.hard(Scope::Url(UrlId(1))).await;
    purges.hard(Scope::Url(UrlId(1))).await;
    for purges in [purges, open(folder.path(), 6_000)] {
        assert_eq!((purges.count(Kind::Url), purges.count(Kind::All)), (1_401, 1));
        assert_eq!((purges.says(subject(first)), purges.says(subject(second))), (Verdict::Gone, Verdict::Alive));
        assert_eq!(purges.says(Subject { url: UrlId(1_001), ..subject(first) }), Verdict::Gone);
        assert_eq!(purges.says(Subject { url: UrlId(2_001), ..subject(second) }), Verdict::Gone);
    }
}

#[test]
fn receipts() {
    let receipt = Receipt { node: NodeId(0x3f2a_9c01), tick: 1_795_341_600_000 };
    assert_eq!(
        (receipt.id().as_str(), receipt.time().as_str()),
        ("3f2a9c01-1795341600000", "2026-11-22T10:00:00.000Z")
    );
    assert_eq!(Receipt { tick: u64::MAX, ..receipt }.time(), "9999-12-31T23:59:59.999Z");
}
