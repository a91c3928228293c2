//! Timeouts and retries.

use std::{iter, thread, time::Duration};

use super::{Hub, failure::Failure};

/// Timeouts and retries of a transfer.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Largest number of attempts.
    pub tries: u32,
    /// Wait before the second attempt. It doubles with each further attempt.
    pub wait: Duration,
    /// Longest time to establish a connection.
    pub connect: Duration,
    /// Longest time without progress: no byte of an upload, no answer, or no byte of the answer.
    pub stall: Duration,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            tries: 5,
            wait: Duration::from_millis(500),
            connect: Duration::from_secs(15),
            stall: Duration::from_mins(1),
        }
    }
}

impl RetryPolicy {
    /// The waits between attempts.
    pub(super) fn waits(&self) -> impl Iterator<Item = Duration> + use<> {
        iter::successors(Some(self.wait), |wait| Some(*wait * 2))
            .take(self.tries.saturating_sub(1) as usize)
    }
}

impl Hub {
    /// Repeats an idempotent request while it fails with a temporary failure.
    pub(super) fn retry<T>(
        &self,
        mut ask: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        for wait in self.retry_policy.waits() {
            match ask() {
                Err(failure) if failure.is_transient() => self.wait_after(&failure, wait),
                answer => return answer,
            }
        }
        ask()
    }

    /// Notes the failure, and waits before the next attempt.
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
        let retry_policy = RetryPolicy {
            tries: 4,
            wait: Duration::from_millis(100),
            ..RetryPolicy::default()
        };
        assert_eq!(
            retry_policy
                .waits()
                .map(|wait| wait.as_millis())
                .collect::<Vec<_>>(),
            [100, 200, 400]
        );
        assert_eq!(
            RetryPolicy {
                tries: 1,
                ..retry_policy
            }
            .waits()
            .count(),
            0
        );
    }
}
