//! `[dns.dnssec]`.

use std::time::Duration;

use super::super::Dnssec;
use super::super::file;
use super::{Compiler, days, span_of};

/// Of longer ones nobody can tell whether they have begun or ended (RFC 4034 section 3.1.5: 32 bits in serial arithmetic).
const VALIDITY_MAX: Duration = Duration::from_secs(365 * 86_400);
const VALIDITY_MIN: Duration = Duration::from_secs(3600);

impl Compiler<'_> {
    pub(super) fn dnssec(&mut self, d: &file::Dnssec) -> Dnssec {
        let hour = Duration::from_secs(3600);
        let made = Dnssec {
            keys: or_default!(self, path, "dns.dnssec.keys", d.keys, self.base.join("keys")),
            dnskey_ttl: self.number("dns.dnssec.dnskey-ttl", &d.dnskey_ttl, 1..=604_800, 3600),
            validity: or_default!(self, duration, "dns.dnssec.validity", d.validity, days(7)),
            jitter: or_default!(self, duration, "dns.dnssec.jitter", d.jitter, 12 * hour),
            refresh: or_default!(self, duration, "dns.dnssec.refresh", d.refresh, days(2)),
            backdate: or_default!(self, duration, "dns.dnssec.backdate", d.backdate, hour),
            propagation: or_default!(self, duration, "dns.dnssec.propagation", d.propagation, hour),
            signatures_per_second: self.number(
                "dns.dnssec.signatures-per-second",
                &d.signatures_per_second,
                1..=1_000_000,
                2000,
            ),
            signatures_kept: self.number("dns.dnssec.signatures-kept", &d.signatures_kept, 1000..=100_000_000, 250_000)
                as usize,
            signatures_passing: self.number(
                "dns.dnssec.signatures-passing",
                &d.signatures_passing,
                1000..=100_000_000,
                20_000,
            ) as usize,
        };
        if !(VALIDITY_MIN..=VALIDITY_MAX).contains(&made.validity) {
            self.gather.at(span_of(&d.validity), "dns.dnssec.validity", "must be from 1h to 365d");
        } else if made.refresh + made.jitter >= made.validity {
            let at = span_of(&d.refresh).or(span_of(&d.jitter)).or(span_of(&d.validity));
            let message =
                "refresh and jitter together must be less than validity: signatures are renewed before they end";
            self.gather.at(at, "dns.dnssec.refresh", message);
        }
        if made.refresh.is_zero() {
            self.gather.at(span_of(&d.refresh), "dns.dnssec.refresh", "must be more than zero");
        }
        for (key, given, value) in [
            ("dns.dnssec.backdate", &d.backdate, made.backdate),
            ("dns.dnssec.propagation", &d.propagation, made.propagation),
        ] {
            if value > days(7) {
                self.gather.at(span_of(given), key, "must be at most 7d");
            }
        }
        made
    }
}
