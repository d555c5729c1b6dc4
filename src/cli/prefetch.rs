//! `nearcast prefetch`: has URLs fetched ahead of requests, on every PoP.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{self, IsTerminal, Read};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::json;

use super::client::{Call, Nodes};
use super::list;
use super::run::BAD_CONFIG;
use crate::prefetch::URLS_MAX;

/// Have URLs fetched ahead of requests, on every PoP.
///
/// Each goes through the cache as a client's GET would: under the same key and rules, together with others' fetches of it.
/// What is stored and fresh is not fetched again. Answers that vary are fetched in the variant that the fields select. What
/// fails is printed as it comes, and at the end a summary per PoP. Exit code 1: at least one URL could not be had (no
/// answer, a broken one, or a status from 400 on), or a PoP did not do all; 2: the command line, a file or the config cannot
/// be followed, and nothing was fetched.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    nearcast prefetch https://www.example.net/app.css https://www.example.net/app.js\n  \
    nearcast prefetch release.txt -H 'accept-encoding: br' --jobs 2\n  \
    find-popular-urls | nearcast prefetch -")]
pub(super) struct PrefetchArgs {
    /// URLs, each with scheme and host, or files of them, one a line, without empty lines and those that begin with #; `-`
    /// is standard input.
    #[arg(value_name = "URL|FILE", required_unless_present = "file")]
    what: Vec<String>,
    /// A file of URLs, whatever its name; `-` is standard input; may be repeated.
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// A field of each request, as `name: value`; as often as needed.
    #[arg(short = 'H', long = "field", value_name = "FIELD", value_parser = list::field)]
    fields: Vec<String>,
    /// The address of the client that each request is made for, where a site keys the country.
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
    /// URLs at once on each PoP; no more than its `admin.prefetch-jobs`, which is the default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    jobs: Option<u32>,
    #[command(flatten)]
    nodes: Nodes,
}

