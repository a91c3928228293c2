//! Self-attention of short reviews: softmax(q kᵀ / sqrt(d)) v in each head (Vaswani et al.,
//! "Attention Is All You Need", 2017), in f32.
//!
//! Both products of a head are small. A few queries at a time are multiplied with the head's keys
//! and then its values, with the sums in registers. Keys are padded to whole vectors; the padding
//! gets zero weight.

use crate::kernels::simd::exp;

/// Queries whose sums are held in registers at the same time.
const QUERIES: usize = 4;

/// Elements of a vector, in the form that the compiler vectorises.
const LANES: usize = 8;

/// Buffers for one head, reused between reviews.
#[derive(Default)]
pub(super) struct Scratch {
    /// kᵀ, (size, padded tokens).
    keys: Vec<f32>,
    /// Scores and then weights of some queries, (queries, padded tokens).
    weights: Vec<f32>,
}

/// A matrix whose rows are `stride` elements apart.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    data: &'a [f32],
    stride: usize,
}

impl Matrix<'_> {
    fn holds(&self, rows: usize, columns: usize) -> bool {
        rows.saturating_sub(1) * self.stride + columns <= self.data.len()
    }
}

/// out (R, columns) = a (R, k) b (k, columns) in f32, where the rows of `out` are `out_stride` apart.
/// Attention computes in f32; only the linear layers use integers.
#[inline(always)]
fn product<const R: usize>(
    a: Matrix<'_>,
    b: Matrix<'_>,
    k: usize,
    columns: usize,
    out: &mut [f32],
    out_stride: usize,
) {
    assert!(
        a.holds(R, k) && b.holds(k, columns),
        "an operand of attention is smaller than its shape"
    );
    let mut column = 0;
    while column + LANES <= columns {
        // SAFETY: the assertion above checks the operands; writing to `out` is checked there.
        unsafe { block::<R, LANES>(a, b, k, column, out, out_stride) };
        column += LANES;
    }
    while column < columns {
        // SAFETY: as above.
        unsafe { block::<R, 1>(a, b, k, column, out, out_stride) };
        column += 1;
    }
}

/// Computes N columns of a product, from column `column`.
///
/// # Safety
/// `a` must have R rows of k elements, and `b` k rows of at least `column + N` elements.
#[inline(always)]
unsafe fn block<const R: usize, const N: usize>(
    a: Matrix<'_>,
    b: Matrix<'_>,
    k: usize,
    column: usize,
    out: &mut [f32],
    out_stride: usize,
) {
    let mut sums = [[0f32; N]; R];
    let (mut a_at, mut b_at) = (a.data.as_ptr(), b.data.as_ptr().wrapping_add(column));
    for _ in 0..k {
        // SAFETY: the caller guarantees it.
        let b_row = unsafe { *b_at.cast::<[f32; N]>() };
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller guarantees it.
            let a = unsafe { *a_at.add(r * a.stride) };
            for (sum, b) in sums.iter_mut().zip(b_row) {
                *sum += a * b;
            }
        }
        a_at = a_at.wrapping_add(1);
        b_at = b_at.wrapping_add(b.stride);
    }
    for (r, sums) in sums.iter().enumerate() {
        out[r * out_stride + column..][..N].copy_from_slice(sums);
    }
}

/// softmax(scale x) in place. Elements of x from index `tokens` are padding and get zero weight.
#[inline(always)]
fn softmax(x: &mut [f32], tokens: usize, scale: f32) {
    x[tokens..].fill(f32::NEG_INFINITY);
    let mut largest = [f32::NEG_INFINITY; LANES];
    for x in x.as_chunks::<LANES>().0 {
        for i in 0..LANES {
            largest[i] = if x[i] > largest[i] { x[i] } else { largest[i] };
        }
    }
    let max = largest
        .iter()
        .fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a });
    let mut sums = [0f32; LANES];
    for x in x.as_chunks_mut::<LANES>().0 {
        for i in 0..LANES {
            x[i] = exp((x[i] - max) * scale);
            sums[i] += x[i];
        }
    }
    let inverse = 1.0 / sums.iter().sum::<f32>();
    x.iter_mut().for_each(|x| *x *= inverse);
}

