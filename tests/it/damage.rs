//! A store whose files are damaged, while the node runs and between two runs, or whose disk is full: never a wrong byte,
//! never a crash, and it goes on serving. `life` has the folder's label.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::harness::node::Setup;
use crate::harness::process::Process;
use crate::harness::shelf::{Got, Shelf};

const OBJECTS: u64 = 120;

/// As many as the largest of them has pieces.
const TRIES: usize = 10;

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    /// One below `limit`.
    fn roll(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A node with little memory, so that most of the shelf is on disk only.
fn before(shelf: &Shelf) -> Setup {
    Setup::new(&shelf.origin).set("cache.memory", "\"8 MiB\"").disk()
}

/// All files of the store but the label, which has tests of its own.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_none_or(|kind| kind != "json") {
            files.push(path);
        }
    }
    files.sort();
    files
}

const PAGE: usize = 4096;

/// Flips a bit in one of `share` pages that hold anything.
fn flip(folder: &Path, dice: &mut Dice, share: u64) {
    for path in files(folder) {
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let pages = file.metadata().unwrap().len() / PAGE as u64;
        let mut page = [0; PAGE];
        for number in 0..pages {
            // Holes are no data; a page that is just being written is as good as any.
            let at = number * PAGE as u64;
            if dice.roll(share) != 0 || file.read_exact_at(&mut page, at).is_err() || page == [0; PAGE] {
                continue;
            }
            let place = dice.roll(PAGE as u64);
            let flipped = page[usize::try_from(place).unwrap()] ^ 1 << dice.roll(8);
            file.write_all_at(&[flipped], at + place).unwrap();
        }
    }
}

fn truncate(folder: &Path, dice: &mut Dice) {
    for path in files(folder) {
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(dice.roll(file.metadata().unwrap().len() + 1)).unwrap();
    }
}

fn remove_some(folder: &Path, dice: &mut Dice) {
    for path in files(folder) {
        if dice.roll(2) == 0 {
            fs::remove_file(path).unwrap();
        }
    }
}

/// All of it, right, within a few tries: each may find a piece that is missing, but then that is known.
fn assert_heals(name: &str, shelf: &Shelf, process: &Process) {
    for number in 0..OBJECTS {
        let whole = (0..TRIES).any(|_| matches!(shelf.ask(process.http(), number), Got::Whole { .. }));
        assert!(whole, "{name}: {number} stays broken");
    }
    assert!(!process.log().contains("panicked"), "{name}:\n{}", process.log());
}

/// Writes the shelf to disk, by a clean stop, and returns how often the origin was asked.
fn fill(shelf: &Shelf, setup: &Setup) -> usize {
    let process = Process::run(setup);
    for _twice in 0..2 {
        (0..OBJECTS).for_each(|number| assert!(matches!(shelf.ask(process.http(), number), Got::Whole { .. })));
    }
    process.signal("TERM");
    assert_eq!(process.exit_code(), Some(0));
    shelf.origin.asked()
}

type Harm = fn(&Path, &mut Dice);

/// Does harm over and over while clients read, then stops the node and starts another on what is left. Returns whether
/// any of it was noticed while the first ran.
fn under_a_running_node(harm: Harm) -> bool {
    const CLIENTS: usize = 4;
    const REQUESTS: usize = 250;
    let shelf = Shelf::new();
    let setup = before(&shelf);
    let asked = fill(&shelf, &setup);
    let process = Process::run(&setup);
    let folder = setup.folder().join("cache/fra");
    shelf.bring_out_next_edition();
    let whole: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (shelf, process) = (&shelf, &process);
                scope.spawn(move || {
                    let mut dice = Dice(client as u64);
                    let answers = (0..REQUESTS).map(|_| shelf.ask(process.http(), dice.roll(OBJECTS)));
                    answers.filter(|got| matches!(got, Got::Whole { .. })).count()
                })
            })
            .collect();
        let mut dice = Dice(99);
        while !clients.iter().all(thread::ScopedJoinHandle::is_finished) {
            harm(&folder, &mut dice);
        }
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    let noticed = shelf.origin.asked() > asked;
    assert!(whole >= CLIENTS * REQUESTS / 2, "only {whole} answers were whole");
    assert_heals("running", &shelf, &process);
    process.signal("TERM");
    assert_eq!(process.exit_code(), Some(0));
    assert_heals("again", &shelf, &Process::run(&setup));
    noticed
}

