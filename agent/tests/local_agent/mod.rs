//! The part of an agent that carries clicks out on its own node, beside a scripted API server that takes the
//! records of them.

#![allow(dead_code, reason = "each test crate uses a part")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use scope_agent::container_control::{Containers, Rules, SparedPods, records};
use scope_agent::control::{Actions, CLICK_WAIT, Desk, controls_report};
use scope_agent::inventory::{Inventory, InventoryWatch};
use scope_agent::sample::Roots;
use scope_agent::traffic::{Board, Networks};
use scope_crds::Control;
use scope_protocol::ControlRequest;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::api_server::{ApiServer, Reply, Seen};

/// The plugin's ID.
pub(crate) const PLUGIN: &str = "node-metrics";
pub(crate) const NAMESPACE: &str = "scope-plugins";
/// Longer than anything here takes on the busiest machine.
pub(crate) const PATIENT: Duration = Duration::from_secs(30);

pub(crate) struct Agent {
    pub(crate) desk: Arc<Desk>,
    pub(crate) containers: Containers,
    pub(crate) board: Option<Arc<Board>>,
    pub(crate) ending: CancellationToken,
    clerk: tokio::task::JoinHandle<()>,
}

impl Agent {
    /// One that offers these controls, on the node whose `proc`, `cgroup` and `plugin` are in this directory.
    pub(crate) fn start(
        directory: &Path,
        inventory: &Arc<ArcSwap<Inventory>>,
        server: &ApiServer,
        per_minute: usize,
        offered: BTreeSet<Control>,
        board: Option<Arc<Board>>,
    ) -> Agent {
        let client = server.access().click_client().expect("a client");
        let actions = Actions::new(client, NAMESPACE, PLUGIN, "node-1");
        let (recorder, clerk) = records(actions.clone());
        let rules = Rules {
            spared: SparedPods {
                protected: BTreeSet::from(["prod".to_owned()]),
                own_namespace: NAMESPACE.into(),
            },
            per_minute,
            longest_shaping: Duration::from_secs(1800),
        };
        let roots = Roots {
            proc: directory.join("proc"),
            cgroup: directory.join("cgroup"),
        };
        let networks = match &board {
            Some(board) => board.networks().clone(),
            None => Arc::new(Networks::of_plugin(PLUGIN)),
        };
        let containers = Containers::new(
            rules,
            roots,
            inventory.clone(),
            &directory.join("plugin"),
            recorder,
            networks,
            board.clone(),
        );
        let ending = CancellationToken::new();
        tokio::spawn(containers.clone().keep_deadlines(ending.clone()));
        tokio::spawn(containers.clone().clear_leftovers(ending.clone()));
        let clerk = tokio::spawn(clerk.work(ending.clone()));
        let report = controls_report(PLUGIN, "Node metrics", &offered);
        let desk = Desk::new(
            actions,
            containers.clone(),
            offered,
            report,
            CLICK_WAIT,
            "node-1".into(),
            InventoryWatch {
                inventory: inventory.clone(),
                ..InventoryWatch::default()
            },
        );
        Agent {
            desk: Arc::new(desk),
            containers,
            board,
            ending,
            clerk,
        }
    }

    /// The answer to a click, as Scope gets it.
    pub(crate) async fn take(&self, control: &str, node_id: &str, args: &[(&str, &str)]) -> Value {
        let request = ControlRequest {
            app_id: "40a7031ee6466403".into(),
            node_id: node_id.into(),
            control: control.into(),
            control_args: args
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let response = self.desk.take(&request, "5bdcc0beddf3c14").await;
        let mut body = Vec::new();
        scope_protocol::encode_control_response(&response, &mut body);
        serde_json::from_slice(&body).expect("JSON")
    }

    /// A regular end.
    pub(crate) async fn end(self) {
        self.containers.end().await;
        self.ending.cancel();
        self.clerk.await.expect("ends");
    }
}

/// An API server that takes every record.
pub(crate) async fn taking() -> ApiServer {
    ApiServer::start(|seen: &Seen| Reply::Json(201, seen.body.clone())).await
}

/// The error of an answer; nothing where there is none.
pub(crate) fn said(answer: &Value) -> &str {
    answer["error"].as_str().unwrap_or_default()
}

pub(crate) async fn await_that(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENT, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The specs of the records so far.
pub(crate) fn recorded(server: &ApiServer) -> Vec<Value> {
    let all = server.seen();
    all.iter().map(|seen| seen.body["spec"].clone()).collect()
}

pub(crate) async fn await_records(server: &ApiServer, count: usize) -> Vec<Value> {
    await_that("records", || server.seen().len() >= count).await;
    recorded(server)
}
