//! A shard: some reviews of a batch, and what the forward pass keeps of them.

use std::ops::Range;

use crate::LABELS;
use crate::batch::PackedBatch;
use crate::kernels::aligned::Aligned;
use crate::kernels::attention::Scratch;
use crate::kernels::norm::Moments;

/// Tokens that a shard of a training batch holds at least, if there are so many: few enough for a core's cache, and for cores to share a batch evenly.
pub(super) const TRAINING_TOKENS: usize = 256;
/// And of a batch that is only rated, which keeps less: more, since each shard lays out all weights for its products.
pub(super) const RATING_TOKENS: usize = 512;

/// Some reviews of a batch on their way through the network. Buffers keep their memory from batch to batch.
#[derive(Default)]
pub(super) struct Shard {
    /// The batch's reviews that are in it.
    pub reviews: Range<usize>,
    /// (tokens)
    pub token_ids: Vec<u32>,
    /// Boundaries of the reviews, (reviews + 1)
    pub boundaries: Vec<usize>,
    /// A stream of random numbers for each review; none when nothing is dropped.
    pub keys: Vec<u64>,
    pub embedded: Normed,
    /// In training one for each layer; in rating two, taken in turn.
    pub layers: Vec<LayerTape>,
    /// The last layer's result: the first token of each review, (reviews, hidden).
    pub first: Aligned<f32>,
    /// Before the activation, and after it and dropout, (reviews, hidden).
    pub pooled_in: Aligned<f32>,
    pub pooled: Aligned<f32>,
    pub logits: Vec<[f32; LABELS]>,
    /// After the activation, (rows, intermediate): not kept, but computed again in the backward pass.
    pub active: Aligned<f32>,
    pub attention: Scratch,
}

/// The sum that a LayerNorm takes, and the moments of its rows.
#[derive(Default)]
pub(super) struct Normed {
    /// (rows, hidden)
    pub sum: Aligned<f32>,
    /// (rows)
    pub moments: Aligned<Moments>,
}

/// What a layer keeps. Its rows are those of all tokens, and in the last layer, of which only the first token of each review is asked for, those of the first tokens: of x,
/// key and value all.
#[derive(Default)]
pub(super) struct LayerTape {
    /// Its input, (tokens, hidden).
    pub x: Aligned<f32>,
    /// The rows of x that are asked for, if not all, (reviews, hidden).
    pub x_first: Aligned<f32>,
    /// (rows, hidden)
    pub query: Aligned<f32>,
    /// (tokens, 2 hidden)
    pub key_value: Aligned<f32>,
    /// (rows, hidden)
    pub context: Aligned<f32>,
    pub attention: Normed,
    /// After the first LayerNorm, (rows, hidden).
    pub attended: Aligned<f32>,
    /// Before the activation, (rows, intermediate).
    pub inner: Aligned<f32>,
    pub output: Normed,
}

/// What goes back through the layers of a shard.
#[derive(Default)]
pub(super) struct Backward {
    /// The gradient with respect to the result of a layer, then to its input, (rows, hidden).
    pub x: Aligned<f32>,
    /// The same of all rows of the last layer's input.
    pub x_all: Aligned<f32>,
    /// (rows, hidden)
    pub context: Aligned<f32>,
    /// With respect to biases and LayerNorms, laid out as the vectors of the layout.
    pub vectors: Aligned<f32>,
    pub attention: Scratch,
}

/// What the gradients of a layer's matrices are made of, besides the tape: they are summed while the layer below is computed.
#[derive(Default)]
pub(super) struct Factors {
    /// Gradients with respect to the results of the layer's products, (rows, hidden) each
    pub feed_forward_out: Aligned<f32>,
    pub attention_output: Aligned<f32>,
    pub query: Aligned<f32>,
    /// (rows, intermediate)
    pub feed_forward_in: Aligned<f32>,
    /// (tokens, 2 hidden)
    pub key_value: Aligned<f32>,
    /// After the activation, (rows, intermediate).
    pub active: Aligned<f32>,
    /// Of the head: (reviews, 5) and (reviews, hidden)
    pub logits: Aligned<f32>,
    pub pooled: Aligned<f32>,
}

impl Shard {
    /// Takes in `reviews` of `batch`, with their streams when the model is in training.
    pub fn load(&mut self, batch: &PackedBatch, reviews: Range<usize>, keys: Option<&[u64]>) {
        let boundaries = &batch.cu_seqlens[reviews.start..=reviews.end];
        let start = boundaries[0] as usize;
        self.boundaries.clear();
        self.boundaries
            .extend(boundaries.iter().map(|end| *end as usize - start));
        self.token_ids.clear();
        self.token_ids
            .extend_from_slice(&batch.token_ids[start..start + self.boundaries[reviews.len()]]);
        self.keys.clear();
        self.keys
            .extend_from_slice(keys.map_or(&[], |keys| &keys[reviews.clone()]));
        self.reviews = reviews;
    }

    pub fn tokens(&self) -> usize {
        self.token_ids.len()
    }

    /// (review, its tokens) of each review
    pub fn spans(&self) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
        spans(&self.boundaries)
    }
}

/// (review, its tokens) of each review between `boundaries`
pub(super) fn spans(boundaries: &[usize]) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
    boundaries.windows(2).map(|w| w[0]..w[1]).enumerate()
}
