//! What several plugins on a node offer, and that all of them name it alike.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use scope_agent::collect::ControlNames;
use scope_agent::serve::{OfferReader, OfferedControls};
use tempfile::TempDir;

fn names(pod: &[&str], container: &[&str], frozen: &[&str]) -> ControlNames {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    ControlNames {
        pod: texts(pod),
        container: texts(container),
        frozen_container: texts(frozen),
        ..ControlNames::default()
    }
}

fn plugins() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn offer(plugins: &Path, id: &str, names: &ControlNames) -> OfferedControls {
    let directory = plugins.join(id);
    std::fs::create_dir_all(&directory).expect("makes it");
    OfferedControls::write(&directory, id, names).expect("writes")
}

/// Makes a file as a process that is gone left it, or as somebody else wrote it.
fn leave(plugins: &Path, id: &str, text: &[u8]) -> std::fs::File {
    let directory = plugins.join(id);
    std::fs::create_dir_all(&directory).expect("makes it");
    let path = directory.join(format!("{id}.controls"));
    std::fs::write(&path, text).expect("writes");
    std::fs::File::open(path).expect("opens")
}

fn reader(plugins: &Path, id: &str, own: &ControlNames) -> OfferReader {
    OfferReader::new(plugins, id, own.clone())
}

const LATER: Duration = Duration::from_secs(5);

#[test]
fn all_name_the_union_in_one_order() {
    let plugins = plugins();
    let at = plugins.path();
    let a = names(&["b-controls~z", "b-controls~a"], &["b-controls~x"], &[]);
    let b = names(&["a-controls~m"], &[], &["a-controls~t"]);
    let c = names(&["c~own"], &[], &[]);
    let offered = [offer(at, "b", &a), offer(at, "a", &b), offer(at, "c", &c)];
    let now = Instant::now();
    let pod = ["a-controls~m", "b-controls~a", "b-controls~z", "c~own"];
    let both = names(&pod, &["b-controls~x"], &["a-controls~t"]);
    assert_eq!(*reader(at, "b", &a).names(now), both);
    assert_eq!(*reader(at, "a", &b).names(now), both);
    // It has nothing on containers, and so writes no string into them.
    assert_eq!(*reader(at, "c", &c).names(now), names(&pod, &[], &[]));
    let nothing = ControlNames::default();
    assert_eq!(*reader(at, "d", &nothing).names(now), nothing);

    for id in ["a", "b", "c"] {
        let file = at.join(id).join(format!("{id}.controls"));
        let mode = file.metadata().expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(at.join(id).read_dir().expect("lists").count(), 1);
    }
    drop(offered);
    for id in ["a", "b", "c"] {
        assert_eq!(at.join(id).read_dir().expect("lists").count(), 0, "{id}");
    }
}

/// A plugin that offers something on Deployments only has no part in the string of any other kind.
#[test]
fn each_kind_of_controller_and_the_host_have_a_union_of_their_own() {
    let plugins = plugins();
    let at = plugins.path();
    type List = fn(&mut ControlNames) -> &mut Vec<String>;
    let lists: [(List, &str); 6] = [
        (|n| &mut n.pod, "pod"),
        (|n| &mut n.deployment, "deployment"),
        (|n| &mut n.stateful_set, "statefulSet"),
        (|n| &mut n.daemon_set, "daemonSet"),
        (|n| &mut n.cron_job, "cronJob"),
        (|n| &mut n.host, "host"),
    ];
    let mut everything = ControlNames::default();
    for (list, kind) in lists {
        *list(&mut everything) = vec![format!("b-controls~{kind}")];
    }
    let _offered = offer(at, "b", &everything);
    let text = std::fs::read(at.join("b/b.controls")).expect("reads");
    let file: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    for (list, kind) in lists {
        assert_eq!(file[kind][0], format!("b-controls~{kind}"));
        let mut own = ControlNames::default();
        *list(&mut own) = vec!["z-controls~own".to_owned(), "a-controls~own".to_owned()];
        let mut both = ControlNames::default();
        *list(&mut both) = vec![
            "a-controls~own".to_owned(),
            format!("b-controls~{kind}"),
            "z-controls~own".to_owned(),
        ];
        assert_eq!(*reader(at, "a", &own).names(Instant::now()), both, "{kind}");
    }
}

#[test]
fn who_comes_and_goes_is_noticed_within_seconds_and_not_at_each_look() {
    let plugins = plugins();
    let at = plugins.path();
    let own = names(&["a-controls~x"], &[], &[]);
    let mut reader = reader(at, "a", &own);
    let start = Instant::now();
    assert_eq!(*reader.names(start), own);
    let other = offer(at, "b", &names(&["b-controls~y"], &[], &[]));
    assert_eq!(*reader.names(start + LATER / 2), own, "not yet");
    let both = names(&["a-controls~x", "b-controls~y"], &[], &[]);
    assert_eq!(*reader.names(start + LATER), both);
    // The same process with another offer: a new file under the old name.
    drop(other);
    let other = offer(at, "b", &names(&["b-controls~z"], &[], &[]));
    let both = names(&["a-controls~x", "b-controls~z"], &[], &[]);
    assert_eq!(*reader.names(start + LATER * 2), both);
    drop(other);
    assert_eq!(*reader.names(start + LATER * 3), own);
}

