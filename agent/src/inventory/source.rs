//! The events of this node's pods: one list and one watch after the other, for ever.

use std::sync::Arc;

use futures::stream::{BoxStream, Stream, StreamExt as _};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};

use super::chance::random;
use super::node_pod::NodePod;
use super::patience::Patience;
use crate::kubernetes::Contact;

/// The API server ends a watch after at most this long; the client must not ask for more than 295 s.
const WATCH_SECONDS: u32 = 240;
/// Added at random, so that nodes that were started together do not watch anew together.
const WATCH_JITTER_SECONDS: u32 = 50;

/// The selection of this node's pods. `page_size` has to be off, or the list would be paged, go out
/// without a resource version and be read from etcd instead of the cache.
fn selection(node: &str) -> watcher::Config {
    let jitter = (random() * f64::from(WATCH_JITTER_SECONDS)) as u32;
    let mut config = watcher::Config::default()
        .fields(&format!("spec.nodeName={node}"))
        .any_semantic()
        .timeout(WATCH_SECONDS + jitter);
    config.page_size = None;
    config
}

struct Source {
    api: Api<NodePod>,
    selection: watcher::Config,
    patience: Patience,
    /// The watcher, which goes on after most failures by itself.
    current: Option<BoxStream<'static, watcher::Result<Event<NodePod>>>>,
    failed: bool,
}

/// The events, and the failures; after each of these the next event is waited for as patience says.
pub(super) fn events(
    client: Client,
    node: &str,
    contact: Arc<Contact>,
) -> impl Stream<Item = watcher::Result<Event<NodePod>>> + Send {
    let source = Source {
        api: Api::all(client),
        selection: selection(node),
        patience: Patience::new(contact),
        current: None,
        failed: false,
    };
    futures::stream::unfold(source, |mut source| async move {
        if std::mem::take(&mut source.failed) {
            let now = tokio::time::Instant::now().into_std();
            tokio::time::sleep(source.patience.after(now, random())).await;
        }
        let current = source
            .current
            .get_or_insert_with(|| watcher(source.api.clone(), source.selection.clone()).boxed());
        let item = current.next().await?;
        if let Err(e) = &item {
            source.failed = true;
            // As an event this makes the watcher list anew. As the answer to the request it does
            // not: the watcher would ask for the version that is gone again and again.
            if is_expired(e) {
                source.current = None;
            }
        }
        Some((item, source))
    })
}

/// Whether the API server answered, whatever it said. A proxy before it that finds none is no answer, and neither is
/// a store that it cannot reach.
pub(super) fn is_answered(error: &watcher::Error) -> bool {
    let error = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error,
        watcher::Error::WatchError(status) => return !is_from_a_proxy(status.code),
        watcher::Error::NoResourceVersion => return true,
    };
    match error {
        kube::Error::Api(status) => !is_from_a_proxy(status.code),
        kube::Error::Service(_) | kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => false,
        _ => true,
    }
}

fn is_from_a_proxy(code: u16) -> bool {
    (502..=504).contains(&code)
}

/// What went wrong, in the API server's own words where it gave any. A status in kube's words is printed
/// with all its fields.
pub(super) fn in_words(error: &watcher::Error) -> String {
    match error {
        watcher::Error::WatchError(status) => status.message.clone(),
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Whether the API server no longer has the version that was asked for, which is in the order of
/// things after a long silence.
pub(super) fn is_expired(error: &watcher::Error) -> bool {
    const GONE: u16 = 410;
    match error {
        watcher::Error::WatchError(status) => status.code == GONE,
        watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code == GONE,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn the_api_server_is_quoted_and_not_dumped() {
        let said = "pods is forbidden";
        let status = || Box::new(Status::failure(said, "Forbidden").with_code(403));
        for error in [
            watcher::Error::WatchError(status()),
            watcher::Error::InitialListFailed(kube::Error::Api(status())),
            watcher::Error::WatchStartFailed(kube::Error::Api(status())),
            watcher::Error::WatchFailed(kube::Error::Api(status())),
        ] {
            assert_eq!(in_words(&error), said);
            assert!(is_answered(&error));
        }
        assert!(!in_words(&watcher::Error::NoResourceVersion).is_empty());
    }

    #[test]
    fn a_proxy_without_a_server_is_no_answer() {
        for (code, answered) in [
            (401, true),
            (429, true),
            (500, true),
            (502, false),
            (503, false),
            (504, false),
        ] {
            let status = Box::new(Status::failure("no", "No").with_code(code));
            let error = watcher::Error::WatchStartFailed(kube::Error::Api(status));
            assert_eq!(is_answered(&error), answered, "{code}");
        }
        let lost = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let lost = kube::Error::Service(Box::new(lost));
        assert!(!is_answered(&watcher::Error::WatchFailed(lost)));
        assert!(is_answered(&watcher::Error::NoResourceVersion));
    }
}
