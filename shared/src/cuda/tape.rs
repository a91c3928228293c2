//! Memory for what the passes leave for each other: sized once, for the most tokens that a batch may hold, and used again.

use std::sync::Arc;

use super::Precision;
use super::device::{Buffer, Device};
use crate::{EncoderConfig, Error, LABELS};

/// The most that a batch may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capacity {
    pub tokens: usize,
    pub reviews: usize,
}

/// What the forward pass leaves.
pub(super) struct Tape {
    /// The sum that the embeddings' LayerNorm takes, (tokens, hidden), and each row's mean and inverse deviation, (tokens, 2).
    pub embedded: Normed,
    /// In training one for each layer; in rating two, taken in turn.
    pub layers: Vec<LayerTape>,
    /// After the activation, (tokens, intermediate): not kept, but computed again in the backward pass.
    pub active: Buffer<u8>,
    /// What a linear layer adds to the residual, (tokens, hidden).
    pub added: Buffer<u8>,
    /// The last layer's result: the first token of each review, (reviews, hidden).
    pub first: Buffer<u8>,
    /// The pooler's product, then, in training, the gradient with respect to it, (reviews, hidden).
    pub pooler: Buffer<u8>,
    /// (reviews, 5)
    pub logits: Buffer<f32>,
}

/// The sum that a LayerNorm takes, and the moments of its rows.
pub(super) struct Normed {
    pub sum: Buffer<u8>,
    pub moments: Buffer<f32>,
}

/// What a layer keeps. In the last one, of which only the first token of each review is asked for, rows are reviews, but for x, key and value.
pub(super) struct LayerTape {
    /// Its input, (tokens, hidden).
    pub x: Buffer<u8>,
    /// Query, key and value without their biases, (tokens, 3 hidden); in the last layer key and value, (tokens, 2 hidden).
    pub projected: Buffer<u8>,
    /// The logarithm of the sum of attention's weights, (rows, heads).
    pub log_sums: Buffer<f32>,
    /// (rows, hidden)
    pub context: Buffer<u8>,
    pub attention: Normed,
    /// After the first LayerNorm, (rows, hidden).
    pub attended: Buffer<u8>,
    /// Before the bias and the activation, (rows, intermediate).
    pub inner: Buffer<u8>,
    pub output: Normed,
    /// Only in the last layer: its input and its query, of the first tokens, (reviews, hidden) each.
    pub first: Option<[Buffer<u8>; 2]>,
}

/// Gradients on their way back, of one layer at a time.
pub(super) struct GradientTape {
    /// With respect to the result of a layer, then to its input, (tokens, hidden), and of the last layer, (reviews, hidden).
    pub x: Buffer<f32>,
    pub first: Buffer<f32>,
    /// With respect to what a linear layer adds to the residual, (tokens, hidden).
    pub added: Buffer<u8>,
    /// (tokens, intermediate)
    pub inner: Buffer<u8>,
    /// (tokens, hidden)
    pub context: Buffer<u8>,
    /// As [`LayerTape::projected`], and the last layer's query.
    pub projected: Buffer<u8>,
    pub first_query: Buffer<u8>,
    /// grad · context of each query and head, (tokens, heads).
    pub products: Buffer<f32>,
    /// (reviews, hidden) and (reviews, 5)
    pub pooled: Buffer<f32>,
    pub logits: Buffer<f32>,
}

/// Makes buffers for so many tokens and reviews.
struct Maker<'a> {
    device: &'a Arc<dyn Device>,
    precision: Precision,
    capacity: Capacity,
}

impl Maker<'_> {
    fn stored(&self, rows: usize, width: usize) -> Result<Buffer<u8>, Error> {
        Buffer::new(self.device, rows * width * self.precision.bytes())
    }

    fn wide(&self, rows: usize, width: usize) -> Result<Buffer<f32>, Error> {
        Buffer::new(self.device, rows * width)
    }

    fn normed(&self, width: usize) -> Result<Normed, Error> {
        Ok(Normed {
            sum: self.stored(self.capacity.tokens, width)?,
            moments: self.wide(self.capacity.tokens, 2)?,
        })
    }
}

impl Tape {
    /// For batches of at most `capacity`; with `keep`, for a backward pass.
    pub fn new(
        device: &Arc<dyn Device>,
        config: &EncoderConfig,
        precision: Precision,
        capacity: Capacity,
        keep: bool,
    ) -> Result<Tape, Error> {
        let make = Maker {
            device,
            precision,
            capacity,
        };
        let Capacity { tokens, reviews } = capacity;
        let (h, f) = (config.hidden_size, config.intermediate_size);
        let layers = if keep {
            config.layers
        } else {
            config.layers.min(2)
        };
        let last = (config.layers - 1) % layers;
        let layer = |i| {
            Ok(LayerTape {
                x: make.stored(tokens, h)?,
                projected: make.stored(tokens, 3 * h)?,
                log_sums: make.wide(tokens, config.heads)?,
                context: make.stored(tokens, h)?,
                attention: make.normed(h)?,
                attended: make.stored(tokens, h)?,
                inner: make.stored(tokens, f)?,
                output: make.normed(h)?,
                first: if i == last {
                    Some([make.stored(reviews, h)?, make.stored(reviews, h)?])
                } else {
                    None
                },
            })
        };
        Ok(Tape {
            embedded: make.normed(h)?,
            layers: (0..layers).map(layer).collect::<Result<_, Error>>()?,
            active: make.stored(tokens, f)?,
            added: make.stored(tokens, h)?,
            first: make.stored(reviews, h)?,
            pooler: make.stored(reviews, h)?,
            logits: make.wide(reviews, LABELS)?,
        })
    }
}

impl GradientTape {
    /// For batches of at most `capacity`.
    pub fn new(
        device: &Arc<dyn Device>,
        config: &EncoderConfig,
        precision: Precision,
        capacity: Capacity,
    ) -> Result<GradientTape, Error> {
        let make = Maker {
            device,
            precision,
            capacity,
        };
        let Capacity { tokens, reviews } = capacity;
        let (h, f) = (config.hidden_size, config.intermediate_size);
        Ok(GradientTape {
            x: make.wide(tokens, h)?,
            first: make.wide(reviews, h)?,
            added: make.stored(tokens, h)?,
            inner: make.stored(tokens, f)?,
            context: make.stored(tokens, h)?,
            projected: make.stored(tokens, 3 * h)?,
            first_query: make.stored(reviews, h)?,
            products: make.wide(tokens, config.heads)?,
            pooled: make.wide(reviews, h)?,
            logits: make.wide(reviews, LABELS)?,
        })
    }
}
