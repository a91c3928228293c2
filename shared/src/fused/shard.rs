//! A shard: some reviews of a batch, and what the forward pass keeps of them.

use std::ops::Range;

use crate::LABELS;
use crate::batch::PackedBatch;
use crate::kernels::attention::Scratch;
use crate::kernels::norm::Moments;

/// Tokens that a shard of a training batch holds at least, if there are so many: the longer the sums of a weight's gradient, the less often that gradient is read and written.
pub(super) const TRAINING_TOKENS: usize = 512;
/// And of a batch that is only rated: little enough for a core's own cache.
pub(super) const RATING_TOKENS: usize = 256;

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
    pub first: Vec<f32>,
    /// Before the activation, and after it and dropout, (reviews, hidden).
    pub pooled_in: Vec<f32>,
    pub pooled: Vec<f32>,
    pub logits: Vec<[f32; LABELS]>,
    /// After the activation, (rows, intermediate): not kept, but computed again in the backward pass.
    pub inner: Vec<f32>,
    pub attention: Scratch,
    pub backward: Gradient,
}

/// The sum that a LayerNorm takes, and the moments of its rows.
#[derive(Default)]
pub(super) struct Normed {
    /// (rows, hidden)
    pub sum: Vec<f32>,
    /// (rows)
    pub moments: Vec<Moments>,
}

/// What a layer keeps. Its rows are those of all tokens, and in the last layer, of which only the first token of each review is asked for, those of the first tokens: of x,
/// key and value all.
#[derive(Default)]
pub(super) struct LayerTape {
    /// Its input, (tokens, hidden).
    pub x: Vec<f32>,
    /// The rows of x that are asked for, if not all, (reviews, hidden).
    pub x_first: Vec<f32>,
    /// (rows, hidden)
    pub query: Vec<f32>,
    /// (tokens, 2 hidden)
    pub key_value: Vec<f32>,
    /// (rows, hidden)
    pub context: Vec<f32>,
    pub attention: Normed,
    /// After the first LayerNorm, (rows, hidden).
    pub attended: Vec<f32>,
    /// Before the activation, (rows, intermediate).
    pub inner: Vec<f32>,
    pub output: Normed,
}

/// Gradients on their way back through a shard, of one layer at a time.
#[derive(Default)]
pub(super) struct Gradient {
    /// With respect to the result of the layer, then to its input, (rows, hidden).
    pub x: Vec<f32>,
    /// (rows, hidden) each
    pub feed_forward_out: Vec<f32>,
    pub attention_output: Vec<f32>,
    pub attended: Vec<f32>,
    pub context: Vec<f32>,
    pub query: Vec<f32>,
    /// (rows, intermediate)
    pub inner: Vec<f32>,
    /// (tokens, 2 hidden)
    pub key_value: Vec<f32>,
    /// (reviews, 5) and (reviews, hidden)
    pub logits: Vec<f32>,
    pub pooled: Vec<f32>,
    /// With respect to biases and LayerNorms, laid out as the vectors of the layout.
    pub vectors: Vec<f32>,
}

/// Makes a buffer `n` long and returns it; what it holds is left from before.
pub(super) fn sized<T: Clone + Default>(buffer: &mut Vec<T>, n: usize) -> &mut [T] {
    buffer.resize(n, T::default());
    buffer
}

impl Shard {
    /// Takes in `reviews` of `batch`, with their streams when the model is in training.
    pub fn load(&mut self, batch: &PackedBatch, reviews: Range<usize>, keys: Option<&[u64]>) {
        let boundaries = &batch.cu_seqlens[reviews.start..=reviews.end];
        let start = boundaries[0] as usize;
        self.boundaries.clear();
        self.boundaries.extend(boundaries.iter().map(|end| *end as usize - start));
        self.token_ids.clear();
        self.token_ids.extend_from_slice(&batch.token_ids[start..start + self.boundaries[reviews.len()]]);
        self.keys.clear();
        self.keys.extend_from_slice(keys.map_or(&[], |keys| &keys[reviews.clone()]));
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

/// What a review of `tokens` tokens costs in a model of this width, in no unit. A token goes through products of 12 width² multiplications a layer, and through attention, 2 width for
/// each token of its review; those take about five times as long as a product's.
fn cost(tokens: usize, width: usize) -> usize {
    tokens * (6 * width / 5 + tokens)
}

/// Cuts a batch into runs of reviews that cost about the same: of `tokens` tokens or more if there are so many, and one for each thread at least if there are so few.
pub(super) fn divide(batch: &PackedBatch, tokens: usize, width: usize) -> Vec<Range<usize>> {
    let threads = rayon::current_num_threads();
    let count = (batch.tokens() / tokens).max(1).next_multiple_of(threads).min(batch.reviews());
    // What the reviews up to each, and it, cost.
    let costs: Vec<usize> = batch
        .lengths()
        .scan(0, |sum, tokens| {
            *sum += cost(tokens, width);
            Some(*sum)
        })
        .collect();
    let total = costs.last().copied().unwrap_or(0);
    let mut ranges = Vec::with_capacity(count);
    let mut start = 0;
    for shard in 1..=count {
        // Up to the review whose middle lies behind this share of the cost; but no shard empty, and none left without a review.
        let share = total * shard / count;
        let reached = costs.windows(2).skip(start).take_while(|w| w[0] + w[1] <= 2 * share).count() + start + 1;
        let end = reached.clamp(start + 1, batch.reviews() - (count - shard));
        ranges.push(start..end);
        start = end;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_hold_every_review_once_and_cost_about_the_same() {
        for (reviews, tokens) in [(1, 512), (2, 512), (7, 4), (300, 512), (2000, 256)] {
            let texts: Vec<Vec<u32>> = (0..reviews).map(|i| vec![1; 2 + (i * 7919) % 41]).collect();
            let batch = PackedBatch::new(&texts.iter().map(Vec::as_slice).collect::<Vec<_>>()).expect("a batch");
            let ranges = divide(&batch, tokens, 64);
            assert_eq!(ranges.iter().flat_map(Clone::clone).collect::<Vec<_>>(), (0..reviews).collect::<Vec<_>>());
            assert!(ranges.iter().all(|r| !r.is_empty()), "{ranges:?}");
            if reviews > 100 {
                let lengths: Vec<usize> = batch.lengths().collect();
                let costs = ranges.iter().map(|r| lengths[r.clone()].iter().map(|n| cost(*n, 64)).sum::<usize>());
                let (low, high) = (costs.clone().min().expect("a shard"), costs.max().expect("a shard"));
                // The dearest review is the grain.
                assert!(high - low <= 2 * cost(42, 64), "{low} to {high}");
            }
        }
    }
}
