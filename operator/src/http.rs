//! `/healthz`, `/readyz` and `/metrics`.

use std::{sync::Arc, time::Instant};

use scope_process::http::Asked;

use crate::{leader::Claim, metrics::Metrics, readiness::Readiness};

/// What the answers are made of.
#[derive(Clone)]
pub(crate) struct Answers {
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) claim: Claim,
}

impl Asked for Answers {
    fn missing(&self, now: Instant) -> Option<String> {
        self.readiness.missing(now)
    }

    fn metrics(&self) -> String {
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
    use crate::leader;

    #[tokio::test]
    async fn a_standby_is_ready_when_it_is_filled_and_hears_of_the_lease() {
        let (_, claim) = leader::claim();
        let answers = Answers {
            readiness: Arc::new(Readiness::new(&["ScopePlugin"])),
            metrics: Arc::new(Metrics::new()),
            claim,
        };
        let asked = async |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let router = http::router(answers.clone());
            let response = router.oneshot(request).await.unwrap();
            let status = response.status();
            let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
            (status, String::from_utf8(body.to_vec()).unwrap())
        };
        let (status, reason) = asked("/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(reason.contains("ScopePlugin"), "{reason}");
        answers.readiness.filled("ScopePlugin");
        answers.readiness.lease_seen();
        assert_eq!(asked("/readyz").await.0, StatusCode::OK);
        answers.evicted();
        let (status, text) = asked("/metrics").await;
        assert_eq!(status, StatusCode::OK);
        for line in [
            "scope_operator_is_leader 0",
            "scope_operator_http_connections_evicted_total 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
