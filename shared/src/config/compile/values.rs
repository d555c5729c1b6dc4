//! Single values: parsed, or a mistake with the allowed form.

use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use ipnet::IpNet;
use toml::Spanned;

use super::super::file::{self, At};
use super::super::{Certificate, units};
use super::{Compiler, is_label};

impl Compiler<'_> {
    pub(super) fn parse<T: std::str::FromStr>(&mut self, key: &str, value: &Spanned<String>, form: &str) -> Option<T> {
        let parsed = value.get_ref().parse().ok();
        if parsed.is_none() {
            self.gather.at(Some(value.span()), key, format!("`{}` is not {form}", value.get_ref()));
        }
        parsed
    }

    pub(super) fn judge<T>(&mut self, key: &str, span: Range<usize>, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.gather.at(Some(span), key, message)).ok()
    }

    pub(super) fn duration(&mut self, key: &str, value: &Spanned<String>) -> Option<Duration> {
        self.judge(key, value.span(), units::duration(value.get_ref()))
    }

    /// A duration that must not be zero.
    pub(super) fn timeout(&mut self, key: &str, value: &Spanned<String>) -> Option<Duration> {
        let given = self.duration(key, value)?;
        if given.is_zero() {
            self.gather.at(Some(value.span()), key, "must be more than zero");
        }
        Some(given)
    }

    pub(super) fn size(&mut self, key: &str, value: &Spanned<String>) -> Option<u64> {
        self.judge(key, value.span(), units::size(value.get_ref()))
    }

    /// The size of a header block: 8 KiB to 1 MiB.
    pub(super) fn small_size(&mut self, key: &str, value: &At<String>, default: usize) -> usize {
        let Some(value) = value else { return default };
        let Some(bytes) = self.size(key, value) else { return default };
        match usize::try_from(bytes) {
            Ok(bytes) if (8 << 10..=1 << 20).contains(&bytes) => bytes,
            _ => {
                self.gather.at(Some(value.span()), key, "must be from 8 KiB to 1 MiB");
                default
            }
        }
    }

    /// What each UDP socket may hold back: 64 KiB to 256 MiB.
    pub(super) fn receive_buffer(&mut self, value: &At<String>) -> usize {
        const KEY: &str = "dns.udp-receive-buffer";
        const DEFAULT: usize = 4 << 20;
        let Some(value) = value else { return DEFAULT };
        let Some(bytes) = self.size(KEY, value) else { return DEFAULT };
        match usize::try_from(bytes) {
            Ok(bytes) if (64 << 10..=256 << 20).contains(&bytes) => bytes,
            _ => {
                self.gather.at(Some(value.span()), KEY, "must be from 64 KiB to 256 MiB");
                DEFAULT
            }
        }
    }

    pub(super) fn number<T: PartialOrd + Copy + std::fmt::Display>(
        &mut self,
        key: &str,
        value: &At<T>,
        range: RangeInclusive<T>,
        default: T,
    ) -> T {
        let Some(value) = value else { return default };
        if !range.contains(value.get_ref()) {
            self.gather.at(Some(value.span()), key, format!("must be from {} to {}", range.start(), range.end()));
        }
        *value.get_ref()
    }

    /// One of `allowed`, by its name.
    pub(super) fn choice<T: Copy + Default>(&mut self, key: &str, value: &At<String>, allowed: &[(&str, T)]) -> T {
        let Some(value) = value else { return T::default() };
        let found = allowed.iter().find(|(name, _)| name == value.get_ref());
        if found.is_none() {
            let names: Vec<String> = allowed.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            let message = format!("`{}` is not one of {}", value.get_ref(), names.join(", "));
            self.gather.at(Some(value.span()), key, message);
        }
        found.map(|(_, value)| *value).unwrap_or_default()
    }

    pub(super) fn path(&mut self, key: &str, value: &Spanned<String>) -> Option<PathBuf> {
        if value.get_ref().is_empty() {
            self.gather.at(Some(value.span()), key, "must not be empty");
            return None;
        }
        Some(self.expand(value.get_ref()))
    }

    /// `{pop}` filled in, and relative to the config file's folder.
    pub(super) fn expand(&self, path: &str) -> PathBuf {
        self.base.join(path.replace("{pop}", &self.pop))
    }

    pub(super) fn certificate(&mut self, key: &str, value: &Spanned<file::Certificate>) -> Option<Certificate> {
        let span = Some(value.span());
        let mut part = |name: &str, given: &At<String>| {
            let key = format!("{key}.{name}");
            let given = self.required(span.clone(), &key, given.as_ref(), "path of a PEM file")?;
            self.path(&key, given)
        };
        let (certificate, key) = (part("certificate", &value.get_ref().certificate), part("key", &value.get_ref().key));
        Some(Certificate { certificate: certificate?, key: key? })
    }

    pub(super) fn networks(&mut self, key: &str, given: Option<&[Spanned<String>]>) -> Vec<IpNet> {
        let form = "a network such as \"10.0.0.0/8\" or an address";
        let mut one = |entry: &Spanned<String>| match entry.get_ref().parse::<IpAddr>() {
            Ok(address) => Some(IpNet::from(address)),
            Err(_) => self.parse(key, entry, form),
        };
        given.unwrap_or_default().iter().filter_map(&mut one).collect()
    }

    /// `http://host[:port]` or `https://host[:port]`.
    pub(super) fn base_url(&mut self, key: &str, value: &Spanned<String>) -> Option<Uri> {
        let usable = |uri: &Uri| {
            let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
            let authority = uri.authority().is_some_and(|a| !a.host().is_empty() && !a.as_str().contains('@'));
            scheme && authority && matches!(uri.path(), "" | "/") && uri.query().is_none()
        };
        let parsed = value.get_ref().parse::<Uri>().ok().filter(usable);
        if parsed.is_none() {
            let message = format!(
                "`{}` is not a URL of http:// or https://, a host and perhaps a port, without a path",
                value.get_ref()
            );
            self.gather.at(Some(value.span()), key, message);
        }
        parsed
    }

    pub(super) fn dns_name(&mut self, key: &str, value: &Spanned<String>) -> Option<String> {
        let name = value.get_ref().trim_end_matches('.').to_ascii_lowercase();
        let valid = name.len() <= 253 && name.split('.').all(is_label);
        if !valid {
            self.gather.at(Some(value.span()), key, format!("`{}` is not a domain name", value.get_ref()));
        }
        valid.then_some(name)
    }

    pub(super) fn label(&mut self, key: &str, value: &Spanned<String>) -> Option<String> {
        let valid = is_label(value.get_ref()) && !value.get_ref().bytes().any(|b| b.is_ascii_uppercase());
        if !valid {
            let message = format!("`{}` must be lower-case letters, digits and hyphens", value.get_ref());
            self.gather.at(Some(value.span()), key, message);
        }
        valid.then(|| value.get_ref().clone())
    }

    pub(super) fn required<'v>(
        &mut self,
        span: Option<Range<usize>>,
        key: &str,
        value: Option<&'v Spanned<String>>,
        form: &str,
    ) -> Option<&'v Spanned<String>> {
        if value.is_none() {
            self.missing(span, key, &format!("missing; {form}"));
        }
        value
    }

    pub(super) fn missing(&mut self, span: Option<Range<usize>>, key: &str, message: &str) {
        if !self.is_taken_out(key) {
            self.gather.at(span, key, message);
        }
    }

    /// Whether the value of `key` may have been in the file, but in a wrong shape.
    pub(super) fn is_taken_out(&self, key: &str) -> bool {
        self.misshapen.iter().any(|bad| {
            let below = || key.strip_prefix(bad.as_str()).is_some_and(|rest| rest.starts_with('.'));
            // A mistake of syntax has no key: anything may be missing for it.
            bad.is_empty() || key == bad || below()
        })
    }
}
