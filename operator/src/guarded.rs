//! Requests with a time limit, and writes that a claim covers.

use std::{future::Future, time::Duration};

use crate::leader::{Claim, NotLeading};

/// Longest wait for a single answer of the API server.
pub(crate) const BUDGET: Duration = Duration::from_secs(10);

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    #[error("{what}: no answer within {} s", limit.as_secs_f32())]
    Timeout { what: String, limit: Duration },
    #[error("{what}: {}", said(.source))]
    Api { what: String, source: kube::Error },
}

/// The API server's own sentence, or what kept it from saying one.
pub(crate) fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        error => error.to_string(),
    }
}

impl RequestError {
    /// The API server's own answer, if that is what it is.
    pub(crate) fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Api {
                source: kube::Error::Api(status),
                ..
            } => Some(status),
            _ => None,
        }
    }

    /// The category, for Events and metrics.
    pub(crate) fn category(&self) -> &'static str {
        match self {
            Self::NotLeading(_) => "NotLeading",
            Self::Timeout { .. } => "Timeout",
            Self::Api { .. } => match self.status() {
                None => "Unreachable",
                Some(status) if status.is_conflict() => "Conflict",
                Some(status) if status.is_forbidden() => "Forbidden",
                Some(status) if status.is_invalid() => "Invalid",
                Some(status) if status.is_not_found() => "NotFound",
                Some(_) => "ApiError",
            },
        }
    }
}

/// A read within `limit`.
pub(crate) async fn read<T>(
    what: impl FnOnce() -> String,
    limit: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, RequestError> {
    match tokio::time::timeout(limit, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(RequestError::Api {
            what: what(),
            source,
        }),
        Err(_) => Err(RequestError::Timeout {
            what: what(),
            limit,
        }),
    }
}

/// A write within `limit` and within the claim, which is asked now and not before.
pub(crate) async fn write<T>(
    claim: &Claim,
    what: impl FnOnce() -> String,
    limit: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, RequestError> {
    let left = claim.left()?;
    read(what, limit.min(left), request).await
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::leader;

    #[tokio::test(start_paused = true)]
    async fn without_a_claim_nothing_is_sent() {
        let (writer, claim) = leader::claim();
        let mut sent = false;
        let answer = write(&claim, || "x".into(), BUDGET, async {
            sent = true;
            Ok(())
        })
        .await;
        assert!(matches!(answer, Err(RequestError::NotLeading(_))));
        assert!(!sent);
        drop(writer);
    }

    #[tokio::test]
    async fn a_write_does_not_outlast_the_claim() {
        let (writer, claim) = leader::claim();
        let now = Instant::now();
        writer.set(Some(now + Duration::from_millis(60)), now);
        let never = std::future::pending::<kube::Result<()>>();
        let answer = write(&claim, || "x".into(), BUDGET, never).await;
        let Err(RequestError::Timeout { limit, .. }) = answer else {
            panic!("{answer:?}");
        };
        assert!(limit <= Duration::from_millis(60), "{limit:?}");
    }
}
