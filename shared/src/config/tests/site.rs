//! What a site may say, and how it may say it wrongly.

use std::time::Duration;

use http::HeaderName;

use super::super::{ClientRevalidation, Config, DiskUse, Keying, Pattern, Rule, SetCookie, Site, StatusMatch, Storing};
use super::{SAMPLE, parse};

const HEAD: &str = "[[pop]]\nname = \"fra\"\naddresses = [\"192.0.2.1\"]\n[cache]\nlifetime-max = \"30d\"\n";
/// Its keys begin on line 9.
const SITE: &str = "[[site]]\ndomains = [\"www.test\"]\norigin = \"http://origin.test\"\n";

/// The config with one site that says `keys`, too.
fn config(keys: &str) -> Config {
    parse(&format!("{HEAD}{SITE}{keys}\n")).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn site(keys: &str) -> Site {
    config(keys).sites.remove(0)
}

/// What is told of one site that says `keys`, without the file's name.
fn told(keys: &str) -> Vec<String> {
    let mistakes = parse(&format!("{HEAD}{SITE}{keys}\n")).err().map(|mistakes| mistakes.to_string());
    let lines = mistakes.iter().flat_map(|all| all.lines());
    lines.map(|line| line.strip_prefix("/etc/nearcast/nearcast.toml:").unwrap_or(line).to_owned()).collect()
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::new(text)).collect()
}

#[test]
fn a_site_that_says_nothing() {
    let site = site("");
    assert_eq!(site.caching.set_cookie, SetCookie::Bypass);
    assert_eq!(site.caching.client_revalidation, ClientRevalidation::Limit);
    assert_eq!((site.caching.grace, site.caching.rules.len()), (Duration::ZERO, 0));
    assert_eq!(site.keying, Keying::default());
    assert_eq!(site.storing, Storing::default());
}

#[test]
fn answers() {
    let rows = [("bypass", SetCookie::Bypass), ("strip", SetCookie::Strip), ("store", SetCookie::Store)];
    for (text, wanted) in rows {
        assert_eq!(site(&format!("set-cookie = \"{text}\"")).caching.set_cookie, wanted, "{text}");
    }
    let rows = [
        ("limit", ClientRevalidation::Limit),
        ("honor", ClientRevalidation::Honor),
        ("ignore", ClientRevalidation::Ignore),
    ];
    for (text, wanted) in rows {
        let site = site(&format!("client-revalidation = \"{text}\""));
        assert_eq!(site.caching.client_revalidation, wanted, "{text}");
    }
    assert_eq!(site("grace = \"90s\"").caching.grace, Duration::from_secs(90));
}

/// With a disk of 1 GiB; the site begins on line 7.
fn with_disk(disk: &str, keys: &str) -> Result<Config, String> {
    let head = "[[pop]]\nname = \"fra\"\naddresses = [\"192.0.2.1\"]\n[cache]\nmemory = \"64 MiB\"";
    let disk = format!("disk = {{ path = \"d\", size = \"1 GiB\"{disk} }}");
    parse(&format!("{head}\n{disk}\n{SITE}{keys}\n")).map_err(|mistakes| mistakes.to_string())
}

#[test]
fn shares_of_the_store() {
    let rows = [("second-hit", DiskUse::SecondHit), ("always", DiskUse::Always), ("never", DiskUse::Never)];
    for (text, wanted) in rows {
        let config = with_disk("", &format!("disk = \"{text}\"")).unwrap();
        assert_eq!(config.sites[0].storing, Storing { disk: wanted, ..Storing::default() }, "{text}");
    }
    let config = with_disk("", "disk-max = \"1 GiB\"\npinned = \"512 MiB\"\nmemory = \"48 MiB\"").unwrap();
    let wanted =
        Storing { disk_max: Some(1 << 30), pinned: Some(512 << 20), memory: Some(48 << 20), ..Storing::default() };
    assert_eq!(config.sites[0].storing, wanted);
    let disk = config.cache.disk.unwrap();
    assert_eq!((disk.write_queue, disk.write_rate, disk.entries_max), (64 << 20, None, 4_000_000));
    let given = with_disk(", write-queue = \"4 MiB\", write-rate = \"64 KiB\", entries-max = 1000", "").unwrap();
    let disk = given.cache.disk.unwrap();
    assert_eq!((disk.write_queue, disk.write_rate, disk.entries_max), (4 << 20, Some(64 << 10), 1000));
}

