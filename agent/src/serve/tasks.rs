//! The background tasks of a serving agent. None of them ends by itself, unless something is wrong.

use tokio::task::JoinSet;

/// The background tasks, by what they do.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    set: JoinSet<&'static str>,
}

impl Tasks {
    /// Starts one.
    pub(super) fn spawn(
        &mut self,
        what: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.set.spawn(async move {
            task.await;
            what
        });
    }

    /// The task that ended although nobody asked it to.
    pub(super) async fn first_ended(&mut self) -> &'static str {
        match self.set.join_next().await {
            Some(Ok(what)) => what,
            Some(Err(e)) => {
                tracing::error!(error = %e, "a task failed");
                "a background task"
            }
            None => std::future::pending().await,
        }
    }

    /// When the last has ended.
    pub(super) async fn all_ended(&mut self) {
        while self.set.join_next().await.is_some() {}
    }
}
