//! What a serving agent is made of.

use std::sync::Arc;

use kube::Client;
use scope_crds::Collector;

use super::config::Config;
use super::counting::count_http;
use super::rendering::renderer;
use super::sampler::Render;
use crate::http_rates::{HttpBoard, HttpLook};
use crate::inventory::InventoryWatch;
use crate::kubernetes::{Access, KubernetesError};
use crate::totals::TotalsBoard;
use crate::traffic::{Board, Features, Networks};
use crate::volumes::VolumeWatch;

/// What a serving agent is made of besides its configuration.
pub struct Parts {
    /// The sampler's work.
    pub render: Render,
    /// The inventory that the sampler's work looks at, and the clients; `None` without Kubernetes.
    pub kubernetes: Option<KubernetesParts>,
    /// What is known of the networks of pods; `None` where nobody looks at them.
    pub board: Option<Arc<Board>>,
    /// What the sampler's work hears of volumes, where they are looked at.
    pub volumes: VolumeWatch,
    /// How the counting of HTTP goes, with the collector for it.
    pub http: Option<Arc<HttpBoard>>,
    /// What is known of controllers in the whole cluster; `None` where nobody asks for it.
    pub totals: Option<Arc<TotalsBoard>>,
}

/// What is needed in a cluster.
pub struct KubernetesParts {
    /// For the watch of pods.
    pub watch: Client,
    /// For lookups of owners and namespaces.
    pub lookup: Client,
    /// For clicks.
    pub click: Client,
    /// The inventory.
    pub inventory: InventoryWatch,
}

impl Parts {
    /// The real parts.
    pub async fn real(config: &Config) -> Result<Self, KubernetesError> {
        let kubernetes = match &config.cluster {
            None => None,
            Some(_) => {
                let access = Access::find().await?;
                let inventory = InventoryWatch::default();
                Some(KubernetesParts {
                    watch: access.watch_client(inventory.contact.clone())?,
                    lookup: access.lookup_client()?,
                    click: access.click_client()?,
                    inventory,
                })
            }
        };
        let inventory = kubernetes.as_ref().map(|k| k.inventory.inventory.clone());
        let traffic = config.cluster.as_ref().is_some_and(|c| c.traffic);
        let board = match traffic {
            true => {
                let networks = Arc::new(Networks::of_plugin(&config.plugin_id));
                Some(Arc::new(Board::new(Features::try_out(), networks)))
            }
            false => None,
        };
        let has_totals = config
            .cluster
            .as_ref()
            .is_some_and(|c| c.totals_dir.is_some());
        let totals = has_totals.then(Arc::<TotalsBoard>::default);
        let volumes = VolumeWatch::default();
        let counts = config.collectors.has(Collector::HTTPStatistics);
        let http = counts.then(|| HttpLook::new(count_http(config.http_allow_sys_exit)));
        let counting = http.as_ref().map(HttpLook::board);
        Ok(Parts {
            render: renderer(
                config,
                inventory,
                volumes.clone(),
                board.clone(),
                http,
                totals.clone(),
            ),
            http: counting,
            kubernetes,
            board,
            volumes,
            totals,
        })
    }
}
