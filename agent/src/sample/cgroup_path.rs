//! What a cgroup's path says about whose it is.
//!
//! A pod is known by `kubepods` somewhere before it: the kubelet may be told to put its cgroups
//! below any other, and an agent in its own cgroup namespace sees paths that begin with `/..`.
//! A container is known by the 64 hex digits of its ID.

use std::sync::Arc;

use super::Runtime;

/// What is known after some components of a path. Reading goes from the root to the leaf, both for
/// the path of a process and for a walk over directories.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The pod, by the ID that the kubelet names its cgroup with.
    pub(crate) pod: Option<Arc<str>>,
    /// The container, by its 64-hex ID. Its nested cgroups belong to it.
    pub(crate) container: Option<Arc<str>>,
    /// The runtime, where a name told.
    pub(super) runtime: Option<Runtime>,
    /// Whether the path leads out of the reader's cgroup namespace.
    pub(super) relative: bool,
    below: Below,
}

/// What the parent directory was, where that matters for bare names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Below {
    #[default]
    Anything,
    /// `kubepods` of the cgroupfs driver, or one of its quality-of-service classes.
    Kubepods,
    /// Docker's own parent.
    Docker,
}

impl Place {
    /// The place of a path as `/proc/<pid>/cgroup` shows it.
    pub(super) fn of(path: &[u8]) -> Place {
        // The kernel marks a cgroup that was removed while a process is still ending in it.
        let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
        path.split(|&b| b == b'/')
            .filter(|c| !c.is_empty())
            .fold(Place::default(), |place, component| place.enter(component))
    }

    /// The place of the directory with this name inside of this one.
    pub(crate) fn enter(&self, name: &[u8]) -> Place {
        let mut inner = self.clone();
        if self.is_final() {
            return inner;
        }
        if name == b".." {
            inner.relative = true;
            return inner;
        }
        let name = str::from_utf8(name).unwrap_or_default();
        inner.below = match name {
            "kubepods" => Below::Kubepods,
            "burstable" | "besteffort" if self.below == Below::Kubepods => Below::Kubepods,
            "docker" => Below::Docker,
            _ => Below::Anything,
        };
        // A runtime that is told to use systemd's names but not systemd makes one directory of
        // the three parts `slice:prefix:id`.
        let (slice, scope) = match name.split_once(':') {
            Some((slice, rest)) => (slice, rest.rsplit(':').next()),
            None => (name, None),
        };
        if let Some(pod) = pod_of_slice(slice).or_else(|| self.pod_of_directory(name)) {
            // Kubernetes inside of a container: what counts are its own pods and containers.
            (inner.pod, inner.container, inner.runtime) = (Some(pod.into()), None, None);
        }
        if inner.container.is_none()
            && let Some((id, runtime)) = container_of(scope.unwrap_or(name))
        {
            inner.container = Some(id.into());
            inner.runtime = match self.below {
                Below::Docker => Some(Runtime::Docker),
                _ => runtime,
            };
        }
        inner
    }

    /// Whether nothing further down can change it: nested cgroups of a pod's container.
    pub(crate) fn is_final(&self) -> bool {
        self.pod.is_some() && self.container.is_some()
    }

    /// How much it tells.
    fn rank(&self) -> u8 {
        u8::from(self.pod.is_some()) + 2 * u8::from(self.container.is_some())
    }

    /// `pod<uid>` as the cgroupfs driver names it.
    fn pod_of_directory(&self, name: &str) -> Option<String> {
        let uid = name.strip_prefix("pod")?;
        let known = match self.below {
            Below::Kubepods => is_uid(uid),
            // Out of its own namespace a reader does not see the `kubepods` that it shares with
            // others; then only what looks like a UUID or a hash is taken for a pod.
            _ => self.relative && uid.len() >= 32 && is_uid(uid),
        };
        known.then(|| uid.to_owned())
    }
}

/// The place that the lines of `/proc/<pid>/cgroup` agree on best: on a machine with cgroup v1 it
/// has a line for each hierarchy and they may differ. `None` if a line is not of that file.
pub(crate) fn parse_process(text: &[u8]) -> Option<Place> {
    let mut best = Place::default();
    let mut relative = false;
    for line in text.split(|&b| b == b'\n').filter(|l| !l.is_empty()) {
        let mut parts = line.splitn(3, |&b| b == b':');
        let (_id, _controllers) = (parts.next()?, parts.next()?);
        let place = Place::of(parts.next()?);
        relative |= place.relative;
        if place.rank() > best.rank() {
            best = place;
        }
    }
    best.relative = relative;
    Some(best)
}

