//! What a client means to ask.

use super::answer::{Number, Tag, Vary};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AskSpec {
    pub(crate) method: Method,
    /// Which of the history's URLs.
    pub(crate) url: usize,
    pub(crate) control: Option<AskControl>,
    /// `Pragma: no-cache`.
    pub(crate) pragma: bool,
    pub(crate) if_none_match: Option<Tags>,
    /// `If-Modified-Since`: seconds before the history began.
    pub(crate) if_modified_since: Option<i64>,
    pub(crate) selecting: Selecting,
    pub(crate) authorization: bool,
    /// Chooses among the ways to write it; 0 is the plain one.
    pub(crate) spelling: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Post,
    Delete,
    /// One nobody knows.
    Frob,
}

/// Directives of a request.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct AskControl {
    pub(crate) no_cache: bool,
    pub(crate) no_store: bool,
    pub(crate) max_age: Option<u32>,
    pub(crate) min_fresh: Option<u32>,
    pub(crate) max_stale: Option<MaxStale>,
    pub(crate) only_if_cached: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MaxStale {
    Any,
    Seconds(u32),
}

/// `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tags {
    Any,
    Of(Vec<Tag>),
}

/// What `Vary` may choose by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Selecting {
    pub(crate) color: Color,
    pub(crate) language: Language,
}

/// `X-Color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Color {
    Absent,
    Empty,
    Red,
    /// In one line or two.
    RedBlue,
}

/// `Accept-Language`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Absent,
    German,
    GermanEnglish,
}

impl Selecting {
    /// Whether `vary` sees no difference between the two.
    pub(crate) fn same(self, other: Self, vary: Option<Vary>) -> bool {
        match vary {
            None | Some(Vary::Nothing) => true,
            Some(Vary::Color) => self.color == other.color,
            Some(Vary::Language) => self.language == other.language,
            Some(Vary::Both) => self == other,
            Some(Vary::Star) => false,
        }
    }
}

impl Method {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Delete => "DELETE",
            Self::Frob => "FROB",
        }
    }

    /// RFC 9110 section 9.2.1; an unknown method may do anything.
    pub(crate) fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

impl AskSpec {
    /// The directives, all absent when there are none.
    pub(crate) fn directives(&self) -> AskControl {
        self.control.unwrap_or_default()
    }

    /// Whether it asks not to get a stored answer unvalidated.
    ///
    /// > When the Cache-Control header field is not present in a request, caches MUST consider the no-cache request
    /// > pragma-directive as having the same effect (RFC 9111 section 5.4, and RFC 7234 before it).
    pub(crate) fn says_no_cache(&self) -> bool {
        self.control.map_or(self.pragma, |control| control.no_cache)
    }

    /// Whether it may not be content with everything that is fresh.
    pub(crate) fn is_demanding(&self) -> bool {
        let directives = self.directives();
        self.says_no_cache() || directives.max_age.is_some() || directives.min_fresh.is_some()
    }

    /// Whether a client that has what `etag`, `modified` and `date` (seconds) describe needs no body.
    ///
    /// > A recipient MUST ignore If-Modified-Since if the request contains an If-None-Match header field (RFC 9110
    /// > section 13.1.3). [..] if [..] the Last-Modified header field is not present in a stored response, a cache SHOULD
    /// > use the stored response's Date (RFC 9111 section 4.3.2).
    pub(crate) fn has(&self, etag: Option<Tag>, modified: Option<i64>, date: i64, began: i64) -> bool {
        match &self.if_none_match {
            Some(Tags::Any) => true,
            Some(Tags::Of(tags)) => etag.is_some_and(|etag| tags.contains(&etag)),
            None => {
                let since = self.if_modified_since.map(|before| began.div_euclid(1000) - before);
                since.is_some_and(|since| modified.unwrap_or(date) <= since)
            }
        }
    }

    /// Whether it has a condition at all.
    pub(crate) fn is_conditional(&self) -> bool {
        self.if_none_match.is_some() || self.if_modified_since.is_some()
    }
}

impl MaxStale {
    /// As seconds.
    pub(crate) fn number(self) -> Number {
        match self {
            Self::Any => Number::Huge,
            Self::Seconds(seconds) => Number::Seconds(seconds),
        }
    }
}
