use super::*;
use crate::answer::{Outcome, Sent, answer};
use crate::fixture;
use crate::message::decode;

const NOW: Timestamp = Timestamp(0);

fn explained(client: &str, down: &[&str]) -> Explanation {
    let view = fixture::view();
    explain(&view, "WWW.cdn.example.net.", client.parse().unwrap(), &fixture::health(&view, down), NOW).unwrap()
}

#[test]
fn a_known_client() {
    let it = explained(fixture::NEW_YORK, &[]);
    assert_eq!((it.name.as_str(), it.pop.as_deref().unwrap()), ("www.cdn.example.net", "iad"));
    assert_eq!(
        it.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["198.51.100.10", "198.51.100.11", "2001:db8:2::10"]
    );
    assert_eq!((it.country.as_deref(), it.unknown, it.scope, it.ttl), (Some("US"), None, 20, 60));
    assert_eq!(it.measured_from, "client");
    let ranking: Vec<&str> = it.ranking.iter().map(|pop| pop.name.as_str()).collect();
    assert_eq!(ranking, ["iad", "fra", "sin"]);
    assert_eq!(
        it.why,
        "3.16.1.2 is known to be near 40.70, -74.00 (US); iad is first in the ranking at 354 km and up."
    );
}

#[test]
fn reasons() {
    let rows: [(&str, &str, &[&str], &str, &str); 4] = [
        (
            "failover",
            fixture::FRANKFURT,
            &["fra"],
            "iad",
            "5.1.2.3 is known to be near 50.10, 8.70 (DE); \
             iad is the first that is up at 6556 km: fra is down, say the probes.",
        ),
        (
            "all down",
            fixture::JAKARTA,
            &["fra", "iad", "sin"],
            "sin",
            "36.64.1.130 is known to be near -6.20, 106.80 (ID); \
             no PoP is up, so the answer is as if all were: sin is first in the ranking at 897 km.",
        ),
        (
            "unknown",
            fixture::UNKNOWN,
            &[],
            "sin",
            "the location of 10.1.2.3 is unknown, so distances count from sin, the PoP that was asked; \
             sin is first in the ranking at 0 km and up.",
        ),
        (
            "unknown, this PoP down",
            fixture::UNKNOWN,
            &["sin"],
            "fra",
            "the location of 10.1.2.3 is unknown, so distances count from sin, the PoP that was asked; \
             fra is the first that is up at 10278 km: sin is down, say the probes.",
        ),
    ];
    for (name, client, down, pop, why) in rows {
        let it = explained(client, down);
        assert_eq!((it.pop.as_deref().unwrap(), it.why.as_str()), (pop, why), "{name}");
    }
}

#[test]
fn an_unknown_client_has_a_reason_and_a_short_answer() {
    let it = explained(fixture::UNKNOWN, &[]);
    assert_eq!(it.unknown.as_deref(), Some("the geo data has nothing on 10.1.2.3"));
    assert_eq!((it.location, it.measured_from.as_str(), it.scope, it.ttl), (None, "sin", 24, 10));
}

