//! The store as a whole: what is there after a stop and after a crash, who may take what, and a disk that fails.

use std::fs;
use std::path::{Path, PathBuf};

use nearcast_shared::config::{Config, Inputs};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tempfile::TempDir;

use super::*;
use crate::key::{SiteMark, UrlId};

mod faults;
mod shares;

const SECRET: HashSecret = HashSecret([1; 16]);

/// A config of a store, and its folder.
struct Setup {
    folder: TempDir,
    memory: &'static str,
    disk: &'static str,
    sites: &'static [&'static str],
}

impl Setup {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), memory: "8 MiB", disk: "size = \"64 MiB\"", sites: &[] }
    }

    fn config(&self) -> Config {
        let mut text = format!(
            "[cache]\nmemory = \"{}\"\ndisk = {{ path = \"{}\", {} }}\n[[pop]]\nname = \"a\"\naddresses = [\"192.0.2.1\"]\n",
            self.memory,
            self.folder.path().display(),
            self.disk
        );
        for (number, site) in self.sites.iter().enumerate() {
            text.push_str(&format!(
                "[[site]]\nname = \"{number}\"\ndomains = [\"{number}.test\"]\norigin = \"http://o.test\"\n{site}\n"
            ));
        }
        Config::parse(&text, Path::new("test.toml"), &Inputs::default()).unwrap()
    }

    /// Opened, and what was on disk is there.
    async fn open(&self) -> Store {
        let config = self.config();
        let store = Store::open(&config.cache, &config.sites, &SECRET).unwrap();
        store.opened().await;
        store
    }

    /// The files of the log of one kind, oldest first.
    fn files(&self, kind: &str) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            fs::read_dir(self.folder.path().join("objects")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == kind));
        files.sort();
        files
    }
}

impl Store {
    /// Waits until what was handed to the writer is on disk.
    async fn written(&self) {
        assert!(self.disk().written_out(0).await);
    }

    fn disk(&self) -> &Disk {
        self.0.estate.disk.as_ref().unwrap()
    }

    fn disk_usage(&self) -> DiskUsage {
        self.usage().disk.unwrap()
    }

    fn count(&self, of: impl Fn(&DiskUsage) -> &Counts, token: &str) -> u64 {
        let usage = self.disk_usage();
        of(&usage).0.iter().find(|(name, _)| *name == token).unwrap().1
    }
}

/// Of the site of that number.
fn key_of(site: &str, number: u32) -> StoreKey {
    let mark = SiteMark::of(site, &SECRET);
    let id = u128::from(mark.0) << 112 | u128::from(number) << 64;
    StoreKey::chunk(UrlId(id), false, 1, number, false)
}

/// Of no site that is known.
fn key(number: u32) -> StoreKey {
    key_of("nobody", number)
}

/// What is stored under such a key: it tells numbers apart.
fn piece(number: u32, bytes: usize) -> Piece {
    let mut all = number.to_le_bytes().repeat(bytes.div_ceil(4));
    all.truncate(bytes);
    Piece::Chunk(all.into())
}

/// What a URL varies on: small, and put again under its key.
fn base(name: &'static str) -> Piece {
    Piece::Base(Arc::new(Base { vary: vec![http::HeaderName::from_static(name)], variants: Vec::new() }))
}

#[tokio::test]
async fn a_clean_stop_keeps_what_was_in_memory() {
    // More than is written at once, and more than may wait.
    let setup = Setup { memory: "128 MiB", disk: "size = \"256 MiB\", write-queue = \"4 MiB\"", ..Setup::new() };
    let store = setup.open().await;
    (0..300).for_each(|n| store.put(key(n), piece(n, 250_000)));
    store.close().await.unwrap();
    assert_eq!((store.disk_usage().state, store.disk_usage().queue_bytes), (DiskState::Closed, 0));
    drop(store);

    let again = setup.open().await;
    for n in 0..300 {
        assert!(again.get(&key(n)).await == Some(piece(n, 250_000)), "{n}");
    }
}

