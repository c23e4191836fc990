//! Keeping an object of the cluster as it should be, as long as this replica leads: somebody may take it away, and a
//! replica that led before may write late.

use std::{future::Future, time::Duration};

use futures::{Stream, StreamExt};
use tokio::sync::watch;

use super::{Reach, WriteError, Writes};

/// What was done is looked at again so often, besides each change of it.
const LOOK: Duration = Duration::from_secs(60);

/// An object that says where the active replica is.
pub(super) trait Kept {
    /// As the API server tells it.
    type Object;

    /// What failed is tried again so soon.
    const AGAIN: Duration;

    /// Whether it can be there, given how the service is reached.
    fn can_be(&self, reach: Option<&Reach>) -> bool;

    /// Whether this object says what it should.
    fn is_right(&self, found: &Self::Object, reach: Option<&Reach>) -> bool;

    /// Writes it.
    fn write(
        &self,
        reach: Option<Reach>,
        writes: &Writes,
    ) -> impl Future<Output = Result<(), WriteError>> + Send;

    /// Says that it is written.
    fn written(&self);

    /// Says why it is not.
    fn not_written(&self, error: &WriteError);
}

/// Follows the object, of which `seen` tells each change, and the Service as far as it is known. Ends only if the
/// former does.
pub(super) async fn keep<K: Kept>(
    kept: K,
    mut reach: watch::Receiver<Option<Reach>>,
    writes: Writes,
    seen: impl Stream<Item = Option<K::Object>>,
) {
    let mut seen = std::pin::pin!(seen);
    let mut last = None;
    let mut terms = writes.claim().terms();
    let mut term = *terms.borrow_and_update();
    let (mut there, mut told) = (false, false);
    loop {
        let mut again = LOOK;
        // What the other replica wrote may not have been seen yet.
        let before = std::mem::replace(&mut term, *terms.borrow_and_update());
        there &= term == before;
        let can_be = kept.can_be(reach.borrow().as_ref());
        if writes.may() && !there && can_be {
            // What it is written by is no news below.
            let now = reach.borrow_and_update().clone();
            match kept.write(now, &writes).await {
                Ok(()) => {
                    kept.written();
                    (there, told) = (true, false);
                }
                // Another replica does it now.
                Err(WriteError::NotLeading(_)) => {}
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        kept.not_written(&error);
                    }
                    again = K::AGAIN;
                }
            }
        }
        let is_right = |found: Option<&K::Object>, reach: Option<&Reach>| {
            found.is_some_and(|found| kept.is_right(found, reach))
        };
        tokio::select! {
            changed = seen.next() => match changed {
                Some(found) => {
                    last = found;
                    there = is_right(last.as_ref(), reach.borrow().as_ref());
                }
                None => return,
            },
            // Whoever knew the Service ends with the process.
            Ok(()) = reach.changed() => there = is_right(last.as_ref(), reach.borrow().as_ref()),
            changed = terms.changed() => match changed {
                Ok(()) => {
                    term = *terms.borrow();
                    there = false;
                }
                Err(_) => return,
            },
            () = tokio::time::sleep(again) => {}
        }
    }
}
