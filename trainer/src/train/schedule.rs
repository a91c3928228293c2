//! The learning rate over a run.

/// transformers' `get_linear_schedule_with_warmup`: up from 0 in a line over the first steps, then down to 0 in a line.
#[derive(Debug, Clone, Copy)]
pub struct LinearSchedule {
    /// The highest rate.
    pub peak: f64,
    /// Steps of the rise.
    pub warmup: usize,
    /// Steps of the whole run.
    pub total: usize,
}

impl LinearSchedule {
    /// A run of `total` steps whose first `share` warms up, rounded up as `Trainer` does.
    pub fn new(peak: f64, share: f64, total: usize) -> LinearSchedule {
        LinearSchedule { peak, warmup: (share * total as f64).ceil() as usize, total }
    }

    /// The rate of step `step`, counted from 0: the first step's is 0 when there is a warm-up.
    pub fn rate(&self, step: usize) -> f64 {
        let factor = if step < self.warmup {
            step as f64 / self.warmup as f64
        } else {
            self.total.saturating_sub(step) as f64 / (self.total - self.warmup).max(1) as f64
        };
        self.peak * factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_and_falls() {
        let schedule = LinearSchedule::new(2.0, 0.1, 15);
        assert_eq!(schedule.warmup, 2);
        assert_eq!([0, 1, 2, 15].map(|step| schedule.rate(step)), [0.0, 1.0, 2.0, 0.0]);
        assert!((schedule.rate(14) - 2.0 / 13.0).abs() < 1e-12);
        assert_eq!(LinearSchedule::new(1.0, 0.0, 1).rate(0), 1.0);
    }
}
