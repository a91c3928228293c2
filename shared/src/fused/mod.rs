//! The fused encoder: hand-written forward and backward passes on slices, on all CPU cores.
//! Training and native rating use it.
//!
//! candle's graph (see [`crate::model`]) allocates each intermediate result, accumulates gradients
//! in dense tensors of the whole vocabulary, and runs many operations between matrix products on
//! one thread. The fused encoder cuts a batch into shards of some hundred tokens, and a thread
//! takes a shard through the whole network: only the gradients of the weights depend on more than
//! one review. All memory is reused between steps. candle's graph is the reference: tests compare
//! logits and gradients with it.
//!
//! - [`layout`]: all weights in one slice, and the range of each tensor.
//! - `operand`, `precision`: operands of products, and their number format.
//! - `product`: matrix products; `panels`, `bf16`: those that the gemm crate lacks or computes more
//!   slowly.
//! - `shard`: a group of reviews, and the activations that the forward pass keeps for it.
//! - `forward`, `backward`: the two passes of a shard.
//! - [`gradients`]: the sums over shards.

mod backward;
mod bf16;
mod forward;
pub mod gradients;
mod layer;
pub mod layout;
mod operand;
mod panels;
mod precision;
mod product;
mod shard;
pub mod update;

use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use crate::batch::{PackedBatch, divide};
use crate::engine::Engine;
pub use crate::kernels::aligned::Aligned;
use crate::weights::Weights;
use crate::{EncoderConfig, Error, LABELS, parallel};

use self::bf16::{PackedMatrices, Panels};
pub use self::gradients::{Depth, Gradients};
use self::layout::Layout;
use self::operand::{Direction, Threads};
pub use self::precision::Precision;
pub use self::product::square;
use self::product::{Arithmetic, Matrices};
use self::shard::{Backward, Factors, Shard};

/// An encoder with its head and its weights.
pub struct Fused {
    config: EncoderConfig,
    layout: Arc<Layout>,
    values: Aligned<f32>,
    precision: Precision,
    /// The matrices packed for bf16 products, for the forward pass and for the backward pass.
    packed: [PackedMatrices; 2],
    /// Shards from earlier ratings, kept to reuse their buffers.
    idle: Mutex<Vec<Shard>>,
}

/// Activations that the forward pass of a batch keeps for the backward pass. A tape is reused
/// between batches to keep its memory.
#[derive(Default)]
pub struct Tape {
    shards: Vec<Shard>,
    /// The number of shards that the last batch used.
    used: usize,
    /// Buffers for the backward pass of each shard, and the factors of the matrix gradients of two
    /// layers, which are used alternately.
    backward: Vec<Backward>,
    factors: [Vec<Factors>; 2],
}

impl Fused {
    /// Builds the model on a copy of `weights`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] or [`Error::TensorShape`] for a tensor that does not match
    /// `config`.
    pub fn new(config: &EncoderConfig, weights: &Weights) -> Result<Fused, Error> {
        let layout = Layout::of(config);
        let values = layout.gather(weights)?;
        Ok(Fused {
            config: config.clone(),
            layout: Arc::new(layout),
            values,
            precision: Precision::F32,
            packed: Default::default(),
            idle: Mutex::default(),
        })
    }

    /// The range of each tensor in [`Fused::values`].
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// All weights.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All weights, for writing.
    pub fn values_mut(&mut self) -> &mut [f32] {
        self.packed.iter_mut().for_each(PackedMatrices::invalidate);
        &mut self.values
    }

    /// Whether this processor has an instruction for bf16 products: AVX512-BF16. They are not
    /// necessarily faster than f32 products.
    pub fn has_bf16() -> bool {
        bf16::is_there()
    }

