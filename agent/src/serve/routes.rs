//! What the sockets answer.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;
use scope_protocol::{ControlRequest, encode_control_response};

use super::demand::Demand;
use super::publication::Publication;
use crate::check::CHECKER;
use crate::control::Desk;

/// The probe sends about 120 bytes; arguments could make it more.
const CONTROL_BODY_BYTES: usize = 64 * 1024;

const JSON: (HeaderName, HeaderValue) =
    (CONTENT_TYPE, HeaderValue::from_static("application/json"));

/// What a request for a report needs. Nothing of it reads the node or waits for who does.
#[derive(Clone)]
pub struct Reporter {
    /// The report.
    pub publication: Arc<Publication>,
    /// Who asks.
    pub demand: Arc<Demand>,
    /// The ID by which the agent's own check asks, which keeps nobody awake.
    pub own_probe_id: Arc<str>,
}

/// The routes of the reporter socket.
pub fn reporter(reporter: Reporter) -> Router {
    Router::new()
        .route("/report", get(report))
        .with_state(reporter)
}

async fn report(State(reporter): State<Reporter>, RawQuery(query): RawQuery) -> Response {
    let report = reporter.publication.get();
    let probe_id = probe_id(query.as_deref());
    let of_ours = [Some(&*reporter.own_probe_id), Some(CHECKER)].contains(&probe_id);
    let new = !of_ours && reporter.demand.asked(probe_id, report.sequence);
    if new && reporter.demand.takes_line() {
        tracing::info!(probe = probe_id, "a probe asks for reports");
    }
    let body = report.body_for(probe_id).clone();
    ([JSON], body).into_response()
}

/// What the controls socket answers from.
#[derive(Clone)]
pub struct Controls {
    /// Its report, which never changes.
    pub report: Bytes,
    /// Where clicks go.
    pub desk: Arc<Desk>,
}

/// The routes of the controls socket.
pub fn controls(controls: Controls) -> Router {
    Router::new()
        .route("/report", get(controls_report))
        .route("/control", post(control))
        .with_state(controls)
}

async fn controls_report(State(controls): State<Controls>) -> Response {
    ([JSON], controls.report).into_response()
}

async fn control(State(controls): State<Controls>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = match read_body(body, CONTROL_BODY_BYTES).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let request = match ControlRequest::parse(&body) {
        Ok(request) => request,
        // No probe sends such a thing, so that there is no person to tell.
        Err(e) => return (StatusCode::BAD_REQUEST, format!("{e}\n")).into_response(),
    };
    let probe_id = probe_id(head.uri.query()).unwrap_or_default();
    let answer = controls.desk.take(&request, probe_id).await;
    let mut body = Vec::new();
    encode_control_response(&answer, &mut body);
    ([JSON], body).into_response()
}

/// A body of at most so many bytes. One that announces more is refused without waiting for it.
pub async fn read_body(body: Body, limit: usize) -> Result<Bytes, Response> {
    let too_large = || {
        let said = format!("the body may have {limit} bytes\n");
        (StatusCode::PAYLOAD_TOO_LARGE, said).into_response()
    };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(e) if e.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err((StatusCode::BAD_REQUEST, "the body broke off\n").into_response()),
    }
}

/// The value of `probe_id` in a query, as it stands: what needs escaping is no probe's ID.
fn probe_id(query: Option<&str>) -> Option<&str> {
    query?
        .split('&')
        .find_map(|pair| pair.strip_prefix("probe_id="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_probe_in_the_query() {
        for (query, id) in [
            (
                Some("api_version=1&probe_id=5bdcc0beddf3c14"),
                Some("5bdcc0beddf3c14"),
            ),
            (Some("probe_id=a&api_version=1"), Some("a")),
            (Some("xprobe_id=a"), None),
            (Some("probe_id="), Some("")),
            (Some(""), None),
            (None, None),
        ] {
            assert_eq!(probe_id(query), id, "{query:?}");
        }
    }
}
