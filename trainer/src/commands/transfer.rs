//! Shows transfers to and from the Hub on stderr.

use std::sync::{Arc, Mutex, PoisonError};

use crate::hub::{Event, Report};
use crate::system::progress::Progress;

/// Returns a callback that shows the events of a Hub.
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
            // A transfer that ended at once gets no line.
            Event::Transfer { total, .. } => {
                if let Some(mut transfer) = current.take() {
                    transfer.reach(total, "");
                    transfer.finish();
                }
            }
        }
    })
}
