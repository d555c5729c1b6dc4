//! From the file's mirror to a [`Config`], noting every mistake on the way.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use tracing::Level;

use super::file::{self, At, File};
use super::mistake::{self, Gather};
use super::{
    Admin, Cache, Config, Disk, Dns, Inputs, Limits, Listen, ListenAddress, Log, LogFormat, LogTarget, Mistakes,
    Origin, Secret, Shutdown, Zone,
};
use crate::pop::{Pop, PopId};

/// The value of an optional key, or a default.
macro_rules! or_default {
    ($self:ident, $method:ident, $key:expr, $value:expr, $default:expr) => {
        match &$value {
            Some(value) => $self.$method($key, value).unwrap_or($default),
            None => $default,
        }
    };
}

mod dnssec;
mod encrypted;
mod fleet;
mod geo;
mod health;
mod keying;
mod manners;
mod policy;
mod rule;
mod site;
mod steered;
mod storing;
mod values;
mod zone;

/// Where TLS is listened for when nothing is said.
const HTTPS_DEFAULT: &str = "127.0.0.1:8443";

/// See [`Config::parse`].
pub(super) fn compile(text: &str, path: &Path, inputs: &Inputs) -> Result<Config, Mistakes> {
    let mut gather = Gather::new(text);
    let file = mistake::read(text, &mut gather);
    // What is missing because its shape was wrong must not be reported a second time as missing.
    let misshapen = gather.keys();
    let mut c = Compiler { gather, base: base_of(path), pop: String::new(), misshapen };
    let config = c.config(&file, path, inputs);
    match config {
        Some(config) if c.gather.is_clean() => Ok(config),
        _ => Err(c.gather.finish(path.to_owned())),
    }
}

/// See [`Config::pop_names`].
pub(super) fn pop_names(text: &str) -> Vec<String> {
    let file = mistake::read(text, &mut Gather::new(text));
    (0..file.pop.len()).filter_map(id_of).filter_map(|id| name_of(&file.pop, id)).collect()
}

fn base_of(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.parent().map(Path::to_owned).unwrap_or_default()
}

struct Compiler<'a> {
    gather: Gather<'a>,
    base: PathBuf,
    /// This node's PoP, for `{pop}`.
    pop: String,
    /// Keys whose values were taken out of the file because their shape is wrong.
    misshapen: Vec<String>,
}