/// `kubepods[-<class>]-pod<uid>.slice` of the systemd driver, with anything in front.
fn pod_of_slice(name: &str) -> Option<String> {
    let (parents, last) = name.strip_suffix(".slice")?.rsplit_once('-')?;
    // systemd takes dashes for levels, so the kubelet writes those of the UID as underscores.
    let uid = last.strip_prefix("pod")?.replace('_', "-");
    (parents.split('-').any(|p| p == "kubepods") && is_uid(&uid)).then_some(uid)
}

/// `<64 hex>` or `<prefix>-<64 hex>`, either as a scope of systemd's or not.
fn container_of(name: &str) -> Option<(&str, Option<Runtime>)> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    if is_container_id(name) {
        return Some((name, None));
    }
    let (prefix, id) = name.rsplit_once('-')?;
    // The monitor of CRI-O and Podman runs beside the container, under its ID.
    if !is_container_id(id) || prefix.ends_with("conmon") {
        return None;
    }
    let runtime = match prefix {
        "docker" => Some(Runtime::Docker),
        "cri-containerd" => Some(Runtime::Containerd),
        "crio" => Some(Runtime::Crio),
        _ if prefix.starts_with("libpod") => Some(Runtime::Podman),
        _ => None,
    };
    Some((id, runtime))
}