multiversion! {
    /// Computes out (queries, width) from q (queries, width) and kv (tokens, 2 width) of one
    /// review, with `heads` heads. Each row of kv is a row of k followed by a row of v.
    pub(super) fn attention(q: &[f32], kv: &[f32], heads: usize, width: usize, out: &mut [f32], scratch: &mut Scratch) {
        let size = width / heads;
        let tokens = kv.len() / (2 * width);
        let padded = tokens.next_multiple_of(LANES);
        scratch.keys.resize(size * padded, 0.0);
        scratch.weights.resize(QUERIES * padded, 0.0);
        let (keys, weights) = (&mut scratch.keys[..], &mut scratch.weights[..]);
        let scale = 1.0 / (size as f32).sqrt();
        for at in (0..width).step_by(size) {
            for (i, row) in kv.chunks_exact(2 * width).enumerate() {
                for (c, k) in row[at..at + size].iter().enumerate() {
                    keys[c * padded + i] = *k;
                }
            }
            let keys = Matrix { data: keys, stride: padded };
            let values = Matrix { data: &kv[width + at..], stride: 2 * width };
            for (q, out) in q.chunks(QUERIES * width).zip(out.chunks_mut(QUERIES * width)) {
                let (queries, out) = (Matrix { data: &q[at..], stride: width }, &mut out[at..]);
                match q.len() / width {
                    4 => attend_queries::<4>(queries, keys, values, tokens, scale, weights, out),
                    3 => attend_queries::<3>(queries, keys, values, tokens, scale, weights, out),
                    2 => attend_queries::<2>(queries, keys, values, tokens, scale, weights, out),
                    _ => attend_queries::<1>(queries, keys, values, tokens, scale, weights, out),
                }
            }
        }
    }
}

/// Attention of one head for R queries.
#[inline(always)]
fn attend_queries<const R: usize>(
    q: Matrix<'_>,
    keys: Matrix<'_>,
    values: Matrix<'_>,
    tokens: usize,
    scale: f32,
    weights: &mut [f32],
    out: &mut [f32],
) {
    let (padded, size) = (keys.stride, keys.data.len() / keys.stride);
    product::<R>(q, keys, size, padded, weights, padded);
    // A plain loop: a closure might be compiled without the instruction set of this version.
    for row in weights.chunks_exact_mut(padded).take(R) {
        softmax(row, tokens, scale);
    }
    product::<R>(
        Matrix {
            data: weights,
            stride: padded,
        },
        values,
        tokens,
        size,
        out,
        q.stride,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn equals_the_sums_of_its_definition() {
        let mut scratch = Scratch::default();
        // Longer reviews come first: values that they leave in the scratch buffers must not affect
        // later ones.
        for (queries, tokens, heads, size) in [
            (37, 37, 2, 12),
            (9, 9, 3, 32),
            (1, 9, 2, 8),
            (4, 4, 1, 5),
            (1, 1, 2, 3),
        ] {
            let width = heads * size;
            let (q, kv) = (
                rng::normals(1, queries * width, 1.0),
                rng::normals(2, tokens * 2 * width, 1.0),
            );
            let mut out = vec![f32::NAN; queries * width];
            attention(&q, &kv, heads, width, &mut out, &mut scratch);
            for (i, head) in (0..queries).flat_map(|i| (0..heads).map(move |head| (i, head))) {
                let (q, at) = (&q[i * width..], head * size);
                let score = |j: usize| {
                    (0..size)
                        .map(|c| f64::from(q[at + c]) * f64::from(kv[j * 2 * width + at + c]))
                        .sum::<f64>()
                };
                let weights: Vec<f64> = (0..tokens)
                    .map(|j| (score(j) / (size as f64).sqrt()).exp())
                    .collect();
                for c in 0..size {
                    let sum: f64 = weights
                        .iter()
                        .enumerate()
                        .map(|(j, w)| w * f64::from(kv[j * 2 * width + width + at + c]))
                        .sum();
                    let (found, wanted) = (
                        f64::from(out[i * width + at + c]),
                        sum / weights.iter().sum::<f64>(),
                    );
                    assert!((found - wanted).abs() < 1e-5, "{found}, wanted {wanted}");
                }
            }
        }
    }
}
