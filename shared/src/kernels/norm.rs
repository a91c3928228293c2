//! LayerNorm (Ba, Kiros, Hinton, "Layer Normalization", 2016).

use super::simd::sum;
#[cfg(feature = "native")]
use super::simd::sum2;

/// Mean and 1 / sqrt(variance + eps) of a row.
pub(crate) type Moments = [f32; 2];

/// Scale, bias (both as wide as a row) and eps.
#[derive(Clone, Copy)]
pub(crate) struct Norm<'a> {
    pub scale: &'a [f32],
    pub bias: &'a [f32],
    pub eps: f32,
}

#[inline(always)]
fn moments(row: &[f32], eps: f32) -> Moments {
    let n = row.len() as f32;
    let mean = sum(row, |x| x) / n;
    let variance = sum(row, |x| (x - mean) * (x - mean)) / n;
    [mean, 1.0 / (variance + eps).sqrt()]
}

multiversion! {
    /// y = (x - mean) / sqrt(variance + eps) * scale + bias over each row of x (rows, width); the
    /// variance is the biased one. Each row's moments go to `kept` (rows).
    pub(crate) fn forward(norm: Norm<'_>, x: &[f32], y: &mut [f32], kept: &mut [Moments]) {
        let width = norm.scale.len();
        for ((x, y), kept) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(kept) {
            let [mean, inverse] = moments(x, norm.eps);
            *kept = [mean, inverse];
            for (((y, x), scale), bias) in y.iter_mut().zip(x).zip(norm.scale).zip(norm.bias) {
                *y = (x - mean) * inverse * scale + bias;
            }
        }
    }
}

#[cfg(feature = "native")]
multiversion! {
    /// Replaces dy (rows, width), the gradient of the output, by the gradient of x. The gradients
    /// of scale and bias are added to d_scale and d_bias (width).
    pub(crate) fn backward(scale: &[f32], x: &[f32], kept: &[Moments], dy: &mut [f32], d_scale: &mut [f32], d_bias: &mut [f32]) {
        let width = scale.len();
        // With n the normalised row and h = dy * scale: dx = (h - mean(h) - n * mean(h n)) /
        // sqrt(variance + eps)
        for ((x, dy), &[mean, inverse]) in x.chunks_exact(width).zip(dy.chunks_exact_mut(width)).zip(kept) {
            for ((((x, dy), scale), d_scale), d_bias) in x.iter().zip(dy.iter_mut()).zip(scale).zip(d_scale.iter_mut()).zip(d_bias.iter_mut()) {
                *d_scale += *dy * (x - mean) * inverse;
                *d_bias += *dy;
                *dy *= scale;
            }
            let h_mean = sum(dy, |h| h) / width as f32;
            let hn_mean = sum2(dy, x, |h, x| h * (x - mean)) * inverse / width as f32;
            for (dy, x) in dy.iter_mut().zip(x) {
                *dy = (*dy - h_mean - (x - mean) * inverse * hn_mean) * inverse;
            }
        }
    }
}
