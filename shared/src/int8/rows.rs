//! Activations in 7 bits, each row with its own scale and middle, computed at run time.

use super::kernel::{ACTIVATION_OFFSET, STEP};
use crate::kernels::simd::clamp;

/// Steps between the smallest and the largest value of a row, from 0 to 127.
const STEPS: f32 = 127.0;

/// The quantisation of a row: x = scale * (q - 64) + middle.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Span {
    pub scale: f32,
    pub middle: f32,
}

/// Quantised rows. Buffers are reused.
#[derive(Default)]
pub(super) struct QuantizedRows {
    /// (rows, width), each row padded with zeros.
    pub values: Vec<u8>,
    /// (rows)
    pub spans: Vec<Span>,
    /// Elements of a row, a multiple of [`STEP`].
    pub width: usize,
}

impl QuantizedRows {
    /// Quantises the rows of x (rows, width).
    pub fn take(&mut self, x: &[f32], width: usize) {
        self.size(x.len() / width, width);
        quantise(x, width, &mut self.values, &mut self.spans);
    }

    /// Quantises the rows of GELU(x). x (rows, width) is overwritten with the activated values.
    pub fn take_gelu(&mut self, x: &mut [f32], width: usize) {
        self.size(x.len() / width, width);
        gelu_quantise(x, width, &mut self.values, &mut self.spans);
    }

    fn size(&mut self, rows: usize, width: usize) {
        self.width = width.next_multiple_of(STEP);
        self.values.resize(rows * self.width, 0);
        self.spans.resize(rows, Span::default());
    }
}

/// The number of lanes in which smallest and largest values are searched.
const LANES: usize = 16;

/// The smallest and the largest value of `x`.
#[inline(always)]
fn bounds(x: &[f32]) -> (f32, f32) {
    let (mut low, mut high) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    let blocks = x.chunks_exact(LANES);
    let rest = blocks.remainder();
    for block in blocks {
        for i in 0..LANES {
            low[i] = if block[i] < low[i] { block[i] } else { low[i] };
            high[i] = if block[i] > high[i] {
                block[i]
            } else {
                high[i]
            };
        }
    }
    let lowest = |a: f32, b: &f32| if *b < a { *b } else { a };
    let highest = |a: f32, b: &f32| if *b > a { *b } else { a };
    (
        low.iter().chain(rest).fold(f32::INFINITY, lowest),
        high.iter().chain(rest).fold(f32::NEG_INFINITY, highest),
    )
}

/// Quantises a row whose values range from `low` to `high`.
#[inline(always)]
fn integers(x: &[f32], (low, high): (f32, f32), values: &mut [u8]) -> Span {
    /// 1.5 * 2^23: adding it to a small number rounds it to an integer, which is then in the low
    /// bits. The numbers are centred on the middle of the range before rounding.
    const ROUND: f32 = 12_582_912.0;
    const MIDDLE: f32 = ACTIVATION_OFFSET as f32;
    let extent = high - low;
    let inverse = if extent > 0.0 { STEPS / extent } else { 0.0 };
    let (row, padding) = values.split_at_mut(x.len());
    padding.fill(0);
    for (q, x) in row.iter_mut().zip(x) {
        *q = (((x - low) * inverse - MIDDLE) + (ROUND + MIDDLE)).to_bits() as u8;
    }
    let scale = extent / STEPS;
    Span {
        scale,
        middle: low + MIDDLE * scale,
    }
}

multiversion! {
    /// Computes the integers and spans of x (rows, width).
    fn quantise(x: &[f32], width: usize, values: &mut [u8], spans: &mut [Span]) {
        let padded = width.next_multiple_of(STEP);
        for ((x, values), span) in x.chunks_exact(width).zip(values.chunks_exact_mut(padded)).zip(spans) {
            *span = integers(x, bounds(x), values);
        }
    }
}

/// x Φ(x) with an error of at most 1.5e-4 (2e-5 of |x| where that is larger), far less than a
/// quantisation step of a row. Φ(x) - 1/2 is an odd polynomial on [-3.88, 3.88], and constant
/// beyond. (The fit minimises the largest product of |x| and error. It takes half the operations of
/// the exact function.)
#[inline(always)]
fn gelu(x: f32) -> f32 {
    const END: f32 = 3.88;
    let z = clamp(x, -END, END);
    let t = z * z;
    let mut p = 2.702_598_7e-8;
    for c in [
        -1.806_569_3e-6,
        5.190_578e-5,
        -8.505_413_4e-4,
        8.940_919e-3,
        -6.492_467e-2,
        3.981_221_6e-1,
    ] {
        p = p * t + c;
    }
    x * (0.5 + z * p)
}

multiversion! {
    /// Replaces x (rows, width) by x Φ(x), and computes its integers and spans.
    fn gelu_quantise(x: &mut [f32], width: usize, values: &mut [u8], spans: &mut [Span]) {
        let padded = width.next_multiple_of(STEP);
        for ((x, values), span) in x.chunks_exact_mut(width).zip(values.chunks_exact_mut(padded)).zip(spans) {
            for x in x.iter_mut() {
                *x = gelu(*x);
            }
            *span = integers(x, bounds(x), values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn integers_stand_for_their_values() {
        let (rows, width) = (5, 43);
        let mut x = rng::normals(1, rows * width, 3.0);
        // One row has a single value, and one is far from 0.
        x[width..2 * width].fill(0.25);
        x[2 * width..3 * width].iter_mut().for_each(|x| *x += 100.0);
        let mut taken = QuantizedRows::default();
        taken.take(&x, width);
        assert_eq!(
            (taken.width, taken.values.len(), taken.spans.len()),
            (48, rows * 48, rows)
        );
        for ((x, q), span) in x
            .chunks(width)
            .zip(taken.values.chunks(48))
            .zip(&taken.spans)
        {
            assert!(q.iter().all(|q| *q <= 127) && q[width..].iter().all(|q| *q == 0));
            for (x, q) in x.iter().zip(q) {
                let stood_for =
                    span.scale * (i32::from(*q) - ACTIVATION_OFFSET) as f32 + span.middle;
                assert!(
                    (x - stood_for).abs() <= 0.501 * span.scale + 1e-5,
                    "{x} became {stood_for}"
                );
            }
        }
    }

    #[test]
    fn gelu_is_close_to_the_exact_one() {
        for i in -100_000..=100_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x)
                * 0.5
                * (1.0 + libm::erf(f64::from(x) * std::f64::consts::FRAC_1_SQRT_2));
            assert!(
                (f64::from(gelu(x)) - exact).abs() <= 1.5e-4f64.max(2e-5 * f64::from(x.abs())),
                "gelu({x}) is {}, wanted {exact}",
                gelu(x)
            );
        }
    }

    #[test]
    fn gelu_comes_before_the_integers() {
        let x = rng::normals(2, 3 * 40, 2.0);
        let mut activated: Vec<f32> = x.clone();
        let (mut found, mut wanted) = (QuantizedRows::default(), QuantizedRows::default());
        found.take_gelu(&mut activated, 40);
        let by_hand: Vec<f32> = x.iter().map(|x| gelu(*x)).collect();
        wanted.take(&by_hand, 40);
        assert_eq!(
            (activated, found.values, found.spans),
            (by_hand, wanted.values, wanted.spans)
        );
    }
}
