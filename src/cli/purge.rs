//! `nearcast purge`: from the answer on, nothing that was stored before is served.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::client::{self, Call, Client, Nodes};
use super::list;
use super::run::BAD_CONFIG;
use crate::admin::PURGE_ENTRIES_MAX;

/// Purge URLs, tags, the paths of a site that begin alike, a site or everything, on every PoP.
///
/// Once a PoP has answered, it serves nothing that was fetched before, also after a crash. A URL stands for both schemes
/// and all variants; its host must be a site's domain. Prints a line per PoP with the purge's id and time. Exit code 1: at
/// least one PoP did not purge everything; repeat the command, it does no harm. Exit code 2: the command line, the file or
/// the config cannot be followed, and nothing was purged.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    nearcast purge http://www.example.net/app.css http://www.example.net/app.js\n  \
    nearcast purge --tag product-17 --tag product-18 --soft\n  \
    nearcast purge --prefix /images/ --site www.example.net\n  \
    nearcast purge --site www.example.net\n  \
    find-changed-urls | nearcast purge -\n  \
    nearcast purge --all --admin http://127.0.0.1:9053 --token-file /etc/nearcast/token")]
pub(super) struct PurgeArgs {
    #[command(flatten)]
    what: What,
    /// A site, by its name or one of its domains: with --prefix or --tag what is purged of, alone all of it.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Only count as stale: where stale answers may be served they are, while they are refreshed once behind.
    #[arg(long)]
    soft: bool,
    #[command(flatten)]
    nodes: Nodes,
}

/// At most one of these; none: the site.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct What {
    /// URLs to purge, each with scheme and host; `-` reads them from standard input, one a line.
    #[arg(value_name = "URL", value_parser = url_or_input)]
    urls: Vec<String>,
    /// A file of URLs, one a line; empty lines and those that begin with # are left out.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The beginning of paths, such as /a/, of all hosts of --site. A plain prefix of the text: /p/1 takes /p/10.
    #[arg(long, value_name = "PREFIX", requires = "site")]
    prefix: Option<String>,
    /// A tag (Surrogate-Key, Cache-Tag, Cache-Groups), of --site or of all sites; may be repeated.
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Everything.
    #[arg(long, conflicts_with = "site")]
    all: bool,
}

pub(super) fn run(args: PurgeArgs) -> anyhow::Result<ExitCode> {
    let order = match Order::of(&args, io::stdin().lock()) {
        Ok(order) => order,
        Err(mistake) => {
            eprintln!("{mistake}");
            return Ok(ExitCode::from(BAD_CONFIG));
        }
    };
    let client = match args.nodes.client() {
        Ok(client) => client,
        Err(unusable) => return Ok(unusable.exit()),
    };
    match order.bodies.as_slice() {
        [body] => {
            let answers = client.ask_all(&Call::post("/v1/purge", Some(body.clone())))?;
            Ok(client::print(&answers, |answer| line(&order.what, answer)))
        }
        bodies => in_turn(&client, &order.what, bodies),
    }
}

/// What is purged, in words and as the bodies of calls.
#[derive(Debug, PartialEq)]
struct Order {
    what: String,
    bodies: Vec<Value>,
}

