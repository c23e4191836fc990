//! What holds for the files that are read back, whatever stands in them.

use super::offered;

/// What another plugin on the node offers.
pub(crate) fn offered_controls(text: &[u8]) {
    let Some(offer) = offered::parse(text, "metrics") else {
        return;
    };
    assert!(offered::is_valid(&offer, "metrics"));
    let Ok(written) = serde_json::to_vec(&offer) else {
        panic!("what was read cannot be written");
    };
    assert!(written.len() as u64 <= offered::MAX_BYTES);
    assert_eq!(offered::parse(&written, "metrics"), Some(offer));
}
