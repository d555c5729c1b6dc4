//! HTTP/1.1 as bytes, for both ends of the tests: lenient, so that what is wrong can be looked at.

use std::io::{self, BufRead};

use http::{HeaderMap, HeaderName, HeaderValue};

/// A first line and the fields below it.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// Request line or status line.
    pub(crate) first: String,
    /// All fields.
    pub(crate) fields: HeaderMap,
}

/// How a body came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// As announced.
    Clean,
    /// Before that.
    Broken,
}

/// How far a body goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

impl Head {
    /// Reads one; `None` when the connection ends before its end.
    pub(crate) fn read(from: &mut impl BufRead) -> Option<Self> {
        let mut first = String::new();
        read_line(from, &mut first)?;
        let mut fields = HeaderMap::new();
        loop {
            let mut line = String::new();
            read_line(from, &mut line)?;
            if line.is_empty() {
                return Some(Self { first, fields });
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            let name: HeaderName = name.parse().unwrap();
            fields.append(name, HeaderValue::from_bytes(value.trim().as_bytes()).unwrap());
        }
    }

    /// How far the body goes, for a message that may have one.
    pub(crate) fn framing(&self, otherwise: Framing) -> Framing {
        if self.fields.contains_key("transfer-encoding") {
            return Framing::Chunked;
        }
        match self.fields.get("content-length") {
            Some(length) => Framing::Length(length.to_str().unwrap().parse().unwrap()),
            None => otherwise,
        }
    }
}

fn read_line(from: &mut impl BufRead, line: &mut String) -> Option<()> {
    let mut bytes = Vec::new();
    from.read_until(b'\n', &mut bytes).ok()?;
    let text = bytes.strip_suffix(b"\n")?;
    line.push_str(&String::from_utf8_lossy(text.strip_suffix(b"\r").unwrap_or(text)));
    Some(())
}

/// A body on its way in.
#[derive(Debug)]
pub(crate) struct Incoming {
    framing: Framing,
    /// Bytes left of the length or of the present chunk.
    left: u64,
    done: bool,
}

impl Incoming {
    pub(crate) fn new(framing: Framing) -> Self {
        let left = if let Framing::Length(length) = framing { length } else { 0 };
        Self { framing, left, done: matches!(framing, Framing::None | Framing::Length(0)) }
    }

    /// Some of the next bytes; empty at a clean end.
    ///
    /// # Errors
    /// When the connection ends before the body does.
    pub(crate) fn read(&mut self, from: &mut impl BufRead) -> io::Result<Vec<u8>> {
        self.read_up_to(from, usize::MAX)
    }

    /// The same, but no more than `most`.
    ///
    /// # Errors
    /// When the connection ends before the body does.
    pub(crate) fn read_up_to(&mut self, from: &mut impl BufRead, most: usize) -> io::Result<Vec<u8>> {
        if !self.done && self.framing == Framing::Chunked && self.left == 0 {
            self.next_chunk(from)?;
        }
        if self.done {
            return Ok(Vec::new());
        }
        if self.framing == Framing::UntilClose {
            let available = from.fill_buf()?;
            let bytes = available[..available.len().min(most)].to_vec();
            from.consume(bytes.len());
            self.done = bytes.is_empty();
            return Ok(bytes);
        }
        let available = from.fill_buf()?;
        let length = available.len().min(most).min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let bytes = available[..length].to_vec();
        from.consume(length);
        if bytes.is_empty() && self.left > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= bytes.len() as u64;
        if self.left == 0 && self.framing == Framing::Chunked {
            from.read_exact(&mut [0; 2])?;
        }
        self.done = self.left == 0 && self.framing != Framing::Chunked;
        Ok(bytes)
    }

    /// All of it, and how it ended.
    pub(crate) fn read_all(&mut self, from: &mut impl BufRead) -> (Vec<u8>, End) {
        let mut all = Vec::new();
        loop {
            match self.read(from) {
                Ok(bytes) if bytes.is_empty() => return (all, End::Clean),
                Ok(bytes) => all.extend_from_slice(&bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("a body stalled"),
                Err(_) => return (all, End::Broken),
            }
        }
    }

    fn next_chunk(&mut self, from: &mut impl BufRead) -> io::Result<()> {
        let mut size = String::new();
        read_line(from, &mut size).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.left = u64::from_str_radix(&size, 16).map_err(io::Error::other)?;
        if self.left == 0 {
            // Trailers.
            while !size.is_empty() {
                size.clear();
                read_line(from, &mut size).ok_or(io::ErrorKind::UnexpectedEof)?;
            }
            self.done = true;
        }
        Ok(())
    }
}