pub(super) fn run(args: PrefetchArgs) -> anyhow::Result<ExitCode> {
    let urls = match args.urls(|| io::stdin().lock()) {
        Ok(urls) => urls,
        Err(mistake) => {
            eprintln!("{mistake}");
            return Ok(ExitCode::from(BAD_CONFIG));
        }
    };
    let client = match args.nodes.client() {
        Ok(client) => client,
        Err(unusable) => return Ok(unusable.exit()),
    };
    let progress = RefCell::new(Progress::new((urls.len() * client.nodes.len()) as u64)?);
    let tallies: RefCell<BTreeMap<String, Tally>> = RefCell::default();
    let done = client.lines_of_all(&args.calls(&urls), |node, line| {
        let Ok(line) = Line::deserialize(line) else { return };
        let failure = tallies.borrow_mut().entry(node.name.clone()).or_default().add(&line);
        let mut progress = progress.borrow_mut();
        if let Some(why) = failure {
            progress.print(&format!("{}  FAILED  {}: {why}", node.name, line.url));
        }
        progress.add(line.bytes);
    })?;
    progress.borrow().finish();
    let mut good = true;
    for (node, outcome) in done {
        let tally = tallies.borrow_mut().remove(&node.name).unwrap_or_default();
        println!("{}  {}", node.name, tally.in_words(urls.len() as u64));
        if let Err(failure) = &outcome {
            println!("{}  FAILED  {failure}", node.name);
        }
        good &= outcome.is_ok() && tally.failed == 0 && tally.urls == urls.len() as u64;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl PrefetchArgs {
    /// All URLs, or what is wrong with one of them.
    fn urls<R: Read>(&self, input: impl Fn() -> R) -> Result<Vec<String>, String> {
        let mut urls = Vec::new();
        let read = |name: &str| {
            if name == "-" {
                return list::urls(input(), "standard input");
            }
            list::urls(std::fs::File::open(name).map_err(|error| format!("{name}: {error}"))?, name)
        };
        for word in &self.what {
            if word.contains("://") {
                urls.push(list::url(word).map_err(|form| format!("`{word}` {form}"))?);
            } else {
                urls.extend(read(word)?);
            }
        }
        for file in &self.file {
            urls.extend(read(&file.to_string_lossy())?);
        }
        if urls.is_empty() { Err("there is nothing to fetch: the list is empty".to_owned()) } else { Ok(urls) }
    }

    fn calls(&self, urls: &[String]) -> Vec<Call> {
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in self.fields.iter().filter_map(|field| field.split_once(':')) {
            let lines = fields.entry(name.trim().to_ascii_lowercase()).or_default();
            // Several lines of a field are one list (RFC 9110 section 5.2).
            lines.push_str(if lines.is_empty() { "" } else { ", " });
            lines.push_str(value.trim());
        }
        let body = |urls: &[String]| {
            let mut body = json!({ "urls": urls });
            let given = [
                ("fields", (!fields.is_empty()).then(|| json!(fields))),
                ("client", self.client.map(|client| json!(client))),
                ("jobs", self.jobs.map(|jobs| json!(jobs))),
            ];
            for (key, value) in given {
                value.into_iter().for_each(|value| body[key] = value);
            }
            Call::post("/v1/prefetch", Some(body))
        };
        list::batches(urls, URLS_MAX).map(body).collect()
    }
}

/// What a node says of a URL.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    url: String,
    outcome: String,
    status: Option<u16>,
    bytes: u64,
    stored: bool,
    not_stored: Option<String>,
    error: Option<String>,
}

/// What came of all URLs of a node.
#[derive(Debug, Default)]
struct Tally {
    urls: u64,
    outcomes: BTreeMap<String, u64>,
    bytes: u64,
    stored: u64,
    not_stored: BTreeMap<String, u64>,
    failed: u64,
}

impl Tally {
    /// Takes in a line; why the URL could not be had, if it could not.
    fn add(&mut self, line: &Line) -> Option<String> {
        self.urls += 1;
        self.bytes += line.bytes;
        *self.outcomes.entry(line.outcome.clone()).or_default() += 1;
        let by_status = || line.status.filter(|status| *status >= 400).map(|status| format!("status {status}"));
        let failure = line.error.clone().or_else(by_status);
        self.failed += u64::from(failure.is_some());
        if line.stored {
            self.stored += 1;
        } else if failure.is_none() {
            let reason = line.not_stored.clone().unwrap_or_else(|| "for other reasons".to_owned());
            *self.not_stored.entry(reason).or_default() += 1;
        }
        failure
    }

    fn in_words(&self, total: u64) -> String {
        let counts = |counts: &BTreeMap<String, u64>| {
            counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
        };
        let mut words = format!("{} of {total} URLs", self.urls);
        let mut more = |text: String| {
            // Writing to a String cannot fail.
            let _infallible = write!(words, "{text}");
        };
        if !self.outcomes.is_empty() {
            more(format!(": {}; {}; {} stored", counts(&self.outcomes), HumanBytes(self.bytes), self.stored));
        }
        if !self.not_stored.is_empty() {
            more(format!("; not stored: {}", counts(&self.not_stored)));
        }
        if self.failed > 0 {
            more(format!("; {} FAILED", self.failed));
        }
        words
    }
}

/// A bar on a terminal, else a line after each tenth; to standard error.
struct Progress {
    bar: Option<ProgressBar>,
    began: Instant,
    total: u64,
    done: u64,
    bytes: u64,
}

impl Progress {
    fn new(total: u64) -> anyhow::Result<Self> {
        let bar = if io::stderr().is_terminal() {
            let bar = ProgressBar::new(total);
            bar.set_style(ProgressStyle::with_template("{bar:30} {msg}")?);
            bar.enable_steady_tick(Duration::from_millis(500));
            Some(bar)
        } else {
            None
        };
        let progress = Self { bar, began: Instant::now(), total, done: 0, bytes: 0 };
        progress.show();
        Ok(progress)
    }

    fn add(&mut self, bytes: u64) {
        let before = self.done;
        self.done += 1;
        self.bytes += bytes;
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.done);
                self.show();
            }
            None if is_news(before, self.done, self.total) => eprintln!("prefetch: {}", self.words()),
            None => {}
        }
    }

    fn show(&self) {
        if let Some(bar) = &self.bar {
            bar.set_message(self.words());
        }
    }

    fn words(&self) -> String {
        words(self.done, self.total, self.bytes, self.began.elapsed())
    }

    /// A line that stays.
    fn print(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| println!("{line}")),
            None => println!("{line}"),
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Whether a tenth was passed.
fn is_news(before: u64, done: u64, total: u64) -> bool {
    let tenths = |done: u64| done.saturating_mul(10) / total.max(1);
    tenths(done) > tenths(before)
}