#[tokio::test]
async fn after_a_crash_all_that_was_asked_for_twice_is_there() {
    let setup = Setup::new();
    let store = setup.open().await;
    (0..10).for_each(|n| store.put(key(n), piece(n, 1000)));
    (0..5).for_each(|n| assert!(store.hit(&key(n)).is_some()));
    store.written().await;
    assert_eq!(store.disk_usage().entries, 5);
    drop(store);

    let again = setup.open().await;
    for n in 0..10 {
        assert!(again.get(&key(n)).await == (n < 5).then(|| piece(n, 1000)), "{n}");
    }
}

#[tokio::test]
async fn what_is_pushed_out_after_one_use_is_written_when_it_comes_again() {
    let setup = Setup::new();
    let store = setup.open().await;
    let all = 200;
    (0..all).for_each(|n| store.put(key(n), piece(n, 100_000)));
    store.written().await;
    assert_eq!(store.disk_usage().entries, 0);
    assert!(store.count(|disk| &disk.dropped, "seen-once") >= 100);
    (0..all).for_each(|n| store.put(key(n), piece(n, 100_000)));
    store.written().await;
    for n in 0..all {
        assert!(store.get(&key(n)).await == Some(piece(n, 100_000)), "{n}");
    }
}

#[tokio::test]
async fn what_is_renewed_is_written_when_memory_gives_it_up() {
    let setup = Setup::new();
    let store = setup.open().await;
    store.put(key(1), base("one"));
    store.hit(&key(1));
    store.written().await;
    let before = store.disk_usage().written_bytes;
    for _ in 0..100 {
        store.put(key(1), base("two"));
        assert_eq!(store.hit(&key(1)), Some(base("two")));
    }
    store.written().await;
    assert_eq!(store.disk_usage().written_bytes, before);
    store.0.tiers.give_up();
    assert_eq!(store.get(&key(1)).await, Some(base("two")));
    store.written().await;
    drop(store);
    assert_eq!(setup.open().await.get(&key(1)).await, Some(base("two")));
}

/// Memory makes room before it replaces: what is pushed out then may be the old one itself.
#[tokio::test]
async fn what_is_renewed_is_not_what_goes_to_disk() {
    let setup = Setup { memory: "1 MiB", ..Setup::new() };
    let store = setup.open().await;
    store.put(key(1), piece(1, 250_000));
    store.put(key(2), piece(2, 250_000));
    assert!([1, 2].iter().all(|n| store.hit(&key(*n)).is_some()), "there is room for two");
    store.written().await;
    store.put(key(1), piece(3, 250_000));
    assert!(!store.disk().contains(&key(1)), "the old one was forgotten");
    store.0.tiers.give_up();
    assert!(store.get(&key(1)).await == Some(piece(3, 250_000)));
    store.written().await;
    drop(store);
    assert!(setup.open().await.get(&key(1)).await == Some(piece(3, 250_000)));
}

/// However another one got there meanwhile.
#[tokio::test]
async fn what_was_stored_in_place_of_another_is_written_whatever_is_on_disk() {
    let setup = Setup::new();
    let store = setup.open().await;
    for (old, new) in [("one", "two"), ("two", "three")] {
        store.put(key(1), base("old"));
        store.put(key(1), base(new));
        assert!(store.0.estate.write(key(1), &base(old)));
        store.0.tiers.give_up();
        assert_eq!(store.get(&key(1)).await, Some(base(new)));
        store.written().await;
    }
}

/// Pushing out what finds no room among what waits, while a piece comes from disk.
#[tokio::test]
async fn a_full_queue_holds_nobody_up() {
    let setup = Setup { disk: "size = \"64 MiB\", write-queue = \"4 MiB\", write-rate = \"64 KiB\"", ..Setup::new() };
    let store = setup.open().await;
    (0..200).for_each(|n| store.put(key(n), piece(n, 20_000)));
    store.close().await.unwrap();
    drop(store);
    let store = setup.open().await;
    // The writer keeps to its rate for longer than this takes.
    store.put(key(1000), piece(1000, 1 << 20));
    store.hit(&key(1000));
    while store.disk_usage().queue_bytes > 0 {
        tokio::task::yield_now().await;
    }
    for n in 2000..2800 {
        store.put(key(n), piece(n, 20_000));
        store.hit(&key(n));
    }
    let full = store.count(|disk| &disk.dropped, "queue-full");
    assert!(full > 0);
    // In no order, so that all pairs of shards are met; twice, since memory takes in what is read a second time.
    let mut numbers: Vec<u32> = (0..200).chain(0..200).collect();
    numbers.shuffle(&mut StdRng::seed_from_u64(1));
    for n in numbers {
        let found = tokio::time::timeout(Duration::from_secs(20), async { store.get(&key(n)).await }).await;
        assert!(found.expect("no deadlock") == Some(piece(n, 20_000)), "{n}");
    }
    assert!(store.count(|disk| &disk.dropped, "queue-full") > full + 100);
}

