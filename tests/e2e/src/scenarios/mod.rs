//! The scenarios, in the order in which one cluster goes through them.

mod app_view;
mod bad_input;
mod bypasses;
mod chart;
mod churn;
mod clicks;
mod cluster_actions;
mod connected;
mod demo_here;
mod figures;
mod image_totals;
mod installation;
mod kubelet;
mod least_privilege;
mod lifecycle;
mod local_controls;
mod official;
mod rights;
mod rollouts;
mod service_totals;
mod standalone;
mod top;
mod totals;
mod traffic;
mod usage;

use std::path::Path;

use crate::world::World;

pub use churn::soak;
pub use rollouts::at_writes as killed_at_writes;

/// A scenario: what it shows, and how.
pub struct Scenario {
    /// A word to select it by.
    pub name: &'static str,
    /// Its code.
    pub run: fn(&mut World) -> anyhow::Result<()>,
}

/// Scenarios that share a cluster.
pub struct Suite {
    /// Makes their cluster.
    pub start: fn(&Path) -> anyhow::Result<World>,
    /// In the order in which they are played.
    pub scenarios: &'static [Scenario],
    /// How many of them install what the others need.
    pub installing: usize,
    /// The last one that compares figures, which wants a machine with nothing else to do.
    pub quiet_until: Option<&'static str>,
}

/// A word that selects the scenarios of the fleet and no others.
pub const OF_THE_FLEET: &str = "fleet";

/// All scenarios.
pub const ALL: [Suite; 2] = [
    Suite {
        start: World::up,
        scenarios: TWO_NODES,
        installing: 2,
        quiet_until: Some("churn"),
    },
    Suite {
        start: World::fleet,
        scenarios: FLEET,
        installing: 1,
        quiet_until: None,
    },
];

/// Those for two nodes. Later ones build on the installation that the first makes; the figures come before
/// anything is refused, so that "nothing was forbidden" can be read from the audit log.
const TWO_NODES: &[Scenario] = &[
    Scenario {
        name: "install",
        run: lifecycle::install,
    },
    Scenario {
        name: "workloads",
        run: figures::start_workloads,
    },
    Scenario {
        name: "helm-test",
        run: chart::helm_test,
    },
    Scenario {
        name: "minute-of-reports",
        run: figures::minute_of_reports,
    },
    Scenario {
        name: "against-the-kubelet",
        run: kubelet::against_the_kubelet,
    },
    Scenario {
        name: "against-the-kernel",
        run: usage::against_the_kernel,
    },
    Scenario {
        name: "iowait-against-the-kernel",
        run: official::iowait_against_the_kernel,
    },
    Scenario {
        name: "volumes-against-df",
        run: official::volumes_against_df,
    },
    Scenario {
        name: "http-by-count",
        run: official::http_by_count,
    },
    Scenario {
        name: "standalone-on-a-node",
        run: standalone::same_containers,
    },
    Scenario {
        name: "page-with-cri",
        run: app_view::with_cri,
    },
    Scenario {
        name: "page-without-cri",
        run: app_view::without_cri,
    },
    Scenario {
        name: "churn",
        run: churn::churn,
    },
    Scenario {
        name: "click-deletes-exactly-that-pod",
        run: clicks::deletes_exactly_that_pod,
    },
    Scenario {
        name: "nothing-forbidden-so-far",
        run: nothing_forbidden_so_far,
    },
    Scenario {
        name: "click-refused-in-words",
        run: clicks::refuses_in_words,
    },
    Scenario {
        name: "click-in-protected-namespace",
        run: clicks::protected_namespace,
    },
    Scenario {
        name: "click-not-allowed",
        run: clicks::not_allowed_by_the_installation,
    },
    Scenario {
        name: "agents-write-only-actions",
        run: rights::agents_write_only_actions,
    },
    Scenario {
        name: "stolen-token",
        run: rights::stolen_token,
    },
    Scenario {
        name: "nobody-borrows-the-account",
        run: rights::nobody_borrows_the_account,
    },
    Scenario {
        name: "no-way-to-a-pod",
        run: bypasses::to_a_pod,
    },
    Scenario {
        name: "no-way-to-a-token",
        run: bypasses::to_a_token,
    },
    Scenario {
        name: "no-way-to-a-rollout",
        run: bypasses::to_a_rollout,
    },
    Scenario {
        name: "no-way-to-a-record",
        run: bypasses::to_a_record,
    },
    Scenario {
        name: "no-way-to-the-exchange",
        run: bypasses::to_the_exchange,
    },
    Scenario {
        name: "top-is-guarded",
        run: top::is_guarded,
    },
    Scenario {
        name: "operator-is-restricted",
        run: bypasses::operator_is_restricted,
    },
    Scenario {
        name: "what-plugins-may-ask",
        run: installation::what_plugins_may_ask,
    },
    Scenario {
        name: "second-installation",
        run: installation::second_installation,
    },
    Scenario {
        name: "containers-by-click",
        run: local_controls::containers,
    },
    Scenario {
        name: "traffic-by-click",
        run: traffic::by_click,
    },
    Scenario {
        name: "cluster-actions-by-click",
        run: cluster_actions::by_click,
    },
    Scenario {
        name: "click-pending-without-operator",
        run: clicks::pending_without_operator,
    },
    Scenario {
        name: "change-of-label",
        run: lifecycle::change_of_label,
    },
    Scenario {
        name: "suspend",
        run: lifecycle::suspend,
    },
    Scenario {
        name: "without-controls",
        run: lifecycle::without_controls,
    },
    Scenario {
        name: "rollout-halts-at-the-canary",
        run: rollouts::halts_at_the_canary,
    },
    Scenario {
        name: "rollout-rolls-back",
        run: rollouts::rolls_back,
    },
    Scenario {
        name: "rollout-agent-says-why",
        run: rollouts::agent_says_why,
    },
    Scenario {
        name: "rollout-is-paused-and-held",
        run: rollouts::is_paused_and_held,
    },
    Scenario {
        name: "rollout-forgets-old-templates",
        run: rollouts::forgets_old_templates,
    },
    Scenario {
        name: "killed-agent",
        run: lifecycle::killed_agent,
    },
    Scenario {
        name: "api-server-away",
        run: lifecycle::api_server_away,
    },
    Scenario {
        name: "refused-by-the-schema",
        run: bad_input::refused_by_the_schema,
    },
    Scenario {
        name: "cannot-work",
        run: bad_input::cannot_work,
    },
    Scenario {
        name: "helm-wait-for-plugins",
        run: chart::wait_for_plugins,
    },
    Scenario {
        name: "helm-every-object",
        run: chart::every_object,
    },
    Scenario {
        name: "helm-rollback",
        run: chart::rollback,
    },
    Scenario {
        name: "delete-plugin",
        run: lifecycle::delete_plugin,
    },
    Scenario {
        name: "uninstall",
        run: lifecycle::uninstall,
    },
    // Wants a cluster with nothing of ours in it, and leaves one.
    Scenario {
        name: "demo-here",
        run: demo_here::leaves_nothing,
    },
    Scenario {
        name: "crds-by-kubectl",
        run: lifecycle::crds_by_kubectl,
    },
    // Before the chart of before, whose rights are too few for the present operator.
    Scenario {
        name: "least-privilege",
        run: least_privilege::both_ways,
    },
    Scenario {
        name: "helm-3-from-the-chart-before",
        run: chart::helm3_from_the_chart_before,
    },
];

