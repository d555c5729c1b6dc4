//! What is wrong with a config file, and reading one so that all of it is found at once.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::File;
use super::zonefile::Line;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file, if it is another one: a zone's.
    pub file: Option<PathBuf>,
    /// The line it stands on, from 1; `None` when it is about the file as a whole.
    pub line: Option<usize>,
    /// The dotted key, such as `pop.location`; empty for a mistake of syntax.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// All mistakes of one config file and of the zone files that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {
    /// The file as it was named.
    pub file: PathBuf,
    /// At least one, in the order of the file; then those of zone files.
    pub list: Vec<Mistake>,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.list.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", mistake.file.as_ref().unwrap_or(&self.file).display())?;
            if let Some(line) = mistake.line {
                write!(f, ":{line}")?;
            }
            if !mistake.key.is_empty() {
                write!(f, ": {}", mistake.key)?;
            }
            write!(f, ": {}", mistake.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In the config's file.
    Toml(Range<usize>),
    /// In a zone's.
    Line(Line),
}

/// Gathers mistakes against the text of a file.
pub(super) struct Gather<'a> {
    text: &'a str,
    /// Byte offset, key, message; sorted at the end.
    found: Vec<(Option<usize>, String, String)>,
    /// In the files of zones, in the order they were found.
    elsewhere: Vec<(Line, String)>,
}

impl<'a> Gather<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, found: Vec::new(), elsewhere: Vec::new() }
    }

    /// Notes a mistake at `span`.
    pub(super) fn at(&mut self, span: Option<Range<usize>>, key: &str, message: impl Into<String>) {
        self.found.push((span.map(|s| s.start), key.to_owned(), message.into()));
    }

    /// Notes a mistake at `place`; `key` is for the config's own file.
    pub(super) fn place(&mut self, place: Place, key: &str, message: String) {
        match place {
            Place::Toml(span) => self.at(Some(span), key, message),
            Place::Line(line) => self.elsewhere.push((line, message)),
        }
    }

    /// `place` as people read it; `file` is the config's.
    pub(super) fn show(&self, place: &Place, file: &Path) -> String {
        match place {
            Place::Toml(span) => format!("{}:{}", file.display(), self.line(span.start)),
            Place::Line(line) => line.to_string(),
        }
    }

    fn line(&self, at: usize) -> usize {
        self.text[..at.min(self.text.len())].matches('\n').count() + 1
    }

    /// Whether nothing was noted so far.
    pub(super) fn is_clean(&self) -> bool {
        self.found.is_empty() && self.elsewhere.is_empty()
    }

    /// What the mistakes noted so far are about.
    pub(super) fn keys(&self) -> Vec<String> {
        self.found.iter().map(|(_, key, _)| key.clone()).collect()
    }

    /// All that was noted, in the order of the file.
    pub(super) fn finish(mut self, file: PathBuf) -> Mistakes {
        self.found.sort_by_key(|(at, ..)| *at);
        self.elsewhere.sort_by(|(a, _), (b, _)| a.cmp(b));
        let here = self.found.iter().map(|(at, key, message)| Mistake {
            file: None,
            line: at.map(|at| self.line(at)),
            key: key.clone(),
            message: message.clone(),
        });
        let elsewhere = self.elsewhere.iter().map(|(at, message)| Mistake {
            file: Some(at.file.to_path_buf()),
            line: Some(at.line).filter(|line| *line > 0),
            key: String::new(),
            message: message.clone(),
        });
        Mistakes { file, list: here.chain(elsewhere).collect() }
    }
}

/// Values that do not fit which are looked for: a large file that repeats one would take minutes.
const SHAPELESS_MAX: usize = 50;