impl Compiler<'_> {
    fn config(&mut self, file: &File, path: &Path, inputs: &Inputs) -> Option<Config> {
        self.names_are_unique("pop", "name", file.pop.iter().map(|p| p.get_ref().name.as_ref()));
        let this = self.this_pop(&file.pop, inputs);
        self.pop = this.and_then(|id| name_of(&file.pop, id)).unwrap_or_default();

        let this_listen = this.and_then(|id| file.pop[id.index()].get_ref().listen.clone());
        let listen = self.listen(&file.listen, this_listen.as_ref());
        let dns_certificate = self.dns_certificate(&file.dns.tls, &listen);
        let pops: Vec<Pop> = file.pop.iter().map(|entry| self.pop(entry, &file.listen)).collect();
        let policies = self.policies(file, &pops);
        self.asns_are_known(file);
        let mut zones: Vec<Zone> = file.zone.iter().map(|entry| self.zone(entry, &pops)).collect();
        self.names_are_unique("zone", "name", file.zone.iter().map(|z| z.get_ref().name.as_ref()));
        let cache = self.cache(&file.cache);
        let https_ports = https_ports(file, &pops);
        // A PoP that is a CNAME has no HTTPS record of its own.
        let https_everywhere = pops.iter().zip(&https_ports).all(|(pop, port)| pop.cname.is_some() || port.is_some());
        let sites = self.sites(&file.site, &cache, &policies, https_everywhere);
        self.steered_names(file, &mut zones, &sites, &policies);
        self.names_do_not_clash(file, &pops, &zones, &sites);
        self.cnames_have_room(file, (&pops, &policies, &zones, &sites));
        self.zone_records(&file.zone, &mut zones, (&pops, &policies, &sites), path);
        let admin = self.admin(&file.admin, inputs, listen.admin);
        Some(Config {
            file: path.to_owned(),
            workers: self.workers(&file.runtime.workers),
            state: or_default!(self, path, "state.path", file.state.path, self.base.join("state").join(&self.pop)),
            admin,
            cache,
            geo: self.geo(&file.geo),
            health: self.health(&file.health),
            shutdown: Shutdown {
                linger: or_default!(self, duration, "shutdown.linger", file.shutdown.linger, Duration::from_secs(35)),
                grace: or_default!(self, duration, "shutdown.grace", file.shutdown.grace, Duration::from_secs(30)),
            },
            log: self.log(&file.log),
            limits: self.limits(&file.limits),
            origin: self.origin(&file.origin),
            dns: self.dns(&file.dns),
            dns_certificate,
            manners: self.manners(&file.dns, inputs),
            dnssec: self.dnssec(&file.dns.dnssec),
            explain_to: self.networks("dns.explain-to", file.dns.explain_to.as_deref()),
            ranking_depth: usize::from(self.number("dns.ranking-depth", &file.dns.ranking_depth, 1..=64, 3)),
            listen,
            https_ports,
            pops,
            policies,
            zones,
            sites,
            // Last, so that all other mistakes are found before.
            this: this?,
        })
    }

    fn this_pop(&mut self, pops: &[Spanned<file::Pop>], inputs: &Inputs) -> Option<PopId> {
        if pops.is_empty() {
            self.missing(None, "pop", "there must be at least one [[pop]] with name, location and addresses");
            return None;
        }
        let known: Vec<String> = (0..pops.len()).filter_map(|i| name_of(pops, id_of(i)?)).collect();
        let Some(wanted) = &inputs.pop else {
            if pops.len() == 1 {
                return Some(PopId(0));
            }
            let known = known.join(", ");
            self.gather.at(
                None,
                "pop",
                format!("which PoP is this node? give --pop NAME or set NEARCAST_POP: {known}"),
            );
            return None;
        };
        let found = (0..pops.len()).filter_map(id_of).find(|id| name_of(pops, *id).as_ref() == Some(wanted));
        if found.is_none() {
            self.gather.at(None, "pop", format!("no [[pop]] is named `{wanted}`; there are: {}", known.join(", ")));
        }
        found
    }

    fn listen(&mut self, fleet: &file::Listen, own: Option<&file::Listen>) -> Listen {
        let default = |text: &str| vec![ListenAddress::Socket(text.parse().expect("a literal address"))];
        let pick = |own: Option<&Option<Vec<Spanned<String>>>>, fleet: &Option<Vec<Spanned<String>>>| {
            own.and_then(Clone::clone).or_else(|| fleet.clone())
        };
        let mut addresses = |key: &str, entries: Option<Vec<Spanned<String>>>, otherwise: &str| match entries {
            Some(entries) => entries.iter().filter_map(|entry| self.listen_address(key, entry)).collect(),
            None if otherwise.is_empty() => Vec::new(),
            None => default(otherwise),
        };
        let http = addresses("listen.http", pick(own.map(|l| &l.http), &fleet.http), "127.0.0.1:8080");
        let https = addresses("listen.https", pick(own.map(|l| &l.https), &fleet.https), HTTPS_DEFAULT);
        let dns = addresses("listen.dns", pick(own.map(|l| &l.dns), &fleet.dns), "127.0.0.1:5300");
        let dot = addresses("listen.dot", pick(own.map(|l| &l.dot), &fleet.dot), "");
        let doh = addresses("listen.doh", pick(own.map(|l| &l.doh), &fleet.doh), "");
        let over_quic = pick(own.map(|l| &l.doq), &fleet.doq);
        let doq = addresses("listen.doq", over_quic.clone(), "");
        self.doq_ports(over_quic.as_deref().unwrap_or_default());
        let admin = own.and_then(|l| l.admin.clone()).or_else(|| fleet.admin.clone());
        let admin_default = SocketAddr::from(([127, 0, 0, 1], 9053));
        let admin = match &admin {
            Some(text) => {
                self.parse::<SocketAddr>("listen.admin", text, "an address and port such as \"127.0.0.1:9053\"")
            }
            None => Some(admin_default),
        };
        Listen { http, https, dns, dot, doh, doq, admin: admin.unwrap_or(admin_default) }
    }

    fn listen_address(&mut self, key: &str, entry: &Spanned<String>) -> Option<ListenAddress> {
        let form =
            "an address and port such as \"127.0.0.1:8080\" or \"[::1]:8080\", or \":8080\" for every local address";
        self.parse(key, entry, form)
    }

    fn workers(&mut self, given: &At<u16>) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, |n| u16::try_from(n.get()).unwrap_or(u16::MAX));
        usize::from(self.number("runtime.workers", given, 1..=1024, cores.min(1024)))
    }

    fn admin(&mut self, admin: &file::Admin, inputs: &Inputs, listen: SocketAddr) -> Admin {
        if let (Some(_), Some(file)) = (&admin.token, &admin.token_file) {
            self.gather.at(Some(file.span()), "admin.token-file", "give token or token-file, not both");
        }
        let from_file = admin.token_file.as_ref().filter(|_| !inputs.offline).and_then(|entry| {
            let path = self.path("admin.token-file", entry)?;
            match std::fs::read_to_string(&path) {
                Ok(text) => Some((text.trim().to_owned(), Some(entry.span()))),
                Err(error) => {
                    self.gather.at(Some(entry.span()), "admin.token-file", format!("{}: {error}", path.display()));
                    None
                }
            }
        });
        let inline = admin.token.as_ref().map(|token| (token.get_ref().clone(), Some(token.span())));
        let from_env = inputs.admin_token.clone().map(|token| (token, None));
        let token = inline.or(from_file).or(from_env).and_then(|(token, span)| {
            let usable = token.len() >= 8 && token.bytes().all(|b| b.is_ascii_graphic());
            if !usable {
                let message = "the token must be at least 8 visible ASCII characters without spaces";
                self.gather.at(span, "admin.token", message);
            }
            usable.then(|| Secret::new(token))
        });
        let tls = admin.tls.as_ref().and_then(|tls| self.certificate("admin.tls", tls));
        if !listen.ip().is_loopback() && tls.is_none() {
            let message = format!(
                "admin listens on {listen}, which is not loopback: give admin.tls = {{ certificate = \"..\", key = \"..\" }}, or listen.admin = \"127.0.0.1:{}\"",
                listen.port()
            );
            self.gather.at(None, "admin.tls", message);
        }
        let purge_method = admin.purge_method.as_ref().is_some_and(|on| *on.get_ref());
        if purge_method && token.is_none() && !inputs.offline {
            let message = "needs admin.token: a PURGE has to bring it";
            self.gather.at(span_of(&admin.purge_method), "admin.purge-method", message);
        }
        let prefetch_jobs = self.number("admin.prefetch-jobs", &admin.prefetch_jobs, 1..=1000, 8) as usize;
        Admin { token, purge_method, tls, prefetch_jobs }
    }

    fn dns(&mut self, dns: &file::Dns) -> Dns {
        let connections =
            |at: &mut Self, key: &str, value, default| at.number(key, value, 1..=1_000_000, default) as usize;
        Dns {
            udp_size: self.number("dns.udp-size", &dns.udp_size, 512..=4096, 1232),
            udp_receive_buffer: self.receive_buffer(&dns.udp_receive_buffer),
            remembered_answers: self.number("dns.remembered-answers", &dns.remembered_answers, 0..=1 << 20, 32_768)
                as usize,
            tcp_timeout: or_default!(self, timeout, "dns.tcp-timeout", dns.tcp_timeout, Duration::from_secs(10)),
            tcp_connections: connections(self, "dns.tcp-connections", &dns.tcp_connections, 1000),
            tcp_per_client: connections(self, "dns.tcp-per-client", &dns.tcp_per_client, 100),
            encrypted: self.encrypted(dns),
            query_log: self.query_log(&dns.query_log),
        }
    }

    fn cache(&mut self, cache: &file::Cache) -> Cache {
        let memory = or_default!(self, size, "cache.memory", cache.memory, 256 << 20);
        if memory < 1 << 20 {
            self.gather.at(span_of(&cache.memory), "cache.memory", "must be at least 1 MiB");
        }
        let disk = cache.disk.as_ref().and_then(|disk| self.disk(disk));
        let room = disk.as_ref().map_or(memory, |disk| disk.size);
        let object_max = or_default!(self, size, "cache.object-max", cache.object_max, u64::MAX);
        Cache {
            memory,
            disk,
            object_max,
            unannounced_max: object_max.min(room / 4),
            lifetime_max: or_default!(self, duration, "cache.lifetime-max", cache.lifetime_max, days(365)),
            heuristic_max: or_default!(self, duration, "cache.heuristic-max", cache.heuristic_max, days(1)),
            heuristic_error_max: or_default!(
                self,
                duration,
                "cache.heuristic-error-max",
                cache.heuristic_error_max,
                Duration::from_secs(60)
            ),
            uncacheable_for: or_default!(
                self,
                duration,
                "cache.uncacheable-for",
                cache.uncacheable_for,
                Duration::from_secs(10)
            ),
            wait_max: or_default!(self, timeout, "cache.wait-max", cache.wait_max, Duration::from_secs(10)),
            stale_max: or_default!(self, duration, "cache.stale-max", cache.stale_max, days(1)),
            variants_max: usize::from(self.number("cache.variants-max", &cache.variants_max, 1..=1024, 32)),
            tags_max: usize::from(self.number("cache.tags-max", &cache.tags_max, 0..=4096, 1000)),
            tags_size: self.tags_size(&cache.tags_size),
            purges_max: self.number("cache.purges-max", &cache.purges_max, 10_000..=100_000_000, 2_000_000) as usize,
            detail_to: self.networks("cache.detail-to", cache.detail_to.as_deref()),
        }
    }

    fn tags_size(&mut self, given: &At<String>) -> usize {
        let bytes = or_default!(self, size, "cache.tags-size", given, 16 << 10);
        if bytes > 1 << 20 {
            self.gather.at(span_of(given), "cache.tags-size", "must be at most 1 MiB");
        }
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    fn disk(&mut self, disk: &Spanned<file::Disk>) -> Option<Disk> {
        let span = Some(disk.span());
        let Some(path) = &disk.get_ref().path else {
            self.missing(span, "cache.disk.path", "missing; the folder of the disk tier");
            return None;
        };
        let Some(size) = &disk.get_ref().size else {
            self.missing(span, "cache.disk.size", "missing; such as \"10 GiB\"");
            return None;
        };
        let bytes = self.size("cache.disk.size", size)?;
        if bytes < 64 << 20 {
            self.gather.at(Some(size.span()), "cache.disk.size", "must be at least 64 MiB");
        }
        let table = disk.get_ref();
        let write_queue = or_default!(self, size, "cache.disk.write-queue", table.write_queue, 64 << 20);
        if write_queue < 4 << 20 {
            self.gather.at(span_of(&table.write_queue), "cache.disk.write-queue", "must be at least 4 MiB");
        }
        let write_rate = table.write_rate.as_ref().and_then(|rate| self.size("cache.disk.write-rate", rate));
        if write_rate.is_some_and(|rate| rate < 64 << 10) {
            self.gather.at(span_of(&table.write_rate), "cache.disk.write-rate", "must be at least 64 KiB");
        }
        let entries = self.number("cache.disk.entries-max", &table.entries_max, 1_000..=1_000_000_000, 4_000_000);
        Some(Disk {
            path: self.path("cache.disk.path", path)?,
            size: bytes,
            write_queue,
            write_rate,
            entries_max: entries as usize,
        })
    }

    fn log(&mut self, log: &file::Log) -> Log {
        const LEVELS: &str = "error, warn, info or debug";
        let level = log.level.as_ref().and_then(|level| self.parse("log.level", level, LEVELS));
        if level == Some(Level::TRACE) {
            self.gather.at(log.level.as_ref().map(|level| level.span()), "log.level", format!("must be {LEVELS}"));
        }
        let format = match log.format.as_ref().map(|f| (f.get_ref().as_str(), f.span())) {
            None | Some(("text", _)) => LogFormat::Text,
            Some(("json", _)) => LogFormat::Json,
            Some((_, span)) => {
                self.gather.at(Some(span), "log.format", "must be \"text\" or \"json\"");
                LogFormat::Text
            }
        };
        let access = self.log_target(&log.access);
        Log { level: level.unwrap_or(Level::INFO), format, access }
    }

    fn log_target(&self, given: &At<String>) -> LogTarget {
        match given.as_ref().map(|target| target.get_ref().as_str()) {
            None | Some("off") => LogTarget::Off,
            Some("stdout") => LogTarget::Stdout,
            Some(path) => LogTarget::File(self.expand(path)),
        }
    }

    fn limits(&mut self, l: &file::Limits) -> Limits {
        let seconds = Duration::from_secs;
        Limits {
            connections: self.number("limits.connections", &l.connections, 1..=10_000_000, 20_000) as usize,
            header_timeout: or_default!(self, timeout, "limits.header-timeout", l.header_timeout, seconds(10)),
            idle_timeout: or_default!(self, timeout, "limits.idle-timeout", l.idle_timeout, seconds(75)),
            send_timeout: or_default!(self, timeout, "limits.send-timeout", l.send_timeout, seconds(60)),
            receive_timeout: or_default!(self, timeout, "limits.receive-timeout", l.receive_timeout, seconds(30)),
            tls_timeout: or_default!(self, timeout, "limits.tls-timeout", l.tls_timeout, seconds(10)),
            header_size: self.small_size("limits.header-size", &l.header_size, 16 << 10),
            header_count: self.number("limits.header-count", &l.header_count, 16..=1024, 100) as usize,
            request_body: or_default!(self, size, "limits.request-body", l.request_body, 1 << 30),
            streams: self.number("limits.streams", &l.streams, 1..=10_000, 128),
            fills: self.number("limits.fills", &l.fills, 1..=1_000_000, 10_000) as usize,
            pinned: or_default!(self, size, "limits.pinned", l.pinned, 256 << 20),
        }
    }

    fn origin(&mut self, o: &file::Origin) -> Origin {
        let seconds = Duration::from_secs;
        Origin {
            connect_timeout: or_default!(self, timeout, "origin.connect-timeout", o.connect_timeout, seconds(5)),
            response_timeout: or_default!(self, timeout, "origin.response-timeout", o.response_timeout, seconds(30)),
            read_timeout: or_default!(self, timeout, "origin.read-timeout", o.read_timeout, seconds(30)),
            idle_timeout: or_default!(self, timeout, "origin.idle-timeout", o.idle_timeout, seconds(60)),
            idle_connections: self.number("origin.idle-connections", &o.idle_connections, 0..=100_000, 64) as usize,
            header_size: self.small_size("origin.header-size", &o.header_size, 64 << 10),
            header_count: self.number("origin.header-count", &o.header_count, 16..=1024, 100) as usize,
            resumes: self.number("origin.resumes", &o.resumes, 0..=100, 3),
            ca: o.ca.as_ref().and_then(|ca| self.path("origin.ca", ca)),
        }
    }
}