/// Those for a fleet of four, of which some are lost.
const FLEET: &[Scenario] = &[
    Scenario {
        name: "install-on-a-fleet",
        run: lifecycle::install_on_a_fleet,
    },
    Scenario {
        name: "fleet-totals-are-true",
        run: totals::are_true,
    },
    // The Deployment of the one before is what is asked about.
    Scenario {
        name: "fleet-top",
        run: top::is_true,
    },
    Scenario {
        name: "fleet-totals-outlive-their-service",
        run: totals::outlive_their_service,
    },
    Scenario {
        name: "fleet-totals-without-api-server",
        run: totals::outlive_the_api_server,
    },
    Scenario {
        name: "fleet-totals-stolen-token",
        run: totals::stolen_token,
    },
    Scenario {
        name: "fleet-scope-connected",
        run: connected::silence_is_named,
    },
    Scenario {
        name: "fleet-two-bad-revisions",
        run: rollouts::two_bad_revisions,
    },
    Scenario {
        name: "fleet-lost-and-found",
        run: rollouts::lost_and_found,
    },
    Scenario {
        name: "fleet-node-dies-after-its-update",
        run: rollouts::dies_after_its_update,
    },
    Scenario {
        name: "fleet-node-reboots",
        run: rollouts::reboots,
    },
    Scenario {
        name: "fleet-api-server-restarts",
        run: rollouts::api_server_restarts,
    },
    Scenario {
        name: "fleet-leader-cut-off",
        run: rollouts::leader_cut_off,
    },
    Scenario {
        name: "fleet-leader-frozen",
        run: rollouts::leader_frozen,
    },
    Scenario {
        name: "fleet-leader-killed-at-a-write",
        run: rollouts::at_a_write,
    },
];

/// From the first request of our accounts to here, which is before anything is refused on purpose.
fn nothing_forbidden_so_far(world: &mut World) -> anyhow::Result<()> {
    let requests = world.audit_since(throwaway_cluster::AuditMark::START)?;
    anyhow::ensure!(
        requests.iter().filter(|r| crate::audit::ours(r)).count() > 20,
        "the audit log knows too few requests of ours: {}",
        requests.len()
    );
    crate::audit::nothing_forbidden(&requests)
}
