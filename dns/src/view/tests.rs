//! Where names are, and what stands there.

use nearcast_shared::rtype;

use super::*;
use crate::fixture;

const TWO_ZONES: &str = r#"
    [[pop]]
    name = "fra"
    addresses = ["192.0.2.10"]
    [[pop]]
    name = "iad"
    addresses = ["198.51.100.10", "2001:db8:2::10"]
    [[zone]]
    name = "example.net"
    nameservers = ["ns1.example.net", "ns.deep.cdn.example.net", "ns.elsewhere.example"]
    [[zone]]
    name = "x.cdn.example.net"
    nameservers = ["fra.example.net"]
    [[site]]
    domains = ["x.cdn.example.net", "www.shop.example.net", "static.example.com"]
    origin = "http://origin.example.com"
    [[site]]
    domains = ["*"]
    origin = "http://other.example.com"
"#;

/// The inner zone's name server is said to be at `iad`, though its name is that of PoP `fra`.
fn two_zones() -> View {
    let mut config = fixture::config(TWO_ZONES, "fra");
    config.zones[1].nameservers[0].glue = Some(PopId(1));
    fixture::compile(&config)
}

fn found(view: &View, name: &str) -> String {
    match view.find(wire(name).wire()) {
        Found::Outside => "outside".to_owned(),
        Found::NoName(zone) => format!("no name in {}", zone.apex),
        Found::Delegated(zone, delegation) => {
            let exact = if delegation.exact { ", itself" } else { "" };
            format!("{} of {} is delegated{exact}", delegation.cut, zone.apex)
        }
        Found::Node(zone, node) => {
            let types: Vec<String> = node.sets.iter().map(|set| rtype::text(set.rtype)).collect();
            let apex = if node.apex { " apex" } else { "" };
            let target = match node.target {
                Target::Steered(_) => "Steered",
                Target::Nothing => "Nothing",
            };
            format!("{target} [{}] in {}{apex}", types.join(" "), zone.apex)
        }
    }
}

/// From text, where `*` is a label like any other.
fn wire(text: &str) -> Name {
    Name::parse(text).unwrap()
}

#[test]
fn where_names_are() {
    let view = two_zones();
    let rows = [
        ("apex", "example.net", "Nothing [NS SOA] in example.net apex"),
        ("apex of the inner zone, also a site", "x.cdn.example.net", "Steered [NS SOA] in x.cdn.example.net apex"),
        ("edge", "edge.example.net", "Steered [] in example.net"),
        ("inner edge", "edge.x.cdn.example.net", "Steered [] in x.cdn.example.net"),
        ("letter case", "EDGE.Example.NET", "Steered [] in example.net"),
        ("PoP", "iad.example.net", "Nothing [A AAAA] in example.net"),
        ("PoP beats name server", "fra.example.net", "Nothing [A] in example.net"),
        ("name server", "ns1.example.net", "Nothing [A] in example.net"),
        ("name server of another PoP", "ns.deep.cdn.example.net", "Nothing [A AAAA] in example.net"),
        ("site", "www.shop.example.net", "Steered [] in example.net"),
        ("empty non-terminal above a site", "shop.example.net", "Nothing [] in example.net"),
        ("empty non-terminal above a name server", "deep.cdn.example.net", "Nothing [] in example.net"),
        ("empty non-terminal above the inner zone", "cdn.example.net", "Nothing [] in example.net"),
        ("missing", "nothing.example.net", "no name in example.net"),
        ("missing in the inner zone", "a.b.c.d.e.f.x.cdn.example.net", "no name in x.cdn.example.net"),
        ("missing below a site", "a.www.shop.example.net", "no name in example.net"),
        ("site outside", "static.example.com", "outside"),
        ("name server outside", "ns.elsewhere.example", "outside"),
        ("above the zones", "net", "outside"),
        ("not a suffix by label", "badexample.net", "outside"),
    ];
    for (name, given, wanted) in rows {
        assert_eq!(found(&view, given), wanted, "{name}");
    }
    assert!(matches!(view.find(&[0]), Found::Outside), "the root");
}

#[test]
fn additional_data_is_what_everyone_gets() {
    let view = two_zones();
    let addresses = |name: &str, rtype| view.set_at(wire(name).wire(), rtype).map_or(0, |(_, set)| set.len());
    assert_eq!(addresses("ns.deep.cdn.example.net", rtype::AAAA), 1);
    assert_eq!(addresses("FRA.example.net", rtype::A), 1);
    assert_eq!(addresses("ns.elsewhere.example", rtype::A), 0);
    assert_eq!(addresses("www.shop.example.net", rtype::A), 0, "steered");
}

