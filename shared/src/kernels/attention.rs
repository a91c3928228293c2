//! Self-attention of one review: softmax(q kᵀ / sqrt(d)) v in each head (Vaswani et al., "Attention
//! Is All You Need", 2017).
//!
//! The attention weights are not kept for the backward pass, which recomputes them from q and k
//! (Dao et al., "FlashAttention", 2022). The kept memory thus grows linearly with the length of a
//! review, not quadratically. Weights are stored with a row per token and a column per query, so
//! that the softmaxes of several queries run in parallel, each in its own lane.

use super::aligned::Aligned;
use super::dropout::Dropout;
use super::product::{Rows, View, product};
use super::simd::{LANES, exp};
use super::transpose::transpose;
use crate::rng;

/// The operands of one review, with heads of `head_size`: q (queries, width), and kv (tokens, 2 width),
/// whose rows are a row of k followed by a row of v.
///
/// There are as many queries as tokens, or only one in the last layer, which needs only the first
/// token.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    pub q: &'a [f32],
    pub kv: &'a [f32],
    pub heads: usize,
    pub head_size: usize,
    /// Dropout of the attention weights, with the review's random stream.
    pub dropout: Option<(Dropout, u64)>,
}

/// Buffers for one head, reused between reviews.
#[derive(Default)]
pub(crate) struct Scratch {
    /// qᵀ / sqrt(d), and the transposed gradient of the output, (head size, padded queries) each.
    q_columns: Aligned<f32>,
    grad_columns: Aligned<f32>,
    /// The weights; and in the backward pass their gradient, then the gradient of the scores,
    /// (tokens, padded queries) each.
    weights: Aligned<f32>,
    d_weights: Aligned<f32>,
    /// The factors by which dropout multiplies the weights of some queries, (tokens); 1 without
    /// dropout.
    dropout_factors: Aligned<[f32; LANES]>,
}

/// The elements of `block` in each row of x (rows, blocks).
#[inline(always)]
fn lanes(
    x: &mut [[f32; LANES]],
    blocks: usize,
    block: usize,
) -> impl Iterator<Item = &mut [f32; LANES]> {
    x.chunks_exact_mut(blocks)
        .filter_map(move |row| row.get_mut(block))
}

/// x[i] <- f(i, x[i]). It works on a copy: in place, the compiler would have to assume that x
/// overlaps other operands, and would process the lanes one by one.
#[inline(always)]
fn update(x: &mut [f32; LANES], f: impl Fn(usize, f32) -> f32) {
    let mut new = *x;
    new.iter_mut().enumerate().for_each(|(i, x)| *x = f(i, *x));
    *x = new;
}

/// Softmax over the rows of `block`, independently in each lane. The results are not normalised;
/// the factors for it are returned.
#[inline(always)]
fn softmax(x: &mut [[f32; LANES]], blocks: usize, block: usize) -> [f32; LANES] {
    let mut most = [f32::NEG_INFINITY; LANES];
    for row in lanes(x, blocks, block) {
        for (most, x) in most.iter_mut().zip(row) {
            *most = if *x > *most { *x } else { *most };
        }
    }
    let mut sums = [0f32; LANES];
    for row in lanes(x, blocks, block) {
        for ((x, most), sum) in row.iter_mut().zip(&most).zip(&mut sums) {
            *x = exp(*x - most);
            *sum += *x;
        }
    }
    sums.iter_mut().for_each(|sum| *sum = 1.0 / *sum);
    sums
}

/// The random streams for the weights of LANES queries from `first`, in one head.
#[inline(always)]
fn streams(key: u64, head: usize, first: usize) -> [u64; LANES] {
    let mut streams = [0; LANES];
    streams.iter_mut().enumerate().for_each(|(i, stream)| {
        *stream = rng::stream(key, ((head as u64) << 32) | (first + i) as u64);
    });
    streams
}

/// Computes the scores of one head, (tokens, padded queries): k qᵀ / sqrt(d), where k starts at
/// column `head_start`.
#[inline(always)]
fn scores(
    operands: &Operands<'_>,
    head_start: usize,
    padded: usize,
    q_columns: &mut [f32],
    out: &mut [f32],
) {
    let (d, width) = (operands.head_size, operands.heads * operands.head_size);
    transpose(
        Rows {
            data: &operands.q[head_start..],
            row_stride: width,
        },
        operands.q.len() / width,
        d,
        q_columns,
        padded,
    );
    let scale = 1.0 / (d as f32).sqrt();
    q_columns.iter_mut().for_each(|q| *q *= scale);
    let shape = (operands.kv.len() / (2 * width), padded, d);
    product(
        shape,
        View {
            data: &operands.kv[head_start..],
            column_stride: 1,
            row_stride: 2 * width,
        },
        Rows {
            data: q_columns,
            row_stride: padded,
        },
        Rows {
            data: out,
            row_stride: padded,
        },
    );
}

