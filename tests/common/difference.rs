//! How far computed values are from recorded ones. A test prints the largest difference and the
//! share of the tolerance that it uses, so that a drift is seen before it fails.

/// The largest difference seen so far, as a share of the tolerance. Printed when it is dropped.
pub struct Difference {
    what: String,
    share: f64,
    largest: f64,
}

impl Difference {
    /// Compares `what`.
    pub fn of(what: impl Into<String>) -> Difference {
        Difference {
            what: what.into(),
            share: 0.0,
            largest: 0.0,
        }
    }

    /// Compares one value. `place` names it when it differs by more than `tolerance`.
    #[track_caller]
    pub fn value(&mut self, found: f64, wanted: f64, tolerance: f64, place: &str) {
        let difference = (found - wanted).abs();
        // Written so that a NaN fails.
        assert!(
            difference <= tolerance,
            "{}, {place}: {found}, recorded {wanted}, tolerance {tolerance}",
            self.what
        );
        self.share = self.share.max(difference / tolerance);
        self.largest = self.largest.max(difference);
    }

    /// Compares values of equal number.
    #[track_caller]
    pub fn values(&mut self, found: &[f32], wanted: &[f32], tolerance: f64, place: &str) {
        assert_eq!(found.len(), wanted.len(), "{}, {place}", self.what);
        for (found, wanted) in found.iter().zip(wanted) {
            self.value(f64::from(*found), f64::from(*wanted), tolerance, place);
        }
    }
}

impl Drop for Difference {
    fn drop(&mut self) {
        println!(
            "{}: largest difference {:.1e}, {:.0}% of the tolerance",
            self.what,
            self.largest,
            100.0 * self.share
        );
    }
}
