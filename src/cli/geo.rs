//! `nearcast geo`: makes the compact City file and tells what it costs; makes the table of countries' middles.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use nearcast_shared::geo::{GeoDb, builtin};

use crate::compact::{self, Options, Pop, Progress, Share, Stage};

/// Make and compare geo databases.
#[derive(Debug, Args)]
pub(super) struct GeoArgs {
    #[command(subcommand)]
    command: GeoCommand,
}

/// What to do with City files.
#[derive(Debug, Subcommand)]
enum GeoCommand {
    /// Make one compact City file out of one or more full ones
    Compact(CompactArgs),
    /// Count the addresses that a compact City file sends to another PoP than the full ones
    Compare(CompareArgs),
    /// Print the middle of each country, address-weighted: the table built into nearcast
    Centers(CentersArgs),
}

#[derive(Debug, Args)]
struct CentersArgs {
    /// City files in MaxMind DB format; default: the built-in data
    #[arg(value_name = "IN")]
    inputs: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct CompactArgs {
    /// City files in MaxMind DB format, such as one for IPv4 and one for IPv6; where several
    /// know an address the first one counts
    #[arg(required = true, value_name = "IN")]
    inputs: Vec<PathBuf>,
    /// The file to make, compressed with zstd if its name ends in .zst
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// Round coordinates to multiples of this many degrees
    #[arg(long, default_value_t = Options::default().degrees)]
    degrees: f64,
    /// Longest IPv4 prefix in bits; longer ones are merged by majority
    #[arg(long, value_name = "BITS", default_value_t = Options::default().ipv4_prefix)]
    ipv4_prefix: u8,
    /// Longest IPv6 prefix in bits; longer ones are merged by majority
    #[arg(long, value_name = "BITS", default_value_t = Options::default().ipv6_prefix)]
    ipv6_prefix: u8,
    /// Attribution that the license of the data asks for, written into the file
    #[arg(long, value_name = "TEXT", default_value_t = Options::default().attribution)]
    attribution: String,
}

#[derive(Debug, Args)]
struct CompareArgs {
    /// The full City files
    #[arg(required = true, value_name = "FULL")]
    full: Vec<PathBuf>,
    /// The compact City file
    #[arg(value_name = "COMPACT")]
    compact: PathBuf,
    /// The PoPs, each as NAME=LATITUDE,LONGITUDE in degrees
    #[arg(long, required = true, num_args = 1.., value_name = "POP")]
    pops: Vec<Pop>,
}

/// Runs `nearcast geo`.
///
/// # Errors
/// When a file cannot be read or written, or an option is out of range.
pub(super) fn run(args: GeoArgs) -> anyhow::Result<ExitCode> {
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template("{msg:10} {wide_bar} {percent:>3} %")?);
    let mut progress = |progress: Progress| show(&bar, progress);
    match args.command {
        GeoCommand::Compact(args) => {
            let options = Options {
                degrees: args.degrees,
                ipv4_prefix: args.ipv4_prefix,
                ipv6_prefix: args.ipv6_prefix,
                attribution: args.attribution,
            };
            let made = compact::compact(&args.inputs, &args.output, &options, &mut progress)?;
            bar.finish_and_clear();
            println!(
                "{}: {}, unpacked {}",
                args.output.display(),
                HumanBytes(made.bytes),
                HumanBytes(made.unpacked_bytes)
            );
            println!(
                "{} networks ({} IPv4, {} IPv6) of {}, {} places, {} nodes",
                HumanCount(made.ipv4_networks + made.ipv6_networks),
                HumanCount(made.ipv4_networks),
                HumanCount(made.ipv6_networks),
                HumanCount(made.input_networks),
                HumanCount(made.places as u64),
                HumanCount(made.nodes as u64)
            );
        }
        GeoCommand::Compare(args) => {
            let found = compact::compare(&args.full, &args.compact, &args.pops, &mut progress)?;
            bar.finish_and_clear();
            for (version, share) in [("IPv4", found.ipv4), ("IPv6", found.ipv6)] {
                print_share(version, &share);
            }
        }
        GeoCommand::Centers(args) => {
            let geo = if args.inputs.is_empty() { builtin::load()? } else { GeoDb::open(&args.inputs, &[])? };
            let found = compact::centers(&geo, &mut progress);
            bar.finish_and_clear();
            for (country, at) in found {
                println!("{country}\t{:.2}\t{:.2}", at.latitude, at.longitude);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_message(match progress.stage {
        Stage::Reading => "reading",
        Stage::Reducing => "reducing",
        Stage::Writing => "writing",
        Stage::Comparing => "comparing",
    });
    bar.set_length(progress.total);
    bar.set_position(progress.done);
}

fn print_share(version: &str, share: &Share) {
    if share.networks == 0 {
        println!("{version}: the full files locate nothing");
        return;
    }
    println!(
        "{version}: {:.6} % of the located addresses have another PoP, in {} of {} networks ({:.3} %)",
        share.percent(),
        HumanCount(share.differing_networks),
        HumanCount(share.networks),
        share.percent_of_networks()
    );
}
