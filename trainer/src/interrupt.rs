//! Ctrl-C and SIGTERM: asked for once, the work in hand is saved first; asked for twice, the program ends at once.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

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
    ctrlc::set_handler(heard).context("listening for Ctrl-C")
}

/// Whether someone asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}