#[test]
fn mistakes_of_shares() {
    let two = "pinned = \"300 MiB\"\nmemory = \"30 MiB\"\n[[site]]\ndomains = [\"b.test\"]\norigin = \"http://o.test\"\n\
               pinned = \"300 MiB\"\nmemory = \"30 MiB\"";
    let rows: [(&str, &str, &[&str]); 8] = [
        ("", "disk = \"seldom\"", &["10: site.disk: `seldom` is not one of \"second-hit\", \"always\", \"never\""]),
        ("", "disk-max = \"1 MiB\"", &["10: site.disk-max: must be from 16 MiB to 1 GiB, which is all there is"]),
        (
            "",
            "pinned = \"2 GiB\"",
            &["10: site.pinned: must be from 1 B to 1 GiB", "10: site.pinned: all sites together"],
        ),
        ("", "memory = \"1 KiB\"", &["10: site.memory: must be from 1 MiB to 64 MiB"]),
        ("", two, &["16: site.memory: all sites together take more than", "15: site.pinned: all sites together pin"]),
        (", write-queue = \"1 MiB\"", "", &["6: cache.disk.write-queue: must be at least 4 MiB"]),
        (", write-rate = \"1 KiB\"", "", &["6: cache.disk.write-rate: must be at least 64 KiB"]),
        (", entries-max = 10", "", &["6: cache.disk.entries-max: must be from 1000 to 1000000000"]),
    ];
    for (disk, keys, wanted) in rows {
        let told = with_disk(disk, keys).unwrap_err();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), wanted.len(), "{keys}: {told}");
        let all =
            wanted.iter().all(|wanted| lines.iter().any(|line| line.contains(&format!("nearcast.toml:{wanted}"))));
        assert!(all, "{disk}{keys}: {told}\nwanted: {wanted:?}");
    }
    for keys in ["disk = \"always\"", "disk-max = \"1 GiB\"", "pinned = \"1 GiB\""] {
        let key = keys.split(' ').next().unwrap();
        assert_eq!(told(keys), [format!("9: site.{key}: there is no cache.disk")], "{keys}");
    }
}

#[test]
fn keys() {
    let keying = site("query = { sort = true, keep = [\"v\", \"page\"] }").keying;
    assert_eq!((keying.query_sort, keying.query_keep), (true, Some(patterns(&["v", "page"]))));
    let keying = site("query = { drop = [\"utm_*\", \"fbclid\"] }").keying;
    assert_eq!((keying.query_keep, keying.query_drop), (None, patterns(&["utm_*", "fbclid"])));
    let keying = site("key-headers = [\"X-Tier\", \"accept-language\", \"x-tier\"]").keying;
    let names = ["accept-language", "x-tier"].map(HeaderName::from_static);
    assert_eq!(keying.headers, names, "lower case, sorted, each once");
    let keying = site("key-cookies = [\"b\", \"a\", \"B\", \"a\"]").keying;
    assert_eq!(keying.cookies, ["B", "a", "b"], "case counts in names of cookies");
    let keying = site("key-country = true\nkey-rewrite = false").keying;
    assert_eq!((keying.country, keying.rewrite), (true, false));
}

#[test]
fn rules() {
    let text = r#"
[[site.rule]]
path = "/admin/*"
bypass = true
[[site.rule]]
name = "pictures"
path = ["/img/*", "*.png"]
status = [200, "4xx"]
content-type = ["Image/*", "text/css"]
ttl = "30d"
force = true
browser-ttl = "1m"
[[site.rule]]
status = "5xx"
ttl = "0s"
bypass = false
force = false
[[site.rule]]
status = 404
content-type = "*json"
browser-ttl = "0s"
"#;
    let wanted = [
        Rule { name: "rule 1".to_owned(), paths: patterns(&["/admin/*"]), bypass: true, ..Rule::default() },
        Rule {
            name: "pictures".to_owned(),
            paths: patterns(&["/img/*", "*.png"]),
            statuses: vec![StatusMatch::Exact(200), StatusMatch::Class(4)],
            content_types: patterns(&["image/*", "text/css"]),
            bypass: false,
            ttl: Some(Duration::from_secs(30 * 86_400)),
            force: true,
            browser_ttl: Some(Duration::from_secs(60)),
        },
        Rule {
            name: "rule 3".to_owned(),
            statuses: vec![StatusMatch::Class(5)],
            ttl: Some(Duration::ZERO),
            ..Rule::default()
        },
        Rule {
            name: "rule 4".to_owned(),
            statuses: vec![StatusMatch::Exact(404)],
            content_types: patterns(&["*json"]),
            browser_ttl: Some(Duration::ZERO),
            ..Rule::default()
        },
    ];
    assert_eq!(site(text).caching.rules, wanted);
}

