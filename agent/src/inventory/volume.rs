//! The volumes of a pod, and which of them a container has.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::node_pod::SpecContainer;

/// Of one pod and of one container. The API server has no bound; a pod whose every file is a volume
/// of its own has some dozens.
const MAX_VOLUMES: usize = 256;
/// The kernel's limit for a path.
const MAX_PATH: usize = 4096;

/// A volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Name in the pod: a DNS label.
    pub name: String,
    /// What it is.
    pub kind: VolumeKind,
}

/// What a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VolumeKind {
    /// A file or directory of the node.
    HostPath,
    /// A directory on the node's disk that lives as long as the pod.
    EmptyDir,
    /// The same in memory.
    EmptyDirInMemory,
    /// Files out of a ConfigMap.
    ConfigMap,
    /// Files out of a Secret.
    Secret,
    /// Files out of several sources, such as tokens.
    Projected,
    /// Files about the pod itself.
    DownwardApi,
    /// What a PersistentVolumeClaim is bound to.
    Claim,
    /// The same with a claim that lives as long as the pod.
    EphemeralClaim,
    /// A driver's, without a claim.
    Csi,
    /// An NFS export.
    Nfs,
    /// A disk of the network by iSCSI.
    Iscsi,
    /// A disk of the network by Fibre Channel.
    FibreChannel,
    /// An image.
    Image,
    /// Whatever else there is.
    Other,
}

impl VolumeKind {
    /// The kind by the field of a pod's volume that is set.
    fn of_field(field: &str) -> Self {
        match field {
            "hostPath" => VolumeKind::HostPath,
            "emptyDir" => VolumeKind::EmptyDir,
            "configMap" => VolumeKind::ConfigMap,
            "secret" => VolumeKind::Secret,
            "projected" => VolumeKind::Projected,
            "downwardAPI" => VolumeKind::DownwardApi,
            "persistentVolumeClaim" => VolumeKind::Claim,
            "ephemeral" => VolumeKind::EphemeralClaim,
            "csi" => VolumeKind::Csi,
            "nfs" => VolumeKind::Nfs,
            "iscsi" => VolumeKind::Iscsi,
            "fc" => VolumeKind::FibreChannel,
            "image" => VolumeKind::Image,
            _ => VolumeKind::Other,
        }
    }

    /// As volumes are counted.
    pub fn as_str(self) -> &'static str {
        match self {
            VolumeKind::HostPath => "hostPath",
            VolumeKind::EmptyDir | VolumeKind::EmptyDirInMemory => "emptyDir",
            VolumeKind::ConfigMap => "configMap",
            VolumeKind::Secret => "secret",
            VolumeKind::Projected => "projected",
            VolumeKind::DownwardApi => "downwardAPI",
            VolumeKind::Claim => "PVC",
            VolumeKind::EphemeralClaim => "ephemeral PVC",
            VolumeKind::Csi => "CSI",
            VolumeKind::Nfs => "NFS",
            VolumeKind::Iscsi => "iSCSI",
            VolumeKind::FibreChannel => "FC",
            VolumeKind::Image => "image",
            VolumeKind::Other => "other",
        }
    }

    /// Whether the kubelet has it under the name of a PersistentVolume, which the pod does not tell.
    pub(crate) fn is_claimed(self) -> bool {
        matches!(self, VolumeKind::Claim | VolumeKind::EphemeralClaim)
    }

    /// Whether the kubelet alone writes it: how full it is depends on nothing that runs.
    pub(crate) fn is_given(self) -> bool {
        matches!(
            self,
            VolumeKind::ConfigMap
                | VolumeKind::Secret
                | VolumeKind::Projected
                | VolumeKind::DownwardApi
                | VolumeKind::Image
        )
    }
}

impl fmt::Display for VolumeKind {
    /// For a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            VolumeKind::EmptyDirInMemory => f.write_str(" (memory)"),
            _ => Ok(()),
        }
    }
}

/// A volume in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountedVolume {
    /// Which of the pod's.
    pub volume: String,
    /// Where in the container; `None` for a block device.
    pub path: Option<String>,
}

/// A volume of a pod's spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SpecVolume {
    name: String,
    kind: VolumeKind,
}

/// A place in a container's spec where a volume is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct SpecMount {
    name: String,
    mount_path: Option<String>,
}

/// A pod's volumes in their order, each name once.
pub(super) fn volumes(given: Option<Vec<SpecVolume>>) -> Vec<Volume> {
    let mut names = BTreeSet::new();
    given
        .into_iter()
        .flatten()
        .filter(|volume| is_label(&volume.name) && names.insert(volume.name.clone()))
        .take(MAX_VOLUMES)
        .map(|SpecVolume { name, kind }| Volume { name, kind })
        .collect()
}

/// A container's volumes: every place of each.
pub(super) fn mounted(spec: Option<&SpecContainer>) -> Vec<MountedVolume> {
    let lists = spec
        .into_iter()
        .flat_map(|spec| [&spec.volume_mounts, &spec.volume_devices]);
    lists
        .flatten()
        .flatten()
        .filter(|mount| is_label(&mount.name))
        .take(MAX_VOLUMES)
        .map(|mount| MountedVolume {
            volume: mount.name.clone(),
            path: mount
                .mount_path
                .clone()
                .filter(|path| path.len() <= MAX_PATH),
        })
        .collect()
}

