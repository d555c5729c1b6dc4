//! What an origin answers.

/// Lines of a header.
pub(super) trait Lines: IntoIterator<Item: Into<String>> {}
impl<T: IntoIterator<Item: Into<String>>> Lines for T {}

pub(super) fn owned(lines: impl Lines) -> impl Iterator<Item = String> {
    lines.into_iter().map(Into::into)
}

/// An origin's answer.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// As HTTP has it.
    Proper { status: u16, fields: Vec<String>, body: Option<String>, framing: Framing },
    /// These bytes, then the connection's end.
    Raw(String),
    /// The connection's end instead of an answer.
    HangUp,
    /// A reset instead of an answer.
    Reset,
    /// Nothing, for longer than the cache waits.
    Silence,
}

/// How an answer's body is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length,
    Chunked,
    /// With a length that the body does not reach.
    Short,
    /// In chunks, without the last.
    ShortChunked,
    UntilClose,
}

pub(super) fn reply(status: u16, fields: impl Lines) -> Reply {
    Reply::Proper { status, fields: owned(fields).collect(), body: None, framing: Framing::Length }
}

pub(super) fn ok(fields: impl Lines) -> Reply {
    reply(200, fields)
}

/// An answer that is fresh for a minute, with these fields.
pub(super) fn minute(fields: impl Lines) -> Reply {
    ok(["cache-control: max-age=60".to_owned()].into_iter().chain(owned(fields)))
}

pub(super) fn not_modified(fields: impl Lines) -> Reply {
    reply(304, fields)
}

/// No fields.
pub(super) const PLAIN: [&str; 0] = [];

impl Reply {
    /// With this body.
    pub(super) fn text(mut self, text: impl Into<String>) -> Self {
        if let Self::Proper { body, .. } = &mut self {
            *body = Some(text.into());
        }
        self
    }

    /// Sent in this way.
    pub(super) fn sent(mut self, way: Framing) -> Self {
        if let Self::Proper { framing, .. } = &mut self {
            *framing = way;
        }
        self
    }
}
