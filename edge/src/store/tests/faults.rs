//! A disk that lies, breaks, vanishes or is full: misses, counters, and never a wrong byte.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

const COUNT: u32 = 100;

/// A closed store with pieces on disk.
async fn filled() -> Setup {
    let setup = Setup::new();
    let store = setup.open().await;
    (0..COUNT).for_each(|n| store.put(key(n), piece(n, 40_000)));
    store.close().await.unwrap();
    setup
}

/// How many of them are found; none is anything else.
async fn found(store: &Store) -> u32 {
    let mut count = 0;
    for n in 0..COUNT {
        if let Some(found) = store.get(&key(n)).await {
            assert!(found == piece(n, 40_000), "{n}");
            count += 1;
        }
    }
    count
}

#[tokio::test]
async fn flipped_bytes() {
    for seed in 0..10 {
        let mut random = StdRng::seed_from_u64(seed);
        let setup = filled().await;
        let kind = if seed % 2 == 0 { "data" } else { "index" };
        for path in setup.files(kind) {
            let mut bytes = fs::read(&path).unwrap();
            for _ in 0..20 {
                let at = random.random_range(0..bytes.len());
                bytes[at] ^= 1 << random.random_range(0..8);
            }
            fs::write(&path, bytes).unwrap();
        }
        let store = setup.open().await;
        let left = found(&store).await;
        assert!(left < COUNT, "seed {seed}: nothing was lost, so nothing was tested");
        assert!(store.count(|disk| &disk.errors, "damaged") > 0, "seed {seed}");
        // It goes on with it.
        store.put(key(1000), piece(1000, 40_000));
        store.close().await.unwrap();
        drop(store);
        assert!(setup.open().await.get(&key(1000)).await == Some(piece(1000, 40_000)), "seed {seed}");
    }
}

#[tokio::test]
async fn files_that_end_early_or_are_missing() {
    type Spoil = fn(&Path);
    let half = |path: &Path| {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    };
    let spoils: [(&str, &str, Spoil); 6] = [
        ("half a data file", "data", half),
        ("half an index", "index", half),
        ("no data file", "data", |path| fs::remove_file(path).unwrap()),
        ("no index", "index", |path| fs::remove_file(path).unwrap()),
        ("an empty data file", "data", |path| fs::write(path, "").unwrap()),
        ("a folder in its place", "index", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
    ];
    for (name, kind, spoil) in spoils {
        let setup = filled().await;
        spoil(&setup.files(kind)[0]);
        let store = setup.open().await;
        assert_eq!(store.disk_usage().state, DiskState::Ready, "{name}");
        assert!(found(&store).await < COUNT, "{name}");
        store.put(key(1000), piece(1000, 40_000));
        store.hit(&key(1000));
        store.written().await;
        drop(store);
        let again = setup.open().await;
        assert!(again.get(&key(1000)).await == Some(piece(1000, 40_000)), "{name}");
        found(&again).await;
    }
}

#[tokio::test]
async fn files_that_cannot_be_read_for_a_while() {
    let setup = filled().await;
    let (path, aside) = (setup.files("index")[0].clone(), setup.folder.path().join("aside"));
    fs::rename(&path, &aside).unwrap();
    std::os::unix::fs::symlink(&path, &path).unwrap();
    let store = setup.open().await;
    assert_eq!((store.count(|disk| &disk.errors, "read"), found(&store).await), (1, 0));
    assert!(store.disk_usage().bytes >= 100 * 40_000, "it takes room still");
    store.close().await.unwrap();
    drop(store);
    fs::remove_file(&path).unwrap();
    fs::rename(&aside, &path).unwrap();
    assert_eq!(found(&setup.open().await).await, COUNT);
}

#[tokio::test]
async fn files_that_go_under_a_running_store() {
    let setup = filled().await;
    let store = setup.open().await;
    for path in setup.files("data") {
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    }
    assert_eq!(found(&store).await, 0);
    assert_eq!(store.count(|disk| &disk.errors, "read"), u64::from(COUNT));
    assert_eq!((found(&store).await, store.count(|disk| &disk.errors, "read")), (0, u64::from(COUNT)), "once each");
    fs::remove_dir_all(setup.folder.path().join("objects")).unwrap();
    (0..COUNT).for_each(|n| store.put(key(n), piece(n, 40_000)));
    (0..COUNT).for_each(|n| assert!(store.hit(&key(n)).is_some()));
    store.written().await;
    assert_eq!(found(&store).await, COUNT, "open files are written and read to the end");
    store.close().await.unwrap();
    drop(store);
    assert_eq!(found(&setup.open().await).await, COUNT, "the folder was made anew");
}

#[tokio::test]
async fn another_format_within_whole_files() {
    let setup = filled().await;
    // The data of one segment under the index of another: places that hold other records.
    let path = setup.files("data")[0].clone();
    let mut bytes = fs::read(&path).unwrap();
    let half = bytes.len() / 2;
    bytes.rotate_left(half);
    fs::write(&path, bytes).unwrap();
    let store = setup.open().await;
    assert!(found(&store).await < COUNT);
}

#[tokio::test]
async fn a_full_disk_serves_from_memory_and_is_tried_again() {
    let setup = Setup { memory: "32 MiB", ..Setup::new() };
    let store = setup.open().await;
    // Writing to it says that there is no room (full(4)); the next segment is another file.
    std::os::unix::fs::symlink("/dev/full", setup.folder.path().join("objects/0000000000.data")).unwrap();
    (0..COUNT).for_each(|n| store.put(key(n), piece(n, 40_000)));
    (0..COUNT).for_each(|n| assert!(store.hit(&key(n)).is_some()));
    assert!(!store.disk().written_out(0).await);
    assert_eq!(store.disk_usage().state, DiskState::Failed);
    assert!(store.count(|disk| &disk.errors, "full") > 0);
    let lost = store.count(|disk| &disk.dropped, "write-failed");
    assert!(lost > 0);
    assert_eq!(found(&store).await, COUNT);
    // It is in memory still, and written when that gives it up.
    store.close().await.unwrap();
    drop(store);
    let again = setup.open().await;
    assert_eq!(found(&again).await, COUNT);
}

#[tokio::test]
async fn a_full_disk_at_a_stop_is_said() {
    let setup = Setup::new();
    let store = setup.open().await;
    for number in 0..10 {
        let path = setup.folder.path().join(format!("objects/{number:010}.data"));
        std::os::unix::fs::symlink("/dev/full", path).unwrap();
    }
    (0..COUNT).for_each(|n| store.put(key(n), piece(n, 40_000)));
    assert!(matches!(store.close().await, Err(StoreError::Lost)));
}

#[tokio::test]
async fn a_folder_that_cannot_be_used() {
    let setup = Setup::new();
    fs::write(setup.folder.path().join("objects"), "a file").unwrap();
    let config = setup.config();
    assert!(matches!(Store::open(&config.cache, &[], &SECRET), Err(StoreError::Folder { .. })));
}