#[test]
fn rules_are_numbered_within_their_site() {
    let rule = "[[site.rule]]\nttl = \"1s\"\n";
    let other = "[[site]]\ndomains = [\"b.test\"]\norigin = \"http://origin.test\"\n";
    let names: Vec<Vec<String>> = config(&format!("{rule}{rule}{other}{rule}"))
        .sites
        .iter()
        .map(|site| site.caching.rules.iter().map(|rule| rule.name.clone()).collect())
        .collect();
    assert_eq!(names, [vec!["rule 1", "rule 2"], vec!["rule 1"]]);
}

#[test]
fn statuses() {
    let rows = [
        (StatusMatch::Exact(404), 404, true),
        (StatusMatch::Exact(404), 405, false),
        (StatusMatch::Class(4), 400, true),
        (StatusMatch::Class(4), 499, true),
        (StatusMatch::Class(4), 399, false),
        (StatusMatch::Class(4), 500, false),
    ];
    for (wanted, status, matches) in rows {
        assert_eq!(wanted.matches(status), matches, "{wanted:?} {status}");
    }
}

#[test]
fn mistakes_of_sites() {
    let rows = [
        ("set-cookie = \"keep\"", "9: site.set-cookie: `keep` is not one of \"bypass\", \"strip\", \"store\""),
        (
            "client-revalidation = \"honour\"",
            "9: site.client-revalidation: `honour` is not one of \"limit\", \"honor\", \"ignore\"",
        ),
        ("grace = \"-1s\"", "9: site.grace: `-1s` is not a duration"),
        ("grace = 5", "9: site.grace: invalid type: integer `5`, expected a string; write it in quotes"),
        ("query = { keep = [\"a\"], drop = [\"b\"] }", "9: site.query.drop: give keep or drop, not both: keep leaves"),
        ("query = { keep = [] }", "9: site.query.keep: an empty list; name what to keep, or write drop = [\"*\"]"),
        ("query = { drop = [\"a=b\"] }", "9: site.query.drop: `a=b` is not the name of a query parameter, such as"),
        ("query = { keep = [\"\"] }", "9: site.query.keep: `` is not the name of a query parameter"),
        ("query = { sorted = true }", "9: site.query.sorted: unknown key; allowed in [site.query]: sort, keep, drop"),
        ("query = { sort = \"yes\" }", "9: site.query.sort: invalid type: string \"yes\", expected a boolean"),
        ("key-headers = [\"x tier\"]", "9: site.key-headers: `x tier` is not the name of a request field, such as"),
        ("key-headers = [\"x-*\"]", "9: site.key-headers: `x-*` is not the name of a request field"),
        ("key-headers = [\"Host\"]", "9: site.key-headers: `host` is part of every key already; leave it out"),
        (
            "key-headers = [\"cookie\"]",
            "9: site.key-headers: `cookie` differs from client to client; use key-cookies =",
        ),
        ("key-headers = [\"authorization\"]", "9: site.key-headers: `authorization` differs from client to client"),
        ("key-headers = [\"connection\"]", "9: site.key-headers: `connection` is about one connection or message"),
        ("key-headers = [\"te\"]", "9: site.key-headers: `te` is about one connection or message"),
        ("key-headers = [\"content-length\"]", "9: site.key-headers: `content-length` is about one connection or"),
        ("key-headers = [\"range\"]", "9: site.key-headers: `range` is answered from what is stored under one key"),
        ("key-headers = [\"if-none-match\"]", "9: site.key-headers: `if-none-match` is answered from what is stored"),
        ("key-headers = [\"x-forwarded-for\"]", "9: site.key-headers: `x-forwarded-for` tells which way the request"),
        ("key-cookies = [\"a b\"]", "9: site.key-cookies: `a b` is not the name of a cookie, such as \"currency\""),
        ("key-cookies = [\"a\",\n\"*\"]", "10: site.key-cookies: `*` is not the name of a cookie"),
        ("key-country = \"yes\"", "9: site.key-country: invalid type: string \"yes\", expected a boolean"),
    ];
    for (keys, wanted) in rows {
        let told = told(keys);
        assert!(told.len() == 1 && told[0].starts_with(wanted), "{keys}: {told:#?}\nwanted: {wanted}");
    }
}