#[test]
fn bits_flipped_under_a_running_node() {
    assert!(under_a_running_node(|folder, dice| flip(folder, dice, 8)), "no flip hit anything");
}

#[test]
fn files_truncated_under_a_running_node() {
    assert!(under_a_running_node(truncate), "nothing was missed");
}

#[test]
fn files_removed_under_a_running_node() {
    // It may still have them open, and notice nothing.
    under_a_running_node(remove_some);
}

/// Does harm to what a node has left, starts another on it, and returns how many of the objects were fetched anew.
fn between_two_runs(harm: Harm) -> usize {
    let shelf = Shelf::new();
    let setup = before(&shelf);
    let asked = fill(&shelf, &setup);
    harm(&setup.folder().join("cache/fra"), &mut Dice(7));
    shelf.bring_out_next_edition();
    let process = Process::run(&setup);
    for number in 0..OBJECTS {
        if let Got::Whole { edition, hit } = shelf.ask(process.http(), number) {
            assert_eq!(edition == 1, hit, "{number}");
        }
    }
    let fetched = shelf.origin.asked() - asked;
    assert_heals("after", &shelf, &process);
    process.signal("TERM");
    assert_eq!(process.exit_code(), Some(0));
    fetched
}

#[test]
fn bits_flipped_between_two_runs() {
    assert!(between_two_runs(|folder, dice| flip(folder, dice, 4)) > 0);
}

#[test]
fn files_truncated_between_two_runs() {
    assert!(between_two_runs(truncate) > 0);
}

#[test]
fn files_removed_between_two_runs() {
    assert!(between_two_runs(remove_some) > 0);
}

#[test]
fn files_zeroed_between_two_runs() {
    let fetched = between_two_runs(|folder, _| {
        for path in files(folder) {
            let length = fs::metadata(&path).unwrap().len();
            OpenOptions::new().write(true).truncate(true).open(&path).unwrap().set_len(length).unwrap();
        }
    });
    assert!(fetched as u64 >= OBJECTS, "{fetched}");
}

#[test]
fn files_in_each_others_place() {
    between_two_runs(|folder, _| {
        let aside = folder.join("aside");
        for pair in files(folder).chunks_exact(2) {
            fs::rename(&pair[0], &aside).unwrap();
            fs::rename(&pair[1], &pair[0]).unwrap();
            fs::rename(&aside, &pair[1]).unwrap();
        }
    });
}

/// A disk that is smaller than the store believes.
#[test]
fn on_a_full_disk() {
    let shelf = Shelf::new();
    let setup = before(&shelf);
    let folder = setup.folder().join("cache");
    fs::create_dir_all(&folder).unwrap();
    let Some(_mounted) = SmallDisk::mount(&folder) else {
        println!("skipped: a tmpfs can only be mounted by root");
        return;
    };
    let process = Process::run(&setup);
    for _ in 0..3 {
        // Whatever comes of it; wrong bytes are found in any case.
        for number in 0..OBJECTS {
            shelf.ask(process.http(), number);
        }
    }
    assert_heals("full", &shelf, &process);
    process.signal("TERM");
    assert_eq!(process.exit_code(), Some(0));
    let again = Process::run(&setup);
    assert_heals("full, again", &shelf, &again);
}

/// A file system of 10 MiB.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` when this process may not.
    fn mount(folder: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=10m", "tmpfs"]).arg(folder).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(folder.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the node may still have files open.
        let _unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