/// The zone of RFC 4592 section 2.2.1, and delegations.
const WILDCARDS: &str = r#"
    [[pop]]
    name = "fra"
    addresses = ["192.0.2.10"]
    [[zone]]
    name = "example"
    nameservers = ["ns.example.com"]
    [[zone.record]]
    name = "*"
    type = "TXT"
    data = "wildcard"
    [[zone.record]]
    name = "sub.*"
    type = "TXT"
    data = "not a wildcard"
    [[zone.record]]
    name = "host1"
    type = "A"
    data = "192.0.2.1"
    [[zone.record]]
    name = "_ssh._tcp.host1"
    type = "SRV"
    data = "0 0 22 host1"
    [[zone.record]]
    name = "subdel"
    type = "NS"
    data = "ns.example.com."
    [[zone.record]]
    name = "deep.del"
    type = "NS"
    data = "ns.x.deep.del"
    [[zone.record]]
    name = "ns.x.deep.del"
    type = "A"
    data = "192.0.2.2"
    [[zone.record]]
    name = "child"
    type = "DS"
    data = "1 13 2 00"
    [[zone]]
    name = "child.example"
    nameservers = ["ns.example.com"]
"#;

#[test]
fn wildcards_and_delegations() {
    let view = fixture::view_of(WILDCARDS, "fra");
    let wildcard = "Nothing [TXT] in example";
    let rows = [
        // RFC 4592 section 2.2.1, row by row.
        ("host3", "host3.example", wildcard),
        ("foo.bar", "foo.bar.example", wildcard),
        ("host1 itself", "host1.example", "Nothing [A] in example"),
        // "because sub.*.example. exists"
        ("sub.*", "sub.*.example", wildcard),
        // "because _tcp.host1.example. exists (without data)"
        ("an empty non-terminal", "_tcp.host1.example", "Nothing [] in example"),
        // "because _tcp.host1.example. exists" is the closest encloser, and has no wildcard below it.
        ("below an existing name", "_telnet._tcp.host1.example", "no name in example"),
        ("below another", "x.host1.example", "no name in example"),
        // "because subdel.example. exists (and is a zone cut)"
        ("below a delegation", "host.subdel.example", "subdel.example of example is delegated"),
        ("ghost.*", "ghost.*.example", "no name in example"),
        ("the wildcard's own name", "*.example", wildcard),
        ("case", "HOST9.Example", wildcard),
        ("the delegation", "subdel.example", "subdel.example of example is delegated, itself"),
        ("glue", "ns.x.deep.del.example", "deep.del.example of example is delegated"),
        ("an empty non-terminal below a delegation", "x.deep.del.example", "deep.del.example of example is delegated"),
        ("far below a delegation", "a.b.c.d.e.f.g.deep.del.example", "deep.del.example of example is delegated"),
        ("above a delegation", "del.example", "Nothing [] in example"),
        ("beside a delegation", "x.del.example", "no name in example"),
        ("the zone within", "child.example", "Nothing [NS SOA] in child.example apex"),
        ("in the zone within", "x.child.example", "no name in child.example"),
        ("a PoP", "fra.example", "Nothing [A] in example"),
    ];
    for (name, given, wanted) in rows {
        assert_eq!(found(&view, given), wanted, "{name}");
    }
    let Found::Node(zone, node) = view.find(wire("child.example").wire()) else { panic!("no node") };
    assert_eq!(node.parental().map(|set| set.rtype), Some(rtype::DS));
    assert_eq!(view.parent_of(zone).map(|parent| parent.apex.to_string()).as_deref(), Some("example"));
    let longest = ["abcdefg"; 30].join(".") + ".example";
    assert_eq!(found(&view, &longest), wildcard);
}

#[test]
fn a_zone_without_room_for_names_is_refused() {
    let long = ["abcdefghi"; 24].join(".");
    let text = TWO_ZONES.replace("\"x.cdn.example.net\"\n", &format!("\"{long}\"\ncontact = \"me.example\"\n"));
    let config = fixture::config(&text, "fra");
    let made = View::compile(&config, Arc::new(GeoDb::empty()), &fixture::metrics());
    assert!(made.is_ok(), "edge. still fits");
    let text = text.replace("name = \"iad\"", "name = \"a-very-long-name-indeed\"");
    let made = View::compile(&fixture::config(&text, "fra"), Arc::new(GeoDb::empty()), &fixture::metrics());
    assert!(matches!(made, Err(ViewError::NameTooLong(name)) if name.starts_with("a-very-long-name-indeed.")));
}
