//! Health: how PoPs are probed, and what the results come to.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use toml::Spanned;

use super::super::file::{self, At, Probe as ProbeEntry, ProbeTable};
use super::super::{Health, Secret, Share, StatusMatch, units};
use super::{Compiler, rule, span_of};
use crate::health::HEALTH_PATH;
use crate::pop::{HttpProbe, Probe, Question, Target, TlsProbe};

/// Fields that a probe sends itself, or that belong to the connection.
const OWN_FIELDS: [&str; 7] =
    ["host", "connection", "content-length", "transfer-encoding", "te", "upgrade", "proxy-connection"];

impl Compiler<'_> {
    pub(super) fn health(&mut self, health: &file::Health) -> Health {
        let interval = or_default!(self, timeout, "health.interval", health.interval, Duration::from_secs(2));
        let timeout = or_default!(self, timeout, "health.timeout", health.timeout, Duration::from_secs(1));
        if timeout > interval {
            let message = "must not exceed health.interval, else a PoP that hangs is noticed late";
            self.gather.at(span_of(&health.timeout), "health.timeout", message);
        }
        let rise = self.number("health.rise", &health.rise, 1..=100, 2);
        let rise_max = self.number("health.rise-max", &health.rise_max, 1..=1000, 60.max(rise));
        if rise_max < rise {
            self.gather.at(span_of(&health.rise_max), "health.rise-max", "must not be less than health.rise");
        }
        let window = Duration::from_secs(600);
        Health {
            interval,
            timeout,
            rise,
            fall: self.number("health.fall", &health.fall, 1..=100, 3),
            flap_window: or_default!(self, duration, "health.flap-window", health.flap_window, window),
            rise_max,
            addresses_min: self.share_of("health.addresses-min", &health.addresses_min, 1..=100),
            settle: or_default!(self, duration, "health.settle", health.settle, Duration::from_secs(30)),
            ttl_unsettled: self.number("health.ttl-unsettled", &health.ttl_unsettled, 1..=3600, 5),
            overload_share: self
                .share_of("health.overload-share", &health.overload_share, 0..=50)
                .unwrap_or_else(|| units::share("25%").expect("a literal share")),
        }
    }

    fn share_of(&mut self, key: &str, given: &At<String>, allowed: std::ops::RangeInclusive<u8>) -> Option<Share> {
        let value = given.as_ref()?;
        let share = self.judge(key, value.span(), units::share(value.get_ref()))?;
        if !allowed.contains(&share.percent()) {
            let message = format!("must be from {}% to {}%", allowed.start(), allowed.end());
            self.gather.at(Some(value.span()), key, message);
        }
        Some(share)
    }

    pub(super) fn probe(&mut self, pop: &file::Pop, fleet: &file::Listen, addresses: &[IpAddr]) -> Probe {
        let targets = match pop.probe.as_ref().map(|p| (p.get_ref(), p.span())) {
            Some((ProbeEntry::Switch(false), _)) => None,
            Some((ProbeEntry::Switch(true), span)) => {
                let message = "must be false, a URL, a table, or left out for the default";
                self.gather.at(Some(span), "pop.probe", message);
                None
            }
            Some((ProbeEntry::Url(text), span)) => {
                let url = self.base_url("pop.probe", &Spanned::new(span.clone(), text.clone()));
                let table = ProbeTable { url: Some(text.clone()), ..ProbeTable::default() };
                url.and_then(|_| self.targets(&table, span, pop, fleet, addresses))
            }
            Some((ProbeEntry::Table(table), span)) => self.targets(table, span, pop, fleet, addresses),
            // What a name points to is probed only where the operator says.
            None if pop.cname.is_some() => None,
            None => {
                let span = span_of(&pop.name).unwrap_or_default();
                self.targets(&ProbeTable::default(), span, pop, fleet, addresses)
            }
        };
        // Without any target the list of addresses is a mistake of its own.
        targets.filter(|targets| !targets.is_empty()).map_or(Probe::Never, Probe::Targets)
    }

    fn targets(
        &mut self,
        table: &ProbeTable,
        span: Range<usize>,
        pop: &file::Pop,
        fleet: &file::Listen,
        addresses: &[IpAddr],
    ) -> Option<Vec<Target>> {
        let at = Some(span.clone());
        let url = match &table.url {
            Some(url) => Some(self.base_url("pop.probe.url", &Spanned::new(span.clone(), url.clone()))?),
            None => None,
        };
        if url.is_some() && (table.r#type.is_some() || table.port.is_some()) {
            self.gather.at(at.clone(), "pop.probe.url", "has type and port in it; do not give them beside it");
        }
        let kind = match (&url, table.r#type.as_deref()) {
            (Some(url), _) if url.scheme_str() == Some("https") => Kind::Https,
            (Some(_), _) | (None, None | Some("http")) => Kind::Http,
            (None, Some("https")) => Kind::Https,
            (None, Some("tcp")) => Kind::Tcp,
            (None, Some(other)) => {
                let message = format!("`{other}` is not one of \"http\", \"https\", \"tcp\"");
                self.gather.at(at, "pop.probe.type", message);
                return None;
            }
        };
        let question = Arc::new(self.question(table, kind, span.clone())?);
        if let Some(url) = url {
            let port = url.port_u16().unwrap_or(if matches!(kind, Kind::Https) { 443 } else { 80 });
            return Some(vec![Target { address: None, host: host_of(&url), port, question }]);
        }
        if pop.cname.is_some() {
            let message = "a PoP with cname is probed at a url = \"https://..\" only, or not at all";
            self.gather.at(at, "pop.probe", message);
            return None;
        }
        let port = match table.port {
            Some(0) => {
                self.gather.at(at, "pop.probe.port", "must be from 1 to 65535");
                return None;
            }
            Some(port) => port,
            None => self.listener_port(pop, fleet, kind, span)?,
        };
        let target = |address: &IpAddr| Target {
            address: Some(*address),
            host: address.to_string(),
            port,
            question: question.clone(),
        };
        Some(addresses.iter().map(target).collect())
    }

    /// Where the PoP itself listens for it.
    fn listener_port(&mut self, pop: &file::Pop, fleet: &file::Listen, kind: Kind, span: Range<usize>) -> Option<u16> {
        let of = |listen: &file::Listen| match kind {
            Kind::Http => listen.http.clone(),
            Kind::Https => listen.https.clone(),
            Kind::Tcp => None,
        };
        let (name, default) = match kind {
            Kind::Http => ("HTTP", "127.0.0.1:8080"),
            Kind::Https => ("HTTPS", "127.0.0.1:8443"),
            Kind::Tcp => {
                self.gather.at(Some(span), "pop.probe.port", "missing; a probe over TCP needs its port");
                return None;
            }
        };
        let listen = pop.listen.as_ref().and_then(of).or_else(|| of(fleet));
        let first = listen.as_ref().map_or(Some(default), |list| list.first().map(|entry| entry.get_ref().as_str()));
        let Some(first) = first else {
            let message =
                format!("without an {name} listener give probe = \"https://..\", a port, or false to never probe");
            self.gather.at(Some(span), "pop.probe", message);
            return None;
        };
        // An entry without a port is a mistake of its own.
        first.rsplit(':').next().and_then(|port| port.parse().ok())
    }

    fn question(&mut self, table: &ProbeTable, kind: Kind, span: Range<usize>) -> Option<Question> {
        let at = || Some(span.clone());
        let of_tls = [("sni", table.sni.is_some()), ("verify", table.verify.is_some())];
        let of_http = [
            ("path", table.path.is_some()),
            ("host", table.host.is_some()),
            ("status", table.status.is_some()),
            ("body", table.body.is_some()),
            ("headers", table.headers.is_some()),
        ];
        let no_use: Vec<&str> = match kind {
            Kind::Tcp => of_tls.iter().chain(&of_http).filter(|key| key.1).map(|key| key.0).collect(),
            Kind::Http => of_tls.iter().filter(|key| key.1).map(|key| key.0).collect(),
            Kind::Https => Vec::new(),
        };
        if !no_use.is_empty() {
            let message = format!("{} means nothing to a probe over {}", no_use.join(", "), kind.name());
            self.gather.at(at(), "pop.probe", message);
        }
        if let Kind::Tcp = kind {
            return Some(Question::Tcp);
        }
        let path = table.path.clone().unwrap_or_else(|| HEALTH_PATH.to_owned());
        let is_path = path.starts_with('/') && path.parse::<Uri>().is_ok() && !path.contains('#');
        if !is_path {
            self.gather.at(at(), "pop.probe.path", format!("`{path}` is not a path such as \"/.nearcast/health\""));
        }
        let host = table.host.clone();
        if host.as_ref().is_some_and(|host| host.parse::<http::uri::Authority>().is_err()) {
            self.gather.at(at(), "pop.probe.host", "is not a host, perhaps with a port");
        }
        let name = table.sni.clone();
        if let Some(name) = &name
            && rustls::pki_types::ServerName::try_from(name.as_str()).is_err()
        {
            self.gather.at(at(), "pop.probe.sni", format!("`{name}` is not a name of TLS"));
        }
        if table.body.as_ref().is_some_and(|body| body.is_empty() || body.len() > HttpProbe::BODY_MAX) {
            self.gather.at(
                at(),
                "pop.probe.body",
                "must not be empty, nor longer than 16 KiB, of which it must be part",
            );
        }
        let tls = matches!(kind, Kind::Https).then(|| TlsProbe { name, verify: table.verify.unwrap_or(true) });
        Some(Question::Http(HttpProbe {
            tls,
            host,
            path,
            statuses: self.statuses(table, span.clone()),
            body: table.body.clone(),
            headers: self.fields(table, span),
        }))
    }

    fn statuses(&mut self, table: &ProbeTable, span: Range<usize>) -> Vec<StatusMatch> {
        let Some(given) = &table.status else { return vec![StatusMatch::Exact(200)] };
        if given.all().is_empty() {
            self.gather.at(Some(span.clone()), "pop.probe.status", "an empty list is never answered");
        }
        let one = |status| self.judge("pop.probe.status", span.clone(), rule::status(status));
        given.all().iter().filter_map(one).collect()
    }

    fn fields(&mut self, table: &ProbeTable, span: Range<usize>) -> Vec<(HeaderName, Secret)> {
        let mut fields = Vec::new();
        for (name, value) in table.headers.iter().flatten() {
            match HeaderName::try_from(name) {
                Ok(known) if OWN_FIELDS.contains(&known.as_str()) => {
                    let message = format!("`{known}` is not for a probe to choose; host = \"..\" sets the Host");
                    self.gather.at(Some(span.clone()), "pop.probe.headers", message);
                }
                Ok(name) if HeaderValue::try_from(value).is_ok() => fields.push((name, Secret::new(value.clone()))),
                Ok(_) => {
                    let message = format!("the value of `{name}` has characters that no field may have");
                    self.gather.at(Some(span.clone()), "pop.probe.headers", message);
                }
                Err(_) => {
                    let message = format!("`{name}` is not a field's name");
                    self.gather.at(Some(span.clone()), "pop.probe.headers", message);
                }
            }
        }
        fields
    }
}

/// What is spoken.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Tcp,
    Http,
    Https,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
        }
    }
}

/// Without the brackets of an IPv6 address.
fn host_of(url: &Uri) -> String {
    url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned()
}