    /// Sets the precision of matrix products; the default is f32.
    pub fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
    }

    /// The encoder's configuration.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// The logits, (reviews, 5), in training. Dropout is applied as in the configuration, with each
    /// review's random stream given by its key in `dropout_keys`. `tape` keeps what
    /// [`Fused::backward`] needs.
    ///
    /// # Errors
    /// [`Error::Input`] for a token id beyond the vocabulary or a review longer than the positions.
    pub fn forward(
        &self,
        batch: &PackedBatch,
        dropout_keys: &[u64],
        tape: &mut Tape,
    ) -> Result<Vec<[f32; LABELS]>, Error> {
        self.config.check(batch)?;
        let ranges = divide(batch, shard::TRAINING_TOKENS, self.config.hidden_size);
        tape.used = ranges.len();
        if tape.shards.len() < ranges.len() {
            tape.shards.resize_with(ranges.len(), Shard::default);
        }
        let packed = self.packed(Direction::Forward);
        let pass = self.pass(ranges.len(), packed.as_deref());
        parallel::for_each_in_order(
            tape.shards.iter_mut().zip(&ranges).collect(),
            |(shard, reviews)| {
                shard.load(batch, reviews.clone(), Some(dropout_keys));
                forward::run(&pass, shard, true);
            },
        );
        Ok(tape.shards[..tape.used]
            .iter()
            .flat_map(|shard| &shard.logits)
            .copied()
            .collect())
    }

    /// Adds the gradients of a batch to `gradients`. `d_logits` (reviews, 5) is the gradient of the
    /// loss with respect to the logits of the batch that `tape` holds.
    pub fn backward(&self, d_logits: &[[f32; LABELS]], tape: &mut Tape, gradients: &mut Gradients) {
        let packed = self.packed(Direction::Backward);
        backward::run(
            &self.pass(tape.used, packed.as_deref()),
            d_logits,
            tape,
            gradients,
        );
    }

    /// The packed matrices for a pass in bf16; `None` in f32.
    fn packed(&self, direction: Direction) -> Option<Arc<Vec<Panels>>> {
        let of = || {
            self.packed[usize::from(direction == Direction::Backward)].get(
                &self.layout,
                &self.values,
                direction,
            )
        };
        (self.precision == Precision::Bf16).then(of)
    }

    fn pass<'a>(&'a self, shards: usize, packed: Option<&'a Vec<Panels>>) -> Pass<'a> {
        let matrices = packed.map_or(Matrices::F32(&self.values), |packed| Matrices::Bf16(packed));
        // With fewer shards than threads, cores would be idle; so they share the products.
        let arithmetic = Arithmetic {
            matrices,
            threads: if shards < rayon::current_num_threads() {
                Threads::Pool
            } else {
                Threads::Caller
            },
        };
        Pass {
            config: &self.config,
            layout: &self.layout,
            values: &self.values,
            arithmetic,
        }
    }
}

/// Inputs that all shards of a pass share.
struct Pass<'a> {
    config: &'a EncoderConfig,
    layout: &'a Layout,
    values: &'a [f32],
    arithmetic: Arithmetic<'a>,
}

impl Engine for Fused {
    fn logits(&self, batch: &PackedBatch) -> Result<Vec<[f32; LABELS]>, Error> {
        self.config.check(batch)?;
        let ranges = divide(batch, shard::RATING_TOKENS, self.config.hidden_size);
        let packed = self.packed(Direction::Forward);
        let pass = self.pass(ranges.len(), packed.as_deref());
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = |reviews: &std::ops::Range<usize>| {
            let mut shard = idle().pop().unwrap_or_default();
            shard.load(batch, reviews.clone(), None);
            forward::run(&pass, &mut shard, false);
            let logits = shard.logits.clone();
            idle().push(shard);
            logits
        };
        Ok(ranges.par_iter().map(rate).collect::<Vec<_>>().concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn weights_that_change_are_rounded_anew() {
        let json = r#"{"model_type":"distilbert","vocab_size":20,"dim":48,"n_layers":2,"n_heads":2,"hidden_dim":70,"max_position_embeddings":10}"#;
        let config = EncoderConfig::from_json(json.as_bytes()).expect("a good config");
        let batch = PackedBatch::new(&[&[1, 2, 3], &[4, 5]]).expect("a batch");
        let model = |seed| {
            let mut model = Fused::new(&config, &Weights::fresh(&config, seed).expect("weights"))
                .expect("a model");
            model.set_precision(Precision::Bf16);
            model
        };
        let learned = |model: &Fused| {
            let (mut tape, mut gradients) = (
                Tape::default(),
                Gradients::new(model.layout(), Depth::Embeddings),
            );
            let logits = model.forward(&batch, &[1, 2], &mut tape).expect("logits");
            model.backward(&logits, &mut tape, &mut gradients);
            [
                logits.concat(),
                gradients.to_dense(),
                model.logits(&batch).expect("logits").concat(),
            ]
            .concat()
        };
        let (mut changing, other) = (model(1), model(2));
        let before = learned(&changing);
        assert_eq!(learned(&changing), before);
        changing.values_mut().copy_from_slice(other.values());
        assert_ne!(learned(&other), before);
        assert_eq!(learned(&changing), learned(&other));
        // Only a matrix changes, as in a step of the optimiser.
        let matrix = other
            .layout()
            .linears()
            .next()
            .expect("a layer")
            .weight
            .clone();
        let moved = rng::normals(3, matrix.len(), 0.1);
        let (mut one, mut another) = (other, model(2));
        one.values_mut()[matrix.clone()].copy_from_slice(&moved);
        another.values_mut()[matrix].copy_from_slice(&moved);
        assert_eq!(learned(&one), learned(&another));
    }
}
