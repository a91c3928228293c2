//! Buffers for activations and their gradients, allocated once for the largest batch and reused.

use std::sync::Arc;

use super::Precision;
use super::device::{Buffer, Device};
use crate::{EncoderConfig, Error, LABELS};

/// The largest batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capacity {
    pub tokens: usize,
    pub reviews: usize,
}

/// Activations of the forward pass.
pub(super) struct Tape {
    /// The input sum of the embeddings' LayerNorm, (tokens, hidden), and each row's mean and
    /// inverse standard deviation, (tokens, 2).
    pub embedded: Normed,
    /// In training one for each layer; in rating two, used alternately.
    pub layers: Vec<LayerTape>,
    /// After the activation, (tokens, intermediate). It is not kept; the backward pass recomputes
    /// it.
    pub active: Buffer<u8>,
    /// A linear layer's output that is added to the residual, (tokens, hidden).
    pub added: Buffer<u8>,
    /// The last layer's output for the first token of each review, (reviews, hidden).
    pub first: Buffer<u8>,
    /// The pooler's product, (reviews, hidden). In training the gradient of that product replaces
    /// it.
    pub pooler: Buffer<u8>,
    /// (reviews, 5).
    pub logits: Buffer<f32>,
}

/// The input sum of a LayerNorm, and the moments of its rows.
pub(super) struct Normed {
    pub sum: Buffer<u8>,
    pub moments: Buffer<f32>,
}

/// Activations of a layer. The last layer computes only the first token of each review, so its rows
/// are reviews, except for x, key and value.
pub(super) struct LayerTape {
    /// The layer's input, (tokens, hidden).
    pub x: Buffer<u8>,
    /// Query, key and value before their biases are added, (tokens, 3 hidden); in the last layer
    /// key and value, (tokens, 2 hidden).
    pub projected: Buffer<u8>,
    /// The logarithm of the sum of the attention weights before normalisation, (rows, heads).
    pub log_sums: Buffer<f32>,
    /// The attention output, (rows, hidden).
    pub context: Buffer<u8>,
    pub attention: Normed,
    /// After the first LayerNorm, (rows, hidden).
    pub attended: Buffer<u8>,
    /// Before the bias and the activation, (rows, intermediate).
    pub inner: Buffer<u8>,
    pub output: Normed,
    /// In the last layer only: the input and the query of the first tokens, (reviews, hidden) each.
    pub first: Option<[Buffer<u8>; 2]>,
}

/// Gradients of the backward pass, for one layer at a time.
pub(super) struct GradientTape {
    /// The gradient of a layer's output, then of its input, (tokens, hidden). `first` is that of
    /// the last layer's output, (reviews, hidden).
    pub x: Buffer<f32>,
    pub first: Buffer<f32>,
    /// The gradient of the linear output that is added to the residual, (tokens, hidden).
    pub added: Buffer<u8>,
    /// (tokens, intermediate).
    pub inner: Buffer<u8>,
    /// (tokens, hidden).
    pub context: Buffer<u8>,
    /// As [`LayerTape::projected`]; `first_query` is that of the last layer's query.
    pub projected: Buffer<u8>,
    pub first_query: Buffer<u8>,
    /// grad · context of each query and head, (tokens, heads).
    pub products: Buffer<f32>,
    /// (reviews, hidden) and (reviews, 5).
    pub pooled: Buffer<f32>,
    pub logits: Buffer<f32>,
}

/// Allocates buffers for a batch of the given capacity.
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
    /// A tape for batches of at most `capacity`. With `keep`, it keeps every layer for the backward
    /// pass.
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
    /// A tape for batches of at most `capacity`.
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