/// What is read once is left to the page cache, unless memory has room to spare.
#[tokio::test]
async fn memory_takes_in_what_is_read_twice() {
    let setup = Setup::new();
    let store = setup.open().await;
    (0..10).for_each(|n| store.put(key(n), piece(n, 20_000)));
    store.close().await.unwrap();
    drop(store);
    let store = setup.open().await;
    let reads = async |n| {
        let mut taken = Vec::new();
        for _ in 0..3 {
            assert!(store.get(&key(n)).await == Some(piece(n, 20_000)));
            taken.push(store.whereabouts(&key(n)).memory);
        }
        taken
    };
    assert_eq!(reads(0).await, [true, true, true], "there is room");
    (1000..1400).for_each(|n| store.put(key(n), piece(n, 20_000)));
    assert_eq!(reads(1).await, [false, true, true]);
    assert_eq!(reads(2).await, [false, true, true]);
}

#[tokio::test]
async fn what_is_removed_is_gone() {
    let setup = Setup::new();
    let store = setup.open().await;
    for n in 1..=3 {
        store.put(key(n), base("one"));
        store.hit(&key(n));
    }
    store.remove(&key(1));
    assert_eq!(store.get(&key(1)).await, None, "while it waits to be written");
    store.written().await;
    store.remove(&key(2));
    assert!(!store.contains(&key(2)));
    assert_eq!(store.get(&key(2)).await, None, "when it is on disk");
    // What is taken away goes with the next batch.
    store.put(key(4), base("four"));
    store.hit(&key(4));
    store.written().await;
    drop(store);
    let again = setup.open().await;
    for n in 1..=3 {
        assert_eq!(again.get(&key(n)).await.is_some(), n == 3, "{n}, after a crash");
    }
}

#[tokio::test]
async fn many_who_want_one_piece_read_it_once() {
    let setup = Setup::new();
    let store = setup.open().await;
    store.put(key(1), piece(1, 100_000));
    store.close().await.unwrap();
    drop(store);
    let again = setup.open().await;
    let wanted = key(1);
    let found = futures_util::future::join_all((0..100).map(|_| again.get(&wanted))).await;
    assert!(found.iter().all(|found| *found == Some(piece(1, 100_000))));
    assert!((100_000..110_000).contains(&again.disk_usage().read_bytes));
    assert!(again.hit(&key(1)).is_some(), "then it is in memory");
    again.written().await;
    assert_eq!(again.disk_usage().written_bytes, 0, "and not written again");
}

#[tokio::test]
async fn opening_does_not_wait() {
    let setup = Setup::new();
    let store = setup.open().await;
    store.put(key(1), base("old"));
    store.put(key(2), base("kept"));
    store.close().await.unwrap();
    drop(store);
    let config = setup.config();
    let store = Store::open(&config.cache, &config.sites, &SECRET).unwrap();
    // Perhaps before the disk was read, perhaps after.
    store.put(key(1), base("new"));
    assert_eq!(store.hit(&key(1)), Some(base("new")));
    store.opened().await;
    assert_eq!(store.get(&key(1)).await, Some(base("new")));
    assert_eq!(store.get(&key(2)).await, Some(base("kept")));
    let usage = store.disk_usage();
    assert_eq!((usage.state, usage.recovery_seconds.is_some()), (DiskState::Ready, true));
}

#[tokio::test]
async fn a_store_without_a_disk() {
    let config = Config { cache: config::Cache { disk: None, ..Setup::new().config().cache }, ..Setup::new().config() };
    let store = Store::open(&config.cache, &config.sites, &SECRET).unwrap();
    store.opened().await;
    store.put(key(1), piece(1, 1000));
    assert!(store.get(&key(1)).await == Some(piece(1, 1000)));
    assert_eq!(store.get(&key(2)).await, None);
    store.remove(&key(1));
    assert!(!store.contains(&key(1)));
    assert_eq!(store.usage().disk, None);
    store.close().await.unwrap();
}

