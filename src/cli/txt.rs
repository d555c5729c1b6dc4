//! `nearcast txt`: TXT records that come and go, for proofs such as ACME's.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use nearcast_shared::config::units;
use serde_json::{Value, json};

use super::client::{self, Call, Nodes};

/// Add, remove and list TXT records without a reload.
///
/// Told to every node, since each answers DNS by what it knows itself; a node keeps them over restarts until they expire. The
/// name must be in one of the zones. Exit code 1: at least one node did not follow; 2: the command line or the config cannot
/// be followed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    nearcast txt add _acme-challenge.www.example.net gfj9Xq...Rg85nM --expires 10m\n  \
    nearcast txt remove _acme-challenge.www.example.net\n  \
    nearcast txt list")]
pub(super) struct TxtArgs {
    #[command(subcommand)]
    order: Order,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Add a text; the same one again gets another end.
    Add {
        /// The name, such as _acme-challenge.www.example.net.
        name: String,
        /// What it says.
        value: String,
        /// Seconds that resolvers keep it.
        #[arg(long, value_name = "SECONDS")]
        ttl: Option<u32>,
        /// After that it is gone; at most 30d.
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = units::duration)]
        expires: Duration,
        #[command(flatten)]
        nodes: Nodes,
    },
    /// Remove the texts of a name.
    Remove {
        /// The name.
        name: String,
        /// Only the text that says this.
        value: Option<String>,
        #[command(flatten)]
        nodes: Nodes,
    },
    /// List them, node by node.
    List {
        #[command(flatten)]
        nodes: Nodes,
    },
}

impl Order {
    fn call(&self) -> Call {
        match self {
            Self::Add { name, value, ttl, expires, .. } => {
                let mut body = json!({ "name": name, "value": value, "expires": expires.as_secs() });
                if let Some(ttl) = ttl {
                    body["ttl"] = json!(ttl);
                }
                Call::post("/v1/txt", Some(body))
            }
            Self::Remove { name, value, .. } => {
                let value = value.as_ref().map(|value| format!("&value={}", client::encode(value)));
                Call::delete(format!("/v1/txt?name={}{}", client::encode(name), value.unwrap_or_default()))
            }
            Self::List { .. } => Call::get("/v1/txt"),
        }
    }

    fn nodes(&self) -> &Nodes {
        match self {
            Self::Add { nodes, .. } | Self::Remove { nodes, .. } | Self::List { nodes } => nodes,
        }
    }

    fn line(&self, answer: &Value) -> String {
        match self {
            Self::Add { .. } => {
                let seconds = answer.get("expires").and_then(Value::as_u64).unwrap_or_default();
                format!("{} is there for {seconds} s", client::text(answer, "name"))
            }
            Self::Remove { .. } => {
                format!("{} removed", answer.get("removed").and_then(Value::as_u64).unwrap_or_default())
            }
            Self::List { .. } => {
                let texts = answer.get("texts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                let one =
                    |text: &Value| format!("\n  {} \"{}\"", client::text(text, "name"), client::text(text, "value"));
                format!("{} text(s){}", texts.len(), texts.iter().map(one).collect::<String>())
            }
        }
    }
}

pub(super) fn run(args: TxtArgs) -> anyhow::Result<ExitCode> {
    let client = match args.order.nodes().client() {
        Ok(client) => client,
        Err(unusable) => return Ok(unusable.exit()),
    };
    let answers = client.ask_all(&args.order.call())?;
    Ok(client::print(&answers, |answer| args.order.line(answer)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        txt: TxtArgs,
    }

    fn order(arguments: &[&str]) -> Order {
        Line::try_parse_from([&["nearcast"], arguments].concat()).unwrap().txt.order
    }

    #[test]
    fn calls() {
        let body = json!({ "name": "_a.test", "value": "x", "expires": 3600 });
        assert_eq!(order(&["add", "_a.test", "x"]).call(), Call::post("/v1/txt", Some(body)));
        let body = json!({ "name": "_a.test", "value": "x", "expires": 600, "ttl": 5 });
        let given = order(&["add", "_a.test", "x", "--expires", "10m", "--ttl", "5"]);
        assert_eq!(given.call(), Call::post("/v1/txt", Some(body)));
        assert_eq!(order(&["remove", "_a.test"]).call(), Call::delete("/v1/txt?name=_a.test"));
        assert_eq!(order(&["remove", "_a.test", "x y"]).call(), Call::delete("/v1/txt?name=_a.test&value=x%20y"));
        assert_eq!(order(&["list"]).call(), Call::get("/v1/txt"));
    }

    #[test]
    fn lines() {
        let rows = [
            (order(&["add", "a", "x"]), json!({ "name": "a", "expires": 60 }), "a is there for 60 s"),
            (order(&["remove", "a"]), json!({ "removed": 2 }), "2 removed"),
            (order(&["list"]), json!({ "texts": [] }), "0 text(s)"),
            (order(&["list"]), json!({ "texts": [{ "name": "a", "value": "x" }] }), "1 text(s)\n  a \"x\""),
        ];
        for (order, answer, wanted) in rows {
            assert_eq!(order.line(&answer), wanted);
        }
    }
}
