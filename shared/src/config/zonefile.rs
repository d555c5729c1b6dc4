//! Master files (RFC 1035 section 5): a zone's records as text. All mistakes of a file and of those that it includes are
//! found in one go, each with its place.
//!
//! Beyond RFC 1035: `$TTL` (RFC 2308 section 4), times such as `1h30m` as BIND writes them, and unknown types (RFC 3597).
//! What is included must lie in the config's folder, so that a zone file from elsewhere can show nothing of this machine.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use self::lexer::{Entries, Entry};
use super::Record;
use crate::name::Name;
use crate::rtype;

mod lexer;
mod rdata;

/// Bytes of a zone's files in all.
const BYTES_MAX: u64 = 64 << 20;
/// Files within files.
const DEPTH_MAX: usize = 8;
/// Mistakes that are told of a zone's files.
const MISTAKES_MAX: usize = 100;
/// RFC 2181 section 8: "[..] a TTL value is an unsigned number, with a minimum value of 0, and a maximum value of
/// 2147483647."
const TTL_MAX: u32 = i32::MAX as u32;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    pub(super) file: Arc<Path>,
    /// From 1; 0: the file as a whole.
    pub(super) line: usize,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// What is found in a zone's files.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) records: Vec<(Line, Record)>,
    pub(super) mistakes: Vec<(Line, String)>,
}

/// Reads the file at `path`, which lies in `folder` or anywhere else that the config names. What has no TTL anywhere has `ttl`.
pub(super) fn read(path: &Path, folder: &Path, zone: &Name, ttl: u32) -> Content {
    let mut reader = Reader { folder, bytes_left: BYTES_MAX, content: Content::default() };
    reader.file(path, Context::start(zone, ttl), 0);
    reader.content
}

/// Reads `text` as the file at `path` would be read.
pub(super) fn read_text(text: &[u8], path: &Path, zone: &Name, ttl: u32) -> Content {
    let folder = path.parent().unwrap_or(path);
    let mut reader = Reader { folder, bytes_left: BYTES_MAX, content: Content::default() };
    reader.entries(text, &path.into(), Context::start(zone, ttl), 0);
    reader.content
}

/// The data of one record outside of a file.
pub(super) fn record(zone: &Name, name: &str, ttl: u32, rtype: &str, data: &str) -> Result<Record, String> {
    let owner = rdata::name(name, zone)?;
    let number = rtype::parse(rtype).ok_or_else(|| no_type(rtype))?;
    rdata::servable(number)?;
    let mut entries = Entries::new(data.as_bytes());
    let pieces = match (entries.next(), entries.next()) {
        (Some(Err(fault)), _) => return Err(fault.message.to_owned()),
        (Some(Ok(entry)), None) => entry.pieces,
        (None, _) => Vec::new(),
        (Some(Ok(_)), Some(_)) => return Err("one line for each record, or ( .. ) around several".to_owned()),
    };
    Ok(Record { name: owner, ttl, rtype: number, rdata: rdata::read(number, &pieces, zone)? })
}

fn no_type(text: &str) -> String {
    format!("`{text}` is no type of records; one without a name is written as TYPE with its number")
}

/// Seconds from `300`, `5m` or `1h30m`.
pub(super) fn seconds(text: &str) -> Option<u32> {
    let mut total = 0u32;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u32 = rest[..digits].parse().ok()?;
        let unit = match rest.as_bytes().get(digits).map(u8::to_ascii_lowercase) {
            None => 1,
            Some(b's') => 1,
            Some(b'm') => 60,
            Some(b'h') => 3600,
            Some(b'd') => 86_400,
            Some(b'w') => 604_800,
            Some(_) => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = rest.get(digits + 1..).unwrap_or_default();
    }
    (!text.is_empty() && total <= TTL_MAX).then_some(total)
}

/// What the next entry builds on.
#[derive(Clone)]
struct Context {
    origin: Name,
    /// Of the record before.
    owner: Option<Name>,
    /// The last $TTL.
    default_ttl: Option<u32>,
    /// The last that a record said.
    last_ttl: u32,
}

impl Context {
    fn start(zone: &Name, ttl: u32) -> Self {
        Self { origin: zone.clone(), owner: None, default_ttl: None, last_ttl: ttl }
    }
}

struct Reader<'a> {
    folder: &'a Path,
    bytes_left: u64,
    content: Content,
}

