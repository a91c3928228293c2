//! The activation between the two feed-forward layers, with the bias before it.

use std::f32::consts::{FRAC_1_SQRT_2, PI};

use super::simd::{erf, exp};
use crate::config::Activation;

/// Φ(x), the standard normal distribution.
#[inline(always)]
fn normal_cdf(x: f32) -> f32 {
    0.5 + 0.5 * erf(x * FRAC_1_SQRT_2)
}

multiversion! {
    /// y = x Φ(x), element by element (Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016).
    pub(crate) fn gelu(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = x * normal_cdf(*x);
        }
    }
}

multiversion! {
    /// The gradient dy with respect to y = x Φ(x) becomes that with respect to x; y is computed again on the way.
    pub(crate) fn gelu_backward(x: &[f32], dy: &mut [f32], y: &mut [f32]) {
        // d/dx x Φ(x) = Φ(x) + x φ(x), with φ the normal density
        let density = 1.0 / (2.0 * PI).sqrt();
        for ((dy, y), &x) in dy.iter_mut().zip(y).zip(x) {
            let cdf = normal_cdf(x);
            *y = x * cdf;
            *dy *= cdf + x * density * exp(-0.5 * x * x);
        }
    }
}

/// y = activation(x), element by element.
pub(crate) fn forward(activation: Activation, x: &[f32], y: &mut [f32]) {
    match activation {
        Activation::Gelu => gelu(x, y),
        Activation::Relu => y.iter_mut().zip(x).for_each(|(y, x)| *y = x.max(0.0)),
    }
}

/// The gradient dy with respect to y = activation(x) becomes that with respect to x; y is computed again on the way.
pub(crate) fn backward(activation: Activation, x: &[f32], dy: &mut [f32], y: &mut [f32]) {
    match activation {
        Activation::Gelu => gelu_backward(x, dy, y),
        Activation::Relu => {
            for ((dy, y), x) in dy.iter_mut().zip(y).zip(x) {
                *y = x.max(0.0);
                *dy = if *x > 0.0 { *dy } else { 0.0 };
            }
        }
    }
}
