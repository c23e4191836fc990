//! The same API server without a connection: with the runtime's clock paused, whatever takes ten
//! minutes is over at once, and nothing depends on how busy the machine is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{Request, Response};
use futures::{FutureExt as _, TryStreamExt as _};
use kube::Client;
use scope_agent::kubernetes::Contact;
use tower::ServiceExt as _;

use super::{Reply, Seen, broken, router};

/// What was asked, and whether anybody answers.
#[derive(Clone, Default)]
pub(crate) struct InProcess {
    seen: Arc<Mutex<Vec<Seen>>>,
    away: Arc<AtomicBool>,
}

impl InProcess {
    /// A server, and a client of it that notes in `contact` what it hears.
    pub(crate) fn start(
        contact: Arc<Contact>,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> (Self, Client) {
        let server = InProcess::default();
        let router = router(server.seen.clone(), script);
        let away = server.away.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (router, contact) = (router.clone(), contact.clone());
            let away = away.load(Ordering::Relaxed);
            async move {
                if away {
                    return Err(broken());
                }
                let answered = router.oneshot(request.map(Body::new));
                let response = answered.map(|infallible| infallible.expect("never fails"));
                let response: Response<Body> = response.await;
                if !response.status().is_success() {
                    return Ok(response);
                }
                contact.heard();
                Ok(response.map(|body| {
                    let heard = move |_: &_| contact.heard();
                    Body::from_stream(body.into_data_stream().inspect_ok(heard))
                }))
            }
        });
        (server, Client::new(service, "default"))
    }

    /// From now on no request is answered, until it comes back. Open watches are not ended by it.
    pub(crate) fn go_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("unpoisoned").clone()
    }

    /// The requests of this kind so far.
    pub(crate) fn count(&self, of: impl Fn(&Seen) -> bool) -> usize {
        self.seen().iter().filter(|seen| of(seen)).count()
    }
}