/// Whether it is a DNS label, as the API server asks of these names: they become part of paths and of
/// keys.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl<'de> Deserialize<'de> for SpecVolume {
    /// What it is, is told by which field there is; what stands in it is skipped.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Directory {
            medium: Option<String>,
        }
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = SpecVolume;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a volume")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SpecVolume, A::Error> {
                let mut volume = SpecVolume {
                    name: String::new(),
                    kind: VolumeKind::Other,
                };
                while let Some(field) = map.next_key::<String>()? {
                    match VolumeKind::of_field(&field) {
                        _ if field == "name" => {
                            volume.name = map.next_value::<Option<String>>()?.unwrap_or_default();
                        }
                        VolumeKind::EmptyDir => {
                            let directory: Option<Directory> = map.next_value()?;
                            if let Some(directory) = directory {
                                volume.kind = match directory.medium.as_deref() {
                                    None | Some("") => VolumeKind::EmptyDir,
                                    // Huge pages are memory as well.
                                    Some(_) => VolumeKind::EmptyDirInMemory,
                                };
                            }
                        }
                        kind => {
                            if map.next_value::<Option<IgnoredAny>>()?.is_some() {
                                volume.kind = kind;
                            }
                        }
                    }
                }
                Ok(volume)
            }
        }
        d.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(json: serde_json::Value) -> Vec<(String, String)> {
        let given: Vec<SpecVolume> = serde_json::from_value(json).expect("decodes");
        volumes(Some(given))
            .into_iter()
            .map(|volume| (volume.name, volume.kind.to_string()))
            .collect()
    }

    #[test]
    fn the_kind_is_told_by_the_field() {
        for (field, kind) in [
            (json!({"hostPath": {"path": "/a", "type": ""}}), "hostPath"),
            (json!({"emptyDir": {}}), "emptyDir"),
            (json!({"emptyDir": {"medium": ""}}), "emptyDir"),
            (
                json!({"emptyDir": {"sizeLimit": "1Gi", "medium": "Memory"}}),
                "emptyDir (memory)",
            ),
            (
                json!({"configMap": {"name": "a", "defaultMode": 420}}),
                "configMap",
            ),
            (json!({"secret": {"secretName": "a"}}), "secret"),
            (json!({"projected": {"sources": [{}]}}), "projected"),
            (json!({"downwardAPI": {"items": []}}), "downwardAPI"),
            (json!({"persistentVolumeClaim": {"claimName": "a"}}), "PVC"),
            (
                json!({"ephemeral": {"volumeClaimTemplate": {}}}),
                "ephemeral PVC",
            ),
            (json!({"csi": {"driver": "a"}}), "CSI"),
            (json!({"nfs": {"server": "a", "path": "/"}}), "NFS"),
            (json!({"iscsi": {}}), "iSCSI"),
            (json!({"fc": {}}), "FC"),
            (json!({"image": {"reference": "a"}}), "image"),
            (json!({"quobyte": {}, "secret": null}), "other"),
            (json!({}), "other"),
        ] {
            let mut volume = field.clone();
            volume["name"] = json!("data");
            let want = vec![("data".to_owned(), kind.to_owned())];
            assert_eq!(read(json!([volume])), want, "{field}");
        }
    }

    #[test]
    fn names_are_labels_each_once_and_there_is_a_bound() {
        let named = |name: &str| json!({"name": name, "emptyDir": {}});
        let names = |given: &[&str]| -> Vec<String> {
            let given: Vec<_> = given.iter().map(|name| named(name)).collect();
            read(json!(given))
                .into_iter()
                .map(|(name, _)| name)
                .collect()
        };
        let long = "a".repeat(64);
        assert_eq!(
            names(&[
                "a", "a", "", "..", "a/b", "A", "-a", "a-", "a___b", &long, "kube-0"
            ]),
            ["a", "kube-0"]
        );
        let many: Vec<String> = (0..MAX_VOLUMES + 9).map(|n| format!("v{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(names(&many).len(), MAX_VOLUMES);
    }

    #[test]
    fn a_container_has_mounts_and_devices() {
        let spec: SpecContainer = serde_json::from_value(json!({
            "name": "app",
            "volumeMounts": [
                {"name": "data", "mountPath": "/data"},
                {"name": "data", "mountPath": "/again", "subPath": "x"},
                {"name": "../x", "mountPath": "/y"},
            ],
            "volumeDevices": [{"name": "disk", "devicePath": "/dev/xvda"}],
        }))
        .expect("decodes");
        let found: Vec<_> = mounted(Some(&spec))
            .into_iter()
            .map(|mounted| (mounted.volume, mounted.path))
            .collect();
        let path = |path: &str| Some(path.to_owned());
        assert_eq!(
            found,
            [
                ("data".to_owned(), path("/data")),
                ("data".to_owned(), path("/again")),
                ("disk".to_owned(), None),
            ]
        );
        assert_eq!(mounted(None), []);
    }
}
