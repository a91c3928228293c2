//! How much of a transfer is done.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

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
        Meter {
            report: report.clone(),
            total,
            done: Arc::default(),
        }
    }

    /// So many bytes more are done.
    pub(super) fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (self.report)(Event::Transfer {
            done: done.min(self.total),
            total: self.total,
        });
    }

    /// So many bytes are done in all, but for the end: `finish` tells that.
    pub(super) fn reach(&self, done: u64) {
        if done < self.total {
            self.done.store(done, Ordering::Relaxed);
            (self.report)(Event::Transfer {
                done,
                total: self.total,
            });
        }
    }

    /// All is done.
    pub(super) fn finish(&self) {
        self.done.store(self.total, Ordering::Relaxed);
        (self.report)(Event::Transfer {
            done: self.total,
            total: self.total,
        });
    }

    /// So many bytes must be done again.
    pub(super) fn take_back(&self, bytes: u64) {
        self.done.fetch_sub(bytes, Ordering::Relaxed);
    }
}
