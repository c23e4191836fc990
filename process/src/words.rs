//! Words that many objects have in common, such as the names of nodes and namespaces, kept once.

use std::{collections::HashSet, sync::Arc};

/// The words in use. Those that nobody uses any more go when there are twice as many as were in use the last time,
/// so it never holds many more than there are, and a new word costs little however many there are.
#[derive(Debug, Default)]
pub struct Words {
    known: HashSet<Arc<str>>,
    clear_at: usize,
}

/// Fewer are not worth a look.
const FEW: usize = 256;

impl Words {
    /// The one copy of this word.
    pub fn shared(&mut self, word: &str) -> Arc<str> {
        if let Some(known) = self.known.get(word) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.clear_at.max(FEW) {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.clear_at = 2 * self.known.len();
        }
        let word = Arc::<str>::from(word);
        self.known.insert(Arc::clone(&word));
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_kept_once() {
        let mut words = Words::default();
        let (one, two) = (words.shared("node-1"), words.shared("node-1"));
        assert!(Arc::ptr_eq(&one, &two));
        assert_eq!(&*words.shared("node-2"), "node-2");
    }

    #[test]
    fn what_nobody_uses_goes() {
        let mut words = Words::default();
        let used = words.shared("used");
        for n in 0..10 * FEW {
            words.shared(&n.to_string());
            assert!(words.known.len() <= FEW, "{}", words.known.len());
        }
        assert!(Arc::ptr_eq(&used, &words.shared("used")));
        let many: Vec<_> = (0..4 * FEW).map(|n| words.shared(&n.to_string())).collect();
        assert_eq!(words.known.len(), many.len() + 1);
    }
}