fn is_container_id(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// UIDs are UUIDs, and hashes for static pods; the API server takes other ones too.
fn is_uid(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UID: &str = "2804a43f-78e8-43ee-ae3f-77f071579273";
    const HASH: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
    const ID: &str = "9ce26da262bbc84ae4df968fe038055a2363edc73207c2a6f85ef13bfbf73bd5";
    const OTHER: &str = "1111111111111111111111111111111111111111111111111111111111111111";

    /// Expands `{u}` (UID), `{_}` (UID with underscores), `{h}` (hash), `{i}` and `{o}` (IDs).
    fn expand(path: &str) -> String {
        path.replace("{u}", UID)
            .replace("{_}", &UID.replace('-', "_"))
            .replace("{h}", HASH)
            .replace("{i}", ID)
            .replace("{o}", OTHER)
    }

    fn check(path: &str, pod: Option<&str>, container: Option<&str>, runtime: Option<Runtime>) {
        let place = Place::of(expand(path).as_bytes());
        assert_eq!(
            (
                place.pod.as_deref(),
                place.container.as_deref(),
                place.runtime
            ),
            (pod, container, runtime),
            "{path}"
        );
    }

    #[test]
    fn containers_of_pods() {
        use Runtime::*;
        for (path, runtime) in [
            // cgroupfs driver, all classes, with and without something in front.
            ("/kubepods/burstable/pod{u}/{i}", None),
            ("/kubepods/besteffort/pod{u}/{i}", None),
            ("/kubepods/pod{u}/{i}", None),
            ("/t0/node1/kubepods/burstable/pod{u}/{i}", None),
            ("/kubepods/burstable/pod{u}/crio-{i}", Some(Crio)),
            // systemd driver.
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{_}.slice/cri-containerd-{i}.scope",
                Some(Containerd),
            ),
            (
                "/kubepods.slice/kubepods-pod{_}.slice/crio-{i}.scope",
                Some(Crio),
            ),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{_}.slice/docker-{i}.scope",
                Some(Docker),
            ),
            (
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{_}.slice/cri-containerd-{i}.scope",
                Some(Containerd),
            ),
            // Nested cgroups belong to the container, whatever they are called.
            ("/kubepods/burstable/pod{u}/{i}/init", None),
            ("/kubepods/burstable/pod{u}/{i}/docker/{o}", None),
            ("/kubepods/burstable/pod{u}/{i}/kubepods/podx/{o}", None),
            (
                "/kubepods.slice/kubepods-pod{_}.slice/crio-{i}.scope/container",
                Some(Crio),
            ),
            // Kubernetes inside of a Docker container.
            ("/docker/{o}/kubelet/kubepods/burstable/pod{u}/{i}", None),
            (
                "/system.slice/docker-{o}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{_}.slice/cri-containerd-{i}.scope",
                Some(Containerd),
            ),
            // The runtime does not use systemd, but the kubelet does.
            (
                "/system.slice/containerd.service/kubepods-burstable-pod{_}.slice:cri-containerd:{i}",
                None,
            ),
            // Seen from another cgroup namespace.
            ("/../../pod{u}/{i}", None),
            ("/../../../besteffort/pod{u}/{i}", None),
            (
                "/../../kubepods-burstable-pod{_}.slice/cri-containerd-{i}.scope",
                Some(Containerd),
            ),
            (
                "/../../../kubepods-pod{_}.slice/crio-{i}.scope (deleted)",
                Some(Crio),
            ),
        ] {
            check(path, Some(UID), Some(ID), runtime);
        }
        check("/kubepods/burstable/pod{h}/{i}", Some(HASH), Some(ID), None);
        check("/kubepods/podtest-1/{i}", Some("test-1"), Some(ID), None);
    }

    #[test]
    fn containers_without_a_pod() {
        use Runtime::*;
        for (path, runtime) in [
            ("/docker/{i}", Some(Docker)),
            ("/system.slice/docker-{i}.scope", Some(Docker)),
            ("/docker/{i}/init.scope", Some(Docker)),
            ("/docker/{i}/docker/{o}", Some(Docker)),
            ("/machine.slice/libpod-{i}.scope", Some(Podman)),
            ("/machine.slice/libpod-{i}.scope/container", Some(Podman)),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{i}.scope/container",
                Some(Podman),
            ),
            ("/libpod_parent/libpod-{i}", Some(Podman)),
            ("/custom/{i}", None),
            ("/{i}", None),
            ("/system.slice/nerdctl-{i}.scope", None),
            // From another namespace, the pod being the reader's own.
            ("/../{i}", None),
            ("/../cri-containerd-{i}.scope", Some(Containerd)),
        ] {
            check(path, None, Some(ID), runtime);
        }
    }

    #[test]
    fn pods_without_a_container() {
        for path in [
            "/kubepods/burstable/pod{u}",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{_}.slice",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{_}.slice/crio-conmon-{i}.scope",
        ] {
            check(path, Some(UID), None, None);
        }
    }

    #[test]
    fn everything_else_is_neither() {
        for path in [
            "",
            "/",
            "/init.scope",
            "/kubepods",
            "/kubepods/burstable",
            "/kubepods.slice/kubepods-burstable.slice",
            "/user.slice/user-0.slice/session-1.scope",
            "/process_api/406cef168634b7b58b75fdbdad529ddc",
            "/system.slice/podman.service",
            "/podman/podabc",
            "/../podman",
            "/pod{u}",
            "/system.slice/crio-conmon-{i}.scope",
            "/machine.slice/libpod-conmon-{i}.scope",
            "/docker/9CE26DA262BBC84AE4DF968FE038055A2363EDC73207C2A6F85EF13BFBF73BD5",
            "/docker/{i}0",
            "/kubepods/pod",
            "/kubepods/pod../x",
            "/kubepods-pod.slice",
            "/notkubepods-pod{_}.slice",
        ] {
            check(path, None, None, None);
        }
        let long = format!("/kubepods/pod{}", "a".repeat(65));
        check(&long, None, None, None);
        assert_eq!(Place::of(b"/kubepods/\xff/pod1").pod, None);
    }

    #[test]
    fn the_line_that_tells_most_counts() {
        let text = expand(
            "9:name=systemd:/\n4:memory:/t0/node1/kubepods/burstable/pod{u}/{i}\n2:cpu,cpuacct:/docker/{o}\n0::/\n",
        );
        let place = parse_process(text.as_bytes()).unwrap();
        assert_eq!(
            (place.pod.as_deref(), place.container.as_deref()),
            (Some(UID), Some(ID))
        );

        let text = expand("1:name=systemd:/kubepods/pod{u}\n0::/docker/{i}\n");
        let place = parse_process(text.as_bytes()).unwrap();
        assert_eq!(
            (place.pod.as_deref(), place.container.as_deref()),
            (None, Some(ID))
        );

        let place = parse_process(b"0::/../..\n").unwrap();
        assert!(place.relative && place.container.is_none());
        // A path may contain colons.
        let text = expand("0::/a:b/kubepods/pod{u}/{i}");
        assert!(parse_process(text.as_bytes()).unwrap().is_final());
    }

    #[test]
    fn other_text_is_refused() {
        assert_eq!(parse_process(b""), Some(Place::default()));
        assert_eq!(parse_process(b"0::/\nnonsense\n"), None);
        assert_eq!(parse_process(b"4:memory\n"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = parse_process(&bytes);
            let _ = Place::of(&bytes);
        }

        #[test]
        fn ids_are_always_what_they_should_be(
            path in "(/(\\.\\.|kubepods|kubepods-pod|pod|docker|-|_|:|[0-9a-f]{64}|\\.slice|\\.scope|[a-z]{0,3}){0,4}){0,6}"
        ) {
            let place = Place::of(path.as_bytes());
            prop_assert!(place.container.is_none_or(|id| is_container_id(&id)));
            prop_assert!(place.pod.is_none_or(|uid| is_uid(&uid)));
        }
    }
}
