//! What sites may take of the store, and that it keeps to its limits.

use super::*;

/// Of a piece here, so that four and all that is around them are a MiB.
const SIZE: usize = (256 << 10) - 100;

/// Stores a site's pieces, each seen twice, and waits until they are written.
async fn write(store: &Store, site: &str, numbers: std::ops::Range<u32>) {
    for n in numbers {
        store.put(key_of(site, n), piece(n, SIZE));
        assert!(store.get(&key_of(site, n)).await.is_some());
        // As much as is written at once.
        if n % 15 == 14 {
            store.written().await;
        }
    }
    store.written().await;
}

/// Which of those numbers are on disk.
fn on_disk(store: &Store, site: &str, numbers: std::ops::Range<u32>) -> Vec<u32> {
    numbers.filter(|n| store.disk().contains(&key_of(site, *n))).collect()
}

#[tokio::test]
async fn the_disk_turns_and_the_oldest_go() {
    let setup = Setup::new();
    let store = setup.open().await;
    write(&store, "nobody", 0..600).await;
    let left = on_disk(&store, "nobody", 0..600);
    assert!((200..256).contains(&left.len()), "{}", left.len());
    assert!(left.iter().copied().eq(600 - left.len() as u32..600), "{left:?}");
    let files: u64 = setup.files("data").iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(files <= 64 << 20 && store.disk_usage().bytes <= 64 << 20, "{files}");
    drop(store);
    let again = setup.open().await;
    assert_eq!(on_disk(&again, "nobody", 0..600), left);
}

#[tokio::test]
async fn so_many_entries() {
    let setup = Setup { disk: "size = \"64 MiB\", entries-max = 1000", memory: "64 MiB", ..Setup::new() };
    let store = setup.open().await;
    for n in 0..5000 {
        store.put(key(n), piece(n, 10_000));
        store.hit(&key(n));
        if n % 100 == 0 {
            store.written().await;
        }
    }
    store.written().await;
    let entries = store.disk_usage().entries;
    assert!((300..=1000).contains(&entries), "{entries}");
    assert_eq!(on_disk(&store, "nobody", 4900..5000).len(), 100);
}

#[tokio::test]
async fn a_site_that_never_goes_to_disk() {
    let setup = Setup { sites: &["disk = \"never\""], ..Setup::new() };
    let store = setup.open().await;
    (0..200).for_each(|n| store.put(key_of("0", n), piece(n, 100_000)));
    (0..200).for_each(|n| drop(store.hit(&key_of("0", n))));
    store.close().await.unwrap();
    assert_eq!((store.disk_usage().entries, store.disk_usage().written_bytes), (0, 0));
}

#[tokio::test]
async fn a_site_that_always_does_and_a_reload() {
    let setup = Setup { sites: &["disk = \"always\""], ..Setup::new() };
    let store = setup.open().await;
    for n in 0..200 {
        store.put(key_of("0", n), piece(n, 100_000));
    }
    store.written().await;
    for n in 0..200 {
        assert!(store.get(&key_of("0", n)).await == Some(piece(n, 100_000)), "{n}");
    }
    store.written().await;
    store.set_sites(&Setup { sites: &["disk = \"never\""], ..Setup::new() }.config().sites);
    let before = store.disk_usage().written_bytes;
    (200..400).for_each(|n| store.put(key_of("0", n), piece(n, 100_000)));
    store.written().await;
    assert_eq!(store.disk_usage().written_bytes, before);
}

#[tokio::test]
async fn a_reload_to_never_holds_for_what_is_in_memory_and_on_disk() {
    let setup = Setup::new();
    let store = setup.open().await;
    for n in 0..3 {
        store.put(key_of("0", n), base("one"));
    }
    store.hit(&key_of("0", 1));
    store.hit(&key_of("0", 2));
    store.written().await;
    store.put(key_of("0", 2), base("two"));
    store.set_sites(&Setup { sites: &["disk = \"never\""], ..Setup::new() }.config().sites);
    let before = store.disk_usage().written_bytes;
    store.hit(&key_of("0", 0));
    for number in 1..3 {
        store.put(key_of("0", number), base("three"));
    }
    store.written().await;
    assert_eq!(store.disk_usage().written_bytes, before);
    store.close().await.unwrap();
    drop(store);
    let again = setup.open().await;
    for n in 0..3 {
        assert_eq!(again.get(&key_of("0", n)).await, None, "{n}");
    }
}

