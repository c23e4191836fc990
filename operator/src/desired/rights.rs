//! What an agent may do on its node beyond reading what everybody may: the one table of who needs
//! what, and why. The pods are built from it, and so is the table in `docs/security.md`.

use std::collections::BTreeSet;

use scope_crds::{Collector, Control};

/// Something that a pod has only where somebody needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Right {
    /// A capability of the kernel, by the name that Kubernetes gives it.
    Capability(&'static str),
    /// The mount of the host's cgroup file systems, to be written too.
    WritableCgroups,
    /// The mount of the kubelet's directory of pods, to be read.
    KubeletPods,
    /// No AppArmor profile.
    NoAppArmor,
}

#[cfg(test)]
impl Right {
    fn in_words(self) -> String {
        match self {
            Self::Capability(name) => format!("capability `{name}`"),
            Self::WritableCgroups => "`/sys/fs/cgroup` mounted read-write".into(),
            Self::KubeletPods => {
                "the kubelet's directory of pods, `/var/lib/kubelet/pods`, mounted read-only, with what is mounted below it (`HostToContainer`)".into()
            }
            Self::NoAppArmor => "AppArmor `Unconfined`".into(),
        }
    }
}

/// Who needs a right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needer {
    Collector(Collector),
    Control(Control),
}

#[cfg(test)]
impl Needer {
    fn in_words(self) -> String {
        match self {
            Self::Collector(collector) => format!("collector `{collector}`"),
            Self::Control(control) => format!("control `{control}`"),
        }
    }
}

/// One row of the table.
pub(super) struct Need {
    pub(super) right: Right,
    pub(super) needer: Needer,
    /// What is missing without it.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for the documentation, which a test writes")
    )]
    why: &'static str,
}

/// All of them.
pub(super) const NEEDS: &[Need] = &[
    Need {
        right: Right::Capability("SYS_PTRACE"),
        needer: Needer::Collector(Collector::Resources),
        why: "disk bytes on nodes with cgroup v1 and Linux 6.10 or newer, where `blkio` counts nothing: the kernel shows `/proc/<pid>/io` of other users' processes only to who may trace them",
    },
    Need {
        right: Right::Capability("DAC_READ_SEARCH"),
        needer: Needer::Collector(Collector::Resources),
        why: "the same, since `/proc/<pid>/io` is for the process's own user to open; and open descriptors on Linux before 6.2, where `/proc/<pid>/fd` has to be listed (since then its size tells, which anybody may ask for)",
    },
    Need {
        right: Right::NoAppArmor,
        needer: Needer::Collector(Collector::Resources),
        why: "disk bytes as with `SYS_PTRACE`: the runtime's default profile keeps a container from tracing processes outside of it",
    },
    Need {
        right: Right::KubeletPods,
        needer: Needer::Collector(Collector::VolumeCount),
        why: "how full a volume is, says the file system that is mounted there, to whoever can name its path",
    },
    Need {
        right: Right::Capability("BPF"),
        needer: Needer::Collector(Collector::HTTPStatistics),
        why: "loading the programs that count requests and responses in the kernel, and their maps",
    },
    Need {
        right: Right::Capability("PERFMON"),
        needer: Needer::Collector(Collector::HTTPStatistics),
        why: "these programs look at calls of all processes, and at the first bytes of what they read and send",
    },
    Need {
        right: Right::Capability("KILL"),
        needer: Needer::Control(Control::RestartContainer),
        why: "SIGTERM and SIGKILL to a process of another user",
    },
    Need {
        right: Right::NoAppArmor,
        needer: Needer::Control(Control::RestartContainer),
        why: "the runtime's default profile keeps signals from processes of other profiles",
    },
    Need {
        right: Right::WritableCgroups,
        needer: Needer::Control(Control::FreezeContainer),
        why: "`freezer.state` (v1) or `cgroup.freeze` (v2) of the container, and thawing it in time",
    },
    Need {
        right: Right::WritableCgroups,
        needer: Needer::Control(Control::ThawContainer),
        why: "`freezer.state` (v1) or `cgroup.freeze` (v2) of the container",
    },
    Need {
        right: Right::Capability("SYS_ADMIN"),
        needer: Needer::Collector(Collector::TrafficControl),
        why: "`setns` into the network of a pod, to read what is set on it: the kernel has no lesser right for that",
    },
    Need {
        right: Right::Capability("SYS_PTRACE"),
        needer: Needer::Collector(Collector::TrafficControl),
        why: "`/proc/<pid>/ns/net` of other users' processes, by which a pod's network is entered",
    },
    Need {
        right: Right::NoAppArmor,
        needer: Needer::Collector(Collector::TrafficControl),
        why: "as with `SYS_PTRACE`: the runtime's default profile keeps a container from processes outside of it",
    },
    Need {
        right: Right::Capability("NET_ADMIN"),
        needer: Needer::Control(Control::ShapeTraffic),
        why: "a root qdisc on `eth0` of the pod that was clicked, and its removal in time",
    },
];

