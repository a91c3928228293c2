//! Self-attention of one review: softmax(q kᵀ / sqrt(d)) v in each head (Vaswani et al., "Attention Is All You Need", 2017).
//!
//! The weights are not kept for the backward pass, which computes them again from q and k (Dao et al., "FlashAttention", 2022): what is kept grows with the length of a
//! review, not with its square.

use super::dropout::Dropout;
use super::rows::room;
use super::simd::{exp, mul_add, sum, sum2};
use crate::rng;

/// The operands of one review: q (queries, width) and, side by side, k and v (tokens, 2 width), in heads of `size`.
///
/// There are as many queries as tokens, or fewer: the last layer asks for the first token alone.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    pub q: &'a [f32],
    pub kv: &'a [f32],
    pub heads: usize,
    pub size: usize,
    /// Dropout of the weights, with the review's stream.
    pub dropout: Option<(Dropout, u64)>,
}

/// Room for one head, used again from review to review.
#[derive(Default)]
pub(crate) struct Scratch {
    /// kᵀ and vᵀ, (size, padded tokens)
    k_columns: Vec<f32>,
    v_columns: Vec<f32>,
    /// A query divided by sqrt(size), (size)
    query: Vec<f32>,
    /// Weights of one query, and in the backward pass their gradient, (padded tokens)
    weights: Vec<f32>,
    d_weights: Vec<f32>,
    /// Dropped weights and the gradient of the scores, a column for each query, (tokens, queries)
    dropped_columns: Vec<f32>,
    d_score_columns: Vec<f32>,
}

/// Rows of kᵀ are padded to this many elements.
const PAD: usize = 16;

/// out[c] = Σ_i a[i] rows[i * stride + c]
#[inline(always)]
fn weighted_rows<const FMA: bool>(out: &mut [f32], a: &[f32], rows: &[f32], stride: usize) {
    let mut at = 0;
    at = weighted_blocks::<FMA, 32>(out, a, rows, stride, at);
    at = weighted_blocks::<FMA, 16>(out, a, rows, stride, at);
    at = weighted_blocks::<FMA, 8>(out, a, rows, stride, at);
    weighted_blocks::<FMA, 1>(out, a, rows, stride, at);
}

/// The same for as many whole blocks of `N` columns as there are from column `at` on; their sums stay in registers. Returns the column after them.
#[inline(always)]
fn weighted_blocks<const FMA: bool, const N: usize>(out: &mut [f32], a: &[f32], rows: &[f32], stride: usize, mut at: usize) -> usize {
    while at + N <= out.len() {
        let mut sums = [0f32; N];
        for (a, row) in a.iter().zip(rows[at..].chunks(stride)) {
            for (sum, x) in sums.iter_mut().zip(&row[..N]) {
                *sum = mul_add::<FMA>(*a, *x, *sum);
            }
        }
        out[at..at + N].copy_from_slice(&sums);
        at += N;
    }
    at
}

/// Columns `first..first + size` of x (tokens, stride) as rows of `padded` elements.
#[inline(always)]
fn transpose(x: &[f32], stride: usize, first: usize, size: usize, padded: usize, out: &mut [f32]) {
    for (i, row) in x.chunks_exact(stride).enumerate() {
        for (c, x) in row[first..first + size].iter().enumerate() {
            out[c * padded + i] = *x;
        }
    }
}

/// softmax in place
#[inline(always)]
fn softmax(row: &mut [f32]) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|x| *x = exp(*x - max));
    let inverse = 1.0 / sum(row, |x| x);
    row.iter_mut().for_each(|x| *x *= inverse);
}

/// The stream of random numbers for the weights of one query in one head.
#[inline(always)]
fn stream(key: u64, head: usize, query: usize) -> u64 {
    rng::stream(key, ((head as u64) << 32) | query as u64)
}

