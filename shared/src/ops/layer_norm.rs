//! LayerNorm (Ba, Kiros, Hinton, "Layer Normalization", 2016).

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::{elements, rows_per_task, slice};
use crate::kernels::norm::{self, Norm};
use crate::parallel;

/// (x - mean) / sqrt(variance + eps) * scale + bias over each row of x (rows, width); scale and
/// bias are (width), the variance is the biased one.
///
/// # Errors
/// When the operands are not contiguous f32 or their widths differ.
pub fn layer_norm(x: &Tensor, scale: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    x.apply_op3(scale, bias, LayerNorm { eps })
}

struct LayerNorm {
    eps: f32,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        scale: &CpuStorage,
        scale_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let values = slice(x, x_layout, self.name())?;
        let (scale, bias) = (
            slice(scale, scale_layout, self.name())?,
            slice(bias, bias_layout, self.name())?,
        );
        let (_, width) = x_layout.shape().dims2()?;
        if scale.len() != width || bias.len() != width {
            bail!(
                "layer_norm: rows of {width}, a scale of {} and a bias of {}",
                scale.len(),
                bias.len()
            );
        }
        let mut y = vec![0f32; values.len()];
        let rows = rows_per_task(width);
        parallel::for_each_chunk(&mut y, rows * width, |i, y| {
            let mut moments = vec![[0.0; 2]; y.len() / width];
            norm::forward(
                Norm {
                    scale,
                    bias,
                    eps: self.eps,
                },
                &values[i * rows * width..][..y.len()],
                y,
                &mut moments,
            );
        });
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        scale: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (_, width) = x.dims2()?;
        let [values, scales, biases] = [elements(x)?, elements(scale)?, elements(bias)?];
        // The op keeps no moments, so they are computed again; the output itself is not needed.
        let mut moments = vec![[0.0; 2]; values.len() / width];
        let mut discarded = vec![0f32; values.len()];
        let norm = Norm {
            scale: &scales,
            bias: &biases,
            eps: self.eps,
        };
        norm::forward(norm, &values, &mut discarded, &mut moments);
        // The gradient of the output becomes that of the input in place.
        let mut dx = elements(grad)?;
        let (mut d_scale, mut d_bias) = (vec![0f32; width], vec![0f32; width]);
        norm::backward(
            &scales,
            &values,
            &moments,
            &mut dx,
            &mut d_scale,
            &mut d_bias,
        );
        let of_width = |values: Vec<f32>| Tensor::from_vec(values, width, x.device());
        Ok((
            Some(Tensor::from_vec(dx, x.shape(), x.device())?),
            Some(of_width(d_scale)?),
            Some(of_width(d_bias)?),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check;

    #[test]
    fn equals_the_reference_and_finite_differences() {
        let inputs = [
            check::random(1, &[21, 70]),
            check::random(2, &[70]),
            check::random(3, &[70]),
        ];
        let reference = |x: &Tensor, scale: &Tensor, bias: &Tensor| {
            let centred = x.broadcast_sub(&x.mean_keepdim(1)?)?;
            let deviation = (centred.sqr()?.mean_keepdim(1)? + 1e-5)?.sqrt()?;
            centred
                .broadcast_div(&deviation)?
                .broadcast_mul(scale)?
                .broadcast_add(bias)
        };
        check::same(
            &inputs,
            1e-4,
            |v| layer_norm(&v[0], &v[1], &v[2], 1e-5),
            |v| reference(&v[0], &v[1], &v[2]),
        );
        check::finite_differences(&inputs, |v| layer_norm(&v[0], &v[1], &v[2], 1e-5));
    }
}
