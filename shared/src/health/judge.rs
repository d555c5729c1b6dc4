//! From what is known of a PoP's targets, its node and its operator to whether DNS hands it out: pure.

use super::forced::Forced;
use super::table::Reason;
use super::verdict::Verdict;
use crate::config::Share;

/// What is known of one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetFacts {
    /// What its probes amount to.
    pub verdict: Verdict,
    /// Its node said last that it is overloaded.
    pub overloaded: bool,
}

/// What is known of one PoP.
#[derive(Debug, Clone, Copy)]
pub struct PopFacts<'t> {
    /// The operator's word.
    pub forced: Option<Forced>,
    /// It is this node's, and this node is on its way out.
    pub leaving: bool,
    /// Not all targets of the fleet were probed once yet.
    pub first_round: bool,
    /// One for each of its addresses, or one for all.
    pub targets: &'t [TargetFacts],
}

/// Whether a PoP is up, overload aside, and what decided it.
pub fn judge(facts: &PopFacts<'_>, addresses_min: Option<Share>) -> (bool, Reason) {
    match facts.forced {
        _ if facts.leaving => (false, Reason::Leaving),
        Some(Forced::Up) => (true, Reason::Forced),
        Some(Forced::Drain | Forced::Down) => (false, Reason::Forced),
        None if facts.targets.is_empty() => (true, Reason::NeverProbed),
        None if facts.first_round => (true, Reason::FirstRound),
        None => {
            let up = facts.targets.iter().filter(|target| target.verdict != Verdict::Down).count();
            let needed = addresses_min.map_or(1, |share| share.ceil(facts.targets.len()).max(1));
            (up >= needed, Reason::Probes)
        }
    }
}

/// Whether a PoP is asked for by more than it can take: so say all of its nodes that are up.
pub fn is_overloaded(targets: &[TargetFacts]) -> bool {
    let mut up = targets.iter().filter(|target| target.verdict != Verdict::Down).peekable();
    up.peek().is_some() && up.all(|target| target.overloaded)
}

/// Which of the PoPs that are overloaded are out for it, given what else decides. Each that is out makes the others'
/// load larger: no more of them than `share` of those that are up, rounded down, the first in the config's order. All nodes
/// choose alike, without a word between them.
pub fn shed(judged: &[(bool, Reason)], overloaded: &[bool], share: Share) -> Vec<bool> {
    let mut left = share.floor(judged.iter().filter(|pop| pop.0).count());
    let one = |(judged, overloaded): (&(bool, Reason), &bool)| {
        // Who is held up by an operator, or not known in full, stays.
        let out = *overloaded && *judged == (true, Reason::Probes) && left > 0;
        left -= usize::from(out);
        out
    };
    judged.iter().zip(overloaded).map(one).collect()
}

