//! `nearcast drain`: takes a PoP out of the answers, and lets it back in.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::client::{self, Call, Nodes};

/// Take a PoP out of the DNS answers, or let it back in.
///
/// Told to every node, since each answers DNS by its own word. The PoP keeps serving who still comes. The state holds over
/// restarts, until another one is given. Prints a line per PoP. Exit code 1: at least one node did not follow; 2: the
/// command line or the config cannot be followed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    nearcast drain iad           before work on iad\n  \
    nearcast drain iad --auto    after it")]
pub(super) struct DrainArgs {
    /// The PoP.
    #[arg(value_name = "POP")]
    drained: String,
    #[command(flatten)]
    state: State,
    #[command(flatten)]
    nodes: Nodes,
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
    let answers = client.ask_all(&Call::post(target, None))?;
    Ok(client::print(&answers, line))
}

fn line(answer: &Value) -> String {
    let pop = client::text(answer, "pop");
    match answer.get("forced").and_then(Value::as_str) {
        None => format!("{pop} is left to the probes"),
        Some("drain") => format!("{pop} is drained"),
        Some(state) => format!("{pop} is held {state}"),
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
        assert!(parse(&["--up", "--down"]).is_err());
        assert!(Line::try_parse_from(["nearcast"]).is_err());
    }

    #[test]
    fn the_drained_pop_is_not_the_one_that_is_asked() {
        let line = Line::try_parse_from(["nearcast", "iad", "--pop", "fra"]).unwrap();
        assert_eq!(line.drain.drained, "iad");
    }

    #[test]
    fn lines() {
        let rows = [
            (json!({ "pop": "iad", "forced": "drain" }), "iad is drained"),
            (json!({ "pop": "iad", "forced": "up" }), "iad is held up"),
            (json!({ "pop": "iad", "forced": "down" }), "iad is held down"),
            (json!({ "pop": "iad", "forced": null }), "iad is left to the probes"),
        ];
        for (answer, wanted) in rows {
            assert_eq!(line(&answer), wanted);
        }
    }
}
