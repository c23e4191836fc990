//! Connections to the API server.

use std::time::Duration;

use kube::{Client, Config};

use crate::exit::{Code, Failure};

/// The clients, by what a lost or repeated request would mean.
#[derive(Clone)]
pub struct Clients {
    /// Lists and watches, which may wait for an answer as long as a watch may be quiet. Each stream
    /// waits and tries again by itself; a second layer of that below it would only be slower.
    pub watch: Client,
    /// Writes, and the reads that belong to them. Nothing is repeated behind our back: a delete that
    /// is sent again half a minute later would hit what is there then. Callers set their own timeouts.
    pub act: Client,
    /// The Lease alone, so that nothing else is ever in its way.
    pub lease: Client,
}

/// Above the 295 s after which a quiet watch is taken for dead.
const WATCH_READ: Duration = Duration::from_secs(300);
/// More than the longest timeout of a single call.
const ACT_READ: Duration = Duration::from_secs(15);
/// A renewal that takes longer is tried again: 10 s are left for that.
const LEASE: Duration = Duration::from_secs(4);
const CONNECT: Duration = Duration::from_secs(5);

impl Clients {
    /// Reads the pod's account, or a kubeconfig outside a cluster.
    pub async fn new() -> Result<Self, Failure> {
        let config = Config::infer().await.map_err(|error| {
            Failure::new(
                Code::Config,
                format!("there is neither a pod's account nor a kubeconfig to reach the cluster with: {error}"),
            )
        })?;
        let mut watch = config.clone();
        watch.connect_timeout = Some(CONNECT);
        watch.read_timeout = Some(WATCH_READ);
        watch.write_timeout = Some(ACT_READ);
        watch.reset_reader_on_write = true;
        watch.default_retry = false;

        let mut act = config.clone();
        act.connect_timeout = Some(CONNECT);
        act.read_timeout = Some(ACT_READ);
        act.write_timeout = Some(ACT_READ);
        act.reset_reader_on_write = true;
        act.default_retry = false;

        let mut lease = config;
        lease.connect_timeout = Some(LEASE);
        lease.read_timeout = Some(LEASE);
        lease.write_timeout = Some(LEASE);
        lease.reset_reader_on_write = true;
        lease.default_retry = false;

        Ok(Self {
            watch: client(watch)?,
            act: client(act)?,
            lease: client(lease)?,
        })
    }
}

fn client(config: Config) -> Result<Client, Failure> {
    Client::try_from(config).map_err(|error| {
        Failure::new(
            Code::Config,
            format!("the connection to the cluster cannot be set up: {error}"),
        )
    })
}
