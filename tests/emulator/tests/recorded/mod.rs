//! What was recorded of a real Scope 1.13.2: see the list of files in `tests/fixtures/scope-world`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::Value;

/// The bytes of a recorded file.
pub(crate) fn bytes(name: &str) -> Vec<u8> {
    let path = Path::new("../fixtures/scope-world").join(format!("{name}.json.gz"));
    let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

/// A recorded file as JSON.
pub(crate) fn json(name: &str) -> Value {
    serde_json::from_slice(&bytes(name)).unwrap()
}
