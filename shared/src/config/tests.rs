//! The sample config is true, and mistakes are told in full.

use std::path::Path;
use std::time::Duration;

use super::{Config, Inputs, Mistakes, StatusMatch, file};
use crate::pop::{Probe, Question, TlsProbe};

mod policy;
mod site;

const SAMPLE: &str = include_str!("../../../config/nearcast.toml");

fn parse(text: &str) -> Result<Config, Mistakes> {
    Config::parse(
        text,
        Path::new("/etc/nearcast/nearcast.toml"),
        &Inputs { pop: Some("fra".to_owned()), ..Inputs::default() },
    )
}

/// The sample with the defaults it shows made real.
fn uncommented() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) && !rest.contains("# example") => {
            rest.to_owned()
        }
        _ => line.to_owned(),
    };
    SAMPLE.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_sample_is_right_and_shows_the_defaults() {
    let as_it_is = parse(SAMPLE).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let with_defaults = parse(&uncommented()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(as_it_is, with_defaults);
}

/// The sample from the header of a table to the next; for tables that are written inline, all of it.
fn part_of_the_sample(table: &str) -> String {
    let header = match table {
        "File" | "Certificate" | "Disk" | "NameserverTable" | "ProbeTable" | "Query" => return SAMPLE.to_owned(),
        "Pop" | "Zone" | "Site" => format!("[[{}]]", table.to_lowercase()),
        "Policy" => "[[policy]]".to_owned(),
        "Rule" => "[[site.rule]]".to_owned(),
        "PolicyRule" => "[[policy.rule]]".to_owned(),
        "Steered" => "[[zone.steered]]".to_owned(),
        "Record" => "[[zone.record]]".to_owned(),
        "DnsTls" => "[dns.tls]".to_owned(),
        "DnsHttps" => "[dns.https]".to_owned(),
        "Dnssec" => "[dns.dnssec]".to_owned(),
        "Cookies" => "[dns.cookies]".to_owned(),
        "RateLimit" => "[dns.rate-limit]".to_owned(),
        "QueryLog" => "[dns.query-log]".to_owned(),
        _ => format!("[{}]", table.to_lowercase()),
    };
    let (mut part, mut inside) = (String::new(), false);
    for line in SAMPLE.lines() {
        let line = line.trim_start_matches('#');
        if line.starts_with('[') {
            inside = line.starts_with(&header);
        }
        if inside {
            part.push_str(line);
            part.push('\n');
        }
    }
    part
}

#[test]
fn the_sample_names_every_key() {
    for (table, keys) in file::KEYS {
        let part = part_of_the_sample(table);
        for key in *keys {
            let key = key.trim_start_matches("r#").replace('_', "-");
            let shown = part.lines().any(|line| {
                let line = line.trim_start_matches(['#', '[']);
                line.starts_with(&format!("{key} =")) || line.starts_with(&format!("{key}]"))
            });
            let inline = part.contains(&format!("{{ {key} = ")) || part.contains(&format!(", {key} = "));
            let below = SAMPLE.contains(&format!("[{}.{key}]", table.to_lowercase()));
            assert!(shown || inline || below, "{table}: {key}");
        }
    }
}

#[test]
fn the_readmes_config_is_right() {
    let readme = include_str!("../../../README.md");
    let block = readme.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert!(block.trim().lines().count() <= 20);
    let text = block.replace("token-file = \"/etc/nearcast/admin.token\"", "token = \"correct-horse\"");
    let config = parse(&text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(config.pops.len(), 3);
}

#[test]
fn the_readmes_site_is_right() {
    let readme = include_str!("../../../README.md");
    let block = readme.split("```toml").nth(2).and_then(|rest| rest.split("```").next()).unwrap();
    let text = format!("[[pop]]\nname = \"fra\"\naddresses = [\"192.0.2.1\"]\n{block}");
    let config = parse(&text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!((config.sites[0].caching.rules.len(), config.warnings()), (2, Vec::new()));
}

#[test]
fn the_readmes_policies_are_right() {
    let readme = include_str!("../../../README.md");
    let part = readme.split("### Which PoP a client gets").nth(1).unwrap();
    let block = part.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let pop = |name: &str| format!("[[pop]]\nname = \"{name}\"\nlocation = [0, 0]\naddresses = [\"192.0.2.1\"]\n");
    let text = format!("{}{block}", ["fra", "iad", "sin"].map(pop).concat());
    let config = parse(&text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!((config.policies.len(), config.policies[0].rules.len()), (2, 1));
}

#[test]
fn three_pops_and_a_site_fit_in_20_lines() {
    let text = r#"
[[pop]]
name = "fra"
location = [50.03, 8.57]
addresses = ["192.0.2.10"]
[[pop]]
name = "iad"
location = [38.95, -77.45]
addresses = ["198.51.100.10"]
[[zone]]
name = "cdn.example.net"
nameservers = ["ns1.cdn.example.net", "ns2.cdn.example.net"]
[[site]]
domains = ["www.cdn.example.net", "static.example.com"]
origin = "https://origin.example.com"
"#;
    assert!(text.trim().lines().count() <= 20 - 4, "four lines for a third PoP");
    let config = parse(text).unwrap();
    assert_eq!(config.cnames_to_set(), [("static.example.com".to_owned(), "edge.cdn.example.net".to_owned())]);
    assert_eq!(config.state, Path::new("/etc/nearcast/state/fra"));
}

#[test]
fn all_mistakes_are_told_with_line_key_and_form() {
    let text = r#"[listen]
http = ["localhost"]
ports = [80]
[cache]
memory = "1 gig"
size = 5
[health]
interval = "1s"
timeout = "5s"
rise = 0
[[pop]]
name = "FRA"
location = [95.0, 8.57]
addresses = ["192.0.2.256"]
[[zone]]
name = "cdn..net"
nameservers = ["ns1.example.org", { name = "ns2.cdn.net", pop = "mars" }]
[[site]]
domains = ["www.test", "www.test"]
origin = "ftp://origin"
color = "red"
"#;
    let told = parse(text).unwrap_err().to_string();
    let wanted = [
        ":2: listen.http: `localhost` is not an address and port",
        ":3: listen.ports: unknown key; allowed in [listen]: http, https, dns, dot, doh, doq, admin",
        ":5: cache.memory: `1 gig` is not a size",
        ":6: cache.size: unknown key; allowed in [cache]: memory, disk,",
        ":9: health.timeout: must not exceed health.interval",
        ":10: health.rise: must be from 1 to 100",
        ":12: pop.name: `FRA` must be lower-case",
        ":13: pop.location: must be [latitude, longitude]",
        ":14: pop.addresses: `192.0.2.256` is not an IPv4 or IPv6 address",
        ":16: zone.name: `cdn..net` is not a domain name",
        ":17: zone.nameservers: no [[pop]] is named `mars`",
        ": site.domains: `www.test` is taken by two sites",
        ":20: site.origin: `ftp://origin` is not a URL of http:// or https://",
        ":21: site.color: unknown key; allowed in [site]: name, domains, origin",
    ];
    for sentence in wanted {
        assert!(told.contains(sentence), "{sentence}\nin\n{told}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let told = parse("[[pop]]\nname = \"fra\"\n[[zone]]\nname = \"a.test\"\n[[site]]\n").unwrap_err().to_string();
    for sentence in [
        ":1: pop.addresses: missing",
        ":3: zone.nameservers: missing",
        ":5: site.domains: missing",
        ":5: site.origin: missing",
    ] {
        assert!(told.contains(sentence), "{sentence}\nin\n{told}");
    }
    assert!(parse("").unwrap_err().to_string().contains("pop: there must be at least one [[pop]]"));
}

#[test]
fn syntax_and_types_are_told_with_the_rest() {
    let told =
        parse("[cache]\nmemory = 5\n[[pop]]\nname = \"fra\"\naddresses = \"192.0.2.1\"\n").unwrap_err().to_string();
    assert!(told.contains(":2: cache.memory: invalid type: integer `5`, expected a string"), "{told}");
    assert!(told.contains(":5: pop.addresses: invalid type: string"), "{told}");
    let told = parse("[cache\nmemory = \"1 MiB\"\n").unwrap_err().to_string();
    assert!(told.contains(":1"), "{told}");
}

#[test]
fn admin_off_loopback_needs_tls() {
    const POP: &str = "[[pop]]\nname = \"fra\"\naddresses = [\"192.0.2.1\"]\n";
    let told = parse(&format!("[listen]\nadmin = \"0.0.0.0:9053\"\n{POP}")).unwrap_err().to_string();
    assert!(told.contains("admin.tls: admin listens on 0.0.0.0:9053, which is not loopback"), "{told}");
    let tls = "[admin]\ntls = { certificate = \"a\", key = \"b\" }\n";
    assert!(parse(&format!("[listen]\nadmin = \"0.0.0.0:9053\"\n{tls}{POP}")).is_ok());
}

#[test]
fn secrets_do_not_show() {
    const TOKEN: &str = "hunter2hunter2";
    let text = format!("[admin]\ntoken = \"{TOKEN}\"\n[[pop]]\nname = \"fra\"\naddresses = [\"192.0.2.1\"]\n");
    let config = parse(&text).unwrap();
    assert!(config.admin.token.is_some());
    assert!(!format!("{config:?}").contains(TOKEN));
}

#[test]
fn pop_overrides_and_probes() {
    let text = r#"
[listen]
http = [":8080"]
[[pop]]
name = "fra"
addresses = ["192.0.2.1", "2001:db8::1"]
listen = { http = ["192.0.2.1:80"], admin = "127.0.0.1:1234" }
[[pop]]
name = "iad"
addresses = ["192.0.2.2"]
[[pop]]
name = "sin"
addresses = ["192.0.2.3"]
probe = false
[[pop]]
name = "gru"
addresses = ["192.0.2.4"]
probe = "https://gru.test:444"
"#;
    let config = parse(text).unwrap();
    assert_eq!(config.listen.http, [super::ListenAddress::Socket("192.0.2.1:80".parse().unwrap())]);
    assert_eq!(config.listen.admin, "127.0.0.1:1234".parse().unwrap());
    let probes = config.pops.iter().map(|pop| match &pop.probe {
        Probe::Never => Vec::new(),
        Probe::Targets(targets) => targets.iter().map(|t| (t.to_string(), t.address.is_some())).collect(),
    });
    let probes: Vec<Vec<(String, bool)>> = probes.collect();
    let each = |url: &str| (format!("{url}/.nearcast/health"), true);
    assert_eq!(probes[0], [each("http://192.0.2.1:80"), each("http://[2001:db8::1]:80")]);
    assert_eq!(probes[1], [each("http://192.0.2.2:8080")]);
    assert_eq!(probes[2], []);
    assert_eq!(probes[3], [("https://gru.test:444/.nearcast/health".to_owned(), false)]);
}

#[test]
fn probes_in_full() {
    let of = |pop: &str| {
        let pop = format!("[[pop]]\nname = \"fra\"\naddresses = [\"192.0.2.1\", \"192.0.2.2\"]\nprobe = {pop}\n");
        parse(&pop).map(|config| match config.pops[0].probe.clone() {
            Probe::Never => panic!("it is probed"),
            Probe::Targets(targets) => targets,
        })
    };
    let tcp = of("{ type = \"tcp\", port = 443 }").unwrap();
    assert_eq!((tcp.len(), tcp[1].to_string()), (2, "tcp://192.0.2.2:443".to_owned()));
    let https = of("{ type = \"https\", path = \"/a?b\", host = \"h\", sni = \"s.test\", verify = false, \
                    status = [204, \"3xx\"], body = \"pong\", headers = { X-Token = \"hunter2\" } }")
    .unwrap();
    assert_eq!(https[0].to_string(), "https://192.0.2.1:8443/a");
    let Question::Http(probe) = &*https[0].question else { panic!("over HTTP") };
    assert_eq!(probe.tls, Some(TlsProbe { name: Some("s.test".to_owned()), verify: false }));
    assert_eq!((probe.path.as_str(), probe.host.as_deref(), probe.body.as_deref()), ("/a?b", Some("h"), Some("pong")));
    assert_eq!(probe.statuses, [StatusMatch::Exact(204), StatusMatch::Class(3)]);
    assert_eq!((probe.headers[0].0.as_str(), probe.headers[0].1.reveal()), ("x-token", "hunter2"));
    assert!(!format!("{https:?}{}", https[0]).contains("hunter2"));
    let whole = of("{ url = \"http://[2001:db8::7]\", path = \"/up\" }").unwrap();
    assert_eq!((whole.len(), whole[0].to_string()), (1, "http://[2001:db8::7]:80/up".to_owned()));

    let rows = [
        ("true", "pop.probe: must be false, a URL"),
        ("{ type = \"udp\", port = 1 }", "pop.probe.type: `udp` is not one of"),
        ("{ type = \"tcp\" }", "pop.probe.port: missing"),
        ("{ port = 0 }", "pop.probe.port: must be from 1"),
        (
            "{ type = \"tcp\", port = 1, path = \"/\", sni = \"a\" }",
            "pop.probe: sni, path means nothing to a probe over TCP",
        ),
        ("{ verify = false }", "pop.probe: verify means nothing to a probe over HTTP"),
        ("{ url = \"http://a\", port = 80 }", "pop.probe.url: has type and port in it"),
        ("{ url = \"http://a/b\" }", "pop.probe.url: `http://a/b` is not a URL"),
        ("{ path = \"up\" }", "pop.probe.path: `up` is not a path"),
        ("{ host = \"a b\" }", "pop.probe.host: is not a host"),
        ("{ type = \"https\", sni = \"a b\" }", "pop.probe.sni: `a b` is not a name"),
        ("{ status = [] }", "pop.probe.status: an empty list"),
        ("{ status = 99 }", "pop.probe.status: `99` is not a number from 200"),
        ("{ body = \"\" }", "pop.probe.body: must not be empty"),
        ("{ headers = { Host = \"a\" } }", "pop.probe.headers: `host` is not for a probe"),
        ("{ headers = { \"a b\" = \"c\" } }", "pop.probe.headers: `a b` is not a field's name"),
        ("{ headers = { a = \"hunter2\\n\" } }", "pop.probe.headers: the value of `a` has characters"),
        ("{ color = \"red\" }", "pop.probe: expected false, a URL such as"),
    ];
    for (probe, wanted) in rows {
        let told = of(probe).unwrap_err().to_string();
        assert!(told.contains(wanted) && !told.contains("hunter2"), "{wanted}\nin\n{told}");
    }
    let cname = "[[pop]]\nname = \"fra\"\ncname = \"a.test\"\n";
    assert_eq!(parse(cname).unwrap().pops[0].probe, Probe::Never);
    let told = parse(&format!("{cname}probe = {{ type = \"https\" }}\n")).unwrap_err().to_string();
    assert!(told.contains("pop.probe: a PoP with cname is probed at a url"), "{told}");
    assert!(parse(&format!("{cname}probe = {{ url = \"https://a.test\" }}\n")).is_ok());
}

#[test]
fn health_in_full() {
    const POP: &str = "[[pop]]\nname = \"fra\"\naddresses = [\"192.0.2.1\"]\n";
    let health = parse(POP).unwrap().health;
    assert_eq!((health.flap_window, health.rise_max, health.addresses_min), (Duration::from_secs(600), 60, None));
    assert_eq!((health.settle, health.ttl_unsettled), (Duration::from_secs(30), 5));
    assert_eq!(health.overload_share.percent(), 25);
    let keys = "flap-window = \"0s\"\nrise-max = 7\naddresses-min = \"50%\"\nsettle = \"1m\"\nttl-unsettled = 9\n\
                overload-share = \"34 %\"\n";
    let health = parse(&format!("[health]\n{keys}{POP}")).unwrap().health;
    assert_eq!((health.flap_window, health.rise_max), (Duration::ZERO, 7));
    assert_eq!(health.addresses_min.map(super::Share::percent), Some(50));
    assert_eq!((health.settle, health.ttl_unsettled), (Duration::from_secs(60), 9));
    assert_eq!(health.overload_share.percent(), 34);
    let rows = [
        ("rise = 9\nrise-max = 8", ":3: health.rise-max: must not be less than health.rise"),
        ("addresses-min = \"0%\"", ":2: health.addresses-min: must be from 1% to 100%"),
        ("overload-share = \"51%\"", ":2: health.overload-share: must be from 0% to 50%"),
        ("overload-share = \"0.25\"", ":2: health.overload-share: `0.25` is not a share"),
        ("ttl-unsettled = 0", ":2: health.ttl-unsettled: must be from 1 to 3600"),
    ];
    for (keys, wanted) in rows {
        let told = parse(&format!("[health]\n{keys}\n{POP}")).unwrap_err().to_string();
        assert!(told.contains(wanted), "{wanted}\nin\n{told}");
    }
}

#[test]
fn what_purges_need() {
    let head = "[[pop]]\nname = \"fra\"\naddresses = [\"192.0.2.1\"]\n";
    let config = parse(head).unwrap();
    assert_eq!((config.admin.purge_method, config.cache.tags_max, config.cache.tags_size), (false, 1000, 16 << 10));
    assert_eq!(config.cache.purges_max, 2_000_000);
    let cache = "[cache]\ntags-max = 5\ntags-size = \"1 KiB\"\npurges-max = 10000\n";
    let config = parse(&format!("{head}[admin]\ntoken = \"correct-horse\"\npurge-method = true\n{cache}")).unwrap();
    assert_eq!((config.admin.purge_method, config.cache.tags_max, config.cache.tags_size), (true, 5, 1024));
    assert_eq!(config.cache.purges_max, 10_000);
    let config = parse(&format!("{head}[cache]\nlifetime-max = \"1h\"\nstale-max = \"7d\"\n")).unwrap();
    assert_eq!(config.cache.purges_kept(), Duration::from_secs((8 * 24 + 1) * 3600), "both, and a day");
    let rows = [
        ("[admin]\npurge-method = true", "5: admin.purge-method: needs admin.token: a PURGE has to bring it"),
        ("[cache]\ntags-max = 5000", "5: cache.tags-max: must be from 0 to 4096"),
        ("[cache]\ntags-size = \"2 MiB\"", "5: cache.tags-size: must be at most 1 MiB"),
        ("[cache]\npurges-max = 9", "5: cache.purges-max: must be from 10000 to 100000000"),
    ];
    for (text, wanted) in rows {
        let mistakes = parse(&format!("{head}{text}\n")).unwrap_err().to_string();
        assert!(mistakes.contains(wanted), "{mistakes} has no {wanted}");
    }
}

#[test]
fn https_records_need_ports() {
    let head =
        "[[pop]]\nname = \"fra\"\naddresses = [\"192.0.2.1\"]\n[[pop]]\nname = \"iad\"\naddresses = [\"192.0.2.2\"]\n";
    let site = "[[site]]\ndomains = [\"a.test\"]\norigin = \"http://b.test\"\n";
    let tls = "tls = { certificate = \"a\", key = \"b\" }\n";
    let of = |listen: &str, own: &str, site_keys: &str| {
        let head = head.replace("name = \"iad\"\n", &format!("name = \"iad\"\n{own}"));
        let config = parse(&format!("{listen}{head}{site}{site_keys}"));
        config.map(|config| (config.sites[0].https_record, config.https_ports))
    };
    // What is listened for on loopback is not there for clients, the default neither.
    assert_eq!(of("", "", tls), Ok((false, vec![None, None])));
    assert_eq!(of("[listen]\nhttps = [\":8443\"]\n", "", tls), Ok((true, vec![Some(8443), Some(8443)])));
    assert_eq!(of("[listen]\nhttps = [\":8443\"]\n", "", ""), Ok((false, vec![Some(8443), Some(8443)])));
    let own = "listen = { https = [\"192.0.2.2:443\", \":444\"] }\n";
    assert_eq!(of("[listen]\nhttps = [\":8444\"]\n", own, tls), Ok((true, vec![Some(8444), Some(443)])));
    assert_eq!(of("[listen]\nhttps = []\n", own, tls), Ok((false, vec![None, Some(443)])));
    assert_eq!(of("[listen]\nhttps = [\":0\"]\n", own, tls), Ok((false, vec![None, Some(443)])));
    for (listed, port) in [
        ("\":0\", \":444\"", Some(444)),
        ("\":444\", \"[2001:db8::1]:443\"", Some(443)),
        ("\":445\", \":444\"", Some(445)),
        ("\"127.0.0.1:443\", \"[::1]:443\", \"0.0.0.0:444\"", Some(444)),
        ("\"127.0.0.1:443\", \"[::ffff:127.0.0.1]:443\"", None),
    ] {
        let listen = format!("[listen]\nhttps = [{listed}]\n");
        assert_eq!(of(&listen, own, tls), Ok((port.is_some(), vec![port, Some(443)])), "{listed}");
    }
    let local = format!("{head}{site}{tls}").replace("192.0.2.", "127.0.0.");
    let local = parse(&local).unwrap();
    assert_eq!((local.sites[0].https_record, local.https_ports), (true, vec![Some(8443), Some(8443)]));
    let mixed = format!("{head}{site}{tls}").replace("\"192.0.2.1\"", "\"127.0.0.1\", \"192.0.2.1\"");
    assert_eq!(parse(&mixed).unwrap().https_ports, vec![None, None]);
    // A PoP that is a CNAME has no record of its own.
    let far = format!("{head}[[pop]]\nname = \"far\"\ncname = \"far.test\"\n{site}{tls}");
    let far = parse(&far.replace("192.0.2.", "127.0.0.")).unwrap();
    assert_eq!((far.sites[0].https_record, far.https_ports), (true, vec![Some(8443), Some(8443), None]));
    let off = format!("{tls}https-record = false\n");
    assert_eq!(of("[listen]\nhttps = [\":8443\"]\n", "", &off), Ok((false, vec![Some(8443), Some(8443)])));
    for (listen, keys) in [("[listen]\nhttps = []\n", tls), ("[listen]\nhttps = [\"127.0.0.1:443\"]\n", tls), ("", "")]
    {
        let told = of(listen, own, &format!("{keys}https-record = true\n")).unwrap_err().to_string();
        assert!(
            told.contains(
                "site.https-record: needs tls, and a listen.https that is not on loopback, with a fixed port"
            ),
            "{told}"
        );
    }
}

#[test]
fn the_receive_buffer_has_bounds() {
    let of = |line: &str| {
        let pop = "[[pop]]\nname = \"fra\"\naddresses = [\"192.0.2.1\"]\n";
        parse(&format!("[dns]\n{line}\n{pop}")).map(|config| config.dns.udp_receive_buffer)
    };
    for (line, bytes) in
        [("", 4 << 20), ("udp-receive-buffer = \"64 KiB\"", 64 << 10), ("udp-receive-buffer = \"256 MiB\"", 256 << 20)]
    {
        assert_eq!(of(line).unwrap(), bytes, "{line}");
    }
    for size in ["63 KiB", "257 MiB", "0"] {
        let mistakes = of(&format!("udp-receive-buffer = \"{size}\"")).unwrap_err().to_string();
        assert!(mistakes.contains("dns.udp-receive-buffer: must be from 64 KiB to 256 MiB"), "{mistakes}");
    }
}

#[test]
fn remembered_answers_have_bounds() {
    let of = |line: &str| {
        let pop = "[[pop]]\nname = \"fra\"\naddresses = [\"192.0.2.1\"]\n";
        parse(&format!("[dns]\n{line}\n{pop}")).map(|config| config.dns.remembered_answers)
    };
    for (line, answers) in [("", 32_768), ("remembered-answers = 0", 0), ("remembered-answers = 1048576", 1 << 20)] {
        assert_eq!(of(line).unwrap(), answers, "{line}");
    }
    let mistakes = of("remembered-answers = 1048577").unwrap_err().to_string();
    assert!(mistakes.contains("dns.remembered-answers: must be from 0 to 1048576"), "{mistakes}");
}