#[tokio::test]
async fn another_size_keeps_what_fits() {
    let mut setup = Setup { memory: "32 MiB", disk: "size = \"256 MiB\"", ..Setup::new() };
    let store = setup.open().await;
    for n in 0..400 {
        store.put(key(n), piece(n, 250_000));
        store.hit(&key(n));
        if n % 100 == 99 {
            store.written().await;
        }
    }
    store.close().await.unwrap();
    drop(store);
    for (disk, limit) in [("size = \"64 MiB\"", 64 << 20), ("size = \"128 MiB\"", 128 << 20)] {
        setup.disk = disk;
        let store = setup.open().await;
        let usage = store.disk_usage();
        assert!(usage.bytes <= limit, "{}", usage.bytes);
        assert!((200..=268).contains(&usage.entries), "{}", usage.entries);
        for n in 200..400 {
            assert!(store.disk().contains(&key(n)), "{n}: the newest");
        }
        store.put(key(1000), piece(1000, 1000));
        store.close().await.unwrap();
        assert!(store.disk_usage().bytes <= limit);
    }
}

#[tokio::test]
async fn one_store_has_the_folder() {
    let setup = Setup::new();
    let store = setup.open().await;
    let config = setup.config();
    let second = Store::open(&config.cache, &[], &SECRET);
    assert!(matches!(second, Err(StoreError::Locked { path }) if path == setup.folder.path()));
    drop(store);
    setup.open().await;
}

#[tokio::test]
async fn whether_there_is_something_to_be_found() {
    let setup = Setup::new();
    let config = setup.config();
    assert!(!Store::finds_something(&config.cache));
    let store = setup.open().await;
    assert!(!Store::finds_something(&config.cache));
    store.put(key(1), base("one"));
    store.close().await.unwrap();
    assert!(Store::finds_something(&config.cache));
}

#[tokio::test]
async fn another_format_or_a_damaged_label_starts_empty() {
    let setup = Setup::new();
    for label in ["{\"layout\": 1}", "not json"] {
        let store = setup.open().await;
        store.put(key(1), piece(1, 1000));
        store.close().await.unwrap();
        drop(store);
        fs::write(setup.folder.path().join("label.json"), label).unwrap();
        let again = setup.open().await;
        assert_eq!(again.get(&key(1)).await, None);
        again.close().await.unwrap();
    }
}

#[tokio::test]
async fn files_of_others_are_left_alone() {
    let setup = Setup::new();
    let thesis = setup.folder.path().join("thesis.txt");
    fs::write(&thesis, "precious").unwrap();
    setup.open().await.close().await.unwrap();
    assert_eq!(fs::read_to_string(thesis).unwrap(), "precious");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever is put, asked for, removed and restarted: what is found is what was put last, and the disk keeps to its
    /// size.
    #[test]
    fn never_anything_else(steps in proptest::collection::vec((0u8..10, 0u32..60, 1usize..250_000), 1..400)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let setup = Setup { sites: &["disk = \"always\""], ..Setup::new() };
            let mut store = setup.open().await;
            let mut model = std::collections::HashMap::new();
            for (what, number, bytes) in steps {
                let key = key_of("0", number);
                match what {
                    0..=4 => {
                        // The version of a body never changes: another size is another number.
                        let piece = base(["a", "b", "c"][bytes % 3]);
                        store.put(key, piece.clone());
                        model.insert(number, piece);
                        store.put(key_of("0", 1000 + bytes as u32), self::piece(bytes as u32, bytes));
                    }
                    5..=7 => {
                        let found = store.get(&key).await;
                        prop_assert!(found.is_none() || found.as_ref() == model.get(&number), "{number}");
                        let found = store.get(&key_of("0", 1000 + bytes as u32)).await;
                        prop_assert!(found.is_none() || found == Some(self::piece(bytes as u32, bytes)));
                    }
                    8 => {
                        store.remove(&key);
                        model.remove(&number);
                        prop_assert_eq!(store.get(&key).await, None);
                    }
                    _ => {
                        prop_assert!(store.disk_usage().bytes <= 64 << 20);
                        store.close().await.unwrap();
                        drop(store);
                        store = setup.open().await;
                    }
                }
            }
            Ok(())
        })?;
    }
}
