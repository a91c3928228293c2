//! The interface that every engine implements.

use crate::batch::PackedBatch;
use crate::{Error, LABELS};

/// Whatever turns a packed batch into logits. Tokenising, batching, ratings, probes and benchmarks know no more of an engine than this.
pub trait Engine {
    /// Logits of each review of `batch`, (reviews, 5), in its order.
    ///
    /// # Errors
    /// [`Error::Input`] when the batch does not fit the model, [`Error::Compute`] when the computation fails.
    fn logits(&self, batch: &PackedBatch) -> Result<Vec<[f32; LABELS]>, Error>;

    /// Tokens that a batch had best hold: enough to keep what computes at work, few enough for its cache.
    fn token_budget(&self) -> usize {
        2048
    }
}
