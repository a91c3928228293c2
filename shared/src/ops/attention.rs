//! Self-attention over packed sequences ("varlen" in flash-attention): softmax(q kᵀ / sqrt(d)) v within each review and head (Vaswani et al., 2017).
//!
//! The weights are never stored: the backward pass computes them again from q and k, row by row, so memory grows with the length of a review and not with its square
//! (Dao et al., "FlashAttention", 2022).

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::dropout::AttentionDropout;
use super::{elements, slice};
use crate::parallel;

/// Attention of each review of a packed batch within itself. q, k and v are (tokens, heads * head size), and so is the result; `cu_seqlens` (reviews + 1) holds the
/// reviews' boundaries.
///
/// # Errors
/// When the operands are not contiguous f32 of one shape, or the shape does not fit `heads` and `cu_seqlens`.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, cu_seqlens: &Arc<[u32]>, heads: usize, dropout: Option<AttentionDropout>) -> Result<Tensor> {
    let (tokens, width) = q.dims2()?;
    if k.dims() != q.dims() || v.dims() != q.dims() || !width.is_multiple_of(heads) || cu_seqlens.last().copied().unwrap_or(0) as usize != tokens {
        bail!("attention: q {:?}, k {:?}, v {:?}, {heads} heads, boundaries up to {:?}", q.dims(), k.dims(), v.dims(), cu_seqlens.last());
    }
    q.apply_op3(k, v, Attention { cu_seqlens: cu_seqlens.clone(), heads, dropout })
}

struct Attention {
    cu_seqlens: Arc<[u32]>,
    heads: usize,
    dropout: Option<AttentionDropout>,
}

/// One head of one review, copied out so that the inner loops run over neighbouring elements: n tokens, d wide.
struct Head {
    n: usize,
    d: usize,
    /// (n, d)
    rows: Vec<f32>,
    /// (d, n)
    columns: Vec<f32>,
}

impl Head {
    fn new(review: &[f32], n: usize, width: usize, head: usize, d: usize) -> Head {
        let (mut rows, mut columns) = (Vec::with_capacity(n * d), vec![0f32; n * d]);
        for (i, row) in review.chunks_exact(width).enumerate() {
            let row = &row[head * d..(head + 1) * d];
            rows.extend_from_slice(row);
            for (c, x) in row.iter().enumerate() {
                columns[c * n + i] = *x;
            }
        }
        Head { n, d, rows, columns }
    }

    fn row(&self, i: usize) -> &[f32] {
        &self.rows[i * self.d..(i + 1) * self.d]
    }

    /// out[j] = x · row j
    fn dots(&self, x: &[f32], out: &mut [f32]) {
        out.fill(0.0);
        for (x, column) in x.iter().zip(self.columns.chunks_exact(self.n)) {
            axpy(out, *x, column);
        }
    }
}

/// y += a x
#[inline(always)]
fn axpy(y: &mut [f32], a: f32, x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

fn softmax_in_place(row: &mut [f32]) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for x in row.iter_mut() {
        *x = (*x - max).exp();
        sum += *x;
    }
    let inverse = 1.0 / sum;
    row.iter_mut().for_each(|x| *x *= inverse);
}

