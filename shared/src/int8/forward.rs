//! The forward pass of some reviews, from token ids to logits.

use std::ops::Range;

use super::attention::{self, attention};
use super::kernel::Sums;
use super::linear;
use super::rows::QuantizedRows;
use super::{Dense, Int8, Layer, LayerNorm, Table};
use crate::LABELS;
use crate::batch::PackedBatch;
use crate::config::{Activation, Architecture};
use crate::kernels::norm::{self, Moments};
use crate::kernels::simd::sum2;

/// Rows that pass both feed-forward layers at once. The intermediate activations, four times as
/// wide, then stay in a core's own cache.
const FEED_FORWARD_ROWS: usize = linear::ROWS;

/// Buffers of one pass, reused between batches.
#[derive(Default)]
pub(super) struct Workspace {
    /// Boundaries of the reviews, (reviews + 1).
    boundaries: Vec<usize>,
    /// The input of a layer, (tokens, hidden).
    x: Vec<f32>,
    /// In the last layer, the rows of x for the first tokens, (reviews, hidden).
    first: Vec<f32>,
    /// (rows, hidden)
    query: Vec<f32>,
    /// (tokens, 2 hidden)
    key_value: Vec<f32>,
    /// (rows, hidden)
    context: Vec<f32>,
    /// A linear layer's output, and then its sum with the residual, (rows, hidden).
    sum: Vec<f32>,
    /// (rows, hidden)
    attended: Vec<f32>,
    /// (feed-forward rows, intermediate)
    inner: Vec<f32>,
    moments: Vec<Moments>,
    /// (rows, hidden)
    rows: QuantizedRows,
    /// (feed-forward rows, intermediate)
    inner_rows: QuantizedRows,
    sums: Vec<Sums>,
    attention: attention::Scratch,
    pooled: Vec<f32>,
}

/// Resizes a buffer to `n` elements and returns it; existing values are kept.
fn sized(buffer: &mut Vec<f32>, n: usize) -> &mut [f32] {
    buffer.resize(n, 0.0);
    buffer
}

/// Computes the logits of `reviews` of `batch`.
pub(super) fn run(
    model: &Int8,
    batch: &PackedBatch,
    reviews: Range<usize>,
    work: &mut Workspace,
) -> Vec<[f32; LABELS]> {
    let boundaries = &batch.cu_seqlens[reviews.start..=reviews.end];
    let start = boundaries[0] as usize;
    work.boundaries.clear();
    work.boundaries
        .extend(boundaries.iter().map(|end| *end as usize - start));
    let tokens = work.boundaries[reviews.len()];
    embed(model, &batch.token_ids[start..start + tokens], work);
    for (i, at) in model.layers.iter().enumerate() {
        layer(model, at, work, i + 1 == model.layers.len());
    }
    head(model, work)
}

/// Sums the word and position embeddings and applies LayerNorm; the result goes to x. The position
/// embedding includes the segment embedding.
fn embed(model: &Int8, token_ids: &[u32], work: &mut Workspace) {
    let h = model.config.hidden_size;
    let sum = sized(&mut work.sum, token_ids.len() * h);
    let row = |table: &Table, i: usize| {
        (
            table.scales[i],
            &model.file.bytes()[table.values.start + i * h..][..h],
        )
    };
    for review in work.boundaries.windows(2) {
        let rows = sum[review[0] * h..review[1] * h].chunks_exact_mut(h);
        for (position, (sum, id)) in rows.zip(&token_ids[review[0]..review[1]]).enumerate() {
            gather(
                row(&model.words, *id as usize),
                row(&model.positions, position),
                sum,
            );
        }
    }
    normalise(
        &model.embedding_norm,
        sum,
        sized(&mut work.x, token_ids.len() * h),
        &mut work.moments,
    );
}

multiversion! {
    /// Sums two rows, each given by a scale and integers.
    fn gather(word: (f32, &[u8]), position: (f32, &[u8]), sum: &mut [f32]) {
        for ((sum, w), p) in sum.iter_mut().zip(word.1).zip(position.1) {
            *sum = word.0 * f32::from(*w as i8) + position.0 * f32::from(*p as i8);
        }
    }
}

/// y = LayerNorm(x)
fn normalise(norm: &LayerNorm, x: &[f32], y: &mut [f32], moments: &mut Vec<Moments>) {
    moments.resize(x.len() / norm.scale.len(), Moments::default());
    norm::forward(norm.get(), x, y, moments);
}

