//! Self-attention of one review: softmax(q kᵀ / sqrt(d)) v in each head (Vaswani et al., "Attention Is All You Need", 2017).
//!
//! The weights are not kept for the backward pass, which computes them again from q and k (Dao et al., "FlashAttention", 2022): what is kept grows with the length of a
//! review, not with its square.

use super::dropout::Dropout;
use super::product::{Rows, View, product};
use super::rows::room;
use super::simd::{LANES, exp, max, sum, sum2};
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
    /// Queries divided by sqrt(size), (queries, size)
    query: Vec<f32>,
    /// Weights, and in the backward pass their gradient, then that of the scores, (queries, padded tokens)
    weights: Vec<f32>,
    d_weights: Vec<f32>,
    /// What dropout multiplies the weights of one query by, (tokens)
    kept: Vec<f32>,
}

/// Tokens are padded to a multiple of this.
const PAD: usize = LANES;

/// Columns `first..first + size` of x (tokens, stride) as rows of `padded` elements, zeros after the tokens.
#[inline(always)]
fn transpose(x: &[f32], stride: usize, first: usize, size: usize, padded: usize, out: &mut [f32]) {
    let tokens = x.len() / stride;
    let row = |i: usize| &x[i * stride + first..][..size];
    let out = &mut out[..size * padded];
    if tokens < padded {
        out.fill(0.0);
    }
    // Four at once are written in one piece.
    let rest = tokens - tokens % 4;
    for i in (0..rest).step_by(4) {
        let rows = row(i).iter().zip(row(i + 1)).zip(row(i + 2)).zip(row(i + 3));
        for (out, (((a, b), c), d)) in out.chunks_exact_mut(padded).zip(rows) {
            out[i..i + 4].copy_from_slice(&[*a, *b, *c, *d]);
        }
    }
    for i in rest..tokens {
        for (out, x) in out.chunks_exact_mut(padded).zip(row(i)) {
            out[i] = *x;
        }
    }
}

/// softmax in place over the first `tokens` of a padded row; zeros after them
#[inline(always)]
fn softmax(row: &mut [f32], tokens: usize) {
    row[tokens..].fill(f32::NEG_INFINITY);
    let max = max(row);
    row.iter_mut().for_each(|x| *x = exp(*x - max));
    row[tokens..].fill(0.0);
    let inverse = 1.0 / sum(row, |x| x);
    row.iter_mut().for_each(|x| *x *= inverse);
}

/// The stream of random numbers for the weights of one query in one head.
#[inline(always)]
fn stream(key: u64, head: usize, query: usize) -> u64 {
    rng::stream(key, ((head as u64) << 32) | query as u64)
}

/// The scores of one head, (queries, padded): q kᵀ / sqrt(d), with q from column `at` on.
#[inline(always)]
fn scores(of: &Operands<'_>, at: usize, k_columns: &[f32], padded: usize, query: &mut [f32], out: &mut [f32]) {
    let d = of.size;
    let scale = 1.0 / (d as f32).sqrt();
    let queries = of.q.chunks_exact(of.heads * d);
    let shape = (queries.len(), padded, d);
    for (to, q) in query.chunks_exact_mut(d).zip(queries) {
        to.iter_mut().zip(&q[at..at + d]).for_each(|(to, q)| *to = q * scale);
    }
    product(shape, View { data: query, columns: 1, rows: d }, Rows { data: k_columns, down: padded }, Rows { data: out, down: padded });
}

