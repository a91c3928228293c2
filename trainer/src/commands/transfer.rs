//! Transfers to and from the Hub, as they are shown on stderr: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};

use crate::hub::{Event, Report};

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// A transfer on its way.
struct Transfer {
    bar: Option<ProgressBar>,
    started: Instant,
    last_line: Instant,
    /// What was done when the clock started: it does not count for the rate.
    before: u64,
}

/// Shows what a Hub reports.
pub(super) fn shown() -> Report {
    let current: Mutex<Option<Transfer>> = Mutex::new(None);
    Arc::new(move |event| {
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Note(text) => match current.as_ref().and_then(|transfer| transfer.bar.as_ref()) {
                Some(bar) => bar.suspend(|| eprintln!("{text}")),
                None => eprintln!("{text}"),
            },
            Event::Transfer { done, total } if done < total => current.get_or_insert_with(|| Transfer::start(done, total)).show(done, total),
            // One that was over at once is not worth a line.
            Event::Transfer { total, .. } => {
                if let Some(transfer) = current.take() {
                    transfer.finish(total);
                }
            }
        }
    })
}

impl Transfer {
    fn start(done: u64, total: u64) -> Transfer {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:32} {bytes}/{total_bytes} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total).with_style(style)
        });
        let now = Instant::now();
        Transfer { bar, started: now, last_line: now, before: done }
    }

    /// Bytes a second.
    fn rate(&self, done: u64) -> f64 {
        done.saturating_sub(self.before) as f64 / self.started.elapsed().as_secs_f64().max(1e-3)
    }

    fn show(&mut self, done: u64, total: u64) {
        let rate = self.rate(done);
        let left = Duration::from_secs_f64(((total - done) as f64 / rate.max(1e-3)).min(1e9));
        let text = format!("{}/s, {} left", HumanBytes(rate as u64), HumanDuration(left));
        match &self.bar {
            Some(bar) => {
                bar.set_message(text);
                bar.set_position(done);
            }
            None if self.last_line.elapsed() >= LINE_EVERY => {
                self.last_line = Instant::now();
                eprintln!("{} of {}, {text}", HumanBytes(done), HumanBytes(total));
            }
            None => {}
        }
    }

    fn finish(self, total: u64) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let seconds = self.started.elapsed().as_secs_f64();
        eprintln!("transferred {} in {seconds:.1} s, {}/s", HumanBytes(total), HumanBytes(self.rate(total) as u64));
    }
}
