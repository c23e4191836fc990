//! `/healthz`, `/readyz` and `/metrics`.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

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
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

use crate::{
    exit::{Code, Failure},
    leader::Claim,
    metrics::Metrics,
    readiness::Readiness,
};

/// The kubelet's probes and a scraper or two, with room to spare.
const CONNECTIONS: usize = 64;
/// A request's head must be there in this time.
const HEAD: Duration = Duration::from_secs(5);
/// A connection may live so long, whatever it does.
const CONNECTION: Duration = Duration::from_secs(60);

/// What the answers are made of.
#[derive(Clone)]
pub(crate) struct Answers {
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) claim: Claim,
}

/// Opens the port.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(
            Code::OsError,
            format!("--http-listen {address} cannot be opened: {error}"),
        )
    })
}

/// Answers until `stop`.
pub(crate) async fn serve(listener: TcpListener, answers: Answers, stop: CancellationToken) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    let metrics = Arc::clone(&answers.metrics);
    let router = router(answers);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, or gone before it was accepted: neither is helped by haste.
                tracing::debug!("a connection was not accepted: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&free).try_acquire_owned() else {
            metrics.http_refused();
            continue;
        };
        let router = router.clone();
        tokio::spawn(async move {
            answer(stream, router).await;
            drop(place);
        });
    }
}

async fn answer(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION, connection).await {
        tracing::debug!("a connection ended early: {error}");
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
    let text = answers.metrics.text(answers.claim.left().ok());
    ([(header::CONTENT_TYPE, TYPE)], text).into_response()
}

#[cfg(test)]
mod tests {
    use axum::{body::to_bytes, http::Request};
    use tower::ServiceExt;

    use super::*;
    use crate::leader;

    async fn asked(answers: &Answers, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
        let response = router(answers.clone()).oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn answers() -> Answers {
        let (_, claim) = leader::claim();
        Answers {
            readiness: Arc::new(Readiness::new(&["ScopePlugin"])),
            metrics: Arc::new(Metrics::new()),
            claim,
        }
    }

    #[tokio::test]
    async fn a_standby_is_healthy_at_once_and_ready_when_it_is_filled() {
        let answers = answers();
        assert_eq!(asked(&answers, "/healthz").await.0, StatusCode::OK);
        let (status, reason) = asked(&answers, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(reason.contains("ScopePlugin"), "{reason}");
        answers.readiness.filled("ScopePlugin");
        answers.readiness.lease_seen();
        assert_eq!(asked(&answers, "/readyz").await.0, StatusCode::OK);
        let (status, text) = asked(&answers, "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.contains("scope_operator_is_leader 0"));
        assert_eq!(asked(&answers, "/other").await.0, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn idle_connections_do_not_keep_others_out_for_ever() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let answers = answers();
        let metrics = Arc::clone(&answers.metrics);
        let server = tokio::spawn(serve(listener, answers, stop.clone()));

        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let ask = async || {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            let mut answer = String::new();
            // A refused connection may be reset while it is written to.
            let _ = stream.write_all(request).await;
            let _ = stream.read_to_string(&mut answer).await;
            answer
        };
        // All places are taken, by clients who say nothing.
        while !metrics.text(None).contains("refused_total 1") {
            assert_eq!(ask().await, "");
        }
        drop(idle);
        let served = async {
            while !ask().await.starts_with("HTTP/1.1 200") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), served)
            .await
            .unwrap();
        stop.cancel();
        server.await.unwrap();
    }
}