/// What every agent has, in words, and why.
#[cfg(test)]
const ALWAYS: &[(&str, &str)] = &[
    (
        "`hostPID`",
        "the processes of all containers are what it reads, and the peers of its sockets have their pids",
    ),
    (
        "the plugin directory mounted read-write",
        "its sockets, where Scope's probe looks for them",
    ),
    (
        "`/sys/fs/cgroup` mounted read-only",
        "CPU, memory and the like of containers: a cgroup namespace hides their paths otherwise",
    ),
    (
        "a token for scope-totals and for nobody else, and the ConfigMap `scope-totals-ca`, in `/var/run/scope-totals`, mounted read-only",
        "reports for totals, where the chart value `totals.enabled` is on: the service knows by the token which plugin and node speak, and the agent by the certificates in the ConfigMap to whom",
    ),
    (
        "user 0",
        "the plugin directory belongs to root, and whoever may connect to a socket may click",
    ),
    (
        "SELinux type `spc_t`",
        "on nodes with SELinux the type of other containers may not use directories of the host",
    ),
];

/// What every agent is denied.
#[cfg(test)]
const NEVER: &str = "Never: `privileged`, privilege escalation, a writable root file system, any capability that is \
     not in this table, a seccomp profile other than the runtime's default (which has all calls that \
     the agent makes, `pidfd_open`, `pidfd_send_signal` and, with `CAP_BPF`, `bpf` included).";

/// The rights for these collectors and controls.
pub(super) fn rights(collectors: &[Collector], controls: &BTreeSet<Control>) -> BTreeSet<Right> {
    NEEDS
        .iter()
        .filter(|need| match need.needer {
            Needer::Collector(collector) => collectors.contains(&collector),
            Needer::Control(control) => controls.contains(&control),
        })
        .map(|need| need.right)
        .collect()
}