impl Order {
    fn of(args: &PurgeArgs, input: impl Read) -> Result<Self, String> {
        let (what, site, soft) = (&args.what, &args.site, args.soft);
        let named = |fields: Value| {
            let Value::Object(mut fields) = fields else { return fields };
            fields.retain(|_, value| !value.is_null());
            if soft {
                fields.insert("soft".to_owned(), Value::Bool(true));
            }
            Value::Object(fields)
        };
        let one = |what: String, fields: Value| Ok(Self { what, bodies: vec![named(fields)] });
        if what.all {
            return one("everything".to_owned(), json!({ "all": true }));
        }
        let of = site.as_ref().map(|site| format!(" of site {site}")).unwrap_or_default();
        if let Some(prefix) = &what.prefix {
            return one(format!("{prefix}..{of}"), json!({ "prefix": prefix, "site": site }));
        }
        match what.tag.as_slice() {
            [] => {}
            [tag] => return one(format!("tag {tag}{of}"), json!({ "tag": tag, "site": site })),
            tags => {
                let bodies = list::batches(tags, PURGE_ENTRIES_MAX)
                    .map(|tags| named(json!({ "tags": tags, "site": site })))
                    .collect();
                return Ok(Self { what: format!("{} tags{of}", tags.len()), bodies });
            }
        }
        let urls = match (&what.file, what.urls.as_slice()) {
            (Some(path), _) => {
                let failed = |error: io::Error| format!("{}: {error}", path.display());
                list::urls(std::fs::File::open(path).map_err(failed)?, &path.display().to_string())?
            }
            (None, [input_mark]) if input_mark == "-" => list::urls(input, "standard input")?,
            (None, urls) if urls.iter().any(|url| url == "-") => return Err("give URLs or `-`, not both".to_owned()),
            (None, urls) => urls.to_vec(),
        };
        match (urls.as_slice(), site) {
            ([], Some(site)) if what.file.is_none() && what.urls.is_empty() => {
                one(format!("site {site}"), json!({ "site": site }))
            }
            ([], _) => Err("there is nothing to purge: give URLs, --file, --prefix, --tag, --site or --all".to_owned()),
            (_, Some(_)) => Err("--site goes with --prefix or --tag, or alone: URLs name their host".to_owned()),
            ([url], None) => one(url.clone(), json!({ "url": url })),
            (urls, None) => {
                let bodies =
                    list::batches(urls, PURGE_ENTRIES_MAX).map(|urls| named(json!({ "urls": urls }))).collect();
                Ok(Self { what: format!("{} URLs", urls.len()), bodies })
            }
        }
    }
}

/// Several calls to each node, with a progress bar. A node that fails is asked no more.
fn in_turn(client: &Client, what: &str, bodies: &[Value]) -> anyhow::Result<ExitCode> {
    let style = "{bar:30} {pos}/{len} calls  {elapsed} of about {duration}";
    let calls: Vec<Call> = bodies.iter().map(|body| Call::post("/v1/purge", Some(body.clone()))).collect();
    let bar = ProgressBar::new((calls.len() * client.nodes.len()) as u64);
    bar.set_style(ProgressStyle::with_template(style)?);
    let answers = client.ask_all_in_turn(&calls, together, || bar.inc(1))?;
    bar.finish_and_clear();
    Ok(client::print(&answers, |answer| line(what, answer)))
}

/// The later of two answers, with the sum of what both cut out.
fn together(earlier: &Value, mut later: Value) -> Value {
    let fills = |answer: &Value| answer.get("fills_cut_out").and_then(Value::as_u64);
    if let (Some(a), Some(b)) = (fills(earlier), fills(&later)) {
        later["fills_cut_out"] = json!(a + b);
    }
    later
}

fn line(what: &str, answer: &Value) -> String {
    let fills = match answer.get("fills_cut_out").and_then(Value::as_u64) {
        None | Some(0) => String::new(),
        Some(fills) => format!("  running fetches cut out {fills}"),
    };
    format!("purged {what}  id {}  time {}{fills}", client::text(answer, "id"), client::text(answer, "time"))
}

