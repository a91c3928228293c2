//! A shard: some reviews of a batch, and the activations that the forward pass keeps for them.

use std::ops::Range;

use crate::LABELS;
use crate::batch::PackedBatch;
use crate::kernels::aligned::Aligned;
use crate::kernels::attention::Scratch;
use crate::kernels::norm::Moments;

/// Tokens per shard of a training batch, if the batch has enough: few enough for a core's cache and
/// for sharing a batch evenly among cores.
pub(super) const TRAINING_TOKENS: usize = 256;
/// Tokens per shard of a batch that is only rated. It is larger because rating keeps less, and each
/// shard packs all weights for its products.
pub(super) const RATING_TOKENS: usize = 512;

/// A group of reviews with its activations. Buffers keep their memory between batches.
#[derive(Default)]
pub(super) struct Shard {
    /// The range of the batch's reviews in this shard.
    pub reviews: Range<usize>,
    /// (tokens).
    pub token_ids: Vec<u32>,
    /// Boundaries of the reviews, (reviews + 1).
    pub boundaries: Vec<usize>,
    /// The key of each review's random stream; empty when nothing is dropped.
    pub keys: Vec<u64>,
    pub embedded: Normed,
    /// In training one for each layer; in rating two, used alternately.
    pub layers: Vec<LayerTape>,
    /// The last layer's output for the first token of each review, (reviews, hidden).
    pub first: Aligned<f32>,
    /// The pooler's output before the activation, and (`pooled`) after activation and dropout,
    /// (reviews, hidden) each.
    pub pooled_in: Aligned<f32>,
    pub pooled: Aligned<f32>,
    pub logits: Vec<[f32; LABELS]>,
    /// After the activation, (rows, intermediate). It is not kept; the backward pass recomputes it.
    pub active: Aligned<f32>,
    pub attention: Scratch,
}

/// The input sum of a LayerNorm, and the moments of its rows.
#[derive(Default)]
pub(super) struct Normed {
    /// (rows, hidden)
    pub sum: Aligned<f32>,
    /// (rows)
    pub moments: Aligned<Moments>,
}

/// Activations of a layer. Rows are tokens. In the last layer, which computes only the first token
/// of each review, rows are reviews, except in x, key and value.
#[derive(Default)]
pub(super) struct LayerTape {
    /// The layer's input, (tokens, hidden).
    pub x: Aligned<f32>,
    /// In the last layer, the rows of x for the first tokens, (reviews, hidden).
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

/// Buffers for the backward pass of a shard.
#[derive(Default)]
pub(super) struct Backward {
    /// The gradient of a layer's output, then of its input, (rows, hidden).
    pub x: Aligned<f32>,
    /// The gradient of the last layer's input, for all tokens.
    pub x_all: Aligned<f32>,
    /// (rows, hidden)
    pub context: Aligned<f32>,
    /// The gradients of biases and LayerNorms, in the order of the layout's vectors.
    pub vectors: Aligned<f32>,
    pub attention: Scratch,
}

/// Factors of a layer's matrix gradients that are not on the tape. The matrix gradients are
/// computed from them while the layer below runs.
#[derive(Default)]
pub(super) struct Factors {
    /// The gradients of the outputs of the layer's products, (rows, hidden) each.
    pub feed_forward_out: Aligned<f32>,
    pub attention_output: Aligned<f32>,
    pub query: Aligned<f32>,
    /// (rows, intermediate)
    pub feed_forward_in: Aligned<f32>,
    /// (tokens, 2 hidden)
    pub key_value: Aligned<f32>,
    /// After the activation, (rows, intermediate).
    pub active: Aligned<f32>,
    /// For the head: (reviews, 5) and (reviews, hidden).
    pub logits: Aligned<f32>,
    pub pooled: Aligned<f32>,
}

impl Shard {
    /// Loads `reviews` of `batch`, with the keys of their random streams in training.
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

    /// Iterates over the reviews as (review, range of its tokens).
    pub fn spans(&self) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
        spans(&self.boundaries)
    }
}

/// Iterates over the reviews between `boundaries` as (review, range of its tokens).
pub(super) fn spans(boundaries: &[usize]) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
    boundaries.windows(2).map(|w| w[0]..w[1]).enumerate()
}