/// One layer, from x to x. The last layer computes only the first token of each review and leaves
/// only those rows in x.
fn layer(model: &Int8, at: &Layer, work: &mut Workspace, last: bool) {
    let (h, kernel, integers) = (
        model.config.hidden_size,
        model.kernel.kernel(),
        model.file.bytes(),
    );
    let reviews = work.boundaries.len() - 1;
    let tokens = work.boundaries[reviews];
    let rows = if last { reviews } else { tokens };

    work.rows.take(&work.x, h);
    let key_value = sized(&mut work.key_value, tokens * 2 * h);
    at.key_value
        .apply(kernel, integers, &work.rows, key_value, &mut work.sums);
    if last {
        let first = sized(&mut work.first, reviews * h);
        for (row, start) in first.chunks_exact_mut(h).zip(&work.boundaries) {
            row.copy_from_slice(&work.x[start * h..][..h]);
        }
        work.rows.take(first, h);
        std::mem::swap(&mut work.x, &mut work.first);
    }
    let query = sized(&mut work.query, rows * h);
    at.query
        .apply(kernel, integers, &work.rows, query, &mut work.sums);

    let context = sized(&mut work.context, rows * h);
    for (review, span) in work.boundaries.windows(2).enumerate() {
        let query_rows = if last {
            review..review + 1
        } else {
            span[0]..span[1]
        };
        let q = &query[query_rows.start * h..query_rows.end * h];
        let kv = &key_value[span[0] * 2 * h..span[1] * 2 * h];
        attention(
            q,
            kv,
            model.config.heads,
            h,
            &mut context[query_rows.start * h..query_rows.end * h],
            &mut work.attention,
        );
    }

    work.rows.take(context, h);
    let sum = sized(&mut work.sum, rows * h);
    at.attention_output
        .apply(kernel, integers, &work.rows, sum, &mut work.sums);
    add(sum, &work.x);
    let attended = sized(&mut work.attended, rows * h);
    normalise(&at.attention_norm, sum, attended, &mut work.moments);

    let f = model.config.intermediate_size;
    for first in (0..rows).step_by(FEED_FORWARD_ROWS) {
        let block = first * h..(first + FEED_FORWARD_ROWS).min(rows) * h;
        let x = &attended[block.clone()];
        work.rows.take(x, h);
        let inner = sized(&mut work.inner, x.len() / h * f);
        at.feed_forward_in
            .apply(kernel, integers, &work.rows, inner, &mut work.sums);
        match model.config.activation {
            Activation::Gelu => work.inner_rows.take_gelu(inner, f),
            Activation::Relu => {
                inner
                    .iter_mut()
                    .for_each(|x| *x = if *x > 0.0 { *x } else { 0.0 });
                work.inner_rows.take(inner, f);
            }
        }
        let sum = &mut sum[block.clone()];
        at.feed_forward_out
            .apply(kernel, integers, &work.inner_rows, sum, &mut work.sums);
        add(sum, x);
        normalise(&at.output_norm, sum, &mut work.x[block], &mut work.moments);
    }
}

multiversion! {
    /// y += x
    fn add(y: &mut [f32], x: &[f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }
}

/// The head: from the first token of each review, which the last layer left in x, to the logits.
fn head(model: &Int8, work: &mut Workspace) -> Vec<[f32; LABELS]> {
    let h = model.config.hidden_size;
    let pooled = sized(&mut work.pooled, h);
    let classify = |row: &[f32]| {
        dense(&model.pooler, row, pooled);
        match model.config.architecture {
            Architecture::DistilBert => pooled
                .iter_mut()
                .for_each(|x| *x = if *x > 0.0 { *x } else { 0.0 }),
            // libm's tanh, because the system's differs between systems.
            Architecture::Bert => pooled.iter_mut().for_each(|x| *x = libm::tanhf(*x)),
        }
        let mut logits = [0.0; LABELS];
        dense(&model.classifier, pooled, &mut logits);
        logits
    };
    work.x.chunks_exact(h).map(classify).collect()
}

multiversion! {
    /// y (outputs) = w x + bias
    fn dense(layer: &Dense, x: &[f32], y: &mut [f32]) {
        for ((y, w), bias) in y.iter_mut().zip(layer.weight.chunks_exact(x.len())).zip(&layer.bias) {
            *y = sum2(w, x, |w, x| w * x) + bias;
        }
    }
}
