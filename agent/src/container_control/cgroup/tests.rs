use super::*;

const POD: &str = "2804a43f-78e8-43ee-ae3f-77f071579273";
const OTHER_POD: &str = "11111111-78e8-43ee-ae3f-77f071579273";

fn id(digit: &str) -> String {
    digit.repeat(64)
}

fn tree(files: &[(String, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn v1(state: &'static str) -> Vec<(String, &'static str)> {
    let pod = format!("freezer/t0/node1/kubepods/burstable/pod{POD}");
    vec![
        (format!("{pod}/freezer.state"), "THAWED\n"),
        (format!("{pod}/{}/freezer.state", id("a")), state),
        (format!("{pod}/{}/cgroup.procs", id("a")), "40\n41\n0\n"),
        (format!("{pod}/{}/inner/cgroup.procs", id("a")), "42\n"),
        (format!("{pod}/{}/freezer.state", id("b")), "THAWED\n"),
        (
            format!(
                "freezer/t0/node1/kubepods/pod{OTHER_POD}/{}/freezer.state",
                id("c")
            ),
            "THAWED\n",
        ),
        (
            format!("memory/t0/node1/kubepods/pod{POD}/{}/cgroup.procs", id("d")),
            "50\n",
        ),
        (
            format!(
                "unified/t0/node1/kubepods/burstable/pod{POD}/{}/cgroup.freeze",
                id("a")
            ),
            "0\n",
        ),
        ("unified/cgroup.controllers".into(), ""),
    ]
}

fn v2(freeze: &'static str, events: &'static str) -> Vec<(String, &'static str)> {
    let slice = format!(
        "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice/cri-containerd-{}.scope",
        POD.replace('-', "_"),
        id("a")
    );
    vec![
        ("cgroup.controllers".into(), "cpu memory\n"),
        (format!("{slice}/cgroup.freeze"), freeze),
        (format!("{slice}/cgroup.events"), events),
        (format!("{slice}/cgroup.procs"), "7\n"),
        (format!("{slice}/init.scope/cgroup.procs"), "8\n"),
    ]
}

#[test]
fn v1_is_read_and_written_in_exactly_that_container() {
    let dir = tree(&v1("THAWED\n"));
    let found = Cgroup::find(dir.path(), POD, &id("a")).unwrap().unwrap();
    assert_eq!(
        found.freezer,
        Some(Version::V1),
        "before the v2 tree beside it"
    );
    let mut processes = found.processes();
    processes.sort_unstable();
    assert_eq!(processes, [40, 41, 42]);
    assert_eq!(found.state().unwrap(), State::Thawed);
    found.set_frozen(true).unwrap();
    let changed: Vec<_> = v1("")
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| {
            fs::read_to_string(dir.path().join(path))
                .unwrap()
                .contains("FROZEN")
        })
        .collect();
    assert_eq!(changed, [v1("")[1].0.clone()]);
    assert_eq!(
        found.await_state(State::Frozen, Duration::ZERO).unwrap(),
        State::Frozen
    );
    found.set_frozen(false).unwrap();
    assert_eq!(found.state().unwrap(), State::Thawed);
}

#[test]
fn v2_is_read_and_written() {
    for (freeze, events, state) in [
        ("0\n", "populated 1\nfrozen 0\n", State::Thawed),
        ("1\n", "populated 1\nfrozen 0\n", State::Freezing),
        ("1\n", "populated 1\nfrozen 1\n", State::Frozen),
        // By a cgroup above it.
        ("0\n", "populated 1\nfrozen 1\n", State::Frozen),
    ] {
        let dir = tree(&v2(freeze, events));
        let found = Cgroup::find(dir.path(), POD, &id("a")).unwrap().unwrap();
        assert_eq!(found.state().unwrap(), state, "{freeze} {events}");
        assert_eq!(found.processes().len(), 2);
        found.set_frozen(true).unwrap();
        let written = fs::read_to_string(found.directory.join("cgroup.freeze")).unwrap();
        assert!(written.starts_with('1'));
        found.set_frozen(false).unwrap();
        let written = fs::read_to_string(found.directory.join("cgroup.freeze")).unwrap();
        assert!(written.starts_with('0'));
    }
}

#[test]
fn without_a_freezer_the_processes_are_still_found() {
    let dir = tree(&v1("THAWED\n"));
    let found = Cgroup::find(dir.path(), POD, &id("d")).unwrap().unwrap();
    assert!(!found.can_freeze());
    assert_eq!(found.processes(), [50]);
    assert!(found.state().is_err() && found.set_frozen(true).is_err());
}

#[test]
fn what_is_not_that_container_is_not_found() {
    let dir = tree(&v1("THAWED\n"));
    for (pod, container) in [
        (POD, id("e")),
        (POD, id("c")),
        (OTHER_POD, id("a")),
        (POD, "a".repeat(63)),
    ] {
        assert_eq!(
            Cgroup::find(dir.path(), pod, &container).unwrap(),
            None,
            "{pod} {container}"
        );
    }
}

#[test]
fn a_search_that_is_not_whole_is_an_error_and_not_an_answer() {
    let said = |root: &Path| {
        let found = Cgroup::find(root, POD, &id("a"));
        found.expect_err("not known").to_string()
    };
    assert!(said(Path::new("/nonexistent")).contains("/nonexistent: "));
    let empty = tempfile::tempdir().unwrap();
    assert!(said(empty.path()).contains("no cgroup hierarchy is there"));

    // Of more directories than are looked at, one that lies among the first is still found.
    let dir = tree(&v1("THAWED\n"));
    let root = dir.path().join("freezer");
    let find = |container: &str, most| find_below(&root, POD, Some(container), most);
    assert!(find(&id("a"), 100).unwrap().is_some());
    assert!(find(&id("e"), 100).unwrap().is_none(), "a whole one");
    let error = find(&id("e"), 5).unwrap_err().to_string();
    assert!(error.contains("more than 5 directories"), "{error}");

    // What is no directory any more cannot be read, and for another reason than that it is gone.
    let file = root.join("file");
    fs::write(&file, "").unwrap();
    let error = find_below(&file, POD, Some(&id("a")), 100).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    assert!(error.to_string().contains("freezer/file: "), "{error}");
    let gone = find_below(&root.join("gone"), POD, Some(&id("a")), 100);
    assert!(gone.unwrap().is_none());
}

#[test]
fn malformed_states_are_errors_that_name_the_file() {
    for (files, name) in [
        (v1("MELTING\n"), "freezer.state"),
        (v1(""), "freezer.state"),
        (v2("0\n", "populated 1\n"), "cgroup.events"),
        (v2("0\n", "populated 1\nfrozen x\n"), "cgroup.events"),
    ] {
        let dir = tree(&files);
        let found = Cgroup::find(dir.path(), POD, &id("a")).unwrap().unwrap();
        let said = found.state().unwrap_err().to_string();
        assert!(said.contains(name), "{said}");
    }
    let dir = tree(&v1("THAWED\n"));
    let found = Cgroup::find(dir.path(), POD, &id("a")).unwrap().unwrap();
    fs::remove_dir_all(&found.directory).unwrap();
    assert_eq!(found.state().unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(found.processes().is_empty());
}

/// The machine's own kernel, where it lets us.
#[test]
fn the_kernel_freezes_a_real_process() {
    let root = Path::new("/sys/fs/cgroup");
    let name = format!("scope-agent-test-{}", std::process::id());
    let all = hierarchies(root).unwrap_or_default();
    let Some((hierarchy, freezer)) = all.into_iter().find(|(_, f)| f.is_some()) else {
        return;
    };
    let (pod, container) = (format!("kubepods/pod{POD}"), id("f"));
    let directory = hierarchy.join(&name).join(pod).join(&container);
    if fs::create_dir_all(&directory).is_err() {
        // Not root, or a read-only mount: the made trees have to do.
        return;
    }
    let mut child = std::process::Command::new("sleep")
        .arg("1000")
        .spawn()
        .unwrap();
    let checked = std::panic::catch_unwind(|| {
        fs::write(directory.join("cgroup.procs"), child.id().to_string()).unwrap();
        // Found below our own directory only: the machine's own pods stay out of it.
        let found = find_below(&hierarchy.join(&name), POD, Some(&container), 100);
        let found = found.unwrap().unwrap();
        let cgroup = Cgroup {
            directory: found,
            freezer,
        };
        assert_eq!(cgroup.processes(), [child.id()]);
        cgroup.set_frozen(true).unwrap();
        let patience = Duration::from_secs(10);
        assert_eq!(
            cgroup.await_state(State::Frozen, patience).unwrap(),
            State::Frozen
        );
        cgroup.set_frozen(false).unwrap();
        assert_eq!(
            cgroup.await_state(State::Thawed, patience).unwrap(),
            State::Thawed
        );
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let mut leaf = directory.as_path();
    while leaf != hierarchy {
        let _ = fs::remove_dir(leaf);
        leaf = leaf.parent().unwrap();
    }
    if let Err(panic) = checked {
        std::panic::resume_unwind(panic);
    }
}
