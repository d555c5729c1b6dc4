//! Policies: what they become, and what is told of mistakes.

use super::parse;
use crate::config::{AllDown, Config, Order, Pick, PolicyId, Ring};
use crate::pop::PopId;

/// Three PoPs, of which one has no IPv6 address, and one zone; 15 lines.
const HEAD: &str = r#"[[pop]]
name = "fra"
addresses = ["192.0.2.1", "2001:db8::1"]
[[pop]]
name = "iad"
addresses = ["192.0.2.2", "2001:db8::2"]
capacity = 300
[[pop]]
name = "sin"
addresses = ["192.0.2.3"]
[[zone]]
name = "cdn.test"
nameservers = ["ns1.cdn.test"]
"#;

fn config(text: &str) -> Config {
    parse(&format!("{HEAD}{text}")).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn told(text: &str) -> Vec<String> {
    let mistakes = parse(&format!("{HEAD}{text}\n")).err().map(|mistakes| mistakes.to_string());
    let lines = mistakes.iter().flat_map(|all| all.lines());
    lines.map(|line| line.strip_prefix("/etc/nearcast/nearcast.toml:").unwrap_or(line).to_owned()).collect()
}

#[test]
fn without_any_the_nearest_counts() {
    let config = config("");
    let [policy] = config.policies.as_slice() else { panic!("{:?}", config.policies) };
    assert_eq!((policy.name.as_str(), policy.pick, policy.answers, policy.spread), ("default", Pick::First, 1, 1));
    assert_eq!(policy.pops, [[PopId(0)], [PopId(1)], [PopId(2)]]);
    assert_eq!(policy.weights, [100, 300, 100]);
    assert_eq!(policy.order, Order::Nearest { stretch: vec![1.0; 3], ring: Ring::None });
    assert_eq!(config.zones[0].policy, PolicyId(0));
}

#[test]
fn the_default_one_is_first_and_names_find_theirs() {
    let text = r#"
        policy = "spread"
        [[zone.steered]]
        name = "img"
        policy = "all"
        [[zone.steered]]
        name = "@"
        site = "shop"
        [[policy]]
        name = "all"
        order = "weighted"
        weights = { sin = 0 }
        [[policy]]
        name = "spread"
        ring = "200 km"
        bias = { fra = 25 }
        spread = 2
        answers = 3
        [[policy]]
        name = "default"
        order = "failover"
        pops = [["fra", "iad"], "sin"]
        pick = "sticky"
        all-down = ["192.0.2.99"]
        [[site]]
        domains = ["www.cdn.test"]
        origin = "http://o.test"
        policy = "spread"
        [[site]]
        name = "shop"
        domains = ["*"]
        origin = "http://o.test"
        policy = "all"
    "#;
    let config = config(text);
    let names: Vec<&str> = config.policies.iter().map(|policy| policy.name.as_str()).collect();
    assert_eq!(names, ["default", "all", "spread"]);
    let [failover, all, spread] = config.policies.as_slice() else { panic!("{names:?}") };
    assert_eq!(failover.pops, [vec![PopId(0), PopId(1)], vec![PopId(2)]]);
    assert_eq!((failover.pick, &failover.order), (Pick::Sticky, &Order::Failover));
    assert_eq!(failover.all_down, AllDown::Addresses(vec!["192.0.2.99".parse().unwrap()]));
    assert_eq!((all.pick, all.weights.as_slice()), (Pick::Random, &[100, 300, 0][..]));
    assert_eq!(spread.order, Order::Nearest { stretch: vec![0.75, 1.0, 1.0], ring: Ring::Km(200.0) });
    let zone = &config.zones[0];
    assert_eq!((zone.policy, config.sites[0].policy), (PolicyId(2), PolicyId(2)));
    let steered: Vec<_> = zone.steered.iter().map(|name| (name.name.as_str(), name.policy, name.site)).collect();
    assert_eq!(steered, [("img.cdn.test", PolicyId(1), None), ("cdn.test", PolicyId(1), Some(1))]);
}

#[test]
fn risks_of_policies() {
    let at = "location = [1.0, 2.0]";
    let rows: [(&str, &[&str]); 7] = [
        ("", &[]),
        ("ttl = 4", &["zone `cdn.test`: ttl = 4: resolvers ask for nearly every client"]),
        ("[[policy]]\nname = \"a\"", &["policy `a`: nobody uses it"]),
        ("[[policy]]\nname = \"default\"", &[]),
        (at, &["policy `default`: PoP `fra` has no location", "policy `default`: PoP `iad` has no location"]),
        ("policy = \"a\"\n[[policy]]\nname = \"a\"\norder = \"weighted\"\npick = \"sticky\"", &["policy `a`: pick = "]),
        ("policy = \"a\"\necs = false\n[[policy]]\nname = \"a\"\norder = \"weighted\"\npick = \"sticky\"", &[]),
    ];
    for (text, wanted) in rows {
        let text = match text == at {
            true => HEAD.replace("[[zone]]", &format!("{at}\n[[zone]]")),
            false => format!("{HEAD}{text}"),
        };
        let told = parse(&text).unwrap_or_else(|mistakes| panic!("{mistakes}")).warnings();
        assert_eq!(told.len(), wanted.len(), "{text}: {told:#?}");
        assert!(told.iter().zip(wanted).all(|(line, wanted)| line.starts_with(wanted)), "{text}: {told:#?}");
    }
}

#[test]
fn mistakes_of_policies() {
    let rows: [(&str, &[&str]); 18] = [
        ("[[policy]]", &["14: policy.name: missing; a name for sites"]),
        (
            "[[policy]]\nname = \"a\"\norder = \"near\"",
            &["16: policy.order: `near` is not one of \"nearest\", \"failover\""],
        ),
        ("[[policy]]\nname = \"a\"\npops = [\"gru\"]", &["16: policy.pops: no [[pop]] is named `gru`"]),
        ("[[policy]]\nname = \"a\"\npops = [\"fra\", \"fra\"]", &["16: policy.pops: `fra` stands twice"]),
        ("[[policy]]\nname = \"a\"\npops = []", &["16: policy.pops: names no PoP: clients would be left without any"]),
        (
            "[[policy]]\nname = \"a\"\npops = [[\"fra\", \"iad\"]]",
            &["16: policy.pops: groups of equals go with order = \"failover\""],
        ),
        ("[[policy]]\nname = \"a\"\nbias = { fra = 95 }", &["16: policy.bias: must be from -90 to 90"]),
        ("[[policy]]\nname = \"a\"\nring = \"10\"", &["16: policy.ring: `10` is not a share such as \"10 %\""]),
        (
            "[[policy]]\nname = \"a\"\norder = \"failover\"\nring = \"1 km\"",
            &["17: policy.ring: goes with order = \"nearest\" only"],
        ),
        (
            "[[policy]]\nname = \"a\"\norder = \"weighted\"\nweights = { fra = 0, iad = 0, sin = 0 }",
            &["14: policy.weights: all are 0: clients would be left without any PoP"],
        ),
        (
            "[[policy]]\nname = \"a\"\nall-down = \"none\"",
            &["16: policy.all-down: must be \"open\", \"nodata\", \"servfail\""],
        ),
        ("[[policy]]\nname = \"a\"\n[[policy]]\nname = \"a\"", &["17: policy.name: `a` is the name of two [[policy]]"]),
        ("policy = \"b\"", &["14: zone.policy: no [[policy]] is named `b`; there are: default"]),
        ("[[zone.steered]]\nname = \"a.other.\"", &["15: zone.steered.name: `a.other` is not in the zone cdn.test"]),
        (
            "[[zone.steered]]\nname = \"fra\"",
            &["15: zone.steered.name: `fra.cdn.test` already names a PoP, a name server"],
        ),
        (
            "[[zone.steered]]\nname = \"a b\"\n[[zone.steered]]\nname = \"fra\"",
            &[
                "15: zone.steered.name: `a b.cdn.test` is not a domain name",
                "17: zone.steered.name: `fra.cdn.test` already names a PoP, a name server",
            ],
        ),
        (
            "[[zone.steered]]\nname = \"a\"\n[[zone.steered]]\nname = \"A.cdn.test.\"\npolicy = \"default\"",
            &["17: zone.steered.name: `a.cdn.test` is the name of two [[zone.steered]]"],
        ),
        (
            "[[zone.steered]]\nname = \"a\"\npolicy = \"default\"\nsite = \"b\"",
            &[
                "17: zone.steered.site: give policy or site, not both",
                "17: zone.steered.site: no [[site]] is named `b`",
            ],
        ),
    ];
    for (text, wanted) in rows {
        let told = told(text);
        assert_eq!(told.len(), wanted.len(), "{text}: {told:#?}");
        for (line, wanted) in told.iter().zip(wanted) {
            assert!(line.starts_with(wanted), "{text}: {line}");
        }
    }
}

#[test]
fn mistakes_of_rules() {
    let rows: [(&str, &str, &[&str]); 18] = [
        (
            "",
            "networks = [\"10.1.0.0/8\", \"10.1.2.3\"]\npops = [\"fra\"]",
            &[
                "16: policy.rule.networks: `10.1.0.0/8` is an address within a network: give `10.0.0.0/8`, or `10.1.0.0` alone",
            ],
        ),
        ("", "pops = [\"fra\"]", &["16: policy.rule: says of nobody: give networks"]),
        ("", "countries = [\"DE\"]", &["16: policy.rule.pops: missing; the PoPs that come first"]),
        ("", "countries = [\"Germany\"]\npops = [\"fra\"]", &["17: policy.rule.countries: `Germany` is not a country"]),
        ("", "continents = [\"XX\"]\npops = [\"fra\"]", &["17: policy.rule.continents: `XX` is not one of AF, AN"]),
        (
            "",
            "subdivisions = [\"CA\"]\npops = [\"fra\"]",
            &["17: policy.rule.subdivisions: `CA` is not a country's part"],
        ),
        (
            "",
            "networks = [\"10.0.0.0/33\"]\npops = [\"fra\"]",
            &["17: policy.rule.networks: `10.0.0.0/33` is not a network"],
        ),
        (
            "",
            "networks = [\"2002::/16\"]\npops = [\"fra\"]",
            &["16: policy.rule.networks: `2002::/16` never counts: its addresses are read as the IPv4 address inside"],
        ),
        (
            "",
            "networks = [\"10.0.0.0/8\", \"10.0.0.0/8\"]\npops = [\"fra\"]",
            &["16: policy.rule: `10.0.0.0/8` stands twice in this rule"],
        ),
        (
            "",
            "name = \"x\"\ncountries = [\"DE\"]\npops = [\"fra\"]\n[[policy.rule]]\ncountries = [\"de\"]\npops = [\"iad\"]",
            &["20: policy.rule: `country DE` stands in `x` already"],
        ),
        (
            "",
            "countries = [\"DE\"]\npops = [\"sin\"]\nonly = true",
            &["16: policy.rule.pops: only = true with PoPs of which none has an IPv6 address"],
        ),
        (
            "all-down = \"nodata\"\n",
            "countries = [\"DE\"]\npops = [\"fra\"]\nonly = true",
            &["17: policy.rule.pops: does not go with all-down = \"nodata\": its clients have other PoPs"],
        ),
        (
            "pops = [\"iad\"]\nall-down = \"nodata\"\n",
            "countries = [\"DE\"]\npops = [\"fra\"]",
            &["18: policy.rule.pops: does not go with all-down = \"nodata\": its clients have other PoPs"],
        ),
        (
            "all-down = [\"192.0.2.99\"]\n",
            "countries = [\"DE\"]\npops = [\"fra\"]\nonly = true",
            &["17: policy.rule.pops: needs an IPv6 address in all-down, too: its clients have other PoPs"],
        ),
        ("all-down = \"nodata\"\n", "countries = [\"DE\"]\npops = [\"iad\"]", &[]),
        (
            "order = \"failover\"\nunknown = [\"fra\"]\n",
            "countries = [\"DE\"]\npops = [\"iad\"]",
            &["17: policy.unknown: goes with order"],
        ),
        (
            "pops = [\"iad\"]\nunknown = [\"fra\"]\n",
            "countries = [\"DE\"]\npops = [\"iad\"]",
            &["17: policy.unknown: `fra` is not among"],
        ),
        (
            "pops = [\"sin\"]\n",
            "countries = [\"DE\"]\npops = [\"fra\"]",
            &["14: policy.pops: none of its PoPs has an IPv6 address, but PoPs of its rules have: add one"],
        ),
    ];
    for (policy, rule, wanted) in rows {
        let told = told(&format!("[[policy]]\nname = \"a\"\n{policy}[[policy.rule]]\n{rule}"));
        assert_eq!(told.len(), wanted.len(), "{rule}: {told:#?}");
        for (line, wanted) in told.iter().zip(wanted) {
            assert!(line.starts_with(wanted), "{rule}: {line}");
        }
    }
}

#[test]
fn networks_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("office.txt");
    std::fs::write(&file, "# offices\n10.1.0.0/16 # here\n\n2001:db8:9::1\n10.2.0.0/99\nhere\n").unwrap();
    let text =
        format!("[[policy]]\nname = \"a\"\n[[policy.rule]]\nnetworks-file = \"{}\"\npops = [\"fra\"]", file.display());
    let place = format!("17: policy.rule.networks-file: {}", file.display());
    let told = told(&text);
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0].starts_with(&format!("{place}:5: `10.2.0.0/99` is not a network")), "{told:#?}");
    assert!(told[1].starts_with(&format!("{place}:6: `here` is not a network")), "{told:#?}");
    std::fs::write(&file, "10.1.0.0/16\n10.2.3.0/16\n\n10.1.0.0/16\n2002::/16\n").unwrap();
    let mistakes = self::told(&text);
    let place = |key: &str, line: usize| format!("16: {key}: {}:{line}: ", file.display());
    let wanted = [
        place("policy.rule.networks", 2) + "`10.2.3.0/16` is an address within a network: give `10.2.0.0/16`",
        place("policy.rule.networks", 5) + "`2002::/16` never counts",
        place("policy.rule", 4) + "`10.1.0.0/16` stands twice in this rule",
    ];
    assert_eq!(mistakes.len(), wanted.len(), "{mistakes:#?}");
    assert!(mistakes.iter().zip(&wanted).all(|(told, wanted)| told.starts_with(wanted)), "{mistakes:#?}");
    std::fs::write(&file, "10.1.0.0/16\n2001:db8:9::1\n").unwrap();
    let networks: Vec<String> = config(&text).policies[1].rules[0].networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.1.0.0/16", "2001:db8:9::1/128"]);
}

#[test]
fn pops_that_are_a_cname() {
    let pop = "[[pop]]\nname = \"far\"\ncname = \"Far.Example.NET.\"";
    assert_eq!(config(pop).pops[3].cname.as_deref(), Some("far.example.net"));
    assert_eq!(
        told(&format!("{pop}\naddresses = [\"192.0.2.9\"]")),
        ["16: pop.cname: give addresses or cname, not both"]
    );
    let nameserver = "nameservers = [{ name = \"ns1.cdn.test\", pop = \"far\" }]";
    let text = format!("{HEAD}{pop}").replace("nameservers = [\"ns1.cdn.test\"]", nameserver);
    let mistakes = parse(&text).unwrap_err().to_string();
    assert!(mistakes.contains(":13: zone.nameservers: PoP `far` has no addresses but a CNAME"), "{mistakes}");
    // RFC 1034 section 3.6.2: "If a CNAME RR is present at a node, no other data should be present".
    let apex = told(&format!("[[zone.steered]]\nname = \"@\"\n{pop}"));
    assert_eq!(apex.len(), 1);
    assert!(apex[0].starts_with("12: zone.name: `cdn.test` is a zone's own name, which cannot be a CNAME"), "{apex:?}");
}