/// The table as Markdown.
#[cfg(test)]
fn markdown() -> String {
    use std::fmt::Write as _;

    let mut text = String::from("| what | for | why |\n|---|---|---|\n");
    for (what, why) in ALWAYS {
        let _ = writeln!(text, "| {what} | every agent | {why} |");
    }
    for Need { right, needer, why } in NEEDS {
        let _ = writeln!(
            text,
            "| {} | {} | {why} |",
            right.in_words(),
            needer.in_words()
        );
    }
    let _ = write!(text, "\n{NEVER}\n");
    text
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::PathBuf};

    use super::*;

    fn tree(path: &str) -> PathBuf {
        PathBuf::from("..").join(path)
    }

    fn capabilities(rights: &BTreeSet<Right>) -> Vec<&'static str> {
        rights
            .iter()
            .filter_map(|right| match right {
                Right::Capability(name) => Some(*name),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn each_gets_what_it_needs_and_no_more() {
        use Control::*;
        let resources = [Collector::Resources];
        for (collectors, controls, names, cgroups, unconfined) in [
            (&resources[..0], vec![], vec![], false, false),
            (&resources[..0], vec![DeletePod], vec![], false, false),
            (
                &resources[..0],
                vec![RestartContainer],
                vec!["KILL"],
                false,
                true,
            ),
            (&resources[..0], vec![FreezeContainer], vec![], true, false),
            (&resources[..0], vec![ThawContainer], vec![], true, false),
            (
                &[Collector::IOWait, Collector::VolumeCount],
                vec![],
                vec![],
                false,
                false,
            ),
            (
                &resources[..],
                vec![],
                vec!["DAC_READ_SEARCH", "SYS_PTRACE"],
                false,
                true,
            ),
            (
                &resources[..],
                vec![RestartContainer, FreezeContainer, ThawContainer],
                vec!["DAC_READ_SEARCH", "KILL", "SYS_PTRACE"],
                true,
                true,
            ),
            (
                &[Collector::HTTPStatistics],
                vec![],
                vec!["BPF", "PERFMON"],
                false,
                false,
            ),
            (
                &[Collector::TrafficControl],
                vec![],
                vec!["SYS_ADMIN", "SYS_PTRACE"],
                false,
                true,
            ),
            (
                &[Collector::TrafficControl],
                vec![ShapeTraffic],
                vec!["NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"],
                false,
                true,
            ),
        ] {
            let rights = rights(collectors, &controls.iter().copied().collect());
            assert_eq!(capabilities(&rights), names, "{controls:?}");
            assert_eq!(
                rights.contains(&Right::WritableCgroups),
                cgroups,
                "{controls:?}"
            );
            assert_eq!(
                rights.contains(&Right::KubeletPods),
                collectors.contains(&Collector::VolumeCount)
            );
            assert_eq!(
                rights.contains(&Right::NoAppArmor),
                unconfined,
                "{controls:?}"
            );
        }
    }

    /// With `SCOPE_GENERATE` set it writes the table instead, which is what `cargo xtask generate` does.
    #[test]
    fn the_table_in_the_documentation_is_up_to_date() {
        const BEGIN: &str = "<!-- generated by `cargo xtask generate`: begin -->\n";
        const END: &str = "<!-- generated: end -->\n";
        let path = tree("docs/security.md");
        let text = fs::read_to_string(&path).unwrap();
        let (before, rest) = text
            .split_once(BEGIN)
            .expect("the begin of the generated part");
        let (_, after) = rest.split_once(END).expect("its end");
        let wanted = format!("{before}{BEGIN}\n{}\n{END}{after}", markdown());
        if env::var_os("SCOPE_GENERATE").is_some() {
            fs::write(&path, &wanted).unwrap();
        } else {
            assert!(
                text == wanted,
                "docs/security.md is stale: run `cargo xtask generate` and commit the result"
            );
        }
    }

    #[test]
    fn the_admission_policy_allows_exactly_these_capabilities() {
        let policy = tree("charts/scope-plugins/templates/admission-pods.yaml");
        let text = fs::read_to_string(policy).unwrap();
        // Entering networks is for installations that allow to shape their traffic.
        let mut without = BTreeSet::from(Control::ALL);
        without.remove(&Control::ShapeTraffic);
        let collectors = Collector::ALL.into_iter();
        let collectors: Vec<_> = collectors
            .filter(|c| *c != Collector::TrafficControl)
            .collect();
        let always = rights(&collectors, &without);
        let all = rights(&Collector::ALL, &BTreeSet::from(Control::ALL));
        for (rights, name) in [(always, "$capabilities"), (all, "$shaping")] {
            let names: Vec<String> = capabilities(&rights)
                .iter()
                .map(|n| format!("\"{n}\""))
                .collect();
            let list = format!("{name} := list {} -", names.join(" "));
            assert!(text.contains(&list), "admission-pods.yaml lacks: {list}");
        }
    }
}
