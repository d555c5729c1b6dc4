//! URLs and fields as command lines and files have them.

use std::io::{BufRead, BufReader, Read};

use http::{HeaderName, HeaderValue, Uri};

/// Bytes of a line of a file.
const LINE_MAX: u64 = 64 << 10;

/// Bytes of the entries of a call: well below what a node takes.
const CALL_BYTES: usize = 8 << 20;

/// A URL, left as it was written: the node knows best which URLs are the same.
pub(super) fn url(text: &str) -> Result<String, String> {
    let full = text.parse::<Uri>().is_ok_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty())
    });
    let form = || "must have scheme and host, such as http://www.example.net/app.css".to_owned();
    if full { Ok(text.to_owned()) } else { Err(form()) }
}

/// A field of a request.
pub(super) fn field(text: &str) -> Result<String, String> {
    let is_one = text.split_once(':').is_some_and(|(name, value)| {
        HeaderName::try_from(name.trim()).is_ok() && HeaderValue::try_from(value.trim()).is_ok()
    });
    if is_one { Ok(text.to_owned()) } else { Err("must be such as 'accept-encoding: br'".to_owned()) }
}

/// The URLs of a file, one a line, without empty lines and those that begin with #; or which line is none.
pub(super) fn urls(from: impl Read, name: &str) -> Result<Vec<String>, String> {
    let (mut from, mut urls) = (BufReader::new(from), Vec::new());
    for number in 1.. {
        let at = |what: &str| format!("{name}, line {number}: {what}");
        let mut line = String::new();
        let read = from.by_ref().take(LINE_MAX).read_line(&mut line).map_err(|error| at(&error.to_string()))?;
        if read == 0 {
            break;
        }
        if read as u64 == LINE_MAX {
            return Err(at("longer than any URL"));
        }
        let text = line.trim();
        if !text.is_empty() && !text.starts_with('#') {
            urls.push(url(text).map_err(|form| at(&format!("`{text}` {form}")))?);
        }
    }
    Ok(urls)
}

/// As many entries as a call takes, again and again.
pub(super) fn batches(entries: &[String], most: usize) -> impl Iterator<Item = &[String]> {
    let mut rest = entries;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |entry: &&String| {
            bytes += entry.len() + 8;
            bytes <= CALL_BYTES
        };
        let count = rest.iter().take(most).take_while(fits).count().max(1).min(rest.len());
        let (batch, behind) = rest.split_at(count);
        rest = behind;
        (!batch.is_empty()).then_some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_urls() {
        let read = |text: &str| urls(text.as_bytes(), "list");
        let two = vec!["http://h/a".to_owned(), "https://h/b?c".to_owned()];
        assert_eq!(read("http://h/a\n\n# not this\n  https://h/b?c\r\n"), Ok(two));
        assert_eq!(read(""), Ok(Vec::new()));
        let form = "must have scheme and host, such as http://www.example.net/app.css";
        assert_eq!(read("http://h/a\n/b\n"), Err(format!("list, line 2: `/b` {form}")));
        assert_eq!(read(&"a".repeat(70_000)), Err("list, line 1: longer than any URL".to_owned()));
        assert!(urls(&b"http://h/\xff\n"[..], "list").unwrap_err().starts_with("list, line 1: "));
    }

    #[test]
    fn fields() {
        for good in ["accept: a", "x:", "cookie: a=b; c=d"] {
            assert_eq!(field(good), Ok(good.to_owned()));
        }
        for bad in ["accept", ": a", "a b: c", "a: b\nc"] {
            assert!(field(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn calls_are_bounded_by_count_and_bytes() {
        let entries: Vec<String> = (0..25).map(|n| n.to_string()).collect();
        let lengths = |entries: &[String], most| batches(entries, most).map(<[_]>::len).collect::<Vec<_>>();
        assert_eq!(lengths(&entries, 10), [10, 10, 5]);
        assert_eq!(lengths(&[], 10), [0; 0]);
        let long: Vec<String> = (0..300).map(|n| format!("{n}{}", "x".repeat(50_000))).collect();
        let sizes: Vec<usize> = batches(&long, 1000).map(|batch| batch.iter().map(String::len).sum()).collect();
        assert!(sizes.len() == 2 && sizes.iter().all(|size| *size <= CALL_BYTES), "{sizes:?}");
        assert_eq!(batches(&long, 1000).flatten().count(), 300);
        assert_eq!(lengths(&["x".repeat(CALL_BYTES * 2)], 10), [1]);
    }
}
