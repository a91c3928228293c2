//! Progress of a transfer.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{Event, Report};

/// Counts the bytes transferred over all files, and reports them.
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

    /// Adds transferred bytes.
    pub(super) fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (self.report)(Event::Transfer {
            done: done.min(self.total),
            total: self.total,
        });
    }

    /// Sets the number of transferred bytes, except the total: that is for `finish`.
    pub(super) fn reach(&self, done: u64) {
        if done < self.total {
            self.done.store(done, Ordering::Relaxed);
            (self.report)(Event::Transfer {
                done,
                total: self.total,
            });
        }
    }

    /// Reports the end of the transfer.
    pub(super) fn finish(&self) {
        self.done.store(self.total, Ordering::Relaxed);
        (self.report)(Event::Transfer {
            done: self.total,
            total: self.total,
        });
    }

    /// Subtracts bytes that must be transferred again.
    pub(super) fn take_back(&self, bytes: u64) {
        self.done.fetch_sub(bytes, Ordering::Relaxed);
    }
}