#[tokio::test]
async fn what_never_goes_to_disk_is_not_taken_away_there() {
    let setup = Setup { sites: &["disk = \"never\""], ..Setup::new() };
    let store = setup.open().await;
    (0..1000).for_each(|_| store.put(key_of("0", 1), base("one")));
    store.put(key(1), base("one"));
    store.hit(&key(1));
    store.close().await.unwrap();
    let bytes: u64 = setup.files("index").iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes < 1000, "{bytes}");
}

#[tokio::test]
async fn removals_fill_segments_too() {
    let setup = Setup::new();
    let store = setup.open().await;
    for round in 0..4 {
        (0..60_000).for_each(|n| store.remove(&key(n)));
        store.put(key(100_000 + round), base("one"));
        store.hit(&key(100_000 + round));
        store.written().await;
    }
    let bytes: Vec<u64> = setup.files("index").iter().map(|path| fs::metadata(path).unwrap().len()).collect();
    assert!(bytes.iter().sum::<u64>() > 8 << 20 && bytes.iter().all(|bytes| *bytes <= 4 << 20), "{bytes:?}");
}

#[tokio::test]
async fn a_site_takes_no_more_of_the_disk_than_it_may() {
    let setup = Setup { sites: &["disk-max = \"16 MiB\""], ..Setup::new() };
    let store = setup.open().await;
    write(&store, "nobody", 0..40).await;
    write(&store, "0", 0..160).await;
    let bytes = store.disk().bytes_of(SiteMark::of("0", &SECRET));
    assert!(bytes <= 16 << 20, "{bytes}");
    let left = on_disk(&store, "0", 0..160);
    assert!(left.len() >= 48 && left.iter().copied().eq(160 - left.len() as u32..160), "the newest: {left:?}");
    assert_eq!(on_disk(&store, "nobody", 0..40).len(), 40, "others are left alone");
}

#[tokio::test]
async fn what_is_pinned_stays_while_the_disk_turns() {
    let setup = Setup { sites: &["pinned = \"10 MiB\""], ..Setup::new() };
    let store = setup.open().await;
    write(&store, "0", 0..30).await;
    for round in 0..2 {
        write(&store, "nobody", 1000 * round..1000 * round + 240).await;
        assert_eq!(on_disk(&store, "0", 0..30).len(), 30, "round {round}");
    }
    for n in 0..30 {
        store.0.tiers.remove(&key_of("0", n));
        assert!(store.get(&key_of("0", n)).await == Some(piece(n, SIZE)), "{n}");
    }
    // More than it may pin: the oldest of it go.
    write(&store, "0", 30..80).await;
    write(&store, "nobody", 5000..5480).await;
    let left = on_disk(&store, "0", 0..80);
    assert!((30..=40).contains(&left.len()) && left.contains(&79), "{left:?}");
    assert!(store.disk_usage().bytes <= 64 << 20);
    drop(store);
    let again = setup.open().await;
    assert_eq!(on_disk(&again, "0", 0..80), left, "and after a crash");
}

#[tokio::test]
async fn a_site_with_memory_of_its_own() {
    let setup = Setup { memory: "32 MiB", sites: &["memory = \"8 MiB\""], ..Setup::new() };
    let store = setup.open().await;
    (0..20).for_each(|n| store.put(key_of("0", n), piece(n, 100_000)));
    (0..1000).for_each(|n| store.put(key(n), piece(n, 100_000)));
    assert!((0..20).all(|n| store.hit(&key_of("0", n)).is_some()), "others push nothing out");
    let others = (0..1000).filter(|n| store.0.tiers.contains(&key(*n))).count();
    (0..1000).for_each(|n| store.put(key_of("0", n), piece(n, 100_000)));
    assert_eq!((0..1000).filter(|n| store.0.tiers.contains(&key(*n))).count(), others, "nor does it");
    assert!(store.usage().memory_bytes <= 32 << 20);
    assert_eq!(store.usage().memory_limit, 32 << 20);
}

#[tokio::test]
async fn writing_keeps_to_its_rate() {
    let setup = Setup { memory: "64 MiB", disk: "size = \"64 MiB\", write-rate = \"8 MiB\"", ..Setup::new() };
    let store = setup.open().await;
    let begun = std::time::Instant::now();
    (0..40).for_each(|n| store.put(key(n), piece(n, SIZE)));
    (0..40).for_each(|n| drop(store.hit(&key(n))));
    store.written().await;
    // The last portion is not waited for.
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
}
