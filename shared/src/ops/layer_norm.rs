//! LayerNorm (Ba, Kiros, Hinton, "Layer Normalization", 2016).

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::linear::column_sums;
use super::{elements, rows_per_task, slice};
use crate::parallel;

/// (x - mean) / sqrt(variance + eps) * scale + bias over each row of x (rows, width); scale and bias are (width), the variance is the biased one.
///
/// # Errors
/// When the operands are not contiguous f32 or their widths differ.
pub fn layer_norm(x: &Tensor, scale: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    x.apply_op3(scale, bias, LayerNorm { eps })
}

struct LayerNorm {
    eps: f32,
}

impl LayerNorm {
    /// Mean and 1 / sqrt(variance + eps) of a row, summed in f64: a row is short, and the sums then do not depend on how they are split.
    fn moments(&self, row: &[f32]) -> (f32, f32) {
        let n = row.len() as f64;
        let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
        (mean as f32, (1.0 / (variance + f64::from(self.eps)).sqrt()) as f32)
    }
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
        let (scale, bias) = (slice(scale, scale_layout, self.name())?, slice(bias, bias_layout, self.name())?);
        let (_, width) = x_layout.shape().dims2()?;
        if scale.len() != width || bias.len() != width {
            bail!("layer_norm: rows of {width}, a scale of {} and a bias of {}", scale.len(), bias.len());
        }
        let mut y = vec![0f32; values.len()];
        let rows = rows_per_task(width);
        parallel::for_each_chunk(&mut y, rows * width, |i, chunk| {
            for (y, x) in chunk.chunks_exact_mut(width).zip(values[i * rows * width..].chunks_exact(width)) {
                let (mean, inverse) = self.moments(x);
                for (((y, x), s), b) in y.iter_mut().zip(x).zip(scale).zip(bias) {
                    *y = (x - mean) * inverse * s + b;
                }
            }
        });
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, scale: &Tensor, bias: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (_, width) = x.dims2()?;
        let (values, s, g) = (elements(x)?, elements(scale)?, elements(grad)?);
        let rows = rows_per_task(width);
        // With n the normalised row and h = g * scale: dx = (h - mean(h) - n * mean(h n)) / sqrt(variance + eps)
        let mut dx = vec![0f32; values.len()];
        parallel::for_each_chunk(&mut dx, rows * width, |i, chunk| {
            let at = i * rows * width;
            for ((dx, x), g) in chunk.chunks_exact_mut(width).zip(values[at..].chunks_exact(width)).zip(g[at..].chunks_exact(width)) {
                let (mean, inverse) = self.moments(x);
                let (mut h_sum, mut hn_sum) = (0f64, 0f64);
                for ((x, g), s) in x.iter().zip(g).zip(&s) {
                    let h = f64::from(g * s);
                    h_sum += h;
                    hn_sum += h * f64::from((x - mean) * inverse);
                }
                let (h_mean, hn_mean) = ((h_sum / width as f64) as f32, (hn_sum / width as f64) as f32);
                for (((dx, x), g), s) in dx.iter_mut().zip(x).zip(g).zip(&s) {
                    *dx = (g * s - h_mean - (x - mean) * inverse * hn_mean) * inverse;
                }
            }
        });
        // dscale = sum over rows of g n, dbias = sum over rows of g
        let mut gn = vec![0f32; values.len()];
        parallel::for_each_chunk(&mut gn, rows * width, |i, chunk| {
            let at = i * rows * width;
            for ((gn, x), g) in chunk.chunks_exact_mut(width).zip(values[at..].chunks_exact(width)).zip(g[at..].chunks_exact(width)) {
                let (mean, inverse) = self.moments(x);
                for ((gn, x), g) in gn.iter_mut().zip(x).zip(g) {
                    *gn = g * (x - mean) * inverse;
                }
            }
        });
        let tensor = |values: Vec<f32>, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device());
        Ok((Some(tensor(dx, x)?), Some(tensor(column_sums(&gn, width), scale)?), Some(tensor(column_sums(&g, width), bias)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check;

    #[test]
    fn equals_the_reference_and_finite_differences() {
        let inputs = [check::random(1, &[21, 70]), check::random(2, &[70]), check::random(3, &[70])];
        let reference = |x: &Tensor, scale: &Tensor, bias: &Tensor| {
            let centred = x.broadcast_sub(&x.mean_keepdim(1)?)?;
            let deviation = (centred.sqr()?.mean_keepdim(1)? + 1e-5)?.sqrt()?;
            centred.broadcast_div(&deviation)?.broadcast_mul(scale)?.broadcast_add(bias)
        };
        check::same(&inputs, 1e-4, |v| layer_norm(&v[0], &v[1], &v[2], 1e-5), |v| reference(&v[0], &v[1], &v[2]));
        check::finite_differences(&inputs, |v| layer_norm(&v[0], &v[1], &v[2], 1e-5));
    }
}