#[test]
fn mistakes_of_rules() {
    let rows = [
        ("", "9: site.rule: does nothing; give bypass = true, ttl or browser-ttl"),
        ("path = \"/a\"", "9: site.rule: does nothing"),
        ("bypass = false", "9: site.rule: does nothing"),
        ("name = \"\"\nttl = \"1s\"", "10: site.rule.name: must not be empty"),
        ("bypass = true\nttl = \"1s\"", "11: site.rule.ttl: has no meaning beside bypass = true"),
        ("bypass = true\nforce = true", "11: site.rule.force: has no meaning beside bypass = true"),
        ("browser-ttl = \"1s\"\nbypass = true", "10: site.rule.browser-ttl: has no meaning beside bypass = true"),
        ("force = true", "10: site.rule.force: force says that ttl counts whatever the answer says: give ttl"),
        ("browser-ttl = \"1s\"\nforce = true", "11: site.rule.force: force says that ttl counts"),
        ("ttl = \"31d\"", "10: site.rule.ttl: must not exceed cache.lifetime-max, which is 30d"),
        ("ttl = \"1 hour\"", "10: site.rule.ttl: `1 hour` is not a duration"),
        ("ttl = 60", "10: site.rule.ttl: invalid type: integer `60`, expected a string; write it in quotes"),
        ("ttl = 60\nforce = true", "10: site.rule.ttl: invalid type: integer"),
        ("browser-ttl = \"250ms\"", "10: site.rule.browser-ttl: must be whole seconds, such as \"60s\""),
        ("ttl = \"1s\"\npath = \"a/*\"", "11: site.rule.path: `a/*` must begin with / or *, such as \"/assets/*\""),
        ("ttl = \"1s\"\npath = [\"/a\", \"\"]", "11: site.rule.path: `` must begin with / or *"),
        ("ttl = \"1s\"\npath = \"/a?b=*\"", "11: site.rule.path: `/a?b=*` has a query, which is no part of a path"),
        ("ttl = \"1s\"\npath = []", "11: site.rule.path: an empty list matches nothing; leave the key out"),
        ("ttl = \"1s\"\npath = 5", "11: site.rule.path: expected a string or a list of strings"),
        ("ttl = \"1s\"\nstatus = []", "11: site.rule.status: an empty list matches nothing"),
        ("ttl = \"1s\"\nstatus = 199", "11: site.rule.status: `199` is not a number from 200 to 599, nor \"2xx\""),
        ("ttl = \"1s\"\nstatus = [200, 600]", "11: site.rule.status: `600` is not a number from 200 to 599"),
        ("ttl = \"1s\"\nstatus = -200", "11: site.rule.status: `-200` is not a number from 200 to 599"),
        ("ttl = \"1s\"\nstatus = \"1xx\"", "11: site.rule.status: `1xx` is not a number from 200 to 599"),
        ("ttl = \"1s\"\nstatus = \"404\"", "11: site.rule.status: `404` is not a number"),
        ("ttl = \"1s\"\nstatus = \"+4xx\"", "11: site.rule.status: `+4xx` is not a number"),
        ("ttl = \"1s\"\nstatus = true", "11: site.rule.status: expected a status such as 404 or \"4xx\", or a list"),
        ("ttl = \"1s\"\ncontent-type = []", "11: site.rule.content-type: an empty list matches nothing"),
        ("ttl = \"1s\"\ncontent-type = \"html\"", "11: site.rule.content-type: `html` is not a media type without"),
        ("ttl = \"1s\"\ncontent-type = \"a/b; c=d\"", "11: site.rule.content-type: `a/b; c=d` is not a media type"),
        ("ttl = \"1s\"\ncolor = 1", "11: site.rule.color: unknown key; allowed in [site.rule]: name, path, status,"),
    ];
    for (keys, wanted) in rows {
        let told = told(&format!("[[site.rule]]\n{keys}"));
        assert!(told.len() == 1 && told[0].starts_with(wanted), "{keys}: {told:#?}\nwanted: {wanted}");
    }
}