#[test]
fn a_dead_process_offers_nothing() {
    let plugins = plugins();
    let at = plugins.path();
    let own = names(&["a-controls~x"], &[], &[]);
    let file = leave(at, "b", br#"{"pod":["b-controls~y"]}"#);
    let start = Instant::now();
    let mut reader = reader(at, "a", &own);
    assert_eq!(*reader.names(start), own);
    // It is alive while it holds the lock.
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).expect("locks");
    let both = names(&["a-controls~x", "b-controls~y"], &[], &[]);
    assert_eq!(*reader.names(start + LATER), both);
    drop(file);
    assert_eq!(*reader.names(start + LATER * 2), own);
    // Whoever comes after a killed one replaces what it left.
    std::fs::write(at.join("b/b.controls.new"), "half").expect("writes");
    let _other = offer(at, "b", &names(&["b-controls~z"], &[], &[]));
    let both = names(&["a-controls~x", "b-controls~z"], &[], &[]);
    assert_eq!(*reader.names(start + LATER * 3), both);
}

#[test]
fn what_is_no_offer_is_left_out() {
    let plugins = plugins();
    let at = plugins.path();
    let own = names(&["a-controls~x"], &[], &[]);
    let many: Vec<String> = (0..33).map(|n| format!("\"b~{n}\"")).collect();
    let large = format!("{{\"pod\":[{}]}}", " ".repeat(20_000));
    let bad = [
        String::new(),
        "{".into(),
        "[]".into(),
        r#"{"pod":"b~x"}"#.into(),
        r#"{"pod":["kubernetes_delete_pod"]}"#.into(),
        r#"{"pod":["other-controls~x"]}"#.into(),
        r#"{"pod":["bb~x"]}"#.into(),
        r#"{"pod":["b~x;kubernetes_delete_pod"]}"#.into(),
        r#"{"pod":["b~"]}"#.into(),
        r#"{"pod":["b~x\"y"]}"#.into(),
        r#"{"container":["b~x"],"frozenContainer":["b/~y"]}"#.into(),
        r#"{"pod":["b~x"],"deployment":["other~x"]}"#.into(),
        r#"{"pod":["b~x"],"statefulSet":["b~x;y"]}"#.into(),
        r#"{"pod":["b~x"],"daemonSet":["b"]}"#.into(),
        r#"{"pod":["b~x"],"cronJob":["~x"]}"#.into(),
        r#"{"pod":["b~x"],"host":["host_exec"]}"#.into(),
        format!(r#"{{"pod":["b~{}"]}}"#, "x".repeat(200)),
        format!(r#"{{"pod":[{}]}}"#, many.join(",")),
        large,
    ];
    let start = Instant::now();
    for text in &bad {
        let file = leave(at, "b", text.as_bytes());
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).expect("locks");
        assert_eq!(*reader(at, "a", &own).names(start), own, "{text}");
        drop(file);
    }
    // A later version may know more kinds.
    let file = leave(
        at,
        "b",
        br#"{"pod":["b-controls~y"],"process":["b-controls~p"],"service":{"new":1}}"#,
    );
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).expect("locks");
    let both = names(&["a-controls~x", "b-controls~y"], &[], &[]);
    assert_eq!(*reader(at, "a", &own).names(start), both);
    // Neither links nor pipes nor directories are opened.
    std::fs::rename(at.join("b/b.controls"), at.join("real")).expect("renames");
    std::os::unix::fs::symlink(at.join("real"), at.join("b/b.controls")).expect("links");
    assert_eq!(*reader(at, "a", &own).names(start), own);
    std::os::unix::fs::symlink(at.join("b"), at.join("c")).expect("links");
    let fifo = at.join("d/d.controls");
    std::fs::create_dir_all(at.join("d")).expect("makes it");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0)
        .expect("makes a pipe");
    std::fs::create_dir_all(at.join("e/e.controls")).expect("makes it");
    assert_eq!(*reader(at, "a", &own).names(start), own);
}

#[test]
fn of_too_many_plugins_all_name_those_of_the_first() {
    let plugins = plugins();
    let at = plugins.path();
    let own = names(&["own~x"], &[], &[]);
    let mut offered = Vec::new();
    // Made backwards, so that no order of the directory is that of the names.
    for number in (0..80).rev() {
        let id = format!("p{number:02}");
        let offers = names(&[&format!("{id}~x")], &[], &[]);
        offered.push(offer(at, &id, &offers));
    }
    let mut reader = reader(at, "own", &own);
    let named = &reader.names(Instant::now()).pod;
    let mut want: Vec<String> = (0..64).map(|number| format!("p{number:02}~x")).collect();
    want.insert(0, "own~x".into());
    assert_eq!(*named, want);
}