impl Reader<'_> {
    fn mistake(&mut self, at: &Line, message: String) {
        let told = self.content.mistakes.len();
        if told < MISTAKES_MAX {
            self.content.mistakes.push((at.clone(), message));
        } else if told == MISTAKES_MAX {
            self.content.mistakes.push((at.clone(), "and more mistakes from here on".to_owned()));
        }
    }

    fn file(&mut self, path: &Path, context: Context, depth: usize) {
        let file: Arc<Path> = path.into();
        match self.text(path) {
            Ok(text) => self.entries(&text, &file, context, depth),
            Err(why) => self.mistake(&Line { file, line: 0 }, why),
        }
    }

    fn entries(&mut self, text: &[u8], file: &Arc<Path>, mut context: Context, depth: usize) {
        for entry in Entries::new(text) {
            let at = |line| Line { file: file.clone(), line };
            match entry {
                Err(fault) => self.mistake(&at(fault.line), fault.message.to_owned()),
                Ok(entry) => {
                    let at = at(entry.line);
                    if let Err(message) = self.entry(&entry, &at, &mut context, depth) {
                        self.mistake(&at, message);
                    }
                }
            }
        }
    }

    fn text(&mut self, path: &Path) -> Result<Vec<u8>, String> {
        let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
        let size = std::fs::metadata(path).map_err(unreadable)?.len();
        self.bytes_left = self
            .bytes_left
            .checked_sub(size)
            .ok_or_else(|| format!("the zone's files have more than {} MiB", BYTES_MAX >> 20))?;
        std::fs::read(path).map_err(unreadable)
    }

    fn entry(&mut self, entry: &Entry, at: &Line, context: &mut Context, depth: usize) -> Result<(), String> {
        match &entry.pieces[..] {
            [directive, arguments @ ..] if !entry.indented && directive.starts_with('$') => {
                self.directive(directive, arguments, at, context, depth)
            }
            [owner, rest @ ..] if !entry.indented => {
                // Also when it is wrong, so that the lines after it are not records of another name.
                context.owner = None;
                let owner = rdata::name(owner, &context.origin)?;
                context.owner = Some(owner.clone());
                self.record(owner, rest, at, context)
            }
            rest => match context.owner.clone() {
                Some(owner) => self.record(owner, rest, at, context),
                None => {
                    Err("there is no name: a line that begins with white space has that of the one before".to_owned())
                }
            },
        }
    }

    fn directive(
        &mut self,
        directive: &str,
        arguments: &[String],
        at: &Line,
        context: &mut Context,
        depth: usize,
    ) -> Result<(), String> {
        match (directive.to_ascii_uppercase().as_str(), arguments) {
            ("$ORIGIN", [origin]) => {
                context.origin = rdata::name(origin, &context.origin)?;
                Ok(())
            }
            ("$TTL", [ttl]) => {
                let given = seconds(ttl).ok_or_else(|| format!("`{ttl}` is not a time such as 300 or 1h"))?;
                context.default_ttl = Some(given);
                Ok(())
            }
            ("$INCLUDE", [path]) => self.include(path, context.clone(), at, depth),
            ("$INCLUDE", [path, origin]) => {
                let origin = rdata::name(origin, &context.origin)?;
                self.include(path, Context { origin, ..context.clone() }, at, depth)
            }
            ("$ORIGIN" | "$TTL" | "$INCLUDE", _) => {
                Err("must be $ORIGIN NAME, $TTL TIME or $INCLUDE FILE [ORIGIN]".to_owned())
            }
            ("$GENERATE", _) => Err("$GENERATE is not supported; write the records out, or a wildcard".to_owned()),
            (other, _) => Err(format!("`{other}` is none of $ORIGIN, $TTL and $INCLUDE")),
        }
    }

    /// RFC 1035 section 5.1: "Note that a $INCLUDE entry never changes the relative origin of the parent file, regardless
    /// of changes to the relative origin made within the included file."
    fn include(&mut self, path: &str, context: Context, at: &Line, depth: usize) -> Result<(), String> {
        if depth >= DEPTH_MAX {
            return Err(format!("more than {DEPTH_MAX} files within files"));
        }
        let path = Path::new(path.trim_matches('"'));
        let inside = self.inside(path, &at.file)?;
        self.file(&inside, context, depth + 1);
        Ok(())
    }

    /// Where a file that `including` names is, if that is within the config's folder.
    fn inside(&self, path: &Path, including: &Path) -> Result<PathBuf, String> {
        let named = including.parent().unwrap_or(self.folder).join(path);
        let outside = || format!("{}: must be in the config's folder {}", path.display(), self.folder.display());
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(format!("{}: `..` is not allowed", path.display()));
        }
        let real = |path: &Path| path.canonicalize().map_err(|error| format!("{}: {error}", path.display()));
        if real(&named)?.starts_with(real(self.folder)?) { Ok(named) } else { Err(outside()) }
    }

    fn record(&mut self, name: Name, rest: &[String], at: &Line, context: &mut Context) -> Result<(), String> {
        let (head, data) = Head::split(rest)?;
        let ttl = head.ttl.or(context.default_ttl).unwrap_or(context.last_ttl);
        context.last_ttl = ttl;
        rdata::servable(head.rtype)?;
        let rdata = rdata::read(head.rtype, data, &context.origin)?;
        self.content.records.push((at.clone(), Record { name, ttl, rtype: head.rtype, rdata }));
        Ok(())
    }
}

/// What stands between a record's name and its data: `[<TTL>] [<class>] <type>` or `[<class>] [<TTL>] <type>` (RFC 1035
/// section 5.1).
struct Head {
    ttl: Option<u32>,
    rtype: u16,
}

impl Head {
    fn split(pieces: &[String]) -> Result<(Self, &[String]), String> {
        let (mut ttl, mut class, mut rest) = (None, false, pieces);
        while let Some((piece, behind)) = rest.split_first() {
            rest = behind;
            if let Some(rtype) = rtype::parse(piece) {
                return Ok((Self { ttl, rtype }, rest));
            }
            let number = piece.starts_with(|first: char| first.is_ascii_digit());
            match piece.to_ascii_uppercase().as_str() {
                "IN" | "CLASS1" if !class => class = true,
                "CH" | "HS" | "CS" | "ANY" => return Err(format!("`{piece}`: there is only the class IN")),
                _ if number && ttl.is_none() => {
                    ttl = Some(seconds(piece).ok_or_else(|| format!("`{piece}` is not a time such as 300 or 1h"))?);
                }
                _ => return Err(no_type(piece)),
            }
        }
        Err("the type is missing; a record is NAME [TTL] [IN] TYPE DATA".to_owned())
    }
}

#[cfg(test)]
mod tests;
