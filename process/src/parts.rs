//! The parts of a process: tasks that end only with it.

use std::{
    future::{self, Future},
    net::SocketAddr,
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::exit::{Code, Failure};

/// Background tasks, each of which the process needs.
#[derive(Debug)]
pub struct Parts {
    /// What they are parts of, as people call it.
    whole: &'static str,
    tasks: JoinSet<&'static str>,
}

impl Parts {
    /// None yet; `whole` is what a panic is said to be in, such as `operator`.
    pub fn of(whole: &'static str) -> Self {
        Self {
            whole,
            tasks: JoinSet::new(),
        }
    }

    /// Begins one. Its name stands at the begin of a sentence: `the HTTP server`.
    pub fn start(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            part.await;
            name
        });
    }

    /// Waits until a part ends, or panics, though nobody told it to. Waits for ever where there is none.
    pub async fn first_end(&mut self) -> Failure {
        let part = match self.tasks.join_next().await {
            Some(Ok(name)) => name.to_owned(),
            Some(Err(error)) => format!("a part of the {} ({error})", self.whole),
            None => future::pending().await,
        };
        Failure::new(Code::Software, format!("{part} ended unexpectedly"))
    }

    /// Waits for all parts; those that take longer than `limit` are cut off. Whether none was.
    pub async fn drain(&mut self, limit: Duration) -> bool {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let in_time = tokio::time::timeout(limit, all).await.is_ok();
        if !in_time {
            self.tasks.abort_all();
        }
        in_time
    }
}

/// A part that has nothing to finish at the end.
pub fn until(
    stop: &CancellationToken,
    part: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = ()> + Send + 'static {
    let stop = stop.clone();
    async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = part => {}
        }
    }
}

/// Opens the port that this flag names.
pub async fn listen(flag: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(
            Code::OsError,
            format!("{flag} {address} cannot be opened: {error}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_is_named() {
        let mut parts = Parts::of("operator");
        parts.start("the endless part", future::pending());
        parts.start("the watch", async {});
        let failure = parts.first_end().await;
        assert_eq!(failure.code(), Code::Software);
        assert_eq!(failure.to_string(), "the watch ended unexpectedly");
    }

    #[tokio::test]
    async fn a_part_that_panics_is_said_to() {
        let mut parts = Parts::of("operator");
        parts.start("the watch", async { panic!("on purpose") });
        let words = parts.first_end().await.to_string();
        assert!(words.starts_with("a part of the operator ("), "{words}");
        assert!(words.contains("on purpose"), "{words}");
    }

    #[tokio::test(start_paused = true)]
    async fn parts_end_in_time_or_are_cut_off() {
        let stop = CancellationToken::new();
        let mut parts = Parts::of("operator");
        parts.start("one", until(&stop, future::pending()));
        stop.cancel();
        assert!(parts.drain(Duration::from_secs(5)).await);
        parts.start("two", future::pending());
        assert!(!parts.drain(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_said_with_its_flag() {
        let taken = listen("--listen", SocketAddr::from(([127, 0, 0, 1], 0))).await;
        let address = taken.as_ref().unwrap().local_addr().unwrap();
        let failure = listen("--http-listen", address).await.unwrap_err();
        assert_eq!(failure.code(), Code::OsError);
        let words = failure.to_string();
        let begin = format!("--http-listen {address} cannot be opened: ");
        assert!(words.starts_with(&begin), "{words}");
    }
}
