//! What is demanded, beside what was seen.

use std::fmt::Display;

/// Prints each and remembers whether all were met.
#[derive(Debug, Default)]
pub(crate) struct Demands {
    missed: usize,
}

impl Demands {
    /// `seen` must be no more than `most`.
    pub(crate) fn at_most<T: PartialOrd + Display>(&mut self, what: &str, seen: T, most: T) {
        let met = seen <= most;
        self.note(what, met, &format!("{seen:.1} (at most {most:.1})"));
    }

    /// `seen` must be just `wanted`.
    pub(crate) fn exactly<T: PartialEq + Display>(&mut self, what: &str, seen: T, wanted: T) {
        let met = seen == wanted;
        self.note(what, met, &format!("{seen} (demanded: {wanted})"));
    }

    /// Not demanded, but good to know.
    pub(crate) fn tell(&self, what: &str, seen: impl Display) {
        println!("        {what}: {seen}");
    }

    fn note(&mut self, what: &str, met: bool, text: &str) {
        self.missed += usize::from(!met);
        println!("  {:<5} {what}: {text}", if met { "ok" } else { "MISS" });
    }

    /// Whether none was missed.
    pub(crate) fn all_met(&self) -> bool {
        self.missed == 0
    }
}
