//! Names and limits that several kinds share.

/// The API group of both kinds.
pub const GROUP: &str = "scopeplugins.dev";

/// The one served version.
pub const VERSION: &str = "v1alpha1";

/// Longest plugin ID (`metadata.name` of a ScopePlugin). The ID stands twice in a socket path that
/// may have 107 bytes, and, with a prefix, in label values that end at 63.
pub const MAX_PLUGIN_ID: usize = 32;
