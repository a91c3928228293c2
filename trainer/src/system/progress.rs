//! Progress of long work: a bar on a terminal, otherwise a line now and then. All output goes to
//! stderr.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressStyle};

/// Time between two lines without a terminal.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// The progress of one piece of work.
pub struct Progress {
    label: &'static str,
    unit: Unit,
    total: u64,
    done: u64,
    /// Units done before the clock started, by the run that is resumed.
    before: u64,
    /// Share of the work done, if units take unequal time.
    share: Option<f64>,
    started: Instant,
    last_line: Instant,
    bar: Option<ProgressBar>,
}

/// The unit of work.
#[derive(Clone, Copy)]
enum Unit {
    /// Things with this name.
    Count(&'static str),
    Bytes,
}

impl Unit {
    /// Formats a part of a total.
    fn part(self, done: u64, total: u64) -> String {
        match self {
            Unit::Count(name) => format!("{}/{} {name}", HumanCount(done), HumanCount(total)),
            Unit::Bytes => format!("{}/{}", HumanBytes(done), HumanBytes(total)),
        }
    }

    /// Formats an amount.
    fn amount(self, done: u64) -> String {
        match self {
            Unit::Count(name) => format!("{} {name}", HumanCount(done)),
            Unit::Bytes => HumanBytes(done).to_string(),
        }
    }

    /// Formats a rate per second.
    fn rate(self, rate: f64) -> String {
        match self {
            Unit::Count(name) => format!("{rate:.1} {name}/s"),
            Unit::Bytes => format!("{}/s", HumanBytes(rate as u64)),
        }
    }

    /// Template of the bar.
    fn template(self) -> &'static str {
        match self {
            Unit::Count(_) => "{prefix:>12} {bar:32} {human_pos}/{human_len} {msg}",
            Unit::Bytes => "{prefix:>12} {bar:32} {bytes}/{total_bytes} {msg}",
        }
    }
}

impl Progress {
    /// Starts work of `total` units named `unit`.
    pub fn new(label: &'static str, unit: &'static str, total: usize) -> Progress {
        Progress::of(label, Unit::Count(unit), total as u64)
    }

    /// A transfer of `total` bytes.
    pub fn bytes(label: &'static str, total: u64) -> Progress {
        Progress::of(label, Unit::Bytes, total)
    }

    fn of(label: &'static str, unit: Unit, total: u64) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(unit.template())
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total).with_style(style).with_prefix(label)
        });
        let now = Instant::now();
        Progress {
            label,
            unit,
            total,
            done: 0,
            before: 0,
            share: None,
            started: now,
            last_line: now,
            bar,
        }
    }

    /// Starts at `done` units, which do not count in the rate.
    #[must_use]
    pub fn from(mut self, done: u64) -> Progress {
        (self.done, self.before) = (done, done);
        self
    }

    /// Sets the share of the work done, 0 to 1, from which the remaining time is estimated. For
    /// units that take unequal time.
    pub fn share(&mut self, share: f64) {
        self.share = Some(share);
    }

    /// Adds `count` units; `message` is shown beside them.
    pub fn advance(&mut self, count: usize, message: &str) {
        self.reach(self.done + count as u64, message);
    }

    /// Sets the number of units done, which may be lower than before if something must be repeated.
    pub fn reach(&mut self, done: u64, message: &str) {
        self.done = done;
        let (seconds, rate) = self.pace();
        let left = match self.share {
            Some(share) => seconds * (1.0 - share).max(0.0) / share.max(1e-9),
            None => self.total.saturating_sub(done) as f64 / rate.max(1e-9),
        };
        let left = HumanDuration(Duration::from_secs_f64(left.min(1e9)));
        let text = format!("{}, {left} left  {message}", self.unit.rate(rate));
        match &self.bar {
            Some(bar) => {
                bar.set_message(text);
                bar.set_position(done);
            }
            None if self.last_line.elapsed() >= LINE_EVERY => {
                self.last_line = Instant::now();
                say!(
                    "{}: {}, {}",
                    self.label,
                    self.unit.part(done, self.total),
                    text.trim_end()
                );
            }
            None => {}
        }
    }

    /// Writes a line without disturbing the bar.
    pub fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say!("{text}")),
            None => say!("{text}"),
        }
    }

    /// Ends the work: removes the bar and prints a line.
    pub fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let (seconds, rate) = self.pace();
        say!(
            "{}: {} in {seconds:.1} s, {}",
            self.label,
            self.unit.amount(self.done),
            self.unit.rate(rate)
        );
    }

    /// Seconds since the start, and units per second.
    fn pace(&self) -> (f64, f64) {
        let seconds = self.started.elapsed().as_secs_f64();
        (
            seconds,
            self.done.saturating_sub(self.before) as f64 / seconds.max(1e-9),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_told_in_their_unit() {
        let reviews = Unit::Count("reviews");
        assert_eq!(
            (
                reviews.part(1200, 5000),
                reviews.amount(5000),
                reviews.rate(12.34)
            ),
            (
                "1,200/5,000 reviews".into(),
                "5,000 reviews".into(),
                "12.3 reviews/s".into()
            )
        );
        assert_eq!(
            (Unit::Bytes.part(1 << 20, 3 << 20), Unit::Bytes.rate(2048.0)),
            ("1.00 MiB/3.00 MiB".into(), "2.00 KiB/s".into())
        );
    }

    #[test]
    fn what_was_done_before_counts_for_no_rate_and_a_step_back_is_none() {
        let mut progress = Progress::bytes("transfer", 100).from(40);
        progress.reach(30, "");
        assert_eq!((progress.done, progress.pace().1), (30, 0.0));
        progress.advance(30, "");
        assert!(progress.done == 60 && progress.pace().1 > 0.0);
    }
}
