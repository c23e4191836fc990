//! The running kernel, as far as loading programs goes.

use aya::{Btf, EbpfLoader, VerifierLogLevel};
use rustix::thread::{CapabilitySet, capabilities};

use super::refused::{Refused, chain, one_line};

/// Does some loading. The kernel's description of itself, which takes most of the memory that loading
/// takes, is read once for all of it and gone afterwards.
///
/// Measured on Linux 6.18 with the static binary: loading takes 19 MiB more at its peak, and keeps less
/// than 1 MiB of it; linked with glibc, which gives nothing back, 24 MiB.
pub(super) fn loading<T>(
    work: impl for<'btf> FnOnce(&mut EbpfLoader<'btf>, &'btf Btf) -> Result<T, Refused>,
) -> Result<T, Refused> {
    if !may_load() {
        return Err(Refused::NoCapability);
    }
    let mut loader = EbpfLoader::new();
    // It has read the description by itself, and two at a time are too many.
    loader.btf(None);
    let btf = Btf::from_sys_fs().map_err(|error| Refused::NoBtf(one_line(&chain(&error))))?;
    loader.btf(Some(&btf));
    // What is wrong, without the listing of all instructions before it.
    loader.verifier_log_level(VerifierLogLevel::STATS);
    work(&mut loader, &btf)
}

/// Whether the process has the capabilities. The kernel's own answer without them is that maps cannot
/// be made, which tells nobody what to do. When they cannot be read, loading will show.
fn may_load() -> bool {
    let Ok(sets) = capabilities(None) else {
        return true;
    };
    let (all, enough) = (
        CapabilitySet::BPF | CapabilitySet::PERFMON,
        CapabilitySet::SYS_ADMIN,
    );
    sets.effective.contains(all) || sets.effective.contains(enough)
}
