//! `nearcast check`: is the config right, and what is left to do outside of it?

use std::collections::HashSet;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use nearcast_shared::config::{Config, Inputs};

use super::run::{BAD_CONFIG, ConfigArgs};
use crate::reload;

/// Read the config, list every mistake in it, warn of risks, and say which CNAMEs to set.
///
/// Reads everything a node would read (geo data, certificates, authorities), binds nothing and changes nothing. Without
/// --pop every PoP of the config is checked. Exit code 2: there are mistakes. Warnings leave it at 0.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nearcast check --config /etc/nearcast/nearcast.toml")]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let (file, inputs) = (&args.config.config, args.config.inputs());
    let names = match &inputs.pop {
        Some(name) => vec![Some(name.clone())],
        None => all_or_none(Config::pop_names(file)),
    };
    let (mut checked, mut mistakes) = (None, Vec::new());
    for name in &names {
        match Config::load(file, &Inputs { pop: name.clone(), ..inputs.clone() }) {
            Ok(config) => {
                let unusable = reload::unusable(&config).into_iter();
                mistakes.extend(unusable.map(|mistake| format!("{}: {mistake}", file.display())));
                checked = Some(config);
            }
            Err(found) => mistakes.extend(found.to_string().lines().map(str::to_owned)),
        }
    }
    if !mistakes.is_empty() {
        // PoPs share most of the file, and so most of its mistakes.
        let mut told = HashSet::new();
        mistakes.iter().filter(|mistake| told.insert(*mistake)).for_each(|mistake| eprintln!("{mistake}"));
        return Ok(ExitCode::from(BAD_CONFIG));
    }
    let config = checked.context("there is nothing to check")?;
    let names: Vec<&str> = names.iter().flatten().map(String::as_str).collect();
    let (zones, sites) = (config.zones.len(), config.sites.len());
    println!("{}: right for {} ({zones} zone(s), {sites} site(s))", file.display(), names.join(", "));
    let geo = reload::load_geo(&config)?;
    let of_geo = geo.warnings().into_iter().chain(config.warnings_with(&geo));
    for warning in config.warnings().into_iter().chain(reload::key_warnings(&config)).chain(of_geo) {
        println!("warning: {warning}");
    }
    for (domain, target) in config.cnames_to_set() {
        println!("set at your DNS:  {domain}.  CNAME  {target}.");
    }
    Ok(ExitCode::SUCCESS)
}

/// Each PoP, or when none can be read, the question without one: its answer is what is wrong.
fn all_or_none(names: Vec<String>) -> Vec<Option<String>> {
    if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() }
}
