//! Simulated nodes on a real control plane: controllers cannot tell them from real ones. It needs
//! what a throw-away cluster needs; without it the test is skipped, and says so.
#![allow(clippy::unwrap_used, reason = "a test may end at once")]

use std::time::Duration;

use futures::StreamExt;
use hollow_nodes::{Fate, Fault, Fleet, Profile};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use throwaway_cluster::{Cluster, Options};

const NODES: usize = 12;

/// A test with a `main` of its own: the library of the cluster starts its program again for work
/// that needs a process of its own.
fn main() {
    throwaway_cluster::run_internal_command_if_asked();
    if let Some(why) = throwaway_cluster::obstacle() {
        assert!(
            !throwaway_cluster::nodes_required(),
            "HARNESS_REQUIRE=nodes, but {why}"
        );
        println!("SKIPPED: {why}");
        return;
    }
    let mut options = Options::new("thollow");
    options.nodes = 0;
    options
        .controller_manager_flags
        .push("--node-monitor-grace-period=1h".into());
    let cluster = Cluster::up(options).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(scenario(&cluster));
    cluster.down().unwrap();
    println!("a DaemonSet meets simulated nodes: ok");
}

async fn scenario(cluster: &Cluster) {
    let client = client(cluster).await;
    let mut profile = Profile::new(NODES - 2);
    profile.start = Duration::from_millis(300);
    profile.lease = Some(Duration::from_secs(10));
    let mut fleet = Fleet::start(client.clone(), profile).await.unwrap();

    // Everywhere, and on nodes that come later.
    let sets = Api::<DaemonSet>::namespaced(client.clone(), "default");
    let set = serde_json::from_value(daemon_set()).unwrap();
    sets.create(&PostParams::default(), &set).await.unwrap();
    until("all but two ready", || async {
        available(&sets).await == NODES - 2
    })
    .await;
    fleet.grow(2).await.unwrap();
    until("all ready", || async { available(&sets).await == NODES }).await;

    // A bad image stops a rolling update at its first node; the good one ends it.
    fleet.inject(Fault::of(Fate::CrashLoop).image("bad:1"));
    set_image(&sets, "bad:1").await;
    let pods = Api::<Pod>::namespaced(client.clone(), "default");
    until("one pod that crashes", || async {
        let reasons = waiting(&pods).await;
        reasons == ["CrashLoopBackOff"] && available(&sets).await == NODES - 1
    })
    .await;
    set_image(&sets, "good:2").await;
    until("a finished update", || async {
        let set = sets.get("d").await.unwrap();
        let status = set.status.unwrap_or_default();
        status.updated_number_scheduled == Some(NODES as i32)
            && status.number_available == Some(NODES as i32)
    })
    .await;

    // A node that stops takes its pod's readiness along, and gives it back.
    let name = fleet.node(3);
    fleet.fail_node(&name).await.unwrap();
    until("one pod less", || async {
        available(&sets).await == NODES - 1
    })
    .await;
    let nodes = Api::<Node>::all(client.clone());
    let node = nodes.get(&name).await.unwrap();
    let conditions = node.status.unwrap().conditions.unwrap();
    assert!(
        conditions
            .iter()
            .any(|c| c.type_ == "Ready" && c.status == "Unknown")
    );
    fleet.restore_node(&name).await.unwrap();
    until("all ready again", || async {
        available(&sets).await == NODES
    })
    .await;
    assert!(fleet.fail_node("other").await.is_err());

    // Deleted, all pods end.
    sets.delete("d", &Default::default()).await.unwrap();
    until("no pods", || async {
        let all = pods.list(&ListParams::default()).await.unwrap();
        all.items.is_empty()
    })
    .await;
}

async fn client(cluster: &Cluster) -> Client {
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let mut config = config.unwrap();
    // The cluster is on this machine, whatever proxy there is to the outside.
    config.proxy_url = None;
    Client::try_from(config).unwrap()
}

fn daemon_set() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": {"app": "d"}},
            "template": {
                "metadata": {"labels": {"app": "d"}},
                "spec": {
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [{"name": "c", "image": "good:1"}],
                },
            },
        },
    })
}

async fn set_image(sets: &Api<DaemonSet>, image: &str) {
    let containers = json!([{"name": "c", "image": image}]);
    let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    sets.patch("d", &PatchParams::default(), &Patch::Strategic(patch))
        .await
        .unwrap();
}

async fn available(sets: &Api<DaemonSet>) -> usize {
    let status = sets.get("d").await.unwrap().status.unwrap_or_default();
    usize::try_from(status.number_available.unwrap_or_default()).unwrap()
}

/// The reasons for which containers wait.
async fn waiting(pods: &Api<Pod>) -> Vec<String> {
    let all = pods.list(&ListParams::default()).await.unwrap();
    all.into_iter()
        .filter_map(|pod| pod.status?.container_statuses)
        .flatten()
        .filter_map(|status| status.state?.waiting?.reason)
        .collect()
}

/// Looks again and again, for 30 s.
async fn until<F: Future<Output = bool>>(what: &str, there: impl Fn() -> F) {
    let looks = futures::stream::repeat(()).then(|()| async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        there().await
    });
    let found = looks.any(|found| async move { found });
    let waited = tokio::time::timeout(Duration::from_secs(30), found).await;
    assert!(waited.is_ok(), "waited 30 s for {what}");
}
