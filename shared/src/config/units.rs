//! Sizes, durations and shares as people write them.

use std::time::Duration;

/// Bytes from `512 KiB`, `256 MiB`, `10 GiB`, `1 GB`, `4096 B` or `4096`.
///
/// # Errors
/// The allowed form, when `text` is not of it or does not fit 64 bits.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return Err(size_form(text)),
    };
    number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(|| size_form(text))
}

/// A duration from `250ms`, `2s`, `5m`, `1h` or `30d`.
///
/// # Errors
/// The allowed form, when `text` is not of it or does not fit.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(duration_form(text)),
    };
    let total = number.parse::<u64>().ok().and_then(|n| n.checked_mul(millis)).ok_or_else(|| duration_form(text))?;
    Ok(Duration::from_millis(total))
}

/// A part of a whole, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(u8);

impl Share {
    /// Of `count`, rounded down.
    pub fn floor(self, count: usize) -> usize {
        count.saturating_mul(usize::from(self.0)) / 100
    }

    /// Of `count`, rounded up.
    pub fn ceil(self, count: usize) -> usize {
        count.saturating_mul(usize::from(self.0)).div_ceil(100)
    }

    /// From 0 to 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// In percent, 0 to 100.
    pub fn percent(self) -> u8 {
        self.0
    }
}

/// A share from `0%` to `100 %`.
///
/// # Errors
/// The allowed form, when `text` is not of it.
pub fn share(text: &str) -> Result<Share, String> {
    let form = || format!("`{text}` is not a share; write a whole number from 0 to 100 and %, such as \"50%\"");
    let (number, unit) = split(text);
    let percent = number.parse::<u8>().ok().filter(|percent| *percent <= 100 && unit == "%");
    percent.map(Share).ok_or_else(form)
}

/// `duration` as [`duration`] reads it, in the largest unit that loses nothing.
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis >= length && millis.is_multiple_of(length) {
            return format!("{}{unit}", millis / length);
        }
    }
    format!("{millis}ms")
}

/// `bytes` as [`size`] reads it, in the largest binary unit that loses nothing.
pub fn format_size(bytes: u64) -> String {
    for (unit, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes >= 1 << shift && bytes.is_multiple_of(1 << shift) {
            return format!("{} {unit}", bytes >> shift);
        }
    }
    format!("{bytes} B")
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

fn size_form(text: &str) -> String {
    format!("`{text}` is not a size; write a whole number and a unit, such as \"256 MiB\" or \"10 GiB\"")
}

fn duration_form(text: &str) -> String {
    format!("`{text}` is not a duration; write a whole number and ms, s, m, h or d, such as \"2s\" or \"250ms\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let rows = [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("1 KiB", Some(1024)),
            ("256MiB", Some(256 << 20)),
            ("10 GiB", Some(10 << 30)),
            ("1 GB", Some(1_000_000_000)),
            ("", None),
            ("MiB", None),
            ("1.5 GiB", None),
            ("-1 B", None),
            ("1 mib", None),
            ("99999999 TiB", None),
        ];
        for (text, wanted) in rows {
            assert_eq!(size(text).ok(), wanted, "{text}");
        }
    }

    #[test]
    fn durations() {
        let rows = [
            ("250ms", Some(250)),
            ("2s", Some(2_000)),
            ("5 m", Some(300_000)),
            ("1h", Some(3_600_000)),
            ("30d", Some(2_592_000_000)),
            ("2", None),
            ("s", None),
            ("2 weeks", None),
            ("99999999999999999d", None),
        ];
        for (text, wanted) in rows {
            assert_eq!(duration(text).ok(), wanted.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn shares() {
        let rows =
            [("0%", Some(0)), ("25 %", Some(25)), ("100%", Some(100)), ("101%", None), ("0.5", None), ("50", None)];
        for (text, wanted) in rows {
            assert_eq!(share(text).ok().map(Share::percent), wanted, "{text}");
        }
        let rows = [(25, 3, 0, 1), (25, 4, 1, 1), (50, 3, 1, 2), (100, 3, 3, 3), (0, 3, 0, 0), (34, 3, 1, 2)];
        for (percent, count, floor, ceil) in rows {
            assert_eq!((Share(percent).floor(count), Share(percent).ceil(count)), (floor, ceil), "{percent} {count}");
        }
    }

    #[test]
    fn formats_read_back() {
        for bytes in [0, 1, 1023, 1024, 3 << 20, 10 << 30] {
            assert_eq!(size(&format_size(bytes)), Ok(bytes));
        }
        for millis in [0, 1, 999, 1_000, 90_000, 86_400_000] {
            let given = Duration::from_millis(millis);
            assert_eq!(duration(&format_duration(given)), Ok(given));
        }
    }
}
