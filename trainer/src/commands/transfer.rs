//! Transfers to and from the Hub, as they are shown on stderr.

use std::sync::{Arc, Mutex, PoisonError};

use crate::hub::{Event, Report};
use crate::system::progress::Progress;

/// Shows what a Hub reports.
pub(super) fn shown() -> Report {
    let current: Mutex<Option<Progress>> = Mutex::new(None);
    Arc::new(move |event| {
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Note(text) => match current.as_ref() {
                Some(transfer) => transfer.note(text),
                None => say!("{text}"),
            },
            Event::Transfer { done, total } if done < total => {
                current
                    .get_or_insert_with(|| Progress::bytes("transfer", total).from(done))
                    .reach(done, "");
            }
            // One that was over at once is not worth a line.
            Event::Transfer { total, .. } => {
                if let Some(mut transfer) = current.take() {
                    transfer.reach(total, "");
                    transfer.finish();
                }
            }
        }
    })
}