#[test]
fn all_mistakes_of_a_site_at_once() {
    let told = told(
        "set-cookie = \"no\"\nkey-cookies = 5\n[[site.rule]]\nstatus = 1\nttl = \"1s\"\n[[site.rule]]\nttl = 5\n[[site.rule]]\nforce = true\nttl = \"99d\"",
    );
    let places: Vec<&str> = told.iter().filter_map(|line| line.get(..line.find(": ")?)).collect();
    assert_eq!(places, ["9", "10", "12", "15", "18"], "{told:#?}");
}

#[test]
fn warnings() {
    const POISON: &str = "the origin sees what the key does not";
    let rows: [(&str, &[&str]); 14] = [
        ("", &[]),
        ("client-revalidation = \"honor\"", &[]),
        ("set-cookie = \"strip\"", &[]),
        ("set-cookie = \"store\"", &["site `www.test`: set-cookie = \"store\""]),
        ("key-rewrite = false", &[]),
        ("key-rewrite = false\nkey-headers = [\"x-tier\"]\nkey-country = true", &[]),
        ("key-rewrite = false\nquery = { sort = false, drop = [] }", &[]),
        ("query = { sort = true, drop = [\"a\"] }\nkey-cookies = [\"a\"]", &[]),
        ("key-rewrite = false\nquery = { sort = true }", &["site `www.test`: key-rewrite = false with query.sort: "]),
        ("key-rewrite = false\nquery = { keep = [\"a\"] }", &["with query.keep: "]),
        (
            "key-rewrite = false\nquery = { drop = [\"a\"] }\nkey-cookies = [\"a\"]",
            &["query.drop, key-cookies: ", POISON],
        ),
        ("[[site.rule]]\nttl = \"1s\"", &[]),
        ("[[site.rule]]\nttl = \"1s\"\nforce = true", &["site `www.test`: rule `rule 1`: force = true"]),
        (
            "name = \"shop\"\nset-cookie = \"store\"\n[[site.rule]]\nname = \"a\"\nttl = \"1s\"\nforce = true",
            &["site `shop`: set-cookie", "site `shop`: rule `a`: force = true"],
        ),
    ];
    for (keys, wanted) in rows {
        let told = config(keys).warnings();
        let text = told.join("\n");
        assert_eq!(told.is_empty(), wanted.is_empty(), "{keys}: {text}");
        assert!(wanted.iter().all(|words| text.contains(words)), "{keys}: {text}\nwanted: {wanted:?}");
    }
    assert_eq!(config(rows[13].0).warnings().len(), 2);
}

#[test]
fn the_samples_examples_are_right() {
    let (before, site) = SAMPLE.split_once("[[site]]").unwrap();
    let example =
        |line: &str| if line.contains("# example") { line.trim_start_matches('#').to_owned() } else { line.to_owned() };
    let site = site.lines().map(example).collect::<Vec<_>>().join("\n");
    // Parts of the disk need one.
    let disk = before.lines().find(|line| line.starts_with("#disk = ")).unwrap();
    let before = before.replacen(disk, disk.trim_start_matches('#'), 1);
    let config = parse(&format!("{before}[[site]]{site}\n")).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let site = &config.sites[0];
    assert_eq!(site.keying.query_keep, Some(patterns(&["v", "page"])));
    assert_eq!((site.storing.disk_max, site.storing.pinned), (Some(2 << 30), Some(1 << 30)));
    let rules: Vec<&str> = site.caching.rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(rules, ["admin", "rule 2"]);
    assert!(site.caching.rules[1].force);
}

#[test]
fn a_name_fits_the_records_of_purges() {
    assert!(told(&format!("name = \"{}\"", "x".repeat(255))).is_empty());
    assert_eq!(told(&format!("name = \"{}\"", "x".repeat(256))), ["9: site.name: must have at most 255 bytes"]);
}
