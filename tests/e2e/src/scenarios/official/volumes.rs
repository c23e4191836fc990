//! Volumes of a pod that has every kind that a cluster without storage drivers can have: counted, told
//! apart, and their use against `df`; and one of them hangs.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};

use super::hung::HungFileSystem;
use super::{NODE, with_example, words};
use crate::progress::await_some;
use crate::truth::{self, PodTruth};
use crate::world::World;

/// A look at volumes every 8 s, and a report with names as often.
const SEEN: Duration = Duration::from_secs(30);

/// Two file systems in files of the node, given out as PersistentVolumes.
const DISKS: [(&str, &str); 2] = [("data", "16M"), ("logs", "8M")];

const POD: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: volumes, namespace: figures}
data: {a: b}
---
apiVersion: v1
kind: Secret
metadata: {name: volumes, namespace: figures}
stringData: {a: b}
---
apiVersion: v1
kind: Pod
metadata: {name: volumes, namespace: figures, labels: {app: volumes}}
spec:
  terminationGracePeriodSeconds: 0
  nodeSelector: {kubernetes.io/hostname: node1}
  containers:
    - name: all
      image: harness.local/box:1
      command: [sh, -c, exec sleep 1000000]
      volumeMounts:
        - {name: settings, mountPath: /settings}
        - {name: password, mountPath: /password}
        - {name: mixed, mountPath: /mixed}
        - {name: self, mountPath: /self}
        - {name: node, mountPath: /node, readOnly: true}
        - {name: disk, mountPath: /disk}
        - {name: disk, mountPath: /again, subPath: part}
        - {name: memory, mountPath: /memory}
        - {name: hung, mountPath: /hung}
        - {name: data, mountPath: /data}
        - {name: logs, mountPath: /var/log/app}
    - name: few
      image: harness.local/box:1
      command: [sh, -c, exec sleep 1000000]
      volumeMounts: [{name: data, mountPath: /data}, {name: disk, mountPath: /disk}]
  volumes:
    - {name: settings, configMap: {name: volumes}}
    - {name: password, secret: {secretName: volumes}}
    - {name: mixed, projected: {sources: [{configMap: {name: volumes}}, {secret: {name: volumes, items: [{key: a, path: c}]}}]}}
    - {name: self, downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}
    - {name: node, hostPath: {path: /var/tmp, type: Directory}}
    - {name: disk, emptyDir: {}}
    - {name: memory, emptyDir: {medium: Memory, sizeLimit: 16Mi}}
    - {name: hung, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
    - {name: data, persistentVolumeClaim: {claimName: data}}
    - {name: logs, persistentVolumeClaim: {claimName: logs}}
"#;

pub(in super::super) fn against_df(world: &mut World) -> anyhow::Result<()> {
    let shown = make_disks(world).and_then(|()| {
        world.kubectl.apply(POD)?;
        let pod = await_some("the pod", Duration::from_secs(90), || {
            let pod = truth::pod_named(&world.kubectl, "figures", "volumes")?;
            Ok(match pod {
                Some(pod) if pod.containers.len() == 2 => Ok(pod),
                other => Err(format!("{other:?}")),
            })
        })?;
        with_example(world, "volume-count", |world| {
            counted(world, &pod)?;
            against_df_of(world, &pod, "data", "PVC", "local-volume/figures-data")?;
            against_df_of(world, &pod, "logs", "PVC", "local-volume/figures-logs")?;
            against_df_of(
                world,
                &pod,
                "memory",
                "emptyDir (memory)",
                "empty-dir/memory",
            )?;
            fills(world, &pod)?;
            hangs(world, &pod)
        })
    });
    let removed = remove(world);
    shown?;
    removed
}

fn make_disks(world: &World) -> anyhow::Result<()> {
    for (name, size) in DISKS {
        let script = "mkdir -p /var/lib/disks/$1 && truncate -s $2 /var/lib/disks/$1.img && \
                      mkfs.ext4 -q -F /var/lib/disks/$1.img && \
                      mount -o loop /var/lib/disks/$1.img /var/lib/disks/$1";
        world
            .node(NODE)?
            .exec(&["sh", "-c", script, "sh", name, size])?;
        world.kubectl.apply(&format!(
            r#"
apiVersion: v1
kind: PersistentVolume
metadata: {{name: figures-{name}}}
spec:
  capacity: {{storage: 1Mi}}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: ""
  local: {{path: /var/lib/disks/{name}}}
  claimRef: {{namespace: figures, name: {name}}}
  nodeAffinity: {{required: {{nodeSelectorTerms: [{{matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [{NODE}]}}]}}]}}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}, namespace: figures}}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: ""
  volumeName: figures-{name}
  resources: {{requests: {{storage: 1Mi}}}}
"#
        ))?;
    }
    Ok(())
}