/// How far it is, how fast, and how long it will take.
fn words(done: u64, total: u64, bytes: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    let rate = if seconds > 0.0 { bytes as f64 / seconds } else { 0.0 };
    let ahead = total.saturating_sub(done) as f64;
    let left = if done > 0 { seconds * ahead / done as f64 } else { 0.0 };
    let left = match left {
        1.0.. => format!(", about {} left", HumanDuration(Duration::from_secs_f64(left.min(1e9)))),
        _ => String::new(),
    };
    format!("{done} of {total} URLs, {} at {}/s{left}", HumanBytes(bytes), HumanBytes(rate as u64))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::Value;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        prefetch: PrefetchArgs,
    }

    fn args(words: &[&str]) -> Result<PrefetchArgs, clap::Error> {
        Command::try_parse_from([&["nearcast"], words].concat()).map(|line| line.prefetch)
    }

    #[test]
    fn urls_and_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("list");
        std::fs::write(&file, "http://h/b\n").unwrap();
        let file = file.to_str().unwrap();
        let urls = |words: &[&str]| args(words).unwrap().urls(|| &b"http://h/c\n"[..]);
        assert_eq!(urls(&["http://h/a", file, "-"]).unwrap(), ["http://h/a", "http://h/b", "http://h/c"]);
        assert_eq!(urls(&["--file", file]).unwrap(), ["http://h/b"]);
        assert!(urls(&["ftp://h/a"]).unwrap_err().contains("`ftp://h/a` must have scheme and host"));
        assert!(urls(&["/no/such"]).unwrap_err().starts_with("/no/such: "));
        std::fs::write(file, "# none\n").unwrap();
        assert!(urls(&[file]).unwrap_err().contains("nothing to fetch"));
        for bad in [&[][..], &["http://h/", "--jobs", "0"], &["http://h/", "-H", "x"], &["http://h/", "--client", "me"]]
        {
            assert!(args(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn calls() {
        let bare = args(&["http://h/a"]).unwrap();
        let urls = vec!["http://h/a".to_owned()];
        assert_eq!(bare.calls(&urls), [Call::post("/v1/prefetch", Some(json!({ "urls": urls })))]);
        let words = ["http://h/a", "-H", "X: 1", "-H", "x: 2", "--client", "192.0.2.1", "--jobs", "3"];
        let body = json!({ "urls": urls, "fields": { "x": "1, 2" }, "client": "192.0.2.1", "jobs": 3 });
        assert_eq!(args(&words).unwrap().calls(&urls), [Call::post("/v1/prefetch", Some(body))]);
        assert_eq!(bare.calls(&vec!["http://h/a".to_owned(); URLS_MAX + 1]).len(), 2);
    }

    #[test]
    fn tallies() {
        let line = |value: Value| Line::deserialize(value).unwrap();
        let mut tally = Tally::default();
        assert_eq!(tally.in_words(9), "0 of 9 URLs");
        let rows = [
            (json!({ "outcome": "miss", "status": 200, "bytes": 1024, "stored": true }), None),
            (json!({ "outcome": "hit", "status": 200, "bytes": 1024, "stored": true }), None),
            (json!({ "outcome": "pass", "status": 200, "stored": false, "not_stored": "no-store" }), None),
            (json!({ "outcome": "pass", "status": 200, "stored": false }), None),
            (json!({ "outcome": "miss", "status": 404, "stored": true }), Some("status 404")),
            (json!({ "outcome": "failed", "status": 502, "error": "No origin." }), Some("No origin.")),
        ];
        for (value, failure) in rows {
            assert_eq!(tally.add(&line(value)).as_deref(), failure);
        }
        let wanted = "6 of 9 URLs: 1 failed, 1 hit, 2 miss, 2 pass; 2.00 KiB; 3 stored; not stored: 1 for other reasons, \
                      1 no-store; 2 FAILED";
        assert_eq!(tally.in_words(9), wanted);
    }

    #[test]
    fn progress_in_words() {
        let rows = [
            (0, 8, 0, 0, "0 of 8 URLs, 0 B at 0 B/s"),
            (2, 8, 4096, 4, "2 of 8 URLs, 4.00 KiB at 1.00 KiB/s, about 12 seconds left"),
            (7, 8, 7168, 4, "7 of 8 URLs, 7.00 KiB at 1.75 KiB/s"),
            (8, 8, 8192, 4, "8 of 8 URLs, 8.00 KiB at 2.00 KiB/s"),
        ];
        for (done, total, bytes, seconds, wanted) in rows {
            assert_eq!(words(done, total, bytes, Duration::from_secs(seconds)), wanted);
        }
        let news = |total: u64| (0..total).filter(|done| is_news(*done, done + 1, total)).count();
        assert_eq!([1, 3, 10, 1000].map(news), [1, 3, 10, 10]);
    }
}