multiversion! {
    /// out (queries, width)
    pub(crate) fn forward(of: Operands<'_>, out: &mut [f32], scratch: &mut Scratch) {
        let (d, width) = (of.size, of.heads * of.size);
        let tokens = of.kv.len() / (2 * width);
        let padded = tokens.next_multiple_of(PAD);
        let columns = room(&mut scratch.k_columns, d * padded);
        let (query, weights) = (room(&mut scratch.query, d), room(&mut scratch.weights, padded));
        let scale = 1.0 / (d as f32).sqrt();
        for head in 0..of.heads {
            let at = head * d;
            transpose(of.kv, 2 * width, at, d, padded, columns);
            for (i, (q, out)) in of.q.chunks_exact(width).zip(out.chunks_exact_mut(width)).enumerate() {
                query.iter_mut().zip(&q[at..at + d]).for_each(|(to, q)| *to = q * scale);
                weighted_rows::<FMA>(weights, query, columns, padded);
                let weights = &mut weights[..tokens];
                softmax(weights);
                if let Some((dropout, key)) = of.dropout {
                    dropout.apply(weights, stream(key, head, i));
                }
                weighted_rows::<FMA>(&mut out[at..at + d], weights, &of.kv[width + at..], 2 * width);
            }
        }
    }
}

multiversion! {
    /// From the gradient with respect to the result, `grad` (queries, width), those with respect to q and kv: dq (queries, width), dkv (tokens, 2 width).
    pub(crate) fn backward(of: Operands<'_>, grad: &[f32], dq: &mut [f32], dkv: &mut [f32], scratch: &mut Scratch) {
        let (d, width) = (of.size, of.heads * of.size);
        let tokens = of.kv.len() / (2 * width);
        let queries = of.q.len() / width;
        let padded = tokens.next_multiple_of(PAD);
        let (k_columns, v_columns) = (room(&mut scratch.k_columns, d * padded), room(&mut scratch.v_columns, d * padded));
        let query = room(&mut scratch.query, d);
        let (weights, d_weights) = (room(&mut scratch.weights, padded), room(&mut scratch.d_weights, padded));
        let (dropped_columns, d_score_columns) = (room(&mut scratch.dropped_columns, tokens * queries), room(&mut scratch.d_score_columns, tokens * queries));
        let scale = 1.0 / (d as f32).sqrt();
        for head in 0..of.heads {
            let at = head * d;
            transpose(of.kv, 2 * width, at, d, padded, k_columns);
            transpose(of.kv, 2 * width, width + at, d, padded, v_columns);
            for i in 0..queries {
                let row = i * width + at..i * width + at + d;
                query.iter_mut().zip(&of.q[row.clone()]).for_each(|(to, q)| *to = q * scale);
                weighted_rows::<FMA>(weights, query, k_columns, padded);
                weighted_rows::<FMA>(d_weights, &grad[row.clone()], v_columns, padded);
                let (p, dp) = (&mut weights[..tokens], &mut d_weights[..tokens]);
                softmax(p);
                // With m the dropout mask: out = (p m) v, so dv = (p m)ᵀ grad, dp = (grad vᵀ) m, ds = p (dp - Σ p dp), dq = ds k / sqrt(d), dk = dsᵀ q / sqrt(d)
                if let Some((dropout, key)) = of.dropout {
                    dropout.apply(dp, stream(key, head, i));
                }
                let total = sum2(p, dp, |p, dp| p * dp);
                for (dp, p) in dp.iter_mut().zip(p.iter()) {
                    *dp = p * (*dp - total) * scale;
                }
                if let Some((dropout, key)) = of.dropout {
                    dropout.apply(p, stream(key, head, i));
                }
                weighted_rows::<FMA>(&mut dq[row], dp, &of.kv[at..], 2 * width);
                for (j, (p, ds)) in p.iter().zip(dp.iter()).enumerate() {
                    dropped_columns[j * queries + i] = *p;
                    d_score_columns[j * queries + i] = *ds;
                }
            }
            for (j, row) in dkv.chunks_exact_mut(2 * width).enumerate() {
                let column = j * queries..(j + 1) * queries;
                weighted_rows::<FMA>(&mut row[at..at + d], &d_score_columns[column.clone()], &of.q[at..], width);
                weighted_rows::<FMA>(&mut row[width + at..width + at + d], &dropped_columns[column], &grad[at..], width);
            }
        }
    }
}
