//! The sampler: one pass over the node.

use std::collections::BTreeMap;

use super::{HostSample, Mode, Moment, Problems, Roots, Sample};

/// Reads the node. It keeps what makes the next reading cheaper, and nothing that a reading
/// depends on: a fresh sampler reads the same.
pub struct Sampler {
    roots: Roots,
    clock: Box<dyn Fn() -> Moment + Send>,
    problems: Problems,
}

impl Sampler {
    /// A sampler of the node below these roots. Nothing is read yet.
    pub fn new(roots: Roots, clock: impl Fn() -> Moment + Send + 'static) -> Self {
        Sampler { roots, clock: Box::new(clock), problems: Problems::default() }
    }

    /// Reads the node once.
    pub fn take(&mut self, mode: Mode<'_>) -> Sample {
        let _ = (&self.roots, mode);
        Sample {
            at: (self.clock)(),
            host: HostSample::default(),
            processes: Vec::new(),
            kernel_threads: 0,
            groups: Vec::new(),
            pods: BTreeMap::new(),
            problems: Problems::default(),
        }
    }

    /// Everything that could not be read since the sampler was made.
    pub fn problems(&self) -> &Problems {
        &self.problems
    }
}