fn remove(world: &World) -> anyhow::Result<()> {
    let forced = ["--grace-period=0", "--force", "--ignore-not-found"];
    let kubectl = |args: &[&str]| world.kubectl.ok(&[args, &forced[2..]].concat()).map(drop);
    world
        .kubectl
        .ok(&[&["delete", "pod", "volumes", "-n", "figures"], &forced[..]].concat())?;
    kubectl(&["delete", "configmap,secret", "volumes", "-n", "figures"])?;
    for (name, _) in DISKS {
        kubectl(&["delete", "pvc", name, "-n", "figures"])?;
        kubectl(&["delete", "pv", &format!("figures-{name}")])?;
        // The kubelet lets go of its own mount when the pod is gone.
        let disk = format!("/var/lib/disks/{name}");
        await_some("a disk that nobody uses", Duration::from_secs(60), || {
            let unmounted = world.node(NODE)?.exec(&["umount", &disk]);
            Ok(unmounted.map_err(|e| e.to_string()))
        })?;
    }
    world.node(NODE)?.exec(&["rm", "-r", "/var/lib/disks"])?;
    Ok(())
}

/// What stands in Scope under this key of this node.
fn latest(world: &mut World, topology: &str, id: &str, key: &str) -> anyhow::Result<String> {
    let heard = world.hear(NODE)?;
    let node = heard.node(topology, id);
    let value = node.and_then(|node| node.latest(key)).unwrap_or_default();
    Ok(value.to_owned())
}

/// Kubernetes adds a token, which is one more projected volume.
fn counted(world: &mut World, pod: &PodTruth) -> anyhow::Result<()> {
    let all = "PVC 2, configMap 1, downwardAPI 1, emptyDir 3, hostPath 1, projected 2, secret 1";
    let few = "PVC 1, emptyDir 1, projected 1";
    let mut wanted = vec![("Pod", pod.node_id(), "11", all)];
    for (id, (name, _)) in &pod.containers {
        let (count, kinds) = match name.as_str() {
            "all" => ("11", all),
            _ => ("3", few),
        };
        wanted.push(("Container", format!("{id};<container>"), count, kinds));
    }
    for (topology, id, count, kinds) in &wanted {
        await_some("the count of volumes", SEEN, || {
            let is = latest(world, topology, id, "volume_count")?;
            Ok(if is == *count { Ok(()) } else { Err(is) })
        })?;
        let is = latest(world, topology, id, "volume_kinds")?;
        ensure!(is == *kinds, "{topology} {id} has {is}, want {kinds}");
    }
    for (name, row) in [
        ("settings", "configMap"),
        ("password", "secret"),
        ("mixed", "projected"),
        ("self", "downwardAPI"),
        ("node", "hostPath"),
        // The node's own file system would tell of itself.
        ("disk", "emptyDir"),
    ] {
        let is = latest(world, "Pod", &pod.node_id(), &format!("volumes_{name}"))?;
        ensure!(is == row, "{name}: {is}, want {row}");
    }
    world.hear(NODE)?.must_conform()
}

fn path(pod: &PodTruth, place: &str) -> String {
    format!(
        "/var/lib/kubelet/pods/{}/volumes/kubernetes.io~{place}",
        pod.uid
    )
}

/// The row of a volume in the words of `df`.
fn by_df(world: &World, path: &str, kind: &str) -> anyhow::Result<(String, f64)> {
    let bytes = words(world, &["df", "-B1", "--output=size,used,avail", path])?;
    let files = words(world, &["df", "--output=itotal,iused", path])?;
    let (&[size, used, avail], &[most, there]) = (&*bytes, &*files) else {
        anyhow::bail!("df of {path} said {bytes:?} and {files:?}");
    };
    let percent = used as f64 / (used + avail) as f64 * 100.0;
    let row = format!(
        "{kind}, {} of {} ({percent:.0}%), {:.0}% of inodes",
        short(used),
        short(size),
        there as f64 / most as f64 * 100.0
    );
    Ok((row, percent))
}

