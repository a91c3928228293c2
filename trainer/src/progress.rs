//! How far long work is: a bar on a terminal, a line now and then elsewhere. All of it goes to stderr.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// The progress of one piece of work.
pub struct Progress {
    label: &'static str,
    unit: &'static str,
    total: u64,
    done: u64,
    /// What was done before the clock started: a resumed run.
    before: u64,
    /// Share of the work that is done, where units are not alike.
    share: Option<f64>,
    started: Instant,
    last_line: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Work of `total` units.
    pub fn new(label: &'static str, unit: &'static str, total: usize) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{prefix:>12} {bar:32} {human_pos}/{human_len} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total as u64).with_style(style).with_prefix(label)
        });
        let now = Instant::now();
        Progress { label, unit, total: total as u64, done: 0, before: 0, share: None, started: now, last_line: now, bar }
    }

    /// Starts at `done` units: they do not count for the rate.
    #[must_use]
    pub fn from(mut self, done: usize) -> Progress {
        (self.done, self.before) = (done as u64, done as u64);
        self
    }

    /// The time left is told by `share`, the part of the work that is done, 0 to 1, where some units take longer than others.
    pub fn share(&mut self, share: f64) {
        self.share = Some(share);
    }

    /// `count` more units are done; `message` says more.
    pub fn advance(&mut self, count: usize, message: &str) {
        self.done += count as u64;
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = (self.done - self.before) as f64 / seconds.max(1e-9);
        let left = match self.share {
            Some(share) => seconds * (1.0 - share).max(0.0) / share.max(1e-9),
            None => self.total.saturating_sub(self.done) as f64 / rate.max(1e-9),
        };
        let left = Duration::from_secs_f64(left.min(1e9));
        let text = format!("{rate:.1} {}/s, {} left  {message}", self.unit, HumanDuration(left));
        match &self.bar {
            Some(bar) => {
                bar.set_message(text);
                bar.set_position(self.done);
            }
            None if self.last_line.elapsed() >= LINE_EVERY => {
                self.last_line = Instant::now();
                eprintln!("{}: {}/{} {}, {text}", self.label, HumanCount(self.done), HumanCount(self.total), self.unit);
            }
            None => {}
        }
    }

    /// The work is over: the bar goes, a line stays.
    pub fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = (self.done - self.before) as f64 / seconds.max(1e-9);
        eprintln!("{}: {} {} in {seconds:.1} s, {rate:.1} {}/s", self.label, HumanCount(self.done), self.unit, self.unit);
    }
}
