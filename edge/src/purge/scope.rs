//! What purges cover.

use super::prefixes::Prefix;
use crate::key::{GroupId, TagId, UrlId};

/// What one purge covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// A site by its name.
    Site(String),
    /// The paths of a site that begin so, of all its hosts.
    Prefix(String, Prefix),
    /// A URL: both schemes, all variants.
    Url(UrlId),
    /// A group (RFC 9875): all answers of one scheme and host that name it.
    Group(GroupId),
    /// A tag: all answers that name it, or those of one site.
    Tag(TagId),
}

/// What scopes are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// See [`Scope::All`].
    All,
    /// See [`Scope::Site`].
    Site,
    /// See [`Scope::Prefix`].
    Prefix,
    /// See [`Scope::Url`].
    Url,
    /// See [`Scope::Group`].
    Group,
    /// See [`Scope::Tag`].
    Tag,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::All, Self::Site, Self::Prefix, Self::Url, Self::Group, Self::Tag];

    /// The word for it.
    pub fn token(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Site => "site",
            Self::Prefix => "prefix",
            Self::Url => "url",
            Self::Group => "group",
            Self::Tag => "tag",
        }
    }
}

impl Scope {
    /// What it is counted by.
    pub fn kind(&self) -> Kind {
        match self {
            Self::All => Kind::All,
            Self::Site(_) => Kind::Site,
            Self::Prefix(..) => Kind::Prefix,
            Self::Url(_) => Kind::Url,
            Self::Group(_) => Kind::Group,
            Self::Tag(_) => Kind::Tag,
        }
    }
}

/// A stored or running fetch, as far as purges tell one from another.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The site's name.
    pub site: &'a str,
    /// Its URL.
    pub url: UrlId,
    /// Whether it was fetched for a client over TLS.
    pub https: bool,
    /// The path and query of its URL, as they are keyed.
    pub target: &'a str,
    /// The groups that it names.
    pub groups: &'a [GroupId],
    /// The tags that it names.
    pub tags: &'a [TagId],
    /// The tick of the fetch's start.
    pub tick: u64,
}