/// See [`Config::https_ports`].
fn https_ports(file: &File, pops: &[Pop]) -> Vec<Option<u16>> {
    let port = |(entry, pop): (&Spanned<file::Pop>, &Pop)| {
        let is_local = !pop.addresses.is_empty() && pop.addresses.iter().all(IpAddr::is_loopback);
        let reachable = |listen: &str| match listen.parse().ok()? {
            ListenAddress::Any(port) => Some(port),
            ListenAddress::Socket(socket) => {
                (is_local || !socket.ip().to_canonical().is_loopback()).then_some(socket.port())
            }
        };
        let own = entry.get_ref().listen.as_ref().and_then(|listen| listen.https.as_ref());
        let listed = own.or(file.listen.https.as_ref());
        let ports: Vec<u16> = match listed {
            Some(list) => list.iter().filter_map(|entry| reachable(entry.get_ref())).collect(),
            None => reachable(HTTPS_DEFAULT).into_iter().collect(),
        };
        let mut fixed = ports.iter().copied().filter(|port| *port > 0);
        if ports.contains(&443) { Some(443) } else { fixed.next() }
    };
    file.pop.iter().zip(pops).map(port).collect()
}

fn is_label(label: &str) -> bool {
    let allowed = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    allowed && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
}

/// "token = 1*tchar" (RFC 9110 section 5.6.2).
fn is_token(text: &str) -> bool {
    let tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(tchar)
}

fn name_of(pops: &[Spanned<file::Pop>], id: PopId) -> Option<String> {
    pops.get(id.index())?.get_ref().name.as_ref().map(|name| name.get_ref().clone())
}

fn id_of(position: usize) -> Option<PopId> {
    u16::try_from(position).ok().map(PopId)
}

fn span_of<T>(value: &At<T>) -> Option<Range<usize>> {
    value.as_ref().map(Spanned::span)
}

fn days(n: u64) -> Duration {
    Duration::from_secs(n * 86_400)
}