multiversion! {
    /// Computes the attention output, (queries, width).
    pub(crate) fn forward(operands: Operands<'_>, out: &mut [f32], scratch: &mut Scratch) {
        let (d, width) = (operands.head_size, operands.heads * operands.head_size);
        let (tokens, queries) = (operands.kv.len() / (2 * width), operands.q.len() / width);
        let blocks = queries.div_ceil(LANES);
        let padded = blocks * LANES;
        let (q_columns, weights) = (scratch.q_columns.sized(d * padded), scratch.weights.sized(tokens * padded));
        let factors = scratch.dropout_factors.sized(tokens);
        factors.fill([1.0; LANES]);
        for head in 0..operands.heads {
            let head_start = head * d;
            scores(&operands, head_start, padded, q_columns, weights);
            let p_lanes = weights.as_chunks_mut().0;
            for block in 0..blocks {
                let inverse_sums = softmax(p_lanes, blocks, block);
                if let Some((dropout, random_key)) = operands.dropout {
                    dropout.factors(&streams(random_key, head, block * LANES), factors);
                }
                for (p, factors) in lanes(p_lanes, blocks, block).zip(factors.iter()) {
                    let factors = *factors;
                    update(p, |i, p| p * inverse_sums[i] * factors[i]);
                }
            }
            // A row for each query: the weights are stored by token.
            let by_query = View { data: weights, column_stride: padded, row_stride: 1 };
            let values = Rows { data: &operands.kv[width + head_start..], row_stride: 2 * width };
            let out = Rows { data: &mut out[head_start..], row_stride: width };
            product((queries, d, tokens), by_query, values, out);
        }
    }
}

multiversion! {
    /// Computes the gradients dq (queries, width) and dkv (tokens, 2 width) from `grad` (queries,
    /// width), the gradient of the output.
    pub(crate) fn backward(operands: Operands<'_>, grad: &[f32], dq: &mut [f32], dkv: &mut [f32], scratch: &mut Scratch) {
        let (d, width) = (operands.head_size, operands.heads * operands.head_size);
        let (tokens, queries) = (operands.kv.len() / (2 * width), operands.q.len() / width);
        let blocks = queries.div_ceil(LANES);
        let padded = blocks * LANES;
        let (q_columns, grad_columns) = (scratch.q_columns.sized(d * padded), scratch.grad_columns.sized(d * padded));
        let (weights, d_weights) = (scratch.weights.sized(tokens * padded), scratch.d_weights.sized(tokens * padded));
        let factors = scratch.dropout_factors.sized(tokens);
        factors.fill([1.0; LANES]);
        let scale = 1.0 / (d as f32).sqrt();
        for head in 0..operands.heads {
            let head_start = head * d;
            scores(&operands, head_start, padded, q_columns, weights);
            // With m the dropout mask: out = (p m) v, so dv = (p m)ᵀ grad, dp = (grad vᵀ) m, ds = p
            // (dp - Σ p dp), dq = ds k / sqrt(d), dk = dsᵀ q / sqrt(d)
            transpose(Rows { data: &grad[head_start..], row_stride: width }, queries, d, grad_columns, padded);
            let v = View { data: &operands.kv[width + head_start..], column_stride: 1, row_stride: 2 * width };
            product((tokens, padded, d), v, Rows { data: grad_columns, row_stride: padded }, Rows { data: d_weights, row_stride: padded });
            let (p_lanes, dp_lanes) = (weights.as_chunks_mut().0, d_weights.as_chunks_mut().0);
            for block in 0..blocks {
                let inverse_sums = softmax(p_lanes, blocks, block);
                if let Some((dropout, random_key)) = operands.dropout {
                    dropout.factors(&streams(random_key, head, block * LANES), factors);
                }
                let mut totals = [0f32; LANES];
                for ((p, dp), factors) in lanes(p_lanes, blocks, block).zip(lanes(dp_lanes, blocks, block)).zip(factors.iter()) {
                    let factors = *factors;
                    update(p, |i, p| p * inverse_sums[i]);
                    update(dp, |i, dp| dp * factors[i]);
                    let (p, dp) = (*p, *dp);
                    update(&mut totals, |i, total| total + p[i] * dp[i]);
                }
                for ((p, dp), factors) in lanes(p_lanes, blocks, block).zip(lanes(dp_lanes, blocks, block)).zip(factors.iter()) {
                    let (factors, weights) = (*factors, *p);
                    update(dp, |i, dp| weights[i] * (dp - totals[i]) * scale);
                    update(p, |i, p| p * factors[i]);
                }
            }
            // Only the columns of real queries are multiplied; the padding is left out.
            let by_query = View { data: d_weights, column_stride: padded, row_stride: 1 };
            product((queries, d, tokens), by_query, Rows { data: &operands.kv[head_start..], row_stride: 2 * width }, Rows { data: &mut dq[head_start..], row_stride: width });
            let (d_scores, dropped) = (View { column_stride: 1, row_stride: padded, ..by_query }, View { data: weights, column_stride: 1, row_stride: padded });
            product((tokens, d, queries), d_scores, Rows { data: &operands.q[head_start..], row_stride: width }, Rows { data: &mut dkv[head_start..], row_stride: 2 * width });
            product((tokens, d, queries), dropped, Rows { data: &grad[head_start..], row_stride: width }, Rows { data: &mut dkv[width + head_start..], row_stride: 2 * width });
        }
    }
}
