//! Ctrl-C and SIGTERM: asked for once, the work in hand is saved first; asked for twice, the program ends at once.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

/// Work was left because someone asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Listens from now on.
///
/// # Errors
/// When the system refuses.
pub fn listen() -> Result<()> {
    let heard = || {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(1);
        }
    };
    match ctrlc::set_handler(heard) {
        // By an earlier run of the same program.
        Err(ctrlc::Error::MultipleHandlers) => Ok(()),
        other => other.context("listening for Ctrl-C"),
    }
}

/// Whether someone asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// To be called within long work that nothing is lost of.
///
/// # Errors
/// [`Interrupted`] once someone asked to stop.
pub fn check() -> Result<(), Interrupted> {
    if requested() {
        Err(Interrupted)
    } else {
        Ok(())
    }
}
