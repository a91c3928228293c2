//! The activation between the two feed-forward layers.

use std::f32::consts::{FRAC_1_SQRT_2, PI};

use super::simd::{erf, exp};
use crate::config::Activation;

/// max(x, 0), but a NaN stays a NaN, which `f32::max` would hide.
#[inline(always)]
pub(crate) fn relu(x: f32) -> f32 {
    if x <= 0.0 { 0.0 } else { x }
}

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
    /// Replaces dy, the gradient of y = x Φ(x), by the gradient of x, and recomputes y.
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
        Activation::Relu => y.iter_mut().zip(x).for_each(|(y, x)| *y = relu(*x)),
    }
}

/// Replaces dy, the gradient of y = activation(x), by the gradient of x, and recomputes y.
pub(crate) fn backward(activation: Activation, x: &[f32], dy: &mut [f32], y: &mut [f32]) {
    match activation {
        Activation::Gelu => gelu_backward(x, dy, y),
        Activation::Relu => {
            for ((dy, y), x) in dy.iter_mut().zip(y).zip(x) {
                *y = relu(*x);
                *dy = if *x > 0.0 { *dy } else { 0.0 };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_activation_hides_no_nan() {
        let x = [-2.0, -0.0, 0.0, 3.0, f32::NAN, f32::NEG_INFINITY];
        for activation in [Activation::Relu, Activation::Gelu] {
            let mut y = [1.0; 6];
            forward(activation, &x, &mut y);
            assert!(y[4].is_nan(), "{activation:?}: {y:?}");
            let (mut dy, mut again) = ([1.0; 6], [1.0; 6]);
            backward(activation, &x, &mut dy, &mut again);
            assert!(
                y.iter()
                    .zip(again)
                    .all(|(y, again)| *y == again || y.is_nan() && again.is_nan()),
                "{activation:?}: {y:?} {again:?}"
            );
        }
        // For numbers it equals `f32::max` bit for bit.
        for (x, wanted) in [
            (-2.0, 0.0),
            (-0.0, 0.0),
            (0.0, 0.0),
            (3.0, 3.0),
            (f32::NEG_INFINITY, 0.0),
            (f32::INFINITY, f32::INFINITY),
        ] {
            assert_eq!(relu(x).to_bits(), f32::to_bits(wanted), "{x}");
        }
    }
}
