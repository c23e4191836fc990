//! `/healthz`, `/readyz` and `/metrics`.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use scope_leader::Claim;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::Metrics,
    readiness::Readiness,
    serve::{Places, Seat, Seats},
};

/// The kubelet's probes and a scraper or two, with room to spare. One more sends the oldest away.
const PLACES: Places = Places {
    unproven: 64,
    from_one: 64,
    of_agent: 0,
};
/// A request's head must be there in this time; so long may a kept connection be without one, too.
const HEAD: Duration = Duration::from_secs(5);
/// A connection may live so long, whatever it does.
const CONNECTION: Duration = Duration::from_secs(60);

/// What the answers are made of.
#[derive(Clone)]
pub struct Answers {
    /// Whether this replica is ready.
    pub readiness: Arc<Readiness>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether it leads.
    pub claim: Claim,
    /// The connections of agents.
    pub agents: Arc<Seats>,
}

/// Answers until `stop`.
pub async fn serve(listener: TcpListener, answers: Answers, stop: CancellationToken) {
    let seats = Seats::new(PLACES);
    let router = router(answers);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                tokio::spawn(answer(stream, router.clone(), seats.enter(from.ip())));
            }
            Err(error) => {
                tracing::debug!("a connection was not accepted: {error}");
                seats.make_room();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, router: Router, seat: Seat) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::select! {
        () = seat.sent_away() => {}
        ended = tokio::time::timeout(CONNECTION, connection) => {
            if let Ok(Err(error)) = ended {
                tracing::debug!("a connection ended early: {error}");
            }
        }
    }
}

fn router(answers: Answers) -> Router {
    Router::new()
        .route("/healthz", get(async || Ok::<_, Infallible>("ok\n")))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(answers)
}

async fn ready(State(answers): State<Answers>) -> Response {
    match answers.readiness.missing(std::time::Instant::now()) {
        None => "ok\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn metrics(State(answers): State<Answers>) -> Response {
    const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let (open, evicted) = (answers.agents.len(), answers.agents.evicted());
    answers.metrics.connections(open, evicted);
    let text = answers.metrics.text(answers.claim.left().ok());
    ([(header::CONTENT_TYPE, TYPE)], text).into_response()
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::Request,
    };
    use tower::ServiceExt;

    use super::*;
    use crate::{
        census::watch::{self, Shared},
        serve,
        tls::Certificates,
    };

    #[tokio::test]
    async fn a_replica_is_healthy_at_once_and_says_what_it_waits_for() {
        let census = Shared::default();
        let (_, claim) = scope_leader::claim();
        let certificates = Arc::new(Certificates::default());
        let answers = Answers {
            readiness: Arc::new(Readiness::new(Arc::clone(&census), certificates)),
            metrics: Arc::new(Metrics::new()),
            claim,
            agents: Seats::new(serve::PLACES),
        };
        let asked = async |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = router(answers.clone()).oneshot(request).await.unwrap();
            let status = response.status();
            let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
            (status, String::from_utf8(body.to_vec()).unwrap())
        };
        assert_eq!(asked("/healthz").await.0, StatusCode::OK);
        let (status, reason) = asked("/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(reason.contains("pods"), "{reason}");
        {
            let mut census = watch::lock(&census);
            census.pods.complete();
            census.replica_sets.complete();
            census.jobs.complete();
            census.nodes.complete();
        }
        assert!(asked("/readyz").await.1.contains("certificate"));
        let (status, text) = asked("/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.contains("scope_totals_is_leader 0"), "{text}");
        assert_eq!(asked("/other").await.0, StatusCode::NOT_FOUND);
    }
}
