//! One line per step, with the time it took, so that nobody waits without knowing for what.

use std::fmt::Arguments;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Tells whoever still listens. A terminal may be closed meanwhile, which must not end what has to be
/// taken away again, as `eprint!` would.
fn tell(what: Arguments) {
    let mut err = std::io::stderr().lock();
    let _ = err.write_fmt(what).and_then(|()| err.flush());
}

/// A step under way. Prints its name at once and its time when it ends.
pub struct Step {
    name: String,
    started: Instant,
    live: bool,
}

impl Step {
    /// Starts a step.
    pub fn start(name: impl Into<String>) -> Self {
        let step = Step {
            name: name.into(),
            started: Instant::now(),
            live: std::io::stderr().is_terminal(),
        };
        if step.live {
            tell(format_args!("  … {}", step.name));
        } else {
            tell(format_args!("  … {}\n", step.name));
        }
        step
    }

    /// Says what the step waits for now; on a terminal in the step's own line.
    pub fn note(&self, what: &str) {
        if self.live {
            tell(format_args!("\r\x1b[K  … {}: {what}", self.name));
        }
    }

    /// Ends the step well.
    pub fn done(self) -> Duration {
        let took = self.started.elapsed();
        if self.live {
            tell(format_args!("\r\x1b[K"));
        }
        tell(format_args!(
            "  ✓ {} ({:.1} s)\n",
            self.name,
            took.as_secs_f64()
        ));
        took
    }
}

/// Runs `work` as a step.
///
/// # Errors
/// Whatever `work` returns; the step is then shown as failed.
pub fn step<T>(name: &str, work: impl FnOnce(&Step) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let step = Step::start(name);
    match work(&step) {
        Ok(value) => {
            step.done();
            Ok(value)
        }
        Err(error) => {
            tell(format_args!("  ✗ {name}\n"));
            Err(error)
        }
    }
}

/// Looks every 100 ms until `look` finds something. A look counts at most 5 s, so that a machine that
/// stands still for minutes, as virtual ones do, is not taken for a product that does.
///
/// # Errors
/// When the deadline passes, with what was seen last; or at once when `look` fails.
pub fn await_some<T>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> anyhow::Result<Result<T, String>>,
) -> anyhow::Result<T> {
    let mut waited = Duration::ZERO;
    loop {
        let began = Instant::now();
        match look()? {
            Ok(found) => return Ok(found),
            Err(seen) if waited >= deadline => {
                anyhow::bail!(
                    "{what}: not within {} s; last seen: {seen}",
                    deadline.as_secs()
                )
            }
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
        waited += began.elapsed().min(Duration::from_secs(5));
    }
}
