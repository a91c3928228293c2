//! What the forward and the backward pass of a layer share: its weights, the reviews of the shard,
//! the rows that it computes, and its dropouts.

use std::borrow::Cow;
use std::ops::Range;

use super::Pass;
use super::forward::{drop_tokens, single_tokens};
use super::layout::LayerAt;
use super::shard::{Shard, spans};
use crate::config::Architecture;
use crate::kernels::attention::Operands;
use crate::kernels::dropout::{Dropout, site};
use crate::rng;

/// One layer over one shard. Its rows are tokens; in the last layer, which computes only the first
/// token of each review, they are reviews.
pub(super) struct Layer<'a> {
    pub pass: &'a Pass<'a>,
    pub index: usize,
    pub at: &'a LayerAt,
    pub is_last: bool,
    /// Boundaries of the reviews among the tokens, (reviews + 1).
    pub boundaries: &'a [usize],
    /// Boundaries of the reviews among the rows, (reviews + 1).
    row_boundaries: Cow<'a, [usize]>,
    keys: &'a [u64],
}

impl<'a> Layer<'a> {
    /// The layer `index` over the reviews between `boundaries`, which have these keys.
    pub fn new(
        pass: &'a Pass<'a>,
        index: usize,
        boundaries: &'a [usize],
        keys: &'a [u64],
    ) -> Layer<'a> {
        let is_last = index + 1 == pass.layout.layers.len();
        Layer {
            pass,
            index,
            at: &pass.layout.layers[index],
            is_last,
            boundaries,
            row_boundaries: if is_last {
                single_tokens(boundaries.len() - 1).into()
            } else {
                boundaries.into()
            },
            keys,
        }
    }

    /// The layer `index` over a shard.
    pub fn of(pass: &'a Pass<'a>, index: usize, shard: &'a Shard) -> Layer<'a> {
        Layer::new(pass, index, &shard.boundaries, &shard.keys)
    }

    /// Tokens of the shard.
    pub fn tokens(&self) -> usize {
        self.boundaries.last().copied().unwrap_or(0)
    }

    /// Rows that the layer computes.
    pub fn rows(&self) -> usize {
        self.row_boundaries.last().copied().unwrap_or(0)
    }

    /// Iterates over the reviews as (review, range of its tokens, range of its rows).
    pub fn reviews(&self) -> impl Iterator<Item = (usize, Range<usize>, Range<usize>)> + '_ {
        spans(self.boundaries)
            .zip(spans(&self.row_boundaries))
            .map(|((review, tokens), (_, rows))| (review, tokens, rows))
    }

    /// The operands of a review's attention: its queries (rows, hidden), and its keys and values
    /// (tokens, 2 hidden).
    pub fn attention<'o>(&self, review: usize, q: &'o [f32], kv: &'o [f32]) -> Operands<'o> {
        let config = self.pass.config;
        let stream = |key: &u64| rng::stream(*key, site::attention(self.index));
        Operands {
            q,
            kv,
            heads: config.heads,
            head_size: config.hidden_size / config.heads,
            dropout: Dropout::new(config.attention_dropout).zip(self.keys.get(review).map(stream)),
        }
    }

    /// Applies the dropout after the attention's output to x (rows, hidden), or to its gradient.
    /// BERT has one here; DistilBERT has none.
    pub fn drop_attention_output(&self, x: &mut [f32]) {
        if self.pass.config.architecture == Architecture::Bert {
            self.drop(x, site::attention_output(self.index));
        }
    }

    /// Applies the dropout after the feed-forward network to x (rows, hidden), or to its gradient.
    pub fn drop_output(&self, x: &mut [f32]) {
        self.drop(x, site::output(self.index));
    }

    fn drop(&self, x: &mut [f32], site: u64) {
        let rate = self.pass.config.hidden_dropout;
        drop_tokens(x, rate, self.keys, site, &self.row_boundaries);
    }
}
