//! What is ours on a pod's network and has no deadline: the file of deadlines was lost, or cannot be read.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio_util::sync::CancellationToken;

use super::{Containers, Shared};
use crate::traffic::{Board, Root};

impl Containers {
    /// Clears it after each look at the networks of pods, and so after the first one, until told to end. Nobody
    /// knows until when it was to last.
    pub async fn clear_leftovers(self, ending: CancellationToken) {
        let Some(board) = self.0.board.clone() else {
            return ending.cancelled().await;
        };
        let mut looks = board.looks();
        // There may have been one before this was begun.
        looks.mark_changed();
        loop {
            tokio::select! {
                biased;
                () = ending.cancelled() => return,
                // Its sender is the board's, which is held here.
                _ = looks.changed() => {}
            }
            let (shared, board) = (self.0.clone(), board.clone());
            let work = move || shared.clear_left_over(&board);
            if let Err(e) = tokio::task::spawn_blocking(work).await {
                tracing::error!(error = %e, "clearing what has no deadline broke off");
            }
        }
    }
}

impl Shared {
    fn clear_left_over(&self, board: &Arc<Board>) {
        for (pod, network) in board.ours() {
            let shaped = self.shaped();
            // An entry is written before anything is set, and removed after it was cleared.
            let has_deadline = |entry: &super::Shaped| entry.network == network;
            if shaped.get(&pod).is_some_and(has_deadline) {
                continue;
            }
            match self.clear_one(&pod, network) {
                Ok(cleared) => {
                    board.note(&pod, network, Root::Default);
                    if let Some(setting) = cleared {
                        self.leftovers.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(
                            pod = &*pod,
                            %setting,
                            "cleared what an earlier agent had set on the traffic of this pod: it has no \
                             deadline, so its file was lost or could not be read"
                        );
                    }
                }
                Err(error) => tracing::error!(
                    pod = &*pod,
                    error,
                    "cannot clear what an earlier agent had set on the traffic of this pod; tried again \
                     at the next look"
                ),
            }
        }
    }
}
