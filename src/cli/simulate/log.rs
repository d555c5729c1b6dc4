//! A query log as `simulate` reads it: `ADDRESS[/LENGTH] [NAME] [COUNT]` a line.

use std::io::{BufRead, Read};
use std::net::IpAddr;

use nearcast_dns::{Simulation, Simulator};

/// Bytes of a line.
const LINE_MAX: u64 = 1024;
/// Mistakes that are told.
const MISTAKES_MAX: usize = 20;
/// Lines between two words on the progress.
const PATIENCE: u64 = 1024;

/// What became of a log.
pub(super) struct Replay {
    pub(super) simulation: Simulation,
    /// For steered names.
    pub(super) queries: u64,
    /// For others.
    pub(super) skipped: u64,
}

/// Why there is no replay.
#[derive(Debug)]
pub(super) enum ReplayError {
    /// It ended early.
    Read(std::io::Error),
    /// Lines that are none, with their numbers.
    Lines(Vec<(u64, String)>),
}

/// One line.
#[derive(Debug, PartialEq)]
struct Line<'l> {
    address: IpAddr,
    length: u8,
    name: Option<&'l str>,
    count: u64,
}

/// Steers whoever stands in `log`, by `name` where a line has none; `progress` is told how many bytes were read.
pub(super) fn replay(
    mut log: impl BufRead,
    mut simulator: Simulator<'_>,
    name: &str,
    progress: impl Fn(u64),
) -> Result<Replay, ReplayError> {
    let (mut queries, mut skipped, mut bytes, mut mistakes) = (0u64, 0u64, 0, Vec::new());
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        let read = log.by_ref().take(LINE_MAX).read_until(b'\n', &mut text).map_err(ReplayError::Read)?;
        if read == 0 || mistakes.len() >= MISTAKES_MAX {
            break;
        }
        bytes += read as u64;
        if number % PATIENCE == 0 {
            progress(bytes);
        }
        match parse(&text) {
            Ok(None) => {}
            Ok(Some(line)) => {
                match simulator.client(line.name.unwrap_or(name), line.address, line.length, line.count) {
                    Ok(()) => queries = queries.saturating_add(line.count),
                    Err(_not_steered) => skipped = skipped.saturating_add(line.count),
                }
            }
            Err(mistake) => mistakes.push((number, mistake)),
        }
    }
    if !mistakes.is_empty() {
        return Err(ReplayError::Lines(mistakes));
    }
    Ok(Replay { simulation: simulator.finish(), queries, skipped })
}

/// `None` for a line without a query.
fn parse(bytes: &[u8]) -> Result<Option<Line<'_>>, String> {
    if bytes.len() as u64 == LINE_MAX && bytes.last() != Some(&b'\n') {
        return Err(format!("over {LINE_MAX} bytes"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "not text".to_owned())?;
    let mut words = text.split('#').next().unwrap_or_default().split_whitespace();
    let Some(client) = words.next() else { return Ok(None) };
    let form = || format!("`{client}` is not an address such as 192.0.2.1 or a network such as 192.0.2.0/24");
    let (address, length) = match client.split_once('/') {
        None => (client.parse::<IpAddr>().map_err(|_| form())?, None),
        Some((address, length)) => {
            (address.parse().map_err(|_| form())?, Some(length.parse::<u8>().map_err(|_| form())?))
        }
    };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let length = length.unwrap_or(bits);
    if length > bits {
        return Err(form());
    }
    let words: Vec<&str> = words.collect();
    let count = |text: &str| match text.parse::<u64>() {
        Ok(count) if count > 0 => Ok(count),
        Ok(_) | Err(_) => Err(format!("`{text}` is not a count, which is a whole number from 1")),
    };
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (name, count) = match words.as_slice() {
        [] => (None, 1),
        [number] if is_number(number) => (None, count(number)?),
        [name] => (Some(*name), 1),
        [name, number] => (Some(*name), count(number)?),
        [..] => return Err("more than ADDRESS[/LENGTH] [NAME] [COUNT]".to_owned()),
    };
    Ok(Some(Line { address, length, name, count }))
}

impl ReplayError {
    /// One line for each mistake.
    pub(super) fn in_file(&self, file: &str) -> String {
        match self {
            Self::Read(error) => format!("{file}: cannot be read: {error}"),
            Self::Lines(mistakes) => {
                let lines = mistakes.iter().map(|(number, mistake)| format!("{file}:{number}: {mistake}"));
                lines.collect::<Vec<_>>().join("\n")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let line = |address: &str, length, name, count| {
            Ok(Some(Line { address: address.parse().unwrap(), length, name, count }))
        };
        let rows = [
            ("192.0.2.1\n", line("192.0.2.1", 32, None, 1)),
            ("192.0.2.0/24 www.test", line("192.0.2.0", 24, Some("www.test"), 1)),
            ("2001:db8::/56\twww.test 17\r\n", line("2001:db8::", 56, Some("www.test"), 17)),
            ("192.0.2.1 17 # by hand", line("192.0.2.1", 32, None, 17)),
            ("  # nothing\n", Ok(None)),
            ("\n", Ok(None)),
        ];
        for (text, wanted) in rows {
            assert_eq!(parse(text.as_bytes()), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_no_line() {
        let long = format!("192.0.2.1 {}", "a".repeat(2000));
        let rows = [
            ("192.0.2", "`192.0.2` is not an address"),
            ("192.0.2.0/33", "`192.0.2.0/33` is not an address"),
            ("192.0.2.0/-1", "`192.0.2.0/-1` is not an address"),
            ("192.0.2.1 a.test b", "`b` is not a count"),
            ("192.0.2.1 0", "`0` is not a count"),
            ("192.0.2.1 99999999999999999999", "is not a count"),
            ("192.0.2.1 a.test 1 2", "more than ADDRESS"),
            (&long[..1024], "over 1024 bytes"),
        ];
        for (text, wanted) in rows {
            let mistake = parse(text.as_bytes()).unwrap_err();
            assert!(mistake.contains(wanted), "{text}: {mistake}");
        }
        assert_eq!(parse(b"\xff\xfe"), Err("not text".to_owned()));
    }
}
