//! What counting has in common. Each program names and registers its own metrics.

use std::{
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Instant,
};

use prometheus_client::{
    encoding::text,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

/// One label.
pub type One = [(&'static str, &'static str); 1];
/// Two labels.
pub type Two = [(&'static str, &'static str); 2];
/// A gauge with a fraction.
pub type Float = Gauge<f64, AtomicU64>;

/// When the newest event of each kind came.
#[derive(Debug, Default)]
pub struct Newest(Mutex<Vec<(&'static str, Instant)>>);

impl Newest {
    /// One came now.
    pub fn came(&self, kind: &'static str) {
        let now = Instant::now();
        let mut newest = self.lock();
        match newest.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, time)) => *time = now,
            None => newest.push((kind, now)),
        }
    }

    /// Sets how old each is, in seconds.
    pub fn set_ages(&self, ages: &Family<One, Float>) {
        for (kind, time) in self.lock().iter() {
            let age = time.elapsed().as_secs_f64();
            ages.get_or_create(&[("kind", *kind)]).set(age);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(&'static str, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that is registered, as OpenMetrics text.
pub fn open_metrics(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a String fails only if an encoder does, and none of ours can.
    if text::encode(&mut text, registry).is_err() {
        text.clear();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_kind_has_an_age_of_its_own() {
        let newest = Newest::default();
        let ages = Family::<One, Float>::default();
        let age = |kind| ages.get_or_create(&[("kind", kind)]).get();
        newest.came("Pod");
        std::thread::sleep(Duration::from_millis(20));
        newest.came("Node");
        newest.set_ages(&ages);
        assert!(age("Pod") >= age("Node") + 0.02);
        newest.came("Pod");
        newest.set_ages(&ages);
        assert!(age("Pod") < age("Node"));
    }
}
