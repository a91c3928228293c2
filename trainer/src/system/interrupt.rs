//! Ctrl-C and SIGTERM: the first one lets the program save its work, the second ends it at once.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

/// Work stopped because the user interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Handles signals from now on.
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
        // Set by an earlier run in the same process.
        Err(ctrlc::Error::MultipleHandlers) => Ok(()),
        other => other.context("listening for Ctrl-C"),
    }
}

/// Whether the user has interrupted.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Stops long work that needs no saving; call it regularly.
///
/// # Errors
/// [`Interrupted`] after the user has interrupted.
pub fn check() -> Result<(), Interrupted> {
    if requested() {
        Err(Interrupted)
    } else {
        Ok(())
    }
}
