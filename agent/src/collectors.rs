//! Which collectors are on.

use scope_crds::Collector;

/// A set of collectors: it decides what is read of the node, what is told, and which templates there
/// are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collectors {
    /// By [`Collector::ALL`].
    on: [bool; Collector::ALL.len()],
}

impl Collectors {
    /// Every one that this version knows.
    pub const ALL: Collectors = Collectors {
        on: [true; Collector::ALL.len()],
    };

    /// Whether this one is on.
    pub fn has(self, collector: Collector) -> bool {
        self.on[collector as usize]
    }

    /// Whether one of these is on.
    pub fn has_any(self, collectors: &[Collector]) -> bool {
        collectors.iter().any(|&collector| self.has(collector))
    }

    /// Those that are on, in their order.
    pub fn iter(self) -> impl Iterator<Item = Collector> {
        Collector::ALL
            .into_iter()
            .filter(move |&collector| self.has(collector))
    }
}

impl Default for Collectors {
    /// What a ScopePlugin has that names none.
    fn default() -> Self {
        [Collector::Resources].into_iter().collect()
    }
}

impl FromIterator<Collector> for Collectors {
    fn from_iter<T: IntoIterator<Item = Collector>>(collectors: T) -> Self {
        let mut all = Collectors {
            on: [false; Collector::ALL.len()],
        };
        for collector in collectors {
            all.on[collector as usize] = true;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in() {
        for (n, collector) in Collector::ALL.into_iter().enumerate() {
            assert_eq!(collector as usize, n);
            let one = Collectors::from_iter([collector]);
            assert_eq!(one.iter().collect::<Vec<_>>(), [collector]);
            assert!(one.has_any(&Collector::ALL) && !one.has_any(&[]));
        }
        assert_eq!(Collectors::from_iter(Collector::ALL), Collectors::ALL);
        assert_eq!(
            Collectors::default().iter().collect::<Vec<_>>(),
            [Collector::Resources]
        );
    }
}