/// Which addresses of a PoP may be handed out while it is. Of one that is up against the word of all of them, each may.
pub fn addresses(count: usize, up: bool, facts: &PopFacts<'_>) -> Vec<bool> {
    let target = |position| if facts.targets.len() == 1 { facts.targets.first() } else { facts.targets.get(position) };
    let well = |position| {
        facts.first_round || target(position).is_none_or(|target: &TargetFacts| target.verdict != Verdict::Down)
    };
    let well: Vec<bool> = (0..count).map(well).collect();
    if up && !well.contains(&true) { vec![true; count] } else { well }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::units;
    use proptest::prelude::*;

    /// `u` is up, `d` down, `?` unknown, `o` up and overloaded.
    fn targets(text: &str) -> Vec<TargetFacts> {
        let one = |letter| {
            let verdict = match letter {
                'd' => Verdict::Down,
                '?' => Verdict::Unknown,
                _ => Verdict::Up,
            };
            TargetFacts { verdict, overloaded: letter == 'o' }
        };
        text.chars().map(one).collect()
    }

    fn facts(targets: &[TargetFacts]) -> PopFacts<'_> {
        PopFacts { forced: None, leaving: false, first_round: false, targets }
    }

    fn share(text: &str) -> Share {
        units::share(text).unwrap()
    }

    #[test]
    fn verdicts() {
        use Forced::{Down, Drain, Up};
        let rows = [
            ("one address is enough", None, None, "dud", (true, Reason::Probes)),
            ("none is not", None, None, "ddd", (false, Reason::Probes)),
            ("unknown is not down", None, None, "d?d", (true, Reason::Probes)),
            ("half", None, Some("50%"), "uudd", (true, Reason::Probes)),
            ("less than half", None, Some("50%"), "uddd", (false, Reason::Probes)),
            ("half of three is two", None, Some("50%"), "udd", (false, Reason::Probes)),
            ("all", None, Some("100%"), "uud", (false, Reason::Probes)),
            ("a small share is one", None, Some("1%"), "dd", (false, Reason::Probes)),
            ("not probed", None, Some("100%"), "", (true, Reason::NeverProbed)),
            ("held up", Some(Up), None, "ddd", (true, Reason::Forced)),
            ("held down", Some(Down), None, "uuu", (false, Reason::Forced)),
            ("drained", Some(Drain), None, "", (false, Reason::Forced)),
        ];
        for (name, forced, least, letters, wanted) in rows {
            let targets = targets(letters);
            let facts = PopFacts { forced, ..facts(&targets) };
            assert_eq!(judge(&facts, least.map(share)), wanted, "{name}");
            let leaving = PopFacts { leaving: true, ..facts };
            assert_eq!(judge(&leaving, None), (false, Reason::Leaving), "{name}");
        }
        let targets = targets("ddd");
        let first = PopFacts { first_round: true, ..facts(&targets) };
        assert_eq!(judge(&first, None), (true, Reason::FirstRound));
    }

    #[test]
    fn overload() {
        let rows = [("", false), ("u", false), ("o", true), ("ou", false), ("od", true), ("d", false), ("o?", false)];
        for (letters, wanted) in rows {
            assert_eq!(is_overloaded(&targets(letters)), wanted, "{letters}");
        }
    }

    #[test]
    fn who_is_out_for_overload() {
        // `u` is up by probes, `d` down by them, `f` held up by an operator; in capitals: overloaded.
        let rows = [
            ("nobody of three at a quarter", "UUu", "25%", "..."),
            ("one of four at a quarter, the first", "uUUu", "25%", ".x.."),
            ("one of three at a third", "UUU", "34%", "x.."),
            ("of those that are up, not of all", "Uddd", "25%", "...."),
            ("none that is held up", "FUuu", "25%", ".x.."),
            ("none at zero", "UUUUUUUU", "0%", "........"),
            ("half at most", "UUUU", "50%", "xx.."),
        ];
        for (name, letters, percent, wanted) in rows {
            let judged: Vec<_> = letters
                .chars()
                .map(|letter| match letter.to_ascii_lowercase() {
                    'f' => (true, Reason::Forced),
                    letter => (letter == 'u', Reason::Probes),
                })
                .collect();
            let overloaded: Vec<bool> = letters.chars().map(|letter| letter.is_ascii_uppercase()).collect();
            let out = shed(&judged, &overloaded, share(percent));
            let out: String = out.iter().map(|out| if *out { 'x' } else { '.' }).collect();
            assert_eq!(out, wanted, "{name}");
        }
    }

    #[test]
    fn who_answers_for_a_pop() {
        let rows = [
            ("those that are up", "udu", true, "x.x"),
            ("one probe speaks for all", "u", true, "xxx"),
            ("and against all", "d", false, "..."),
            ("none of one that is down", "ddd", false, "..."),
            ("all of one that is up nonetheless", "ddd", true, "xxx"),
            ("all of one that is not probed", "", true, "xxx"),
        ];
        for (name, letters, up, wanted) in rows {
            let targets = targets(letters);
            let out = addresses(3, up, &facts(&targets));
            let out: String = out.iter().map(|out| if *out { 'x' } else { '.' }).collect();
            assert_eq!(out, wanted, "{name}");
        }
    }

    proptest! {
        #[test]
        fn never_more_than_the_share_is_out(
            pops in proptest::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 0..40),
            percent in 0_u8..=50,
        ) {
            let reason = |forced| if forced { Reason::Forced } else { Reason::Probes };
            let judged: Vec<_> = pops.iter().map(|(up, _, forced)| (*up, reason(*forced))).collect();
            let overloaded: Vec<bool> = pops.iter().map(|pop| pop.1).collect();
            let share = share(&format!("{percent}%"));
            let out = shed(&judged, &overloaded, share);
            let up = judged.iter().filter(|pop| pop.0).count();
            let gone = out.iter().filter(|out| **out).count();
            prop_assert!(gone * 100 <= up * usize::from(percent));
            prop_assert!(up == 0 || gone < up, "somebody is left");
            for (index, out) in out.iter().enumerate() {
                prop_assert!(!out || (overloaded[index] && judged[index].0));
            }
        }
    }
}
