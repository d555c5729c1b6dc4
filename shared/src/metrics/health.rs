//! Health as it is at the moment of the scrape.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::health::verdict::Verdict;
use crate::health::{HealthBoard, PopStatus, TargetStatus};

/// Shows what the board knows.
#[derive(Debug)]
pub struct HealthCollector {
    /// The board to read.
    pub board: Arc<HealthBoard>,
}

impl Collector for HealthCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let says = self.board.says();
        let told = [([("says", says.token())], i64::from(says.is_up()))];
        gauges(
            &mut encoder,
            "health_says_up",
            "Whether this node tells its probers that it is up, and what it says",
            told,
        )?;

        let pops = self.board.status();
        let each =
            |value: fn(&PopStatus) -> i64| pops.iter().map(move |pop| ([("pop", pop.name.as_str())], value(pop)));
        gauges(&mut encoder, "pop_up", "Whether DNS may hand out the PoP", each(|pop| pop.up.into()))?;
        let help = "Whether the PoP's state is about to change or just did";
        gauges(&mut encoder, "pop_unsettled", help, each(|pop| pop.unsettled.into()))?;
        let help = "Sites whose origin the PoP does not reach";
        let unreached = |pop: &PopStatus| i64::try_from(pop.origins_unreached.len()).unwrap_or(i64::MAX);
        gauges(&mut encoder, "pop_origins_unreached", help, each(unreached))?;
        let help = "What decided whether the PoP is up: 1 for that reason";
        let reasons = pops.iter().map(|pop| ([("pop", pop.name.as_str()), ("reason", pop.reason.token())], 1));
        gauges(&mut encoder, "pop_reason", help, reasons)?;
        let help = "State that an operator holds the PoP in";
        let forced =
            pops.iter().filter_map(|pop| Some(([("pop", pop.name.as_str()), ("state", pop.forced?.token())], 1)));
        gauges(&mut encoder, "pop_forced", help, forced)?;

        let addresses: Vec<(&str, String, bool)> = pops
            .iter()
            .flat_map(|pop| pop.addresses.iter().map(|at| (pop.name.as_str(), at.address.to_string(), at.up)))
            .collect();
        let addresses =
            addresses.iter().map(|(pop, address, up)| ([("pop", *pop), ("address", address.as_str())], i64::from(*up)));
        gauges(&mut encoder, "pop_address_up", "Whether the address answers for its PoP while that is up", addresses)?;

        let targets = || pops.iter().flat_map(|pop| pop.targets.iter().map(|target| (pop.name.as_str(), target)));
        let labels = |pop, target: &TargetStatus| [("pop", pop), ("target", target.url.clone())];
        let labeled = |pop: &str, target: &TargetStatus| labels(pop.to_owned(), target);
        let verdicts =
            targets().map(|(pop, target)| (labeled(pop, target), i64::from(target.verdict != Verdict::Down)));
        gauges(&mut encoder, "probe_up", "Whether what is probed counts as up", verdicts)?;

        let help = "How long the last probe took";
        let mut family = encoder.encode_descriptor("probe_duration", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for (pop, target) in targets() {
            let Some(seconds) = target.last_seconds else { continue };
            ConstGauge::new(seconds).encode(family.encode_family(&labeled(pop, target))?)?;
        }
        let help = "Changes of what the probes amount to";
        let mut family = encoder.encode_descriptor("probe_changes", help, None, MetricType::Counter)?;
        for (pop, target) in targets() {
            ConstCounter::new(target.changes).encode(family.encode_family(&labeled(pop, target))?)?;
        }
        let mut family =
            encoder.encode_descriptor("pop_changes", "Times the PoP went up or down", None, MetricType::Counter)?;
        for pop in &pops {
            ConstCounter::new(pop.changes).encode(family.encode_family(&[("pop", pop.name.as_str())])?)?;
        }
        Ok(())
    }
}

fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (L, i64)>,
) -> Result<(), std::fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock, Timestamp};
    use crate::config::{Config, Inputs};
    use crate::health::{Forced, Report};
    use crate::metrics::Metrics;

    #[test]
    fn all_of_it() {
        let pop = "[[pop]]\nname = \"fra\"\naddresses = [\"192.0.2.1\"]\nprobe = { path = \"/up?key=hunter2\" }\n";
        let config = Config::parse(pop, Path::new("test.toml"), &Inputs::default()).unwrap();
        let board = HealthBoard::new(&config, None, &Clock::manual(Timestamp(0))).unwrap();
        for (id, _) in board.targets() {
            board.report(id, Report::plain(Ok(()), Duration::from_millis(250)));
        }
        board.force("fra", Some(Forced::Drain.into())).unwrap();
        let metrics = Metrics::new();
        metrics.register(|registry| registry.register_collector(Box::new(HealthCollector { board })));
        let text = metrics.render();
        let target = "pop=\"fra\",target=\"http://192.0.2.1:8080/up\"";
        for line in [
            "nearcast_health_says_up{says=\"drained\"} 0".to_owned(),
            "nearcast_pop_up{pop=\"fra\"} 0".to_owned(),
            "nearcast_pop_unsettled{pop=\"fra\"} 1".to_owned(),
            "nearcast_pop_origins_unreached{pop=\"fra\"} 0".to_owned(),
            "nearcast_pop_reason{pop=\"fra\",reason=\"forced\"} 1".to_owned(),
            "nearcast_pop_forced{pop=\"fra\",state=\"drain\"} 1".to_owned(),
            "nearcast_pop_changes_total{pop=\"fra\"} 1".to_owned(),
            "nearcast_pop_address_up{pop=\"fra\",address=\"192.0.2.1\"} 1".to_owned(),
            format!("nearcast_probe_up{{{target}}} 1"),
            format!("nearcast_probe_duration_seconds{{{target}}} 0.25"),
            format!("nearcast_probe_changes_total{{{target}}} 1"),
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\nin\n{text}");
        }
        assert!(!text.contains("hunter2"));
    }
}
