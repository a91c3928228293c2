//! How much of a transfer is done.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use hf_hub::progress::{ProgressEvent, ProgressHandler, UploadEvent};

use super::{Event, Report};

/// Counts the bytes of a transfer, over all its files, and reports them.
#[derive(Clone)]
pub(super) struct Meter {
    report: Report,
    total: u64,
    done: Arc<AtomicU64>,
}

impl Meter {
    pub(super) fn new(report: &Report, total: u64) -> Meter {
        Meter { report: report.clone(), total, done: Arc::default() }
    }

    /// So many bytes more are done.
    pub(super) fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (self.report)(Event::Transfer { done: done.min(self.total), total: self.total });
    }

    /// So many bytes must be done again.
    pub(super) fn take_back(&self, bytes: u64) {
        self.done.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Reports what hf-hub uploads.
pub(super) struct Watch {
    report: Report,
    total: AtomicU64,
}

impl Watch {
    pub(super) fn new(report: &Report) -> Watch {
        Watch { report: report.clone(), total: AtomicU64::new(0) }
    }
}

impl ProgressHandler for Watch {
    fn on_progress(&self, event: &ProgressEvent) {
        let total = self.total.load(Ordering::Relaxed);
        let done = match event {
            ProgressEvent::Upload(UploadEvent::Start { total_bytes, .. }) => return self.total.store(*total_bytes, Ordering::Relaxed),
            ProgressEvent::Upload(UploadEvent::Progress { bytes_completed, .. }) if *bytes_completed < total => *bytes_completed,
            ProgressEvent::Upload(UploadEvent::Complete) => total,
            _ => return,
        };
        (self.report)(Event::Transfer { done, total });
    }
}
