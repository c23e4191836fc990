//! By which number the qdiscs of a plugin are known.

use std::fmt;

/// The upper digit of the major number of all plugins' handles. Other programs let the kernel choose (from
/// `8001:` on) or take small numbers.
const PLUGINS: u32 = 0x5000_0000;

/// The handle of a plugin's qdiscs. Two plugins may shape traffic on one node: each one knows its own
/// settings by its handle, and to each the other's are somebody else's, which it leaves alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handle(u32);

impl Handle {
    /// That of the plugin with this ID, of which a node has one. It stays the same for good: an agent finds by
    /// it what an earlier one set. Handles have room for 4,096 plugins, so that one pair of plugins in 4,096
    /// has the same.
    pub fn of_plugin(id: &str) -> Self {
        // FNV-1a, folded to twelve bits.
        let hash = id.bytes().fold(0x811C_9DC5u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        let folded = (hash ^ (hash >> 12) ^ (hash >> 24)) & 0xFFF;
        Handle(PLUGINS | (folded << 16))
    }

    /// As the kernel has it.
    pub(super) fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Handle {
    /// As `tc` shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}:", self.0 >> 16)
    }
}

/// Whether it is the handle of some plugin.
pub(super) fn is_of_a_plugin(handle: u32) -> bool {
    handle & 0xF000_FFFF == PLUGINS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_plugin_has_its_own_for_good() {
        for (id, handle) in [
            ("node-metrics", "5fc7:"),
            ("traffic-control", "5696:"),
            ("", "5c8d:"),
        ] {
            let of = Handle::of_plugin(id);
            assert_eq!(of.to_string(), handle, "of {id:?}");
            assert!(is_of_a_plugin(of.number()));
        }
        for other in [0, 0x1_0000, 0x8001_0000, 0x5000_0001, 0x6000_0000] {
            assert!(!is_of_a_plugin(other), "{other:x}");
        }
    }
}
