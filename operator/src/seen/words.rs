//! Words that a hundred thousand pods have in common, kept once.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

/// The words in use. Words that nobody uses any more go when there are twice as many as were in use the last time,
/// so it never holds many more than there are.
#[derive(Default)]
struct Words {
    known: HashSet<Arc<str>>,
    clear_at: usize,
}

/// Fewer are not worth a look.
const FEW: usize = 256;

impl Words {
    fn shared(&mut self, word: &str) -> Arc<str> {
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

/// The one copy of this word: a node's or a plugin's name, a revision, the UID of a DaemonSet.
pub(super) fn shared(word: &str) -> Arc<str> {
    static WORDS: Mutex<Option<Words>> = Mutex::new(None);
    // A panic elsewhere leaves a set of words as good as it was.
    let mut words = WORDS.lock().unwrap_or_else(PoisonError::into_inner);
    words.get_or_insert_default().shared(word)
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
