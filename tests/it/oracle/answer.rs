//! What an origin means to say. The model reads these values; only `spelling` turns them into header text, so that no
//! mistake in reading headers can be made twice.

/// An answer relative to the moment it is given.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AnswerSpec {
    pub(crate) status: u16,
    /// `Cache-Control`.
    pub(crate) control: Option<Control>,
    /// `CDN-Cache-Control`.
    pub(crate) targeted: Option<Targeted>,
    pub(crate) expires: Option<Expires>,
    /// Seconds from now.
    pub(crate) date: Option<i64>,
    pub(crate) age: Option<Number>,
    pub(crate) etag: Option<Tag>,
    /// `Last-Modified`: seconds before the history began.
    pub(crate) modified: Option<i64>,
    pub(crate) vary: Vary,
    /// `Set-Cookie`.
    pub(crate) cookie: bool,
    /// `X-Secret`, which a qualified `private` or `no-cache` names.
    pub(crate) secret: bool,
    /// `Location` and `Content-Location`: which of the history's URLs they name.
    pub(crate) location: Option<usize>,
    pub(crate) content_location: Option<usize>,
    /// Bytes of the body beyond the least.
    pub(crate) padding: usize,
    /// Chooses among the ways to write it; 0 is the plain one.
    pub(crate) spelling: u64,
}

/// Directives of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Control {
    pub(crate) max_age: Option<Number>,
    pub(crate) s_maxage: Option<Number>,
    pub(crate) stale_while_revalidate: Option<Number>,
    pub(crate) stale_if_error: Option<Number>,
    pub(crate) no_store: bool,
    pub(crate) no_cache: Scope,
    pub(crate) private: Scope,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) proxy_revalidate: bool,
    pub(crate) must_understand: bool,
}

/// The argument of a directive that wants seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Seconds(u32),
    /// More than 2^31.
    Huge,
    /// None, or no number.
    Invalid,
}

/// How much of an answer `private` and `no-cache` speak of.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) enum Scope {
    #[default]
    Nothing,
    Whole,
    /// Only `X-Secret`.
    Secret,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Targeted {
    Valid(Control),
    /// Not a Structured Field dictionary, or an empty one.
    Invalid,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Expires {
    /// Seconds from the answer's Date.
    In(i64),
    Invalid,
    /// Two lines, each valid and in the future.
    Twice(i64),
}

/// Entity tags no two of which are alike but for their weakness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tag {
    A,
    /// With a comma inside.
    B,
    /// Weak.
    C,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vary {
    Nothing,
    Color,
    Language,
    Both,
    Star,
}

impl Tag {
    pub(crate) const ALL: [Self; 3] = [Self::A, Self::B, Self::C];

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::A => "\"a\"",
            Self::B => "\"b, c\"",
            Self::C => "W/\"c\"",
        }
    }
}

impl Number {
    /// What counts.
    pub(crate) fn seconds(self) -> i64 {
        match self {
            Self::Seconds(seconds) => i64::from(seconds),
            Self::Huge => 1 << 31,
            Self::Invalid => 0,
        }
    }
}

/// What the origin does with the requests of one step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reaction {
    pub(crate) answer: AnswerSpec,
    pub(crate) mood: Mood,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// 304 when the request's conditions say that the client has it.
    Honest,
    /// Conditions are not looked at.
    Blind,
    /// 304 to any conditional request, with the answer's own validators.
    Unchanged,
    /// The same without validators.
    UnchangedBare,
    /// The connection closes.
    HangUp,
}

/// An answer as it was given: nothing in it is relative.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Given {
    pub(crate) status: u16,
    /// Counts the origin's answers of a history.
    pub(crate) serial: u32,
    /// When, in milliseconds.
    pub(crate) at: i64,
    pub(crate) control: Option<Control>,
    pub(crate) targeted: Option<Targeted>,
    pub(crate) expires: Option<Expiry>,
    /// `Date`, or when it came: seconds since the epoch.
    pub(crate) date: i64,
    pub(crate) age: Option<Number>,
    pub(crate) etag: Option<Tag>,
    pub(crate) modified: Option<i64>,
    pub(crate) vary: Option<Vary>,
    pub(crate) cookie: bool,
    pub(crate) location: Option<usize>,
    pub(crate) content_location: Option<usize>,
    pub(crate) padding: usize,
    /// The lines as sent, of the fields that a cache has to hand on.
    pub(crate) lines: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Expiry {
    /// Seconds since the epoch.
    At(i64),
    Past,
}

impl AnswerSpec {
    /// Fixes what is relative.
    pub(crate) fn give(&self, serial: u32, at: i64, began: i64) -> Given {
        let date = at.div_euclid(1000) + self.date.unwrap_or(0);
        Given {
            status: self.status,
            serial,
            at,
            control: self.control,
            targeted: self.targeted,
            expires: self.expires.map(|expires| match expires {
                Expires::In(seconds) => Expiry::At(date + seconds),
                Expires::Invalid | Expires::Twice(_) => Expiry::Past,
            }),
            date,
            age: self.age,
            etag: self.etag,
            modified: self.modified.map(|before| began.div_euclid(1000) - before),
            vary: (self.vary != Vary::Nothing).then_some(self.vary),
            cookie: self.cookie,
            location: self.location,
            content_location: self.content_location,
            padding: self.padding,
            lines: Vec::new(),
        }
    }
}

impl Given {
    /// The whole body of a status that has one.
    pub(crate) fn body(&self) -> String {
        format!("answer {:04}{}", self.serial, "!".repeat(self.padding))
    }

    /// All lines of a field, joined.
    pub(crate) fn line(&self, name: &str) -> Option<String> {
        joined(&self.lines, name)
    }
}

/// All lines of a field, joined as a list.
pub(crate) fn joined(lines: &[(String, String)], name: &str) -> Option<String> {
    let values: Vec<&str> =
        lines.iter().filter(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}
