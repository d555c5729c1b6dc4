//! Whether a zone that has changed says so by its serial: secondaries, and people, go by that.

use super::{RrSet, Target, View, Zone};
use crate::name::Name;

/// What is wrong with a zone's serial after a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lapse {
    /// The content is another, the serial is not.
    Same,
    /// The serial is an older one.
    Backwards,
}

impl View {
    /// One sentence for each zone that is another than in `old` while its serial is not newer. Whom a steered name sends a
    /// client to is not a zone's content.
    pub fn serial_warnings(&self, old: &Self) -> Vec<String> {
        let both = self.zones.iter().filter_map(|new| Some((new, old.zones.iter().find(|old| old.apex == new.apex)?)));
        let lapses = both.filter_map(|(new, before)| {
            let lapse = lapse(before.serial, new.serial, || contents(self, new) == contents(old, before))?;
            Some(match lapse {
                Lapse::Same => format!(
                    "zone `{}` has changed under the same serial {}: raise it, else secondaries keep the old content",
                    new.apex, new.serial
                ),
                Lapse::Backwards => format!(
                    "the serial of zone `{}` went backwards, from {} to {}: secondaries keep the old content until it is newer",
                    new.apex, before.serial, new.serial
                ),
            })
        });
        lapses.collect()
    }
}

fn lapse(old: u32, new: u32, unchanged: impl FnOnce() -> bool) -> Option<Lapse> {
    if new == old {
        return (!unchanged()).then_some(Lapse::Same);
    }
    // RFC 1982 section 3.2: s1 is less than s2 if "i1 < i2 and i2 - i1 < 2^(SERIAL_BITS - 1)", around the end of the
    // numbers, too; of those half the way around nobody knows.
    (new.wrapping_sub(old) >= 1 << 31).then_some(Lapse::Backwards)
}

/// A name, whether it is steered, and its sets in an order of their own.
type Content<'v> = (&'v Name, bool, Vec<(u16, u32, Vec<&'v [u8]>)>);

fn contents<'v>(view: &'v View, zone: &Zone) -> Vec<Content<'v>> {
    let set = |set: &'v RrSet| {
        let mut rdata: Vec<&[u8]> = set.rdata().collect();
        rdata.sort_unstable();
        (set.rtype, set.ttl, rdata)
    };
    let is_this = |index: usize| view.zones[index].apex == zone.apex;
    let content = view.names.iter().filter_map(|(name, node)| {
        if is_this(node.zone) {
            let mut sets: Vec<_> = node.sets.iter().map(set).collect();
            sets.sort_unstable();
            return Some((name, matches!(node.target, Target::Steered(_)), sets));
        }
        // The DS set of a zone within this one.
        let parental = node.parental().filter(|_| view.zones[node.zone].parent.is_some_and(is_this))?;
        Some((name, false, vec![set(parental)]))
    });
    let mut contents: Vec<Content<'v>> = content.collect();
    contents.sort_unstable_by_key(|(name, ..)| name.wire());
    contents
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn serials() {
        let rows = [
            ("unchanged", 5, 5, true, None),
            ("changed", 5, 5, false, Some(Lapse::Same)),
            ("raised", 5, 6, false, None),
            ("lowered", 6, 5, false, Some(Lapse::Backwards)),
            ("lowered, and unchanged", 6, 5, true, Some(Lapse::Backwards)),
            // RFC 1982 section 5.2: "[..] 100 > 44, 200 > 100, but 200 is not > 44" of serials of eight bits.
            ("around the end", u32::MAX, 3, false, None),
            ("back around the end", 3, u32::MAX, false, Some(Lapse::Backwards)),
            ("almost half the way", 0, (1 << 31) - 1, false, None),
            ("half the way", 0, 1 << 31, false, Some(Lapse::Backwards)),
        ];
        for (name, old, new, unchanged, wanted) in rows {
            assert_eq!(lapse(old, new, || unchanged), wanted, "{name}");
        }
    }

    #[test]
    fn what_is_a_change() {
        let record = "\n[[zone.record]]\ntype = \"MX\"\ndata = [\"10 a\", \"20 b\"]\n[[site]]";
        let base = fixture::CONFIG.replacen("[[site]]", record, 1);
        let rows = [
            ("nothing", base.clone(), false),
            ("the order of data", base.replace("\"10 a\", \"20 b\"", "\"20 b\", \"10 a\""), false),
            ("what a site does", base.replace("http://origin", "http://other"), false),
            ("where a PoP is", base.replace("[50.03, 8.57]", "[51.03, 8.57]"), false),
            ("a record", base.replace("10 a", "11 a"), true),
            ("a TTL", base.replace("type = \"MX\"", "type = \"MX\"\nttl = 1"), true),
            ("a PoP's address", base.replace("192.0.2.10", "192.0.2.11"), true),
            ("a site's name", base.replace("www.cdn", "web.cdn"), true),
            ("negative answers", base.replace("negative-ttl = 20", "negative-ttl = 21"), true),
        ];
        let old = fixture::view_of(&base, "sin");
        for (name, text, told) in rows {
            let warnings = fixture::view_of(&text, "sin").serial_warnings(&old);
            assert_eq!(warnings.len(), usize::from(told), "{name}: {warnings:?}");
            let raised = fixture::view_of(&text.replace("2026112201", "2026112202"), "sin");
            assert_eq!(raised.serial_warnings(&old), Vec::<String>::new(), "{name}");
        }
        let zones = "[[zone]]\nname = \"b.cdn.example.net\"\nnameservers = [\"ns.elsewhere.example\"]\n[[site]]";
        let ds = "\n[[zone.record]]\nname = \"b\"\ntype = \"DS\"\ndata = \"1 13 2 00\"\n[[zone]]\nname = \"b.cdn";
        let within = fixture::CONFIG.replacen("[[site]]", zones, 1).replace("[[zone]]\nname = \"b.cdn", ds);
        let view = fixture::view_of(&within, "sin");
        assert_eq!(view.serial_warnings(&view), Vec::<String>::new());
        let another = fixture::view_of(&within.replace("1 13 2 00", "1 13 2 01"), "sin").serial_warnings(&view);
        assert_eq!(another.len(), 1, "the DS set is the parent's: {another:?}");
        assert!(another[0].contains("zone `cdn.example.net` has changed"), "{another:?}");
        let lowered = fixture::view_of(&base.replace("2026112201", "1"), "sin").serial_warnings(&old);
        assert!(lowered[0].contains("`cdn.example.net` went backwards, from 2026112201 to 1"), "{lowered:?}");
        let other = fixture::view_of(&base.replace("cdn.example.net", "cdn.example.org"), "sin");
        assert_eq!(other.serial_warnings(&old), Vec::<String>::new(), "a new zone");
    }
}
