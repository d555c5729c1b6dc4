//! `nearcast reload`: makes every node read its config again.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::client::{self, Call, Nodes};

/// Make every node read its config file, certificates and geo data again.
///
/// A node takes over all of the new config or nothing: with any mistake it keeps the old one, lists the mistakes, and the
/// exit code is 1. Geo data that cannot or should not be used is a mistake if the config names other files than before; else it
/// is left out with a warning. Each node reads its own copy of the file, so bring the new one there first. Exit code 2: the command
/// line or the config here cannot be followed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nearcast check && nearcast reload")]
pub(super) struct ReloadArgs {
    /// Take geo data that looks wrong all the same: older than what is in force, much smaller, or such that much of the
    /// address space gets another PoP.
    #[arg(long)]
    force: bool,
    /// Believe the nodes' clocks: one that was set, or is behind the time of its last run, is right all the same. Until then
    /// a node signs by both times, or not at all if these are more than 30 days apart (DNSSEC).
    #[arg(long)]
    clock_is_right: bool,
    #[command(flatten)]
    nodes: Nodes,
}

pub(super) fn run(args: ReloadArgs) -> anyhow::Result<ExitCode> {
    let client = match args.nodes.client() {
        Ok(client) => client,
        Err(unusable) => return Ok(unusable.exit()),
    };
    let answers = client.ask_all(&Call::post(target(args.force, args.clock_is_right), None))?;
    Ok(client::print(&answers, line))
}

fn target(force: bool, clock_is_right: bool) -> &'static str {
    match (force, clock_is_right) {
        (false, false) => "/v1/reload",
        (true, false) => "/v1/reload?force=1",
        (false, true) => "/v1/reload?clock=right",
        (true, true) => "/v1/reload?force=1&clock=right",
    }
}

fn line(answer: &Value) -> String {
    let warnings = answer.get("warnings").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let warnings: String =
        warnings.iter().filter_map(Value::as_str).map(|warning| format!("\n  warning: {warning}")).collect();
    match answer.get("generation").and_then(Value::as_u64) {
        Some(generation) => format!("reloaded, generation {generation}{warnings}"),
        None => format!("reloaded{warnings}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn targets() {
        assert_eq!(target(false, false), "/v1/reload");
        assert_eq!(target(true, false), "/v1/reload?force=1");
        assert_eq!(target(false, true), "/v1/reload?clock=right");
        assert_eq!(target(true, true), "/v1/reload?force=1&clock=right");
    }

    #[test]
    fn lines() {
        assert_eq!(line(&json!({ "generation": 2 })), "reloaded, generation 2");
        let warned = json!({ "generation": 2, "warnings": ["zone `a` has changed"] });
        assert_eq!(line(&warned), "reloaded, generation 2\n  warning: zone `a` has changed");
    }
}
