//! The interface that every engine implements.

use crate::batch::PackedBatch;
use crate::{Error, LABELS};

/// An engine turns a packed batch into logits. Tokenising, batching, ratings, probes and benchmarks
/// use engines only through this trait.
///
/// An engine that knows only how long a review is:
///
/// ```
/// use starsight_model::batch::PackedBatch;
/// use starsight_model::{Engine, Error, LABELS, Rating, rating::RatingSettings};
///
/// struct ByLength;
///
/// impl Engine for ByLength {
///     fn logits(&self, batch: &PackedBatch) -> Result<Vec<[f32; LABELS]>, Error> {
///         let long = |tokens| if tokens > 20 { [2.0, 1.0, 0.0, 0.0, 0.0] } else { [0.0, 0.0, 0.0, 1.0, 2.0] };
///         Ok(batch.lengths().map(long).collect())
///     }
/// }
///
/// # fn main() -> Result<(), Error> {
/// let logits = ByLength.logits(&PackedBatch::new(&[&[101, 2307, 102]])?)?;
/// assert_eq!(Rating::from_logits(&logits[0], RatingSettings::default()).stars, 5);
/// # Ok(())
/// # }
/// ```
pub trait Engine {
    /// The logits of each review of `batch`, (reviews, 5), in the batch's order.
    ///
    /// # Errors
    /// [`Error::Input`] when the batch does not fit the model, [`Error::Compute`] when the
    /// computation fails.
    fn logits(&self, batch: &PackedBatch) -> Result<Vec<[f32; LABELS]>, Error>;

    /// The recommended number of tokens in a batch: enough to keep the processor or GPU busy, few
    /// enough for its cache.
    fn token_budget(&self) -> usize {
        2048
    }
}