#[test]
fn families_apart() {
    let view = fixture::view_of(&fixture::CONFIG.replace(", \"2001:db8:1::10\"", ""), "sin");
    let client = fixture::FRANKFURT.parse().unwrap();
    let it = explain(&view, "edge.cdn.example.net", client, &fixture::health(&view, &[]), NOW).unwrap();
    assert_eq!(it.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.10", "2001:db8:2::10"]);
    let wanted = "for A, fra is first in the ranking at 12 km and up; \
                  for AAAA, iad is first in the ranking at 6556 km and up, and fra has no address of this type.";
    assert!(it.why.ends_with(wanted), "{}", it.why);
}

#[test]
fn policies_and_rules_are_told() {
    let policy = |body: &str| format!("{}\n[[policy]]\nname = \"default\"\n{body}", fixture::CONFIG);
    let of = |body: &str, down: &[&str]| {
        let view = fixture::view_of(&policy(body), "sin");
        let health = fixture::health(&view, down);
        explain(&view, "edge.cdn.example.net", fixture::FRANKFURT.parse().unwrap(), &health, NOW).unwrap()
    };
    let rule = of("[[policy.rule]]\nname = \"germans\"\ncountries = [\"DE\"]\npops = [\"sin\"]", &[]);
    assert_eq!(
        (rule.policy.as_str(), rule.rule.as_deref(), rule.pop.as_deref()),
        ("default", Some("germans"), Some("sin"))
    );
    let wanted = "policy `default` ranks the nearest first, after what its rule `germans` has for this client; \
                  sin is first in the ranking at 10268 km and up.";
    assert!(rule.why.ends_with(wanted), "{}", rule.why);
    let spread = of("spread = 2", &["fra"]);
    assert!(spread.why.contains("for the client's network, among the next that are up: fra is down, say the probes"));
    assert_eq!(spread.scope, 24);
    let drawn = of("order = \"weighted\"\npick = \"sticky\"", &[]);
    assert!(drawn.why.contains("ranks all as equals, equals by weight and the client's network; "), "{}", drawn.why);
    assert!(drawn.why.contains(" was drawn from the first group"), "{}", drawn.why);
    let none = of("all-down = \"servfail\"", &["fra", "iad", "sin"]);
    assert_eq!((none.pop, none.addresses.len()), (None, 0));
    assert!(none.why.ends_with("no PoP is up, so the answer is SERVFAIL."), "{}", none.why);
}

#[test]
fn a_word_on_one_address_does_not_reach_resolvers_that_cut_it() {
    let rule = "[[policy]]\nname = \"default\"\n[[policy.rule]]\nnetworks = [\"5.1.2.3\"]\npops = [\"sin\"]\n";
    let view = fixture::view_of(&format!("{}\n{rule}", fixture::CONFIG), "sin");
    let client = fixture::FRANKFURT.parse().unwrap();
    let it = explain(&view, "edge.cdn.example.net", client, &fixture::health(&view, &[]), NOW).unwrap();
    assert_eq!(it.pop.as_deref(), Some("sin"));
    let wanted = "; resolvers that send no more than its /24 are told fra, as 5.1.2.0 is.";
    assert!(it.why.ends_with(wanted), "{}", it.why);
}

#[test]
fn what_cannot_be_explained() {
    let view = fixture::view();
    let rows = [
        ("bad..name", "`bad..name` is not a domain name"),
        (
            "static.example.com",
            "`static.example.com` is in none of the zones; clients reach it through a CNAME: \
             ask for edge.cdn.example.net",
        ),
        (
            "no.cdn.example.net",
            "`no.cdn.example.net` does not exist: it is no site's domain, and no PoP or name server is called so",
        ),
        ("fra.cdn.example.net", "`fra.cdn.example.net` is not steered: it has the same answer for every client"),
    ];
    for (name, wanted) in rows {
        let error = explain(&view, name, fixture::FRANKFURT.parse().unwrap(), &fixture::health(&view, &[]), NOW);
        assert_eq!(error.unwrap_err().to_string(), wanted);
    }
}

#[test]
fn it_agrees_with_the_answer() {
    let view = fixture::view();
    for client in ["5.1.2.0", "3.16.1.0", "36.64.1.0", "36.64.2.0", "10.1.2.0", "8.8.8.0"] {
        for down in [&[][..], &["fra"], &["sin", "iad"], &["fra", "iad", "sin"]] {
            let health = fixture::health(&view, down);
            let it = explain(&view, "www.cdn.example.net", client.parse().unwrap(), &health, NOW).unwrap();
            let subnet = fixture::subnet(&format!("{client}/24"));
            let packet = fixture::query_with("www.cdn.example.net", 1, &subnet);
            let request = decode(&packet).unwrap();
            let answer = answer(&request, fixture::NEW_YORK.parse().unwrap(), &view, &health, NOW, fixture::no_texts());
            let Outcome::Steered(Sent { pop, .. }) = answer.outcome else { panic!("{:?}", answer.outcome) };
            let answered = (Some(view.pop(pop).name.clone()), answer.scope, answer.answers[0].ttl);
            assert_eq!((it.pop, it.scope, it.ttl), answered, "{client} with {down:?} down");
        }
    }
}

#[test]
fn it_is_plain_json() {
    let json = serde_json::to_value(explained(fixture::FRANKFURT, &[])).unwrap();
    assert_eq!(json["pop"], "fra");
    assert_eq!(json["ranking"][0]["reason"], "probes");
    assert_eq!(json["location"]["latitude"], 50.1);
}
