//! Self-attention over packed sequences ("varlen" in flash-attention): softmax(q kᵀ / sqrt(d)) v
//! within each review and head.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::{elements, slice};
use crate::kernels::attention::{self, Operands, Scratch};
use crate::kernels::dropout::Dropout;
use crate::parallel;

/// Attention of each review of a packed batch within itself. q and the result are (tokens, heads *
/// head size); kv holds keys and values side by side, (tokens, 2 * heads * head size); `cu_seqlens`
/// (reviews + 1) holds the reviews' boundaries. Dropout of the attention weights needs the key of a
/// random stream for each review.
///
/// # Errors
/// When the operands are not contiguous f32 of these shapes, or do not fit `heads` and
/// `cu_seqlens`.
pub fn attention(
    q: &Tensor,
    kv: &Tensor,
    cu_seqlens: &Arc<[u32]>,
    heads: usize,
    dropout: Option<(Dropout, Arc<[u64]>)>,
) -> Result<Tensor> {
    let (tokens, width) = q.dims2()?;
    if kv.dims() != [tokens, 2 * width]
        || !width.is_multiple_of(heads)
        || cu_seqlens.last().copied().unwrap_or(0) as usize != tokens
    {
        bail!(
            "attention: q {:?}, kv {:?}, {heads} heads, boundaries up to {:?}",
            q.dims(),
            kv.dims(),
            cu_seqlens.last()
        );
    }
    q.apply_op2(
        kv,
        Attention {
            cu_seqlens: cu_seqlens.clone(),
            heads,
            dropout,
        },
    )
}

struct Attention {
    cu_seqlens: Arc<[u32]>,
    heads: usize,
    dropout: Option<(Dropout, Arc<[u64]>)>,
}

impl Attention {
    fn lengths(&self) -> impl Iterator<Item = usize> + '_ {
        self.cu_seqlens.windows(2).map(|w| (w[1] - w[0]) as usize)
    }

    /// The kernel's operands for one review.
    fn operands<'a>(
        &self,
        review: usize,
        q: &'a [f32],
        kv: &'a [f32],
        width: usize,
    ) -> Operands<'a> {
        let (start, end) = (
            self.cu_seqlens[review] as usize * width,
            self.cu_seqlens[review + 1] as usize * width,
        );
        let dropout = self
            .dropout
            .as_ref()
            .map(|(dropout, keys)| (*dropout, keys[review]));
        Operands {
            q: &q[start..end],
            kv: &kv[2 * start..2 * end],
            heads: self.heads,
            head_size: width / self.heads,
            dropout,
        }
    }
}

impl CustomOp2 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        kv: &CpuStorage,
        kv_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (q, kv) = (
            slice(q, q_layout, self.name())?,
            slice(kv, kv_layout, self.name())?,
        );
        let (_, width) = q_layout.shape().dims2()?;
        let mut out = vec![0f32; q.len()];
        let outputs = parallel::split(&mut out, self.lengths().map(|n| n * width));
        parallel::for_each(outputs.into_iter().enumerate().collect(), |(i, out)| {
            attention::forward(self.operands(i, q, kv, width), out, &mut Scratch::default());
        });
        Ok((CpuStorage::F32(out), q_layout.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        kv: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (_, width) = q.dims2()?;
        let (qs, kvs, grads) = (elements(q)?, elements(kv)?, elements(grad)?);
        let (mut dq, mut dkv) = (vec![0f32; qs.len()], vec![0f32; kvs.len()]);
        let parts = parallel::split(&mut dq, self.lengths().map(|n| n * width));
        let parts = parts.into_iter().zip(parallel::split(
            &mut dkv,
            self.lengths().map(|n| 2 * n * width),
        ));
        parallel::for_each(parts.enumerate().collect(), |(i, (dq, dkv))| {
            let start = self.cu_seqlens[i] as usize * width;
            attention::backward(
                self.operands(i, &qs, &kvs, width),
                &grads[start..start + dq.len()],
                dq,
                dkv,
                &mut Scratch::default(),
            );
        });
        Ok((
            Some(Tensor::from_vec(dq, q.shape(), q.device())?),
            Some(Tensor::from_vec(dkv, kv.shape(), kv.device())?),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check;

    const HEADS: usize = 3;

    fn boundaries() -> Arc<[u32]> {
        Arc::from([0, 1, 8, 29])
    }

    /// The same with candle's primitives, one review and head at a time.
    fn reference(q: &Tensor, kv: &Tensor) -> Result<Tensor> {
        let width = q.dim(1)?;
        let d = width / HEADS;
        let mut reviews = Vec::new();
        for w in boundaries().windows(2) {
            let (start, n) = (w[0] as usize, (w[1] - w[0]) as usize);
            let take = |x: &Tensor, column| x.narrow(0, start, n)?.narrow(1, column, d);
            let mut heads = Vec::new();
            for head in 0..HEADS {
                let scores =
                    (take(q, head * d)?.matmul(&take(kv, head * d)?.t()?)? / (d as f64).sqrt())?;
                let exp = scores.exp()?;
                heads.push(
                    exp.broadcast_div(&exp.sum_keepdim(1)?)?
                        .matmul(&take(kv, width + head * d)?)?,
                );
            }
            reviews.push(Tensor::cat(&heads, 1)?);
        }
        Tensor::cat(&reviews, 0)
    }

    /// Heads of size `d`, to cover whole vector blocks and remaining columns.
    fn inputs(d: usize) -> [candle_core::Var; 2] {
        [
            check::random(1, &[29, HEADS * d]),
            check::random(2, &[29, 2 * HEADS * d]),
        ]
    }

    #[test]
    fn equals_the_reference_and_finite_differences() {
        for d in [4, 43] {
            let op = |q: &Tensor, kv: &Tensor| attention(q, kv, &boundaries(), HEADS, None);
            check::same(
                &inputs(d),
                1e-4,
                |x| op(&x[0], &x[1]),
                |x| reference(&x[0], &x[1]),
            );
            check::finite_differences(&inputs(d), |x| op(&x[0], &x[1]));
        }
    }

    #[test]
    fn dropout_is_part_of_the_gradient() {
        let dropout = Dropout::new(0.4).map(|dropout| (dropout, Arc::from([5, 6, 7])));
        check::finite_differences(&inputs(4), |x| {
            attention(&x[0], &x[1], &boundaries(), HEADS, dropout.clone())
        });
    }

    #[test]
    fn a_wrong_shape_is_an_error() {
        let [q, kv] = inputs(4);
        assert!(attention(&q, &kv, &Arc::from([0, 12]), HEADS, None).is_err());
        assert!(attention(&q, &kv, &boundaries(), 5, None).is_err());
        assert!(attention(&q, &q, &boundaries(), HEADS, None).is_err());
    }
}
