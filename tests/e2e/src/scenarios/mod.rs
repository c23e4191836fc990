//! The scenarios, in the order in which one cluster goes through them.

mod app_view;
mod bad_input;
mod churn;
mod clicks;
mod figures;
mod lifecycle;
mod local_controls;
mod rights;
mod usage;

use crate::world::World;

pub use churn::soak;

/// A scenario: what it shows, and how.
pub struct Scenario {
    /// A word to select it by.
    pub name: &'static str,
    /// Its code.
    pub run: fn(&mut World) -> anyhow::Result<()>,
}

/// All of them. Later ones build on the installation that the first makes; the figures come before
/// anything is refused, so that "nothing was forbidden" can be read from the audit log.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "install",
        run: lifecycle::install,
    },
    Scenario {
        name: "workloads",
        run: figures::start_workloads,
    },
    Scenario {
        name: "minute-of-reports",
        run: figures::minute_of_reports,
    },
    Scenario {
        name: "against-the-kubelet",
        run: figures::against_the_kubelet,
    },
    Scenario {
        name: "against-the-kernel",
        run: usage::against_the_kernel,
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
        name: "containers-by-click",
        run: local_controls::containers,
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
        name: "delete-plugin",
        run: lifecycle::delete_plugin,
    },
    Scenario {
        name: "uninstall",
        run: lifecycle::uninstall,
    },
    Scenario {
        name: "crds-by-kubectl",
        run: lifecycle::crds_by_kubectl,
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
