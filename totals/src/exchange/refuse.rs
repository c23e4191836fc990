//! Answers that say no.

use std::time::Duration;

use axum::{
    body::Body,
    http::{
        HeaderValue, StatusCode,
        header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER},
    },
    response::Response,
};
use scope_totals_wire::{Reason, Refusal};

/// A refusal, and when it is worth trying again.
#[derive(Debug)]
pub(super) struct Refuse {
    refusal: Refusal,
    after: Option<Duration>,
}

impl Refuse {
    pub(super) fn new(reason: Reason, message: String) -> Self {
        let after = match reason {
            Reason::Busy => Some(Duration::from_secs(1)),
            Reason::Rate => Some(Duration::from_secs(60)),
            _ => None,
        };
        Self {
            refusal: Refusal { reason, message },
            after,
        }
    }

    pub(super) fn standby() -> Self {
        let message = "another replica serves totals: connect again by the name of the Service";
        Self::new(Reason::Standby, message.into())
    }

    /// An agent with more reports than its share, or an operator with more questions.
    pub(super) fn rate(interval: Duration) -> Self {
        let message = format!(
            "a node reports, and the operator asks, once in {} s: wait for the interval that replies name",
            interval.as_secs()
        );
        Self {
            refusal: Refusal {
                reason: Reason::Rate,
                message,
            },
            after: Some(interval),
        }
    }

    /// Somebody who asks too often.
    pub(super) fn rate_of_people(interval: Duration) -> Self {
        let message = format!(
            "you ask too often: twice in {} s is what this is for",
            interval.as_secs()
        );
        Self {
            refusal: Refusal {
                reason: Reason::Rate,
                message,
            },
            after: Some(interval),
        }
    }

    /// What was turned off.
    pub(super) fn off() -> Self {
        let message =
            "what uses most is not told here: install the chart with totals.top.enabled=true";
        Self::new(Reason::Off, message.into())
    }

    /// As metrics call it.
    pub(super) fn label(&self) -> &'static str {
        match self.refusal.reason {
            Reason::Token => "token",
            Reason::Account => "account",
            Reason::Version => "version",
            Reason::Syntax => "syntax",
            Reason::Value => "value",
            Reason::Size => "size",
            Reason::Slow => "slow",
            Reason::Rate => "rate",
            Reason::Busy => "busy",
            Reason::Standby => "standby",
            Reason::Off => "off",
            Reason::Other => "other",
        }
    }

    fn status(&self) -> StatusCode {
        match self.refusal.reason {
            Reason::Token => StatusCode::UNAUTHORIZED,
            Reason::Account => StatusCode::FORBIDDEN,
            Reason::Off => StatusCode::NOT_FOUND,
            Reason::Version | Reason::Syntax => StatusCode::BAD_REQUEST,
            Reason::Value => StatusCode::UNPROCESSABLE_ENTITY,
            Reason::Size => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::Slow => StatusCode::REQUEST_TIMEOUT,
            Reason::Rate => StatusCode::TOO_MANY_REQUESTS,
            Reason::Busy | Reason::Standby | Reason::Other => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<Refuse> for Response {
    fn from(refuse: Refuse) -> Self {
        // Two words: there is nothing in them that cannot be written.
        let body = serde_json::to_vec(&refuse.refusal).unwrap_or_default();
        let mut response = Self::new(Body::from(body));
        *response.status_mut() = refuse.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(after) = refuse.after {
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        // What is left of the body is not waited for, and the next connection leads elsewhere.
        if matches!(
            refuse.refusal.reason,
            Reason::Size | Reason::Slow | Reason::Standby
        ) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
