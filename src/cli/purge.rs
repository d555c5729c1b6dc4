//! `nearcast purge`: from the answer on, nothing that was stored before is served.

use std::process::ExitCode;

use clap::Args;
use http::Uri;
use serde_json::{Value, json};

use super::client::{self, Call, Nodes};

/// Purge URLs, a site or everything, on every PoP.
///
/// Once a PoP has answered, it serves nothing that was fetched before, also after a crash. A URL stands for both schemes
/// and all variants; its host must be a site's domain. Prints a line per PoP with the purge's id and time. Exit code 1: at
/// least one PoP did not purge; repeat the command, it does no harm. Exit code 2: the command line or the config cannot be
/// followed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    nearcast purge http://www.example.net/app.css http://www.example.net/app.js\n  \
    nearcast purge --site www.example.net\n  \
    nearcast purge --all --admin http://127.0.0.1:9053 --token-file /etc/nearcast/token")]
pub(super) struct PurgeArgs {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    nodes: Nodes,
}

/// Exactly one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// URLs to purge, each with scheme and host.
    #[arg(value_name = "URL", value_parser = url)]
    urls: Vec<String>,
    /// A site, by its name or one of its domains: all its domains are purged.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Everything.
    #[arg(long)]
    all: bool,
}

pub(super) fn run(args: PurgeArgs) -> anyhow::Result<ExitCode> {
    let client = match args.nodes.client() {
        Ok(client) => client,
        Err(unusable) => return Ok(unusable.exit()),
    };
    let mut exit = ExitCode::SUCCESS;
    for (what, body) in orders(&args.what) {
        let answers = client.ask_all(&Call::post("/v1/purge", Some(body)))?;
        let outcome = client::print(&answers, |answer| line(&what, answer));
        if outcome != ExitCode::SUCCESS {
            exit = outcome;
        }
    }
    Ok(exit)
}

/// What is purged, in words and as a body; one call each.
fn orders(what: &What) -> Vec<(String, Value)> {
    if let Some(site) = &what.site {
        return vec![(format!("site {site}"), json!({ "site": site }))];
    }
    if what.all {
        return vec![("everything".to_owned(), json!({ "all": true }))];
    }
    what.urls.iter().map(|url| (url.clone(), json!({ "url": url }))).collect()
}

fn line(what: &str, answer: &Value) -> String {
    format!("purged {what}  id {}  time {}", client::text(answer, "id"), client::text(answer, "time"))
}

/// Left as it was written: the node knows best which URLs are the same.
fn url(text: &str) -> Result<String, String> {
    let full = text.parse::<Uri>().is_ok_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty())
    });
    let form = || "must have scheme and host, such as http://www.example.net/app.css".to_owned();
    if full { Ok(text.to_owned()) } else { Err(form()) }
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

    fn bodies(arguments: &[&str]) -> Option<Vec<String>> {
        let line = Line::try_parse_from([&["nearcast"], arguments].concat()).ok()?;
        Some(orders(&line.purge.what).into_iter().map(|(_, body)| body.to_string()).collect())
    }

    #[test]
    fn exactly_one_kind() {
        let one = |body: &str| Some(vec![body.to_owned()]);
        assert_eq!(bodies(&["http://h/a?b=\"c"]), None);
        assert_eq!(bodies(&["http://h/a?b=c"]), one(r#"{"url":"http://h/a?b=c"}"#));
        assert_eq!(bodies(&["http://h/a", "https://h/b"]).unwrap().len(), 2);
        assert_eq!(bodies(&["--site", "www"]), one(r#"{"site":"www"}"#));
        assert_eq!(bodies(&["--all"]), one(r#"{"all":true}"#));
        for bad in [vec![], vec!["--all", "--site", "www"], vec!["http://h/a", "--all"], vec!["/a"], vec!["h/a"]] {
            assert_eq!(bodies(&bad), None, "{bad:?}");
        }
    }

    #[test]
    fn lines() {
        let answer = json!({ "id": "3f2a9c01-1", "time": "2026-11-22T10:00:00.000Z" });
        let wanted = "purged http://h/a  id 3f2a9c01-1  time 2026-11-22T10:00:00.000Z";
        assert_eq!(line("http://h/a", &answer), wanted);
    }
}
