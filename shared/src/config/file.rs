//! The TOML file, key for key. Nothing is judged here but the type of a value: [`super::compile`] does the rest.
//!
//! Every key is optional, so that a missing one can be reported with all other mistakes at once.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

/// A value that remembers where it stands in the file.
pub(super) type At<T> = Option<Spanned<T>>;

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident { $($key:ident: $kind:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Default, Clone, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        pub(super) struct $name { $(#[serde(default)] pub(super) $key: $kind,)* }
    )*
        /// Every key of every table, for the test of the sample config.
        #[cfg(test)]
        pub(super) const KEYS: &[(&str, &[&str])] = &[$((stringify!($name), &[$(stringify!($key)),*])),*];
    };
}

tables! {
    File {
        listen: Listen,
        runtime: Runtime,
        state: State,
        admin: Admin,
        cache: Cache,
        geo: Geo,
        health: Health,
        shutdown: Shutdown,
        log: Log,
        limits: Limits,
        origin: Origin,
        dns: Dns,
        pop: Vec<Spanned<Pop>>,
        policy: Vec<Spanned<Policy>>,
        zone: Vec<Spanned<Zone>>,
        site: Vec<Spanned<Site>>,
    }

    Listen {
        http: Option<Vec<Spanned<String>>>,
        https: Option<Vec<Spanned<String>>>,
        dns: Option<Vec<Spanned<String>>>,
        dot: Option<Vec<Spanned<String>>>,
        doh: Option<Vec<Spanned<String>>>,
        doq: Option<Vec<Spanned<String>>>,
        admin: At<String>,
    }

    Runtime {
        workers: At<u16>,
    }

    State {
        path: At<String>,
    }

    Admin {
        token: At<String>,
        token_file: At<String>,
        purge_method: At<bool>,
        tls: Option<Spanned<Certificate>>,
        prefetch_jobs: At<u32>,
    }

    Certificate {
        certificate: At<String>,
        key: At<String>,
    }

    Cache {
        memory: At<String>,
        disk: Option<Spanned<Disk>>,
        object_max: At<String>,
        lifetime_max: At<String>,
        heuristic_max: At<String>,
        heuristic_error_max: At<String>,
        uncacheable_for: At<String>,
        wait_max: At<String>,
        stale_max: At<String>,
        variants_max: At<u16>,
        tags_max: At<u16>,
        tags_size: At<String>,
        purges_max: At<u32>,
        detail_to: Option<Vec<Spanned<String>>>,
    }

    Disk {
        path: At<String>,
        size: At<String>,
        write_queue: At<String>,
        write_rate: At<String>,
        entries_max: At<u32>,
    }

    Geo {
        database: At<Texts>,
        asn: At<Texts>,
        watch: At<String>,
        size_min: At<String>,
        moved_max: At<String>,
    }

    Health {
        interval: At<String>,
        timeout: At<String>,
        rise: At<u32>,
        fall: At<u32>,
        flap_window: At<String>,
        rise_max: At<u32>,
        addresses_min: At<String>,
        settle: At<String>,
        ttl_unsettled: At<u32>,
        overload_share: At<String>,
    }

    Shutdown {
        linger: At<String>,
        grace: At<String>,
    }

    Log {
        level: At<String>,
        format: At<String>,
        access: At<String>,
    }

    Limits {
        connections: At<u32>,
        header_timeout: At<String>,
        idle_timeout: At<String>,
        send_timeout: At<String>,
        receive_timeout: At<String>,
        tls_timeout: At<String>,
        header_size: At<String>,
        header_count: At<u32>,
        request_body: At<String>,
        streams: At<u32>,
        fills: At<u32>,
        pinned: At<String>,
    }

    Origin {
        connect_timeout: At<String>,
        response_timeout: At<String>,
        read_timeout: At<String>,
        idle_timeout: At<String>,
        idle_connections: At<u32>,
        header_size: At<String>,
        header_count: At<u32>,
        resumes: At<u32>,
        ca: At<String>,
    }

    Dns {
        udp_size: At<u16>,
        udp_receive_buffer: At<String>,
        remembered_answers: At<u32>,
        tcp_timeout: At<String>,
        tcp_connections: At<u32>,
        tcp_per_client: At<u32>,
        ranking_depth: At<u16>,
        explain_to: Option<Vec<Spanned<String>>>,
        tls: DnsTls,
        https: DnsHttps,
        nsid: At<String>,
        version: At<String>,
        id: At<String>,
        udp_size_without_cookie: At<u16>,
        cookies: Cookies,
        rate_limit: Option<RateLimit>,
        query_log: QueryLog,
        dnssec: Dnssec,
    }

    Dnssec {
        keys: At<String>,
        dnskey_ttl: At<u32>,
        validity: At<String>,
        jitter: At<String>,
        refresh: At<String>,
        backdate: At<String>,
        propagation: At<String>,
        signatures_per_second: At<u32>,
        signatures_kept: At<u32>,
        signatures_passing: At<u32>,
    }

    DnsTls {
        certificate: At<String>,
        key: At<String>,
        connections: At<u32>,
        per_client: At<u32>,
        handshake_timeout: At<String>,
    }

    DnsHttps {
        path: At<String>,
        on_sites: Option<bool>,
    }

    Cookies {
        on: Option<bool>,
        secret_file: At<String>,
        required: At<bool>,
    }

    RateLimit {
        all: At<u32>,
        answers: At<u32>,
        negative: At<u32>,
        errors: At<u32>,
        slip: At<u32>,
        ipv4_prefix: At<u8>,
        ipv6_prefix: At<u8>,
        exempt: Option<Vec<Spanned<String>>>,
        log_only: Option<bool>,
        table_size: At<String>,
    }

    QueryLog {
        to: At<String>,
        sample: At<f64>,
    }

    Pop {
        name: At<String>,
        location: At<(f64, f64)>,
        addresses: Option<Vec<Spanned<String>>>,
        cname: At<String>,
        capacity: At<u32>,
        probe: At<Probe>,
        listen: Option<Listen>,
        admin: At<String>,
    }

    Zone {
        name: At<String>,
        nameservers: Option<Vec<Spanned<Nameserver>>>,
        ttl: At<u32>,
        negative_ttl: At<u32>,
        serial: At<u32>,
        contact: At<String>,
        file: At<String>,
        record: Vec<Spanned<Record>>,
        policy: At<String>,
        ecs: Option<bool>,
        dnssec: Option<bool>,
        steered: Vec<Spanned<Steered>>,
    }

    Record {
        name: At<String>,
        r#type: At<String>,
        ttl: At<u32>,
        data: At<Texts>,
    }

    Steered {
        name: At<String>,
        policy: At<String>,
        site: At<String>,
    }

    Policy {
        name: At<String>,
        order: At<String>,
        pops: At<Vec<Group>>,
        bias: BTreeMap<String, Spanned<f64>>,
        ring: At<String>,
        weights: BTreeMap<String, Spanned<u32>>,
        pick: At<String>,
        spread: At<u32>,
        answers: At<u32>,
        rotate: Option<bool>,
        unknown: At<Texts>,
        all_down: At<Texts>,
        rule: Vec<Spanned<PolicyRule>>,
    }

    PolicyRule {
        name: At<String>,
        networks: Option<Vec<Spanned<String>>>,
        networks_file: At<String>,
        asns: Option<Vec<Spanned<u32>>>,
        subdivisions: Option<Vec<Spanned<String>>>,
        countries: Option<Vec<Spanned<String>>>,
        continents: Option<Vec<Spanned<String>>>,
        pops: At<Vec<Group>>,
        only: Option<bool>,
    }

    Site {
        name: At<String>,
        domains: Option<Vec<Spanned<String>>>,
        origin: At<String>,
        origin_host: At<String>,
        tls: Option<Spanned<Certificate>>,
        policy: At<String>,
        ecs: Option<bool>,
        https_record: At<bool>,
        trusted_proxies: Option<Vec<Spanned<String>>>,
        set_cookie: At<String>,
        client_revalidation: At<String>,
        grace: At<String>,
        disk: At<String>,
        disk_max: At<String>,
        pinned: At<String>,
        memory: At<String>,
        query: Query,
        key_headers: Option<Vec<Spanned<String>>>,
        key_cookies: Option<Vec<Spanned<String>>>,
        key_country: Option<bool>,
        key_rewrite: Option<bool>,
        rule: Vec<Spanned<Rule>>,
    }

    Query {
        sort: Option<bool>,
        keep: At<Vec<Spanned<String>>>,
        drop: At<Vec<Spanned<String>>>,
    }

    Rule {
        name: At<String>,
        path: At<Texts>,
        status: At<Statuses>,
        content_type: At<Texts>,
        bypass: At<bool>,
        ttl: At<String>,
        force: At<bool>,
        browser_ttl: At<String>,
    }

    // Within an untagged enum: serde loses the places of values there. So for the next one.
    ProbeTable {
        r#type: Option<String>,
        url: Option<String>,
        port: Option<u16>,
        path: Option<String>,
        host: Option<String>,
        sni: Option<String>,
        verify: Option<bool>,
        status: Option<Statuses>,
        body: Option<String>,
        headers: Option<BTreeMap<String, String>>,
    }

    NameserverTable {
        name: Option<String>,
        pop: Option<String>,
    }
}

/// `"a"` or `["a", "b"]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
pub(super) enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Texts {
    /// As a list.
    pub(super) fn all(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

/// A PoP, or several that are equal: `"fra"` or `["fra", "ams"]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected a PoP's name or a list of names that are equal")]
pub(super) enum Group {
    One(String),
    Equal(Vec<String>),
}

impl Group {
    /// As a list.
    pub(super) fn all(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Equal(names) => names,
        }
    }
}

/// `404`, `"4xx"` or `[404, "5xx"]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected a status such as 404 or \"4xx\", or a list of them")]
pub(super) enum Statuses {
    One(Status),
    Many(Vec<Status>),
}

impl Statuses {
    /// As a list.
    pub(super) fn all(&self) -> &[Status] {
        match self {
            Self::One(status) => std::slice::from_ref(status),
            Self::Many(statuses) => statuses,
        }
    }
}

/// `404` or `"4xx"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Status {
    Number(i64),
    Text(String),
}

/// `false`, a URL or a table.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "expected false, a URL such as \"http://192.0.2.10:8080\", or a table of type, url, port, path, host, sni, verify, status, body, headers"
)]
pub(super) enum Probe {
    Switch(bool),
    Url(String),
    Table(Box<ProbeTable>),
}

/// `"ns1.example.net"` or `{ name = "ns1.example.net", pop = "fra" }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected a name or { name = \"..\", pop = \"..\" }")]
pub(super) enum Nameserver {
    Name(String),
    Table(NameserverTable),
}
