//! `nearcast dnssec`: the keys of signed zones, and what is to be done about them at the parent.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use nearcast_dns::dnssec::rollover::{Step, Waits, step};
use nearcast_dns::dnssec::{Algorithm, Key, read, write};
use nearcast_shared::clock::{Clock, Timestamp};
use nearcast_shared::config::{Config, Inputs, Zone};

use super::run::{BAD_CONFIG, ConfigArgs};
use super::table::table;
use crate::texts::TTL_MAX as TEXT_TTL_MAX;

mod rollover;

/// Make, show and roll over the keys of signed zones.
///
/// Keys are files in the folder that dns.dnssec.keys of the config names, in the format of BIND's dnssec-keygen. All nodes have the
/// same files: make them on one machine, copy the folder to every node (readable by the user that runs nearcast and nobody
/// else), and reload there. Nothing is asked of any node. Exit code 2: the config or the keys cannot be used.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    nearcast dnssec keygen cdn.example.net\n  \
    nearcast dnssec ds cdn.example.net\n  \
    nearcast dnssec list\n  \
    nearcast dnssec rollover cdn.example.net")]
pub(super) struct DnssecArgs {
    #[command(subcommand)]
    order: Order,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Make the first key of a zone.
    Keygen {
        /// The zone, one of the config's.
        zone: String,
        /// What it signs with.
        #[arg(long, value_name = "ALGORITHM", default_value = "ecdsa-p256")]
        algorithm: AlgorithmName,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Print the DS record that the parent zone is to have, and what to do with it.
    ///
    /// The record alone is on standard output, the guidance on standard error.
    Ds {
        /// The zone, one of the config's.
        zone: String,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Show the keys of signed zones, what they do and what comes next.
    List {
        /// Only this zone.
        zone: Option<String>,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Begin to replace the key of a zone, or say how far that is and do the next step if it is due.
    ///
    /// A rollover takes two visits to the parent at most and stays valid for every validator at all times: the new key is published and
    /// signs the DNSKEY set beside the old one; when all caches know it, its DS record takes the old one's place at the parent; when no
    /// cache has the old DS record, the new key signs; when no cache has the old signatures, the old key goes. Run it again
    /// whenever it says so: it never goes further than is safe.
    Rollover {
        /// The zone, one of the config's.
        zone: String,
        /// All name servers of the parent have the new DS record, and not the old one any more.
        #[arg(long)]
        parent_has_new_ds: bool,
        /// The TTL of the DS record at the parent, in seconds.
        #[arg(long, value_name = "SECONDS", default_value = "86400", requires = "parent_has_new_ds",
              value_parser = clap::value_parser!(u32).range(1..=604_800))]
        ds_ttl: u32,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AlgorithmName {
    /// Every validator knows it.
    EcdsaP256,
    /// Nearly every one does.
    Ed25519,
}

impl From<AlgorithmName> for Algorithm {
    fn from(name: AlgorithmName) -> Self {
        match name {
            AlgorithmName::EcdsaP256 => Self::EcdsaP256,
            AlgorithmName::Ed25519 => Self::Ed25519,
        }
    }
}

pub(super) fn run(args: DnssecArgs) -> anyhow::Result<ExitCode> {
    // Key files have whole seconds.
    let now = Timestamp::from_seconds(Clock::System.now().seconds());
    let done = match &args.order {
        Order::Keygen { zone, algorithm, config } => {
            Ground::new(config).and_then(|ground| keygen(&ground, zone, (*algorithm).into(), now)).map(print)
        }
        Order::Ds { zone, config } => {
            Ground::new(config).and_then(|ground| ds(&ground, zone, now)).map(|(records, told)| {
                eprint!("{told}");
                print(records);
            })
        }
        Order::List { zone, config } => {
            Ground::new(config).and_then(|ground| list(&ground, zone.as_deref(), now)).map(print)
        }
        Order::Rollover { zone, parent_has_new_ds, ds_ttl, config } => {
            let confirmed = parent_has_new_ds.then(|| Duration::from_secs(u64::from(*ds_ttl)));
            Ground::new(config).and_then(|ground| rollover::rollover(&ground, zone, confirmed, now)).map(print)
        }
    };
    Ok(done.map_or_else(
        |error| {
            eprintln!("nearcast: {error:#}");
            ExitCode::from(BAD_CONFIG)
        },
        |()| ExitCode::SUCCESS,
    ))
}

fn print(text: String) {
    print!("{text}");
}

/// The config that says where keys are and how long is to be waited.
struct Ground {
    config: Config,
}

impl Ground {
    fn new(args: &ConfigArgs) -> anyhow::Result<Self> {
        // Which PoP it is matters only where the folder's path has {pop} in it.
        let first = || Config::pop_names(&args.config).into_iter().next();
        let pop = args.pop.clone().or_else(first);
        let config = Config::load(&args.config, &Inputs { pop, offline: true, ..args.inputs() })?;
        Ok(Self { config })
    }

    fn zone(&self, name: &str) -> anyhow::Result<&Zone> {
        let wanted = name.trim_end_matches('.').to_ascii_lowercase();
        let found = self.config.zones.iter().find(|zone| zone.name == wanted);
        found.with_context(|| {
            let known: Vec<&str> = self.config.zones.iter().map(|zone| zone.name.as_str()).collect();
            format!("{}: no [[zone]] is named `{wanted}`; there are: {}", self.config.file.display(), known.join(", "))
        })
    }

    fn keys(&self, zone: &Zone) -> anyhow::Result<Vec<Key>> {
        Ok(read(&self.config.dnssec.keys, &zone.apex)?)
    }

    fn waits(&self, zone: &Zone) -> Waits {
        let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
        Waits {
            propagation: self.config.dnssec.propagation,
            dnskey_ttl: seconds(self.config.dnssec.dnskey_ttl),
            // TXT records that come and go are of no file.
            ttl_max: seconds(zone.ttl_max().max(TEXT_TTL_MAX)),
        }
    }
}

/// RFC 3339 in UTC.
fn when(at: Timestamp) -> String {
    humantime::format_rfc3339_seconds(at.to_system_time()).to_string()
}

fn keygen(ground: &Ground, zone: &str, algorithm: Algorithm, now: Timestamp) -> anyhow::Result<String> {
    let zone = ground.zone(zone)?;
    let keys = ground.keys(zone)?;
    if let Some(key) = keys.iter().find(|key| key.times.delete.is_none_or(|delete| now < delete)) {
        anyhow::bail!(
            "zone `{0}` has key {1} already; `nearcast dnssec rollover {0}` replaces it",
            zone.name,
            key.tag()
        );
    }
    let times = ground.waits(zone).first(now);
    let key = Key::generate(&zone.apex, algorithm, times).context("the system has no randomness")?;
    let path = write(&ground.config.dnssec.keys, &key)?;
    let switch = if zone.dnssec {
        String::new()
    } else {
        format!("   (In the config, set dnssec = true in the [[zone]] `{}` first.)\n", zone.name)
    };
    Ok(format!(
        "made key {tag} of {zone}: {path}\n\
         1. Copy {folder} to every node, owned and readable by the user that runs nearcast alone, and say `nearcast reload`.\n\
         {switch}\
         2. Not before {offer} (when no cache has unsigned answers any more), give the parent zone the DS record that\n   \
         `nearcast dnssec ds {zone}` prints. Until then nobody validates the zone.\n",
        tag = key.tag(),
        zone = zone.name,
        path = path.display(),
        folder = ground.config.dnssec.keys.display(),
        offer = times.offer.map(when).unwrap_or_default(),
    ))
}

/// The DS records, and what to do with them.
fn ds(ground: &Ground, zone: &str, now: Timestamp) -> anyhow::Result<(String, String)> {
    let zone = ground.zone(zone)?;
    let keys = ground.keys(zone)?;
    let of = |key: usize| format!("{}\n", keys[key].ds_text());
    let (records, told) = match step(&keys, now) {
        Step::NoKey => anyhow::bail!("zone `{0}` has no key; `nearcast dnssec keygen {0}` makes one", zone.name),
        Step::Idle { key } | Step::Over { new: key, .. } => {
            let early = keys[key].times.offer.filter(|offer| now < *offer);
            let told = match early {
                Some(offer) => format!(
                    "; Not before {}: some caches still have answers from before the zone was signed.\n",
                    when(offer)
                ),
                None => "; The parent zone is to have this DS record and no other.\n".to_owned(),
            };
            (of(key), told)
        }
        Step::Introduced { old, until, .. } => {
            let told = format!(
                "; A rollover goes on: this is the DS record of the old key, which stays at the parent until {}.\n",
                when(until)
            );
            (of(old), told)
        }
        Step::Parent { new, .. } => {
            let told = format!(
                "; A rollover goes on: this DS record is to take the old one's place at the parent now. When all name servers of\n\
                 ; the parent have it, say `nearcast dnssec rollover {} --parent-has-new-ds`.\n",
                zone.name
            );
            (of(new), told)
        }
        Step::Confirmed { new, .. } | Step::Retiring { new, .. } => {
            (of(new), "; The parent zone is to have this DS record and no other.\n".to_owned())
        }
        // Whatever they are for: those that sign the DNSKEY set can be trusted.
        Step::Unclear(_) => {
            let vouching = keys.iter().filter(|key| key.is_entry() && key.times.vouches(now));
            let records: String = vouching.map(|key| format!("{}\n", key.ds_text())).collect();
            (records, "; These keys sign the DNSKEY set; the parent zone may have the DS record of each.\n".to_owned())
        }
    };
    let told = told
        + &match ground.config.zones.iter().filter(|above| above.name != zone.name && above.holds(&zone.name)).max_by_key(|above| above.name.len()) {
            Some(parent) => format!(
                "; The parent zone `{}` is in this config: write the record into its file, or as [[zone.record]] with type = \"DS\".\n",
                parent.name
            ),
            None => "; Give it to the registrar of the domain, or write it into the parent zone. Parents that look for CDS and\n\
                     ; CDNSKEY records (RFC 7344) find it themselves.\n"
                .to_owned(),
        };
    Ok((records, told))
}

fn list(ground: &Ground, zone: Option<&str>, now: Timestamp) -> anyhow::Result<String> {
    let zones: Vec<&Zone> = match zone {
        Some(zone) => vec![ground.zone(zone)?],
        None => ground.config.zones.iter().filter(|zone| zone.dnssec).collect(),
    };
    if zones.is_empty() {
        return Ok("no [[zone]] has dnssec = true\n".to_owned());
    }
    let mut out = String::new();
    for zone in zones {
        let keys = ground.keys(zone)?;
        let unsigned = if zone.dnssec { "" } else { " (dnssec = false: not signed)" };
        out += &format!("{}{unsigned}\n", zone.name);
        out += &table("  ", &keys.iter().map(|key| row(key, now)).collect::<Vec<_>>());
        out += &format!("  {}\n", rollover::at_a_glance(step(&keys, now), &keys, &zone.name));
    }
    Ok(out)
}

/// Tag, algorithm, what it does, what comes next.
fn row(key: &Key, now: Timestamp) -> [String; 4] {
    let times = &key.times;
    let does = [
        ("in the DNSKEY set", times.is_published(now)),
        ("signs it", key.is_entry() && times.vouches(now)),
        ("signs the zone", times.is_active(now)),
        ("offered to the parent", times.is_offered(now)),
    ];
    let does: Vec<&str> = does.into_iter().filter(|(_, is)| *is).map(|(what, _)| what).collect();
    let comes = [
        ("in the DNSKEY set", times.publish),
        ("offered to the parent", times.offer),
        ("signs the zone", times.activate),
        ("offered no more", times.withdraw),
        ("signs no more", times.inactive),
        ("leaves the DNSKEY set", times.delete),
    ];
    let next = comes.into_iter().filter_map(|(what, at)| Some((at?, what))).filter(|(at, _)| now < *at).min();
    [
        format!("key {}", key.tag()),
        key.algorithm().mnemonic().to_owned(),
        if does.is_empty() { "not in use".to_owned() } else { does.join(", ") },
        next.map(|(at, what)| format!("{}: {what}", when(at))).unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests;
