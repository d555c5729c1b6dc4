//! From an operator's words to what is purged. Either all entries of an order can be followed, or nothing is done.

use nearcast_edge::key::{Address, TagId, TagSpace};
use nearcast_edge::keying::query;
use nearcast_edge::policy::tags::TAG_MAX;
use nearcast_edge::purge::{Mode, Prefix, Receipt, Scope};
use nearcast_edge::question::Located;
use nearcast_shared::config::Domain;

use super::{Control, OrderError, chain, each, located, shortened};

/// A purge, in an operator's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeOrder {
    /// What it covers.
    pub what: What,
    /// How much it does.
    pub mode: Mode,
}

/// What a purge covers, in an operator's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// One URL.
    Url(String),
    /// These URLs.
    Urls(Vec<String>),
    /// The paths of a site that begin so.
    Prefix {
        /// The beginning.
        prefix: String,
        /// The site, by its name or any of its domains.
        site: String,
    },
    /// What names this tag, of one site or of all.
    Tag(String, Option<String>),
    /// What names any of these tags, of one site or of all.
    Tags(Vec<String>, Option<String>),
    /// A site, by its name or any of its domains.
    Site(String),
    /// Everything.
    All,
}

/// A purge that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purged {
    /// When it was accepted, and what it is called.
    pub receipt: Receipt,
    /// What its entries are.
    pub kind: &'static str,
    /// How many it has.
    pub entries: usize,
    /// Running fetches that it cut out, where that can be told: they are neither joined nor stored any more.
    pub fills: Option<usize>,
}

impl Control {
    /// Purges; when it returns, the purge holds.
    ///
    /// # Errors
    /// When an entry is malformed or nothing of that name is served here, or the purge log cannot be written.
    pub async fn purge(&self, order: PurgeOrder) -> Result<Purged, OrderError> {
        let scopes = self.scopes(&order.what)?;
        let Some(first) = scopes.first() else {
            return Err(OrderError::Malformed("there is nothing to purge".to_owned()));
        };
        let (kind, entries) = (first.kind().token(), order.what.entries());
        let fills = self.fills_of(&scopes).filter(|_| order.mode == Mode::Hard);
        let failed = |error| OrderError::Failed("the purge does not hold", chain(&error));
        let receipt = self.edge.purges.purge(scopes, order.mode).await.map_err(failed)?;
        tracing::info!(id = receipt.id(), kind, entries, mode = ?order.mode, what = shortened(order.what.example()), "purge");
        Ok(Purged { receipt, kind, entries, fills })
    }

    fn scopes(&self, what: &What) -> Result<Vec<Scope>, OrderError> {
        match what {
            What::All => Ok(vec![Scope::All]),
            What::Site(name) => Ok(vec![Scope::Site(self.site_named(name)?)]),
            What::Url(url) => Ok(vec![self.url_scope(url)?]),
            What::Urls(urls) => each("urls", urls, |url| self.url_scope(url)),
            What::Prefix { prefix, site } => {
                let (site, given) = (self.site_named(site)?, self.prefix(prefix)?);
                let read = Prefix::as_origins_read(prefix, &self.edge.secret);
                Ok([Some(given), read]
                    .into_iter()
                    .flatten()
                    .map(|prefix| Scope::Prefix(site.clone(), prefix))
                    .collect())
            }
            What::Tag(tag, site) => {
                let space = self.tag_space(site.as_deref())?;
                Ok(vec![self.tag_scope(tag, space)?])
            }
            What::Tags(tags, site) => {
                let space = self.tag_space(site.as_deref())?;
                each("tags", tags, |tag| self.tag_scope(tag, space))
            }
        }
    }

    fn site_named(&self, name: &str) -> Result<String, OrderError> {
        let config = self.config.load();
        let domain = name.trim_end_matches('.').to_ascii_lowercase();
        let named = |domains: &[Domain]| domains.iter().any(|d| matches!(d, Domain::Name(own) if *own == domain));
        let site = config
            .sites
            .iter()
            .find(|site| site.name == name)
            .or_else(|| config.sites.iter().find(|site| named(&site.domains)));
        let unknown = || OrderError::Unknown(format!("no site has the name or domain `{}`", shortened(name)));
        site.map(|site| site.name.clone()).ok_or_else(unknown)
    }

    fn url_scope(&self, url: &str) -> Result<Scope, OrderError> {
        let view = self.edge.view.load();
        let Located { site, https, host, target } = located(&view, url)?.1;
        let target = query::canonical(&site.keying, target.into());
        let address = Address { site: &site.name, https, host: &host, target: &target, parts: "" };
        Ok(Scope::Url(address.url_id(&self.edge.secret)))
    }

    fn prefix(&self, text: &str) -> Result<Prefix, OrderError> {
        let prefix =
            Prefix::of(text, &self.edge.secret).filter(|_| text.starts_with('/') && !text.contains(['?', '#']));
        prefix.ok_or_else(|| {
            let most = Prefix::LENGTH_MAX;
            OrderError::Malformed(format!(
                "`{}` is not the beginning of a path such as \"/a/\": it must begin with `/`, end before any `?` and have \
                 at most {most} bytes",
                shortened(text)
            ))
        })
    }

    fn tag_space(&self, site: Option<&str>) -> Result<Option<TagSpace>, OrderError> {
        site.map(|name| self.site_named(name).map(|site| TagSpace::of(&site))).transpose()
    }

    fn tag_scope(&self, tag: &str, space: Option<TagSpace>) -> Result<Scope, OrderError> {
        if tag.is_empty() || tag.len() > TAG_MAX {
            let tag = shortened(tag);
            return Err(OrderError::Malformed(format!("`{tag}` is not a tag: it must have 1 to {TAG_MAX} bytes")));
        }
        let id = TagId::of(tag.as_bytes(), &self.edge.secret);
        Ok(Scope::Tag(space.map_or(id, |space| id.within(space))))
    }

    /// How many fetches run that a purge of these cuts out; `None` where nobody counts them.
    fn fills_of(&self, scopes: &[Scope]) -> Option<usize> {
        let fills = &self.edge.fills;
        let of = |scope: &Scope| match scope {
            Scope::All => Some(fills.running()),
            Scope::Url(url) => Some(fills.running_for(*url)),
            Scope::Site(_) | Scope::Prefix(..) | Scope::Group(_) | Scope::Tag(_) => None,
        };
        scopes.iter().map(of).sum()
    }
}

impl What {
    /// How many entries it has.
    fn entries(&self) -> usize {
        match self {
            Self::Url(_) | Self::Prefix { .. } | Self::Tag(..) | Self::Site(_) | Self::All => 1,
            Self::Urls(texts) | Self::Tags(texts, _) => texts.len(),
        }
    }

    /// The first of its entries, for the log.
    fn example(&self) -> &str {
        match self {
            Self::Url(text) | Self::Tag(text, _) | Self::Site(text) | Self::Prefix { prefix: text, .. } => text,
            Self::Urls(texts) | Self::Tags(texts, _) => texts.first().map_or("", String::as_str),
            Self::All => "",
        }
    }
}
