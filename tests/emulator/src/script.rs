//! Plugins that answer without a socket, so that no real time passes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// What a plugin is asked, beside the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The probe that asks.
    pub probe_id: String,
    /// The time on the machine that probe and plugin are on.
    pub now: SystemTime,
}

/// A click that reaches a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptedClick {
    /// The app that asks.
    pub app_id: String,
    /// The node that the button stands on.
    pub node_id: String,
    /// The control, by the plugin's own name.
    pub control: String,
    /// Arguments; only API callers send any.
    pub args: Option<BTreeMap<String, String>>,
}

/// A plugin without a socket. The body of an answer is decoded and judged as one that came over a
/// socket; an `Err` stands for everything that can go wrong on the way, in the words of the probe.
pub trait Script: Send {
    /// The body of a report.
    ///
    /// # Errors
    ///
    /// What the probe says when no answer comes.
    fn report(&mut self, ask: &Ask) -> Result<Vec<u8>, String>;

    /// The body of the answer to a click.
    ///
    /// # Errors
    ///
    /// What the probe says when no answer comes.
    fn control(&mut self, ask: &Ask, click: &ScriptedClick) -> Result<Vec<u8>, String> {
        let _ = (ask, click);
        Err("plugin returned non-200 status code: 404 Not Found".to_owned())
    }
}

impl<F: FnMut(&Ask) -> Vec<u8> + Send> Script for F {
    fn report(&mut self, ask: &Ask) -> Result<Vec<u8>, String> {
        Ok(self(ask))
    }
}

/// A script that several probes of one machine ask.
#[derive(Clone)]
pub(crate) struct SharedScript(Arc<Mutex<dyn Script>>);

impl SharedScript {
    pub(crate) fn new(script: impl Script + 'static) -> Self {
        Self(Arc::new(Mutex::new(script)))
    }

    pub(crate) fn with<T>(&self, ask: impl FnOnce(&mut dyn Script) -> T) -> T {
        // A script that panicked has failed its test already.
        let mut script = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ask(&mut *script)
    }
}

impl fmt::Debug for SharedScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedScript")
    }
}
