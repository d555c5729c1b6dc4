//! `nearcast drain`: takes a PoP out of the answers, and lets it back in.

use std::process::ExitCode;

use clap::Args;
use nearcast_shared::clock::Timestamp;
use nearcast_shared::config::units;
use serde_json::{Value, json};

use super::client::{self, Call, Nodes};
use crate::control::date;

/// Take a PoP out of the DNS answers, or let it back in.
///
/// Told to every node, since each answers DNS by its own word. The PoP keeps serving who still comes. The state holds over
/// restarts, until another one is given or its time is over. Prints a line per PoP. Exit code 1: at least one node did not follow; 2: the
/// command line or the config cannot be followed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    nearcast drain iad --why \"work on the switch\" --for 2h\n  \
    nearcast drain iad --auto    let the probes decide again")]
pub(super) struct DrainArgs {
    /// The PoP.
    #[arg(value_name = "POP")]
    drained: String,
    #[command(flatten)]
    state: State,
    /// What for; shown by `nearcast status`.
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Who says so; default: user@host.
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
    /// End by itself after so long, such as 90m or 2h; default: until another word.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, conflicts_with = "auto")]
    lasts: Option<String>,
    #[command(flatten)]
    nodes: Nodes,
}

/// As it was given: the node reads it again.
fn duration(text: &str) -> Result<String, String> {
    units::duration(text).map(|_| text.to_owned())
}

/// At most one of these; none: drain.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct State {
    /// Hold it up, whatever the probes say.
    #[arg(long)]
    up: bool,
    /// Hold it down, whatever the probes say.
    #[arg(long)]
    down: bool,
    /// Let the probes decide again.
    #[arg(long)]
    auto: bool,
}

impl State {
    fn segment(&self) -> &'static str {
        match (self.up, self.down, self.auto) {
            (true, _, _) => "up",
            (_, true, _) => "down",
            (_, _, true) => "auto",
            (false, false, false) => "drain",
        }
    }
}

pub(super) fn run(args: DrainArgs) -> anyhow::Result<ExitCode> {
    let client = match args.nodes.client() {
        Ok(client) => client,
        Err(unusable) => return Ok(unusable.exit()),
    };
    let target = format!("/v1/pops/{}/{}", client::encode(&args.drained), args.state.segment());
    let story = json!({ "who": args.who.unwrap_or_else(whoami), "why": args.why, "for": args.lasts });
    let answers = client.ask_all(&Call::post(target, Some(story)))?;
    Ok(client::print(&answers, line))
}

/// `user@host`, as far as this machine says.
fn whoami() -> String {
    let user = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{}@{host}", user.unwrap_or_else(|| "somebody".to_owned()))
}

fn line(answer: &Value) -> String {
    let pop = client::text(answer, "pop");
    let until = answer.pointer("/hold/until").and_then(Value::as_i64);
    let until = until.map(|until| format!(" until {}", date(Timestamp::from_seconds(until)))).unwrap_or_default();
    match answer.get("forced").and_then(Value::as_str) {
        None => format!("{pop} is left to the probes"),
        Some("drain") => format!("{pop} is drained{until}"),
        Some(state) => format!("{pop} is held {state}{until}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        drain: DrainArgs,
    }

    #[test]
    fn states() {
        let parse = |arguments: &[&str]| Line::try_parse_from([&["nearcast", "iad"], arguments].concat());
        let rows: [(&[&str], &str); 4] =
            [(&[], "drain"), (&["--up"], "up"), (&["--down"], "down"), (&["--auto"], "auto")];
        for (arguments, wanted) in rows {
            assert_eq!(parse(arguments).unwrap().drain.state.segment(), wanted);
        }
        for arguments in [&["--up", "--down"][..], &["--for", "soon"], &["--auto", "--for", "2h"]] {
            assert!(parse(arguments).is_err(), "{arguments:?}");
        }
        let told = parse(&["--why", "work", "--for", "2h", "--who", "ann"]).unwrap().drain;
        assert_eq!([told.why, told.lasts, told.who].map(Option::unwrap), ["work", "2h", "ann"]);
        assert!(Line::try_parse_from(["nearcast"]).is_err());
    }

    #[test]
    fn the_drained_pop_is_not_the_one_that_is_asked() {
        let line = Line::try_parse_from(["nearcast", "iad", "--pop", "fra"]).unwrap();
        assert_eq!(line.drain.drained, "iad");
    }

    #[test]
    fn somebody_on_this_machine() {
        let told = whoami();
        let (user, host) = told.split_once('@').unwrap();
        assert!(!user.is_empty() && !host.is_empty(), "{told}");
    }

    #[test]
    fn lines() {
        let rows = [
            (json!({ "pop": "iad", "forced": "drain" }), "iad is drained"),
            (
                json!({ "pop": "iad", "forced": "drain", "hold": { "until": 60 } }),
                "iad is drained until 1970-01-01T00:01:00.000Z",
            ),
            (json!({ "pop": "iad", "forced": "up" }), "iad is held up"),
            (json!({ "pop": "iad", "forced": "down" }), "iad is held down"),
            (json!({ "pop": "iad", "forced": null }), "iad is left to the probes"),
        ];
        for (answer, wanted) in rows {
            assert_eq!(line(&answer), wanted);
        }
    }
}
