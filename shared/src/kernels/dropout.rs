//! Dropout (Srivastava et al., 2014) with a counter-based generator. No mask is stored, and a
//! resumed run draws the same numbers. A review draws the same numbers anywhere in a batch, so a
//! step's gradient does not depend on how its reviews are packed.

use super::simd::LANES;
use crate::rng;

/// Elements whose random numbers are drawn together.
const BLOCK: usize = 64;

/// Zeroes each element with some probability and scales the others so that the mean is unchanged.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// Elements whose 16-bit draw is below this are dropped.
    threshold: u16,
    scale: f32,
}

impl Dropout {
    /// Dropout at `rate`, from 0 to below 1, rounded to a multiple of 2^-16; `None` when nothing is
    /// dropped.
    pub fn new(rate: f32) -> Option<Dropout> {
        let threshold = (rate * 65_536.0).round().clamp(0.0, 65_535.0) as u16;
        (threshold > 0).then(|| Dropout {
            threshold,
            scale: 1.0 / (1.0 - f32::from(threshold) / 65_536.0),
        })
    }

    /// The threshold below which a 16-bit draw is dropped, and the scale of the other elements, for
    /// GPU kernels.
    #[cfg(feature = "cuda")]
    pub(crate) fn threshold_and_scale(self) -> (u32, f32) {
        (self.threshold.into(), self.scale)
    }

    /// Multiplies element i of `row` by 0 or the scale, depending on the i-th 16 bits of the stream
    /// `key`. The same call computes the backward pass from the gradient.
    pub fn apply(self, row: &mut [f32], key: u64) {
        apply(row, key, self.threshold, self.scale);
    }

    /// The factors by which [`Dropout::apply`] multiplies elements, for several streams in
    /// parallel: `factors[i]` holds those of element i.
    #[inline(always)]
    pub(crate) fn factors(self, keys: &[u64; LANES], factors: &mut [[f32; LANES]]) {
        for (counter, four) in factors.chunks_mut(4).enumerate() {
            let mut draws = [0; LANES];
            draws
                .iter_mut()
                .zip(keys)
                .for_each(|(draw, key)| *draw = rng::bits(*key, counter as u64));
            for (i, factors) in four.iter_mut().enumerate() {
                for (factor, draw) in factors.iter_mut().zip(&draws) {
                    let draw = (draw >> (16 * i)) as u16;
                    *factor = if draw < self.threshold {
                        0.0
                    } else {
                        self.scale
                    };
                }
            }
        }
    }
}

multiversion! {
    fn apply(row: &mut [f32], key: u64, threshold: u16, scale: f32) {
        // Little-endian bytes: four draws are written at once and then read as vectors.
        let mut draws = [[0u8; 8]; BLOCK / 4];
        for (block, chunk) in row.chunks_mut(BLOCK).enumerate() {
            let first = (block * (BLOCK / 4)) as u64;
            for (i, four) in draws.iter_mut().take(chunk.len().div_ceil(4)).enumerate() {
                *four = rng::bits(key, first + i as u64).to_le_bytes();
            }
            for (x, draw) in chunk.iter_mut().zip(draws.as_flattened().as_chunks::<2>().0) {
                *x *= if u16::from_le_bytes(*draw) < threshold { 0.0 } else { scale };
            }
        }
    }
}

/// The places in the network that have a dropout. Each place draws from its own stream.
pub(crate) mod site {
    /// The embeddings.
    pub const EMBEDDINGS: u64 = 1;
    /// Before the last linear layer.
    pub const HEAD: u64 = 2;

    /// The attention weights of a layer.
    pub fn attention(layer: usize) -> u64 {
        3 * (layer as u64 + 1)
    }

    /// The attention output before the residual (BERT).
    pub fn attention_output(layer: usize) -> u64 {
        attention(layer) + 1
    }

    /// The feed-forward output before the residual.
    pub fn output(layer: usize) -> u64 {
        attention(layer) + 2
    }
}

/// The random stream of a review's token at a site.
pub(crate) fn token_stream(review: u64, site: u64, token: usize) -> u64 {
    rng::stream(rng::stream(review, site), token as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_side_by_side_are_streams() {
        let dropout = Dropout::new(0.3).expect("a rate");
        let mut keys = [0; LANES];
        keys.iter_mut().zip(7..).for_each(|(key, i)| *key = i * 31);
        for n in [1, 4, 70, 131] {
            let mut factors = vec![[7.0; LANES]; n];
            dropout.factors(&keys, &mut factors);
            for (lane, key) in keys.iter().enumerate() {
                let mut row = vec![1.0; n];
                dropout.apply(&mut row, *key);
                assert_eq!(
                    factors
                        .iter()
                        .map(|factors| factors[lane])
                        .collect::<Vec<_>>(),
                    row
                );
            }
        }
    }
}
