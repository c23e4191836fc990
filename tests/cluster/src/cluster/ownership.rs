//! Who takes a cluster down: the process that started it, until it says otherwise.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cleanup::{lock_common, remove_cluster, sweep_locked};
use super::options::Options;
use super::site::Site;
use crate::error::{At, Error, Result};
use crate::layout::{Layout, private_directory};
use crate::network::Network;
use crate::process::boot_id;
use crate::record::{self, Lock, Record};
use crate::tools::Tools;

/// Takes the cluster down when it goes, so that a start that fails half-way leaves nothing.
pub(super) struct Ownership {
    /// The cluster's common part.
    pub(super) site: Arc<Site>,
    /// Dropped after the cluster is down.
    _lock: Lock,
    released: bool,
}

impl Drop for Ownership {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        if let Err(error) = remove_cluster(&self.site.layout, &self.site.prefix) {
            self.site.progress.say(&format!(
                "cluster `{}` could not be taken down completely: {error}",
                self.site.prefix
            ));
        }
    }
}

impl Ownership {
    /// Takes the cluster down and says whether that went well.
    pub(super) fn take_down(mut self) -> Result<()> {
        self.released = true;
        remove_cluster(&self.site.layout, &self.site.prefix)
    }

    /// Gives up the right and the duty to take the cluster down.
    pub(super) fn release(mut self) {
        self.released = true;
    }
}

/// Takes the prefix, the network and the directories of a new cluster.
pub(super) fn claim(layout: &Layout, options: &Options, programs: Tools) -> Result<Ownership> {
    let prefix = &options.prefix;
    // Until this cluster is on record no other one may look for a network.
    let _common = lock_common(layout)?;
    sweep_locked(layout)?;
    let lock = Lock::take(layout, prefix)?;
    if Record::read(&layout.record(prefix))?.is_some_and(|record| record.runs()) {
        return Err(Error::Busy {
            prefix: prefix.clone(),
            by: ": it was started to stay up".to_owned(),
        });
    }
    // What no record names any more.
    remove_cluster(layout, prefix)?;
    let records = record::all(layout)?;
    let octets: Vec<u8> = records.iter().map(|record| record.octet).collect();
    let logs: Vec<PathBuf> = records.into_iter().map(|record| record.logs).collect();
    let routes = Path::new("/proc/net/route");
    let routes = std::fs::read_to_string(routes).at("read", routes)?;
    let record = Record {
        prefix: prefix.clone(),
        boot: boot_id(),
        octet: Network::free(&octets, &routes)?.octet,
        logs: layout.new_log_directory(prefix, &logs)?,
        programs,
        helper: options
            .helper
            .clone()
            .unwrap_or_else(|| "/proc/self/exe".into()),
        nodes: options.nodes,
        detached: false,
        audit: options.audit,
        machines: Vec::new(),
    };
    record.write(&layout.record(prefix))?;
    let site = Arc::new(Site::new(layout.clone(), record, options.progress.clone())?);
    private_directory(&layout.cluster(prefix))?;
    Ok(Ownership {
        site,
        _lock: lock,
        released: false,
    })
}