/// Reads the file's shape. Serde stops at the first value that does not fit, so that value is noted, taken out, and the
/// rest is read again, until all fits: every mistake is found in one go, or enough of them.
pub(super) fn read(text: &str, gather: &mut Gather<'_>) -> File {
    let (mut root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        gather.at(error.span(), "", error.message());
    }
    loop {
        let error = match File::deserialize(toml::de::Deserializer::from(root.clone())) {
            Ok(file) => return file,
            Err(error) => error,
        };
        let span = error.span().unwrap_or(0..0);
        let mut key = Vec::new();
        let removed = take_out(root.get_mut(), &span, &mut key);
        gather.at(Some(span), &key.join("."), explain(error.message(), &key));
        if !removed || gather.found.len() >= SHAPELESS_MAX {
            return File::default();
        }
    }
}

/// Removes the innermost entry that `span` points at. False when there is none.
fn take_out(table: &mut DeTable<'_>, span: &Range<usize>, key: &mut Vec<String>) -> bool {
    let holds = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    let found = table.iter().find(|(name, value)| name.span() == *span || holds(value.span()) || nested(value, span));
    let Some((name, value)) = found.map(|(name, value)| (name.clone(), value.clone())) else {
        return false;
    };
    key.push(name.get_ref().to_string());
    let inside = name.span() != *span && value.span() != *span;
    let Some(entry) = table.get_mut(name.get_ref().as_ref()).filter(|_| inside) else {
        return table.remove(name.get_ref().as_ref()).is_some();
    };
    let done = match entry.get_mut() {
        DeValue::Table(inner) => take_out(inner, span, key),
        DeValue::Array(items) => take_out_of_array(items, span, key),
        _ => false,
    };
    done || table.remove(name.get_ref().as_ref()).is_some()
}

fn take_out_of_array(items: &mut toml::de::DeArray<'_>, span: &Range<usize>, key: &mut Vec<String>) -> bool {
    for i in 0..items.len() {
        let Some(item) = items.get_mut(i) else { continue };
        if item.span() == *span {
            remove(items, i);
            return true;
        }
        if let DeValue::Table(inner) = item.get_mut()
            && take_out(inner, span, key)
        {
            return true;
        }
        if item.span().start <= span.start && span.end <= item.span().end {
            remove(items, i);
            return true;
        }
    }
    false
}

fn remove(items: &mut toml::de::DeArray<'_>, position: usize) {
    let rest = items.iter().enumerate().filter(|(i, _)| *i != position).map(|(_, item)| item.clone()).collect();
    *items = rest;
}

/// Whether `span` is anywhere below `value`: the span of a `[table]` or `[[table]]` covers its header only.
fn nested(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    let holds = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    match value.get_ref() {
        DeValue::Table(table) => table.iter().any(|(k, v)| holds(k.span()) || holds(v.span()) || nested(v, span)),
        DeValue::Array(items) => items.iter().any(|v| holds(v.span()) || nested(v, span)),
        _ => false,
    }
}

/// Serde's sentence in the words of this project.
fn explain(message: &str, key: &[String]) -> String {
    if message.starts_with("invalid type: integer") && message.ends_with("expected a string") {
        return format!("{message}; write it in quotes and with its unit, such as \"256 MiB\" or \"2s\"");
    }
    let Some(rest) = message.strip_prefix("unknown field `") else {
        return message.to_owned();
    };
    let Some((_, allowed)) = rest.split_once("`, expected ") else {
        return "unknown key; none is allowed here".to_owned();
    };
    let allowed = allowed.trim_start_matches("one of ").replace('`', "");
    let table = if key.len() > 1 { format!("[{}]", key[..key.len() - 1].join(".")) } else { "the top".to_owned() };
    format!("unknown key; allowed in {table}: {allowed}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::SHAPELESS_MAX;
    use crate::config::{Config, Inputs};

    #[test]
    fn enough_of_them_are_told() {
        let text: String = (0..SHAPELESS_MAX + 9).map(|n| format!("unknown{n} = 1\n")).collect();
        let mistakes = Config::parse(&text, Path::new("test.toml"), &Inputs::default()).unwrap_err();
        let unknown = mistakes.list.iter().filter(|mistake| mistake.key.starts_with("unknown")).count();
        assert_eq!(unknown, SHAPELESS_MAX);
    }
}
