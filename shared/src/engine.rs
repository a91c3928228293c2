//! The interface that every engine implements.

use crate::batch::PackedBatch;
use crate::{Error, LABELS};

/// An engine turns a packed batch into logits. Tokenising, batching, ratings, probes and benchmarks
/// use engines only through this trait.
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
