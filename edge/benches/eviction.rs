//! Which eviction policy memory should have, whether a flood of large bodies or of one-hit objects drowns the hot set,
//! and how long it takes to find a million objects again. Prints the tables of benches/README.md.
//!
//! ```sh
//! cargo bench -p nearcast-edge --bench eviction
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use foyer::{Cache, CacheBuilder, EvictionConfig, FifoConfig, LfuConfig, LruConfig, S3FifoConfig, SieveConfig};
use http::HeaderName;
use nearcast_edge::key::{HashSecret, StoreKey, UrlId};
use nearcast_edge::store::object::Base;
use nearcast_edge::store::{Piece, Store};
use nearcast_shared::config::{Config, Inputs};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

fn main() {
    // cargo passes `--bench`; a word chooses one part.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let parts: [(&str, fn()); 3] = [("policies", policies), ("floods", floods), ("recovery", recovery)];
    for (name, part) in parts {
        if wanted.as_deref().is_none_or(|wanted| wanted == name) {
            part();
        }
    }
}

/// Numbers from 0 that come up as 1/(n+1)^alpha.
struct Zipf {
    sums: Vec<f64>,
    random: StdRng,
}

impl Zipf {
    fn new(count: usize, alpha: f64, seed: u64) -> Self {
        let mut sum = 0.0;
        let weight = |n: usize| {
            sum += 1.0 / (n as f64 + 1.0).powf(alpha);
            sum
        };
        Self { sums: (0..count).map(weight).collect(), random: StdRng::seed_from_u64(seed) }
    }

    fn next(&mut self) -> usize {
        let all = self.sums[self.sums.len() - 1];
        let at = self.random.random::<f64>() * all;
        self.sums.partition_point(|sum| *sum < at).min(self.sums.len() - 1)
    }
}

/// Requests of a trace; half of them warm the cache.
const REQUESTS: usize = 4_000_000;

/// A scan of so many objects that come once follows so many requests of the zipf part.
const SCAN_EVERY: usize = 100_000;
const SCAN: usize = 25_000;

fn policies() {
    println!("hit ratio of the zipf part in %; in brackets with scans, a fifth of all requests\n");
    println!("| objects | zipf | cache | SIEVE | S3-FIFO | w-TinyLFU | LRU | FIFO |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for objects in [50_000, 1_000_000] {
        for alpha in [0.8, 1.0] {
            for percent in [1, 10] {
                let capacity = objects * percent / 100;
                let configs: [EvictionConfig; 5] = [
                    SieveConfig.into(),
                    S3FifoConfig::default().into(),
                    LfuConfig::default().into(),
                    LruConfig::default().into(),
                    FifoConfig::default().into(),
                ];
                let cells = configs.map(|config| {
                    let [plain, scanned] = [false, true].map(|scans| {
                        let cache: Cache<u64, ()> =
                            CacheBuilder::new(capacity).with_shards(4).with_eviction_config(config.clone()).build();
                        ratio(&cache, objects, alpha, scans)
                    });
                    format!("{plain:.1} ({scanned:.1})")
                });
                println!("| {objects} | {alpha} | {percent} % | {} |", cells.join(" | "));
            }
        }
    }
    println!();
}

fn ratio(cache: &Cache<u64, ()>, objects: usize, alpha: f64, scans: bool) -> f64 {
    let mut zipf = Zipf::new(objects, alpha, 1);
    let (mut hits, mut once) = (0u32, u64::MAX);
    for n in 0..REQUESTS {
        let key = zipf.next() as u64;
        if cache.get(&key).is_some() {
            hits += u32::from(n >= REQUESTS / 2);
        } else {
            cache.insert(key, ());
        }
        if scans && n % SCAN_EVERY == SCAN_EVERY - 1 {
            for _ in 0..SCAN {
                cache.insert(once, ());
                once -= 1;
            }
        }
    }
    f64::from(hits) * 200.0 / REQUESTS as f64
}

const SECRET: HashSecret = HashSecret([1; 16]);

fn store(memory: &str, disk: Option<(&Path, &str)>, site: &str) -> Store {
    let disk = disk.map(|(path, size)| format!("disk = {{ path = \"{}\", size = \"{size}\" }}\n", path.display()));
    let text = format!(
        "[cache]\nmemory = \"{memory}\"\n{}[[pop]]\nname = \"a\"\naddresses = [\"192.0.2.1\"]\n{site}",
        disk.unwrap_or_default()
    );
    let config = Config::parse(&text, Path::new("bench.toml"), &Inputs::default()).expect("a config");
    Store::open(&config.cache, &config.sites, &SECRET).expect("a store")
}

fn key(number: u64, large: bool) -> StoreKey {
    let id = u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 32;
    StoreKey::chunk(UrlId(id), false, 1, 0, large)
}

fn floods() {
    println!("a store of 1 GiB, 100,000 objects of 16 KiB at zipf 0.9: hits in memory, of a million requests\n");
    println!("| between the requests | hit ratio | resident MiB |\n| --- | --- | --- |");
    let folder = tempfile::tempdir().expect("a folder");
    let store = store("1 GiB", Some((folder.path(), "4 GiB")), "");
    let piece = |bytes: usize| Piece::Chunk(Bytes::from(vec![1; bytes]));
    let mut zipf = Zipf::new(100_000, 0.9, 2);
    let mut round = |between: &mut dyn FnMut(usize)| {
        let mut hits = 0;
        for n in 0..1_000_000 {
            let key = key(zipf.next() as u64, false);
            if store.peek(&key).is_some() {
                hits += 1;
            } else {
                store.put(key, piece(16 << 10));
            }
            between(n);
        }
        f64::from(hits) / 10_000.0
    };
    round(&mut |_| {});
    let say = |name: &str, ratio: f64| println!("| {name} | {ratio:.1} % | {} |", resident_mib());
    say("nothing", round(&mut |_| {}));
    let mut video = 1 << 40;
    let large = round(&mut |n| {
        // 80 chunks of 256 KiB each thousand requests: 20 GiB in all.
        if n % 1000 == 0 {
            for _ in 0..82 {
                store.put(key(video, true), piece(256 << 10));
                video += 1;
            }
        }
    });
    say("20 GiB of large bodies", large);
    let mut once = 1 << 50;
    let scan = round(&mut |_| {
        store.put(key(once, false), piece(4 << 10));
        once += 1;
    });
    say("a million objects of 4 KiB, once each", scan);
    println!();
}

fn recovery() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let site = "[[site]]\nname = \"s\"\ndomains = [\"*\"]\norigin = \"http://o.test\"\n";
    let disk = Some((folder.path(), "8 GiB"));
    let before = store("2 GiB", disk, site);
    for number in 0..1_000_000 {
        let base = Base { vary: vec![HeaderName::from_static("accept-encoding"); 30], variants: Vec::new() };
        before.put(key(number, false), Piece::Base(Arc::new(base)));
    }
    let begun = Instant::now();
    runtime.block_on(before.close()).expect("written out");
    let usage = before.usage().disk.expect("a disk");
    println!("a clean stop wrote {} pieces, {} MiB, in {:.2?}", usage.entries, usage.bytes >> 20, begun.elapsed());
    drop(before);
    let begun = Instant::now();
    let after = store("2 GiB", disk, site);
    let opened = begun.elapsed();
    runtime.block_on(after.opened());
    let usage = after.usage().disk.expect("a disk");
    println!("open returned after {opened:.2?}; {} pieces were found again in {:.2?}", usage.entries, begun.elapsed());
    println!("resident: {} MiB", resident_mib());
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|kib| kib.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or_default() >> 10
}
