//! A master file cut into entries (RFC 1035 section 5.1): comments, parentheses, quoted strings and escapes are settled
//! here, nothing else. Pieces keep their quotes and escapes; a byte that is no visible character becomes its escape, so
//! that all that comes out is ASCII.

/// One entry: a directive or a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where it begins, from 1.
    pub(super) line: usize,
    /// Whether it begins with white space: it has no owner of its own.
    pub(super) indented: bool,
    /// At least one.
    pub(super) pieces: Vec<String>,
}

/// What is wrong with an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) message: &'static str,
}

/// The entries of a file, each or what is wrong with it.
pub(super) struct Entries<'a> {
    rest: &'a [u8],
    line: usize,
}

impl<'a> Entries<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { rest: text, line: 1 }
    }

    fn take(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        self.line += usize::from(*first == b'\n');
        Some(*first)
    }

    fn skip_line(&mut self) {
        while self.rest.first().is_some_and(|byte| *byte != b'\n') {
            self.take();
        }
    }

    /// The next entry; empty when the line has none.
    fn entry(&mut self) -> Result<Entry, Fault> {
        let indented = matches!(self.rest.first(), Some(b' ' | b'\t'));
        let mut entry = Entry { line: self.line, indented, pieces: Vec::new() };
        let mut open = None;
        loop {
            match self.rest.first() {
                None => break,
                Some(b'\n') => {
                    self.take();
                    if open.is_none() {
                        break;
                    }
                }
                Some(b' ' | b'\t' | b'\r') => drop(self.take()),
                Some(b';') => self.skip_line(),
                Some(b'(') => {
                    if open.replace(self.line).is_some() {
                        return Err(self.fault("a ( within another"));
                    }
                    self.take();
                }
                Some(b')') => {
                    if open.take().is_none() {
                        return Err(self.fault("a ) without its ("));
                    }
                    self.take();
                }
                Some(_) => {
                    let line = self.line;
                    if entry.pieces.is_empty() {
                        entry.line = line;
                    }
                    let piece = self.piece().map_err(|message| Fault { line, message })?;
                    entry.pieces.push(piece);
                }
            }
        }
        match open {
            Some(line) => Err(Fault { line, message: "this ( is never closed; what follows it was not read" }),
            None => Ok(entry),
        }
    }

    fn fault(&self, message: &'static str) -> Fault {
        Fault { line: self.line, message }
    }

    /// Up to white space that is not within quotes, such as `alpn="h2, h3"`.
    fn piece(&mut self) -> Result<String, &'static str> {
        let mut piece = String::new();
        let mut quoted = false;
        while let Some(&byte) = self.rest.first() {
            match byte {
                b'\n' if quoted => return Err("a quoted string must end on its line"),
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')' if !quoted => break,
                b'"' => {
                    quoted = !quoted;
                    piece.push('"');
                    self.take();
                }
                b'\\' => {
                    self.take();
                    match self.rest.first() {
                        None | Some(b'\r' | b'\n') => return Err("a \\ at the end of a line; \\\\ stands for itself"),
                        Some(b'!'..=b'~') => piece.push('\\'),
                        // It becomes an escape of its own.
                        Some(_) => {}
                    }
                    if let Some(byte) = self.take() {
                        push(&mut piece, byte, false);
                    }
                }
                _ => {
                    push(&mut piece, byte, quoted);
                    self.take();
                }
            }
        }
        if quoted { Err("a quoted string must end on its line") } else { Ok(piece) }
    }
}

fn push(piece: &mut String, byte: u8, quoted: bool) {
    match byte {
        b'!'..=b'~' => piece.push(char::from(byte)),
        b' ' if quoted => piece.push(' '),
        _ => piece.push_str(&format!("\\{byte:03}")),
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            match self.entry() {
                Ok(entry) if entry.pieces.is_empty() => {}
                Ok(entry) => return Some(Ok(entry)),
                Err(fault) => {
                    self.skip_line();
                    return Some(Err(fault));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let entry = |entry: Result<Entry, Fault>| match entry {
            Ok(entry) => {
                let indent = if entry.indented { "_" } else { "" };
                format!("{}:{indent}{}", entry.line, entry.pieces.join("|"))
            }
            Err(fault) => format!("{}!{}", fault.line, fault.message),
        };
        Entries::new(text.as_bytes()).map(entry).collect()
    }

    #[test]
    fn entries() {
        let rows: [(&str, &str, &[&str]); 14] = [
            ("records and blank lines", "a A 192.0.2.1\n\n \n b\r\n", &["1:a|A|192.0.2.1", "4:_b"]),
            ("without an end of line", "a A 192.0.2.1", &["1:a|A|192.0.2.1"]),
            ("comments", "; all\na ; rest ( \"\n", &["2:a"]),
            ("a ; in quotes", "a \"b;c\" ;d\n", &["1:a|\"b;c\""]),
            ("parentheses", "a SOA ( b\n  1 ; one\n  2 )\nc\n", &["1:a|SOA|b|1|2", "4:c"]),
            ("parentheses close to words", "a TXT(b c)d\n", &["1:a|TXT|b|c|d"]),
            ("quotes within a word", "a k=\"b c\"d e\n", &["1:a|k=\"b c\"d|e"]),
            ("escapes", "a\\.b \\\" \\; \\( \\\\ \"\\\"\"\n", &["1:a\\.b|\\\"|\\;|\\(|\\\\|\"\\\"\""]),
            ("an escaped space", "a\\ b c\n", &["1:a\\032b|c"]),
            ("bytes beyond ASCII", "a \"ä\t\" \\ä\n", &["1:a|\"\\195\\164\\009\"|\\195\\164"]),
            ("a string over lines", "a \"b\nc\n", &["1!a quoted string must end on its line", "2:c"]),
            ("a ) alone", "a )\nb\n", &["1!a ) without its (", "2:b"]),
            ("a ( in another", "a ((\nb\n", &["1!a ( within another", "2:b"]),
            ("a ( to the end", "a\nb (\nc\n", &["1:a", "2!this ( is never closed; what follows it was not read"]),
        ];
        for (name, text, wanted) in rows {
            assert_eq!(shown(text), wanted, "{name}");
        }
        assert_eq!(shown("a \\\nb"), ["1!a \\ at the end of a line; \\\\ stands for itself", "2:b"]);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_cut_into_ascii(text in "[ -~\\n\\t\"();\\\\é]{0,80}") {
            for entry in Entries::new(text.as_bytes()).flatten() {
                prop_assert!(!entry.pieces.is_empty() && entry.line <= text.matches('\n').count() + 1);
                prop_assert!(entry.pieces.iter().all(|piece| piece.bytes().all(|byte| matches!(byte, b' '..=b'~'))));
            }
        }
    }
}
