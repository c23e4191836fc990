//! `GET /v1/fleet`: the operator asks how the agents are.

use std::sync::Arc;

use axum::{Extension, extract::State, http::HeaderMap, response::Response};
use scope_totals_wire::{Fleet, Reason};

use super::{Connection, Exchange, Refuse, written};
use crate::trust::Speaker;

impl Exchange {
    async fn fleet(&self, connection: &Connection, headers: &HeaderMap) -> Result<Fleet, Refuse> {
        let term = self.open_term()?;
        let speaker = self.speaker(connection.from, headers).await?;
        if speaker != Speaker::Operator {
            let message = "only the operator may ask how all agents are";
            return Err(Refuse::new(Reason::Account, message.into()));
        }
        connection.seat.prove(&speaker);
        if !term.may_speak(&speaker, self.now()) {
            return Err(Refuse::rate(term.pace().period()));
        }
        let fleet = term.fleet_told(self.now());
        // Another replica may lead by now, and then it is the one that agents report to.
        if !self.serves(&term) {
            return Err(Refuse::standby());
        }
        Ok(fleet)
    }
}

pub(super) async fn handle(
    State(exchange): State<Arc<Exchange>>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
) -> Response {
    let fleet = exchange.fleet(&connection, &headers).await;
    match fleet.and_then(|fleet| written(&fleet, 0)) {
        Ok(response) => {
            exchange.metrics().fleet_told();
            response
        }
        Err(refuse) => {
            exchange.metrics().refused(refuse.label());
            refuse.into()
        }
    }
}
