//! `/healthz`, `/readyz` and `/metrics`.

use std::{sync::Arc, time::Instant};

use scope_leader::Claim;
use scope_process::http::Asked;

use crate::{metrics::Metrics, readiness::Readiness, serve::Seats};

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

impl Asked for Answers {
    fn missing(&self, now: Instant) -> Option<String> {
        self.readiness.missing(now)
    }

    fn metrics(&self) -> String {
        let (open, evicted) = (self.agents.len(), self.agents.evicted());
        self.metrics.connections(open, evicted);
        self.metrics.text(self.claim.left().ok())
    }

    fn evicted(&self) {
        self.metrics.http_evicted();
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::{Request, StatusCode},
    };
    use scope_process::http;
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
            let router = http::router(answers.clone());
            let response = router.oneshot(request).await.unwrap();
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
        answers.evicted();
        let (_, text) = asked("/metrics").await;
        let evicted = "scope_totals_http_connections_evicted_total 1";
        assert!(text.lines().any(|line| line == evicted), "{text}");
        assert_eq!(asked("/other").await.0, StatusCode::NOT_FOUND);
    }
}
