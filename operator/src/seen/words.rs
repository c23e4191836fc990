//! Words that a hundred thousand pods have in common, kept once.

use std::sync::{Arc, Mutex, PoisonError};

use scope_process::words::Words;

/// The one copy of this word: a node's or a plugin's name, a revision, the UID of a DaemonSet. For the whole process,
/// since a pod is decoded where nothing else is at hand.
pub(super) fn shared(word: &str) -> Arc<str> {
    static WORDS: Mutex<Option<Words>> = Mutex::new(None);
    // A panic elsewhere leaves a set of words as good as it was.
    let mut words = WORDS.lock().unwrap_or_else(PoisonError::into_inner);
    words.get_or_insert_default().shared(word)
}
