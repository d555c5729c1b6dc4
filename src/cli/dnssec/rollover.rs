//! `nearcast dnssec rollover`: does what is due, and says what comes next.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use nearcast_dns::dnssec::rollover::{Step, step};
use nearcast_dns::dnssec::{Key, remove, write};
use nearcast_shared::clock::Timestamp;
use nearcast_shared::config::Zone;

use super::{Ground, when};

/// What is left to do after a change of the files.
fn copy(folder: &Path) -> String {
    format!(
        "Now copy {} to every node and say `nearcast reload`; what is planned then happens by itself.\n",
        folder.display()
    )
}

/// `confirmed` is the TTL of the DS record, if the parent has the new one.
pub(super) fn rollover(
    ground: &Ground,
    zone: &str,
    confirmed: Option<Duration>,
    now: Timestamp,
) -> anyhow::Result<String> {
    let zone = ground.zone(zone)?;
    let mut keys = ground.keys(zone)?;
    let at = step(&keys, now);
    let Some(ds_ttl) = confirmed else { return go_on(ground, zone, &mut keys, at, now) };
    let (old, new) = match at {
        Step::Parent { old, new } => (old, new),
        Step::Introduced { until, .. } => anyhow::bail!(
            "not before {}: some caches do not know the new key yet. If the parent has its DS record already, put the old one \
             back beside it until then",
            when(until)
        ),
        Step::Confirmed { .. } | Step::Retiring { .. } | Step::Over { .. } => {
            anyhow::bail!("that was said before: {}", at_a_glance(at, &keys, &zone.name))
        }
        Step::NoKey | Step::Idle { .. } | Step::Unclear(_) => {
            anyhow::bail!("no rollover waits for the parent: {}", at_a_glance(at, &keys, &zone.name))
        }
    };
    let (mut was, mut is) = (keys[old].times, keys[new].times);
    ground.waits(zone).confirm(&mut was, &mut is, now, ds_ttl);
    (keys[old].times, keys[new].times) = (was, is);
    // The new one first: of a crash between the two comes a zone that both keys sign.
    write(&ground.config.dnssec.keys, &keys[new])?;
    write(&ground.config.dnssec.keys, &keys[old])?;
    Ok(format!(
        "{}\n{}Run this again after {} to remove the old key's files.\n",
        at_a_glance(step(&keys, now), &keys, &zone.name),
        copy(&ground.config.dnssec.keys),
        was.delete.map(when).unwrap_or_default()
    ))
}

/// Does what is due without anybody's word.
fn go_on(ground: &Ground, zone: &Zone, keys: &mut Vec<Key>, at: Step, now: Timestamp) -> anyhow::Result<String> {
    let folder = &ground.config.dnssec.keys;
    match at {
        Step::NoKey => anyhow::bail!("zone `{0}` has no key; `nearcast dnssec keygen {0}` makes one", zone.name),
        Step::Unclear(why) => anyhow::bail!("zone `{}`: {why}", zone.name),
        Step::Idle { key: old } => {
            if !keys[old].times.is_active(now) {
                anyhow::bail!("zone `{}`: its only key, {}, does not sign", zone.name, keys[old].tag());
            }
            let mut was = keys[old].times;
            if let Some(end) = was.inactive.into_iter().chain(was.delete).min() {
                anyhow::bail!(
                    "zone `{}`: the end of its only key, {}, is planned for {} already, before any other can take its place; \
                     take that out with `dnssec-settime -I none -D none`",
                    zone.name,
                    keys[old].tag(),
                    when(end)
                );
            }
            let times = ground.waits(zone).start(&mut was, now);
            let new = unlike(keys, &keys[old], times)?;
            keys[old].times = was;
            write(folder, &new)?;
            write(folder, &keys[old])?;
            keys.push(new);
            let glance = at_a_glance(step(keys, now), keys, &zone.name);
            Ok(format!("{glance}\n{}Run this again then.\n", copy(folder)))
        }
        Step::Introduced { .. } | Step::Confirmed { .. } | Step::Retiring { .. } => {
            Ok(format!("{}\n", at_a_glance(at, keys, &zone.name)))
        }
        Step::Parent { new, .. } => Ok(format!(
            "{}\n\n  {}\n\nWhen all name servers of the parent have it, and not the old one any more, say\n  \
             nearcast dnssec rollover {} --parent-has-new-ds --ds-ttl <its TTL there>\n",
            at_a_glance(at, keys, &zone.name),
            keys[new].ds_text(),
            zone.name
        )),
        Step::Over { old, new } => {
            remove(folder, &keys[old])?;
            Ok(format!(
                "key {} is not used any more; its files are removed, which you may do on the nodes, too. Key {} signs `{}`: the \
                 rollover is over.\n",
                keys[old].tag(),
                keys[new].tag(),
                zone.name
            ))
        }
    }
}

/// A new key that nobody takes for one of those.
fn unlike(keys: &[Key], old: &Key, times: nearcast_dns::dnssec::Times) -> anyhow::Result<Key> {
    loop {
        let new = Key::generate(old.zone(), old.algorithm(), times).context("the system has no randomness")?;
        if !keys.iter().any(|key| key.is_alike(&new)) {
            return Ok(new);
        }
    }
}

/// Where it is and what comes next, in one sentence.
pub(super) fn at_a_glance(step: Step, keys: &[Key], zone: &str) -> String {
    let tag = |key: usize| keys[key].tag();
    match step {
        Step::NoKey => format!("no key; `nearcast dnssec keygen {zone}` makes one"),
        Step::Idle { key } => format!("key {} does all; no rollover goes on", tag(key)),
        Step::Introduced { old, new, until } => format!(
            "step 1 of 4: key {} is published beside {}; until {} all caches learn of it, then its DS record may go to the parent",
            tag(new),
            tag(old),
            when(until)
        ),
        Step::Parent { old, new } => format!(
            "step 2 of 4: now give the parent the DS record of key {} in place of that of key {}",
            tag(new),
            tag(old)
        ),
        Step::Confirmed { old, new, until } => format!(
            "step 3 of 4: the old DS record goes from caches; at {} key {} signs in place of {}",
            when(until),
            tag(new),
            tag(old)
        ),
        Step::Retiring { old, new, until } => format!(
            "step 4 of 4: key {} signs, and signatures of key {} go from caches; it leaves the DNSKEY set at {}",
            tag(new),
            tag(old),
            when(until)
        ),
        Step::Over { old, new } => format!(
            "key {} does all; key {} is not used any more: `nearcast dnssec rollover {zone}` removes its files",
            tag(new),
            tag(old)
        ),
        Step::Unclear(why) => why.to_owned(),
    }
}