multiversion! {
    /// out (queries, width)
    pub(crate) fn forward(of: Operands<'_>, out: &mut [f32], scratch: &mut Scratch) {
        let (d, width) = (of.size, of.heads * of.size);
        let (tokens, queries) = (of.kv.len() / (2 * width), of.q.len() / width);
        let padded = tokens.next_multiple_of(PAD);
        let k_columns = room(&mut scratch.k_columns, d * padded);
        let (query, weights) = (room(&mut scratch.query, queries * d), room(&mut scratch.weights, queries * padded));
        for head in 0..of.heads {
            let at = head * d;
            transpose(of.kv, 2 * width, at, d, padded, k_columns);
            scores(&of, at, k_columns, padded, query, weights);
            for (i, weights) in weights.chunks_exact_mut(padded).enumerate() {
                softmax(weights, tokens);
                if let Some((dropout, key)) = of.dropout {
                    dropout.apply(&mut weights[..tokens], stream(key, head, i));
                }
            }
            let weights = View { data: weights, columns: 1, rows: padded };
            product((queries, d, tokens), weights, Rows { data: &of.kv[width + at..], down: 2 * width }, Rows { data: &mut out[at..], down: width });
        }
    }
}

multiversion! {
    /// From the gradient with respect to the result, `grad` (queries, width), those with respect to q and kv: dq (queries, width), dkv (tokens, 2 width).
    pub(crate) fn backward(of: Operands<'_>, grad: &[f32], dq: &mut [f32], dkv: &mut [f32], scratch: &mut Scratch) {
        let (d, width) = (of.size, of.heads * of.size);
        let (tokens, queries) = (of.kv.len() / (2 * width), of.q.len() / width);
        let padded = tokens.next_multiple_of(PAD);
        let (k_columns, v_columns) = (room(&mut scratch.k_columns, d * padded), room(&mut scratch.v_columns, d * padded));
        let query = room(&mut scratch.query, queries * d);
        let (weights, d_weights) = (room(&mut scratch.weights, queries * padded), room(&mut scratch.d_weights, queries * padded));
        let kept = room(&mut scratch.kept, tokens);
        let scale = 1.0 / (d as f32).sqrt();
        for head in 0..of.heads {
            let at = head * d;
            transpose(of.kv, 2 * width, at, d, padded, k_columns);
            transpose(of.kv, 2 * width, width + at, d, padded, v_columns);
            scores(&of, at, k_columns, padded, query, weights);
            // With m the dropout mask: out = (p m) v, so dv = (p m)ᵀ grad, dp = (grad vᵀ) m, ds = p (dp - Σ p dp), dq = ds k / sqrt(d), dk = dsᵀ q / sqrt(d)
            let grad = &grad[at..];
            let d_out = View { data: grad, columns: 1, rows: width };
            product((queries, padded, d), d_out, Rows { data: v_columns, down: padded }, Rows { data: d_weights, down: padded });
            for (i, (p, dp)) in weights.chunks_exact_mut(padded).zip(d_weights.chunks_exact_mut(padded)).enumerate() {
                softmax(p, tokens);
                if let Some((dropout, key)) = of.dropout {
                    kept.fill(1.0);
                    dropout.apply(kept, stream(key, head, i));
                    dp.iter_mut().zip(kept.iter()).for_each(|(dp, kept)| *dp *= kept);
                }
                let total = sum2(p, dp, |p, dp| p * dp);
                for (dp, p) in dp.iter_mut().zip(p.iter()) {
                    *dp = p * (*dp - total) * scale;
                }
                if of.dropout.is_some() {
                    p.iter_mut().zip(kept.iter()).for_each(|(p, kept)| *p *= kept);
                }
            }
            let (d_scores, dropped) = (View { data: d_weights, columns: 1, rows: padded }, View { data: weights, columns: padded, rows: 1 });
            product((queries, d, tokens), d_scores, Rows { data: &of.kv[at..], down: 2 * width }, Rows { data: &mut dq[at..], down: width });
            let d_scores = View { columns: padded, rows: 1, ..d_scores };
            product((tokens, d, queries), d_scores, Rows { data: &of.q[at..], down: width }, Rows { data: &mut dkv[at..], down: 2 * width });
            product((tokens, d, queries), dropped, Rows { data: grad, down: width }, Rows { data: &mut dkv[width + at..], down: 2 * width });
        }
    }
}