impl Attention {
    /// (review, first element, number of tokens) of each review
    fn reviews(&self, width: usize) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        self.cu_seqlens.windows(2).enumerate().map(move |(i, w)| (i, w[0] as usize * width, (w[1] - w[0]) as usize))
    }

    /// Rows of softmax(q kᵀ / sqrt(d)) of one head before dropout: calls `each(i, weights)` with the weights of query token i.
    fn for_each_row(q: &Head, k: &Head, mut each: impl FnMut(usize, &mut [f32])) {
        let scale = 1.0 / (q.d as f32).sqrt();
        let (mut weights, mut scaled) = (vec![0f32; q.n], vec![0f32; q.d]);
        for i in 0..q.n {
            for (s, x) in scaled.iter_mut().zip(q.row(i)) {
                *s = x * scale;
            }
            k.dots(&scaled, &mut weights);
            softmax_in_place(&mut weights);
            each(i, &mut weights);
        }
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (q, k, v) = (slice(q, q_layout, self.name())?, slice(k, k_layout, self.name())?, slice(v, v_layout, self.name())?);
        let (_, width) = q_layout.shape().dims2()?;
        let d = width / self.heads;
        let mut out = vec![0f32; q.len()];
        let pieces = parallel::split(&mut out, self.reviews(width).map(|(_, _, n)| n * width));
        parallel::for_each(self.reviews(width).zip(pieces).collect(), |((review, at, n), out)| {
            let range = at..at + n * width;
            for head in 0..self.heads {
                let take = |x: &[f32]| Head::new(&x[range.clone()], n, width, head, d);
                let (q, k, v) = (take(q), take(k), take(v));
                Attention::for_each_row(&q, &k, |i, weights| {
                    if let Some(dropout) = &self.dropout {
                        dropout.apply(weights, review, head, i);
                    }
                    let out = &mut out[i * width + head * d..][..d];
                    for (j, w) in weights.iter().enumerate() {
                        axpy(out, *w, v.row(j));
                    }
                });
            }
        });
        Ok((CpuStorage::F32(out), q_layout.shape().clone()))
    }

    fn bwd(&self, q: &Tensor, k: &Tensor, v: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (_, width) = q.dims2()?;
        let d = width / self.heads;
        let (qs, ks, vs, gs) = (elements(q)?, elements(k)?, elements(v)?, elements(grad)?);
        let (mut dq, mut dk, mut dv) = (vec![0f32; qs.len()], vec![0f32; qs.len()], vec![0f32; qs.len()]);
        let lengths = || self.reviews(width).map(|(_, _, n)| n * width);
        let pieces =
            parallel::split(&mut dq, lengths()).into_iter().zip(parallel::split(&mut dk, lengths())).zip(parallel::split(&mut dv, lengths()));
        let scale = 1.0 / (d as f32).sqrt();
        parallel::for_each(self.reviews(width).zip(pieces).collect(), |((review, at, n), ((dq, dk), dv))| {
            let range = at..at + n * width;
            let (mut dropped, mut dp) = (vec![0f32; n], vec![0f32; n]);
            for head in 0..self.heads {
                let take = |x: &[f32]| Head::new(&x[range.clone()], n, width, head, d);
                let (q, k, v, g) = (take(&qs), take(&ks), take(&vs), take(&gs));
                Attention::for_each_row(&q, &k, |i, p| {
                    // With m the dropout mask: out = (p m) v, so dv += (p m)ᵀ g, dp = (g vᵀ) m, ds = p (dp - Σ p dp), dq = ds k / sqrt(d), dk = dsᵀ q / sqrt(d)
                    dropped.copy_from_slice(p);
                    v.dots(g.row(i), &mut dp);
                    if let Some(dropout) = &self.dropout {
                        dropout.apply(&mut dropped, review, head, i);
                        dropout.apply(&mut dp, review, head, i);
                    }
                    let sum: f32 = p.iter().zip(&dp).map(|(p, dp)| p * dp).sum();
                    let at = |j: usize| j * width + head * d..j * width + (head + 1) * d;
                    for j in 0..n {
                        let ds = p[j] * (dp[j] - sum) * scale;
                        axpy(&mut dv[at(j)], dropped[j], g.row(i));
                        axpy(&mut dk[at(j)], ds, q.row(i));
                        axpy(&mut dq[at(i)], ds, k.row(j));
                    }
                });
            }
        });
        let tensor = |values: Vec<f32>| Tensor::from_vec(values, q.shape(), q.device());
        Ok((Some(tensor(dq)?), Some(tensor(dk)?), Some(tensor(dv)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check;

    const HEADS: usize = 3;

    fn boundaries() -> Arc<[u32]> {
        Arc::from([0, 1, 8, 13])
    }

    /// The same from candle's primitives: one review and head at a time.
    fn reference(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        let d = q.dim(1)? / HEADS;
        let mut reviews = Vec::new();
        for w in boundaries().windows(2) {
            let (start, n) = (w[0] as usize, (w[1] - w[0]) as usize);
            let take = |x: &Tensor, head| x.narrow(0, start, n)?.narrow(1, head * d, d);
            let mut heads = Vec::new();
            for head in 0..HEADS {
                let scores = (take(q, head)?.matmul(&take(k, head)?.t()?)? / (d as f64).sqrt())?;
                let exp = scores.exp()?;
                heads.push(exp.broadcast_div(&exp.sum_keepdim(1)?)?.matmul(&take(v, head)?)?);
            }
            reviews.push(Tensor::cat(&heads, 1)?);
        }
        Tensor::cat(&reviews, 0)
    }

    fn inputs() -> [candle_core::Var; 3] {
        [1, 2, 3].map(|key| check::random(key, &[13, 12]))
    }

    #[test]
    fn equals_the_reference_and_finite_differences() {
        let op = |q: &Tensor, k: &Tensor, v: &Tensor| attention(q, k, v, &boundaries(), HEADS, None);
        check::same(&inputs(), 1e-4, |x| op(&x[0], &x[1], &x[2]), |x| reference(&x[0], &x[1], &x[2]));
        check::finite_differences(&inputs(), |x| op(&x[0], &x[1], &x[2]));
    }

    #[test]
    fn dropout_is_part_of_the_gradient() {
        let dropout = AttentionDropout::new(0.4, Arc::from([5, 6, 7]));
        check::finite_differences(&inputs(), |x| attention(&x[0], &x[1], &x[2], &boundaries(), HEADS, Some(dropout.clone())));
    }

    #[test]
    fn a_wrong_shape_is_an_error() {
        let [q, k, v] = inputs();
        assert!(attention(&q, &k, &v, &Arc::from([0, 12]), HEADS, None).is_err());
        assert!(attention(&q, &k, &v, &boundaries(), 5, None).is_err());
    }
}
