//! How long to wait for a Hub, and how often to ask again.

use std::{iter, thread, time::Duration};

use super::{Hub, failure::Failure};

/// How patient a transfer is.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How often a request is made at most.
    pub tries: u32,
    /// The wait before the second try. From then on it doubles.
    pub wait: Duration,
    /// How long a connection may take to come about.
    pub connect: Duration,
    /// How long nothing may move: no byte of an upload, no answer, or none of its bytes.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            tries: 5,
            wait: Duration::from_millis(500),
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(60),
        }
    }
}

impl Patience {
    /// The waits between the tries.
    pub(super) fn waits(&self) -> impl Iterator<Item = Duration> + use<> {
        iter::successors(Some(self.wait), |wait| Some(*wait * 2))
            .take(self.tries.saturating_sub(1) as usize)
    }
}

impl Hub {
    /// Asks what may be asked twice, again and again while the fault is one that may pass.
    pub(super) fn retry<T>(
        &self,
        mut ask: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        for wait in self.patience.waits() {
            match ask() {
                Err(failure) if failure.may_pass() => self.wait_after(&failure, wait),
                answer => return answer,
            }
        }
        ask()
    }

    /// Waits before the next try, and says why.
    pub(super) fn wait_after(&self, failure: &Failure, wait: Duration) {
        self.note(&format!(
            "{}; trying again in {:.1} s",
            self.redacted(&failure.to_string()),
            wait.as_secs_f64()
        ));
        thread::sleep(wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double() {
        let patience = Patience {
            tries: 4,
            wait: Duration::from_millis(100),
            ..Patience::default()
        };
        assert_eq!(
            patience
                .waits()
                .map(|wait| wait.as_millis())
                .collect::<Vec<_>>(),
            [100, 200, 400]
        );
        assert_eq!(
            Patience {
                tries: 1,
                ..patience
            }
            .waits()
            .count(),
            0
        );
    }
}