fn short(bytes: u64) -> String {
    let kib = bytes as f64 / 1024.0;
    match bytes {
        ..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{kib:.1} KiB"),
        _ => format!("{:.1} MiB", kib / 1024.0),
    }
}

fn against_df_of(
    world: &mut World,
    pod: &PodTruth,
    name: &str,
    kind: &str,
    place: &str,
) -> anyhow::Result<()> {
    let (want, _) = by_df(world, &path(pod, place), kind)?;
    await_some(name, SEEN, || {
        let is = latest(world, "Pod", &pod.node_id(), &format!("volumes_{name}"))?;
        Ok(if is == want {
            Ok(())
        } else {
            Err(format!("{is}, df: {want}"))
        })
    })?;
    eprintln!("    {name}: {want}");
    Ok(())
}

/// What the containers write is seen, and the fullest is the figure of the pod.
fn fills(world: &mut World, pod: &PodTruth) -> anyhow::Result<()> {
    for (file, mebibytes) in [("/data/x", "9"), ("/memory/x", "3")] {
        let script = format!("dd if=/dev/zero of={file} bs=1M count={mebibytes} && sync");
        let exec = [
            "exec", "-n", "figures", "volumes", "-c", "all", "--", "sh", "-c",
        ];
        world.kubectl.ok(&[&exec[..], &[&script]].concat())?;
    }
    against_df_of(world, pod, "data", "PVC", "local-volume/figures-data")?;
    against_df_of(
        world,
        pod,
        "memory",
        "emptyDir (memory)",
        "empty-dir/memory",
    )?;
    let (_, want) = by_df(world, &path(pod, "local-volume/figures-data"), "PVC")?;
    let heard = world.hear(NODE)?;
    let figure = heard
        .node("Pod", &pod.node_id())
        .and_then(|node| node.metric("volume_use"))
        .context("volume_use")?;
    eprintln!("    fullest: {figure} %, by df {want:.3} %");
    ensure!((figure - want).abs() < 0.01, "{figure} %, df says {want} %");
    Ok(())
}

/// One that never answers holds up nobody, and comes back.
fn hangs(world: &mut World, pod: &PodTruth) -> anyhow::Result<()> {
    let key = "volumes_hung";
    let id = pod.node_id();
    let hung = HungFileSystem::mount(world, &path(pod, "empty-dir/hung"))?;
    await_some("one that hangs", SEEN, || {
        let is = latest(world, "Pod", &id, key)?;
        let said = "emptyDir (memory), does not answer";
        Ok(if is == said { Ok(()) } else { Err(is) })
    })?;
    let (mut slowest, mut oldest) = (Duration::ZERO, 0.0_f64);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(15) {
        let heard = world.hear(NODE)?;
        let (at, _) = heard
            .node("Pod", &id)
            .and_then(|node| node.timed("volume_use"))
            .context("the figure went missing")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        oldest = oldest.max(now - at);
        let of_plugin = heard
            .answers
            .iter()
            .filter(|(socket, _)| socket.to_string_lossy().contains("/volume-count/"));
        for (_, exchange) in of_plugin {
            slowest = slowest.max(exchange.took);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    eprintln!(
        "    one hangs: answers within {} ms, figures at most {oldest:.1} s old",
        slowest.as_millis()
    );
    ensure!(
        slowest < Duration::from_millis(250),
        "an answer took {slowest:?}"
    );
    ensure!(oldest < 2.5, "figures were {oldest:.1} s old");
    // The others go on being asked.
    let exec = [
        "exec",
        "-n",
        "figures",
        "volumes",
        "-c",
        "all",
        "--",
        "rm",
        "/memory/x",
    ];
    world.kubectl.ok(&exec)?;
    against_df_of(
        world,
        pod,
        "memory",
        "emptyDir (memory)",
        "empty-dir/memory",
    )?;
    drop(hung);
    against_df_of(world, pod, "hung", "emptyDir (memory)", "empty-dir/hung")
}
