//! What an agent needs to report to scope-totals: a token that is good there and nowhere else, and, from the
//! ConfigMap that the service writes, whom to trust and where to report.

use k8s_openapi::api::core::v1::{
    ConfigMapProjection, KeyToPath, ProjectedVolumeSource, ServiceAccountTokenProjection, Volume,
    VolumeMount, VolumeProjection,
};
use scope_totals_wire::AUDIENCE;

/// The volume.
const VOLUME: &str = "totals";
/// Where the agent finds it.
const DIRECTORY: &str = "/var/run/scope-totals";
/// The file with the token.
const TOKEN: &str = "token";
/// The kubelet replaces a token after four fifths of this.
const TOKEN_SECONDS: i64 = 3600;
/// Keys of the ConfigMap, which are the names of the files: certificates to trust, the address (IP and port) and the
/// name that the certificate there is for.
const KEYS: [&str; 3] = ["ca.crt", "address", "name"];
/// The agent's user alone may read them.
const MODE: i32 = 0o400;

/// The files, from this ConfigMap. A pod starts without it too, and gets what it says later.
pub(super) fn volume(config_map: &str) -> Volume {
    let token = ServiceAccountTokenProjection {
        audience: Some(AUDIENCE.into()),
        expiration_seconds: Some(TOKEN_SECONDS),
        path: TOKEN.into(),
    };
    let told = ConfigMapProjection {
        name: config_map.into(),
        optional: Some(true),
        items: Some(
            KEYS.map(|key| KeyToPath {
                key: key.into(),
                path: key.into(),
                mode: None,
            })
            .into(),
        ),
    };
    Volume {
        name: VOLUME.into(),
        projected: Some(ProjectedVolumeSource {
            default_mode: Some(MODE),
            sources: Some(vec![
                VolumeProjection {
                    service_account_token: Some(token),
                    ..VolumeProjection::default()
                },
                VolumeProjection {
                    config_map: Some(told),
                    ..VolumeProjection::default()
                },
            ]),
        }),
        ..Volume::default()
    }
}

/// Where they are.
pub(super) fn mount() -> VolumeMount {
    VolumeMount {
        name: VOLUME.into(),
        mount_path: DIRECTORY.into(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

/// What tells the agent so.
pub(super) fn argument() -> String {
    format!("--totals-dir={DIRECTORY}")
}