fn url_or_input(text: &str) -> Result<String, String> {
    if text == "-" { Ok(text.to_owned()) } else { list::url(text) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        purge: PurgeArgs,
    }

    fn order(arguments: &[&str], input: &str) -> Result<Order, String> {
        let line = Line::try_parse_from([&["nearcast"], arguments].concat()).map_err(|error| error.to_string())?;
        Order::of(&line.purge, input.as_bytes())
    }

    #[test]
    fn exactly_one_kind() {
        type Row<'a> = (&'a [&'a str], &'a str, &'a str);
        let rows: [Row<'_>; 13] = [
            (&["http://h/a?b=c"], "http://h/a?b=c", r#"{"url":"http://h/a?b=c"}"#),
            (&["http://h/a", "https://h/b"], "2 URLs", r#"{"urls":["http://h/a","https://h/b"]}"#),
            (&["http://h/a", "--soft"], "http://h/a", r#"{"soft":true,"url":"http://h/a"}"#),
            (&["--prefix", "/a/", "--site", "www"], "/a/.. of site www", r#"{"prefix":"/a/","site":"www"}"#),
            (&["--tag", "t"], "tag t", r#"{"tag":"t"}"#),
            (&["--tag", "t", "--site", "www"], "tag t of site www", r#"{"site":"www","tag":"t"}"#),
            (&["--tag", "t", "--tag", "u"], "2 tags", r#"{"tags":["t","u"]}"#),
            (&["--tag", "t", "--tag", "u", "--site", "s"], "2 tags of site s", r#"{"site":"s","tags":["t","u"]}"#),
            (&["--site", "www"], "site www", r#"{"site":"www"}"#),
            (&["--site", "www", "--soft"], "site www", r#"{"site":"www","soft":true}"#),
            (&["--all"], "everything", r#"{"all":true}"#),
            (&["-"], "http://h/a", r#"{"url":"http://h/a"}"#),
            (&["--all", "--soft"], "everything", r#"{"all":true,"soft":true}"#),
        ];
        for (arguments, what, body) in rows {
            let order = order(arguments, "# changed\n\n  http://h/a\r\n").unwrap();
            assert_eq!((order.what.as_str(), order.bodies.len()), (what, 1), "{arguments:?}");
            assert_eq!(order.bodies[0].to_string(), body, "{arguments:?}");
        }
        let bad: [&[&str]; 12] = [
            &[],
            &["--soft"],
            &["--all", "--site", "www"],
            &["http://h/a", "--all"],
            &["http://h/a", "--site", "www"],
            &["http://h/a", "--tag", "t"],
            &["http://h/a", "-"],
            &["--prefix", "/a/"],
            &["--prefix", "/a/", "--tag", "t", "--site", "www"],
            &["/a"],
            &["h/a"],
            &["--file", "/nowhere/at/all"],
        ];
        for arguments in bad {
            assert!(order(arguments, "http://h/a").is_err(), "{arguments:?}");
        }
        assert_eq!(
            order(&["-"], "http://h/a\n/b\n").unwrap_err().split("must").next(),
            Some("standard input, line 2: `/b` ")
        );
        assert!(order(&["-"], "\n").is_err());
        assert!(order(&["-"], &"x".repeat(100_000)).unwrap_err().contains("longer than any URL"));
    }

    #[test]
    fn many_go_in_calls_of_ten_thousand() {
        let input: String = (0..25_000).map(|n| format!("http://h/{n}\n")).collect();
        let order = order(&["-"], &input).unwrap();
        let counts = order.bodies.iter().map(|body| body["urls"].as_array().unwrap().len());
        assert_eq!((order.what.as_str(), counts.collect::<Vec<_>>()), ("25000 URLs", vec![10_000, 10_000, 5_000]));
    }

    #[test]
    fn lines() {
        let answer = json!({ "id": "3f2a9c01-1", "time": "2026-11-22T10:00:00.000Z", "fills_cut_out": null });
        let wanted = "purged http://h/a  id 3f2a9c01-1  time 2026-11-22T10:00:00.000Z";
        assert_eq!(line("http://h/a", &answer), wanted);
        let cut =
            |fills: u64| json!({ "id": "3f2a9c01-1", "time": "2026-11-22T10:00:00.000Z", "fills_cut_out": fills });
        assert_eq!(line("http://h/a", &cut(0)), wanted);
        assert_eq!(line("http://h/a", &together(&cut(1), cut(2))), format!("{wanted}  running fetches cut out 3"));
    }
}
