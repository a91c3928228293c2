//! The arithmetic between the matrix products, on slices and on one thread: what both the fused encoder and candle's graph call.
//!
//! Each kernel is plain Rust in a form that the compiler turns into vector instructions, compiled once for each instruction set that is worth it (see `simd`). The tests of
//! `ops` hold each to candle's differentiable primitives and its gradient to finite differences.

#[macro_use]
mod simd;

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod dropout;
pub(crate) mod norm;

/// Adds each row of x (rows, width) to `sums` (width).
pub(crate) fn add_column_sums(x: &[f32], sums: &mut [f32]) {
    for row in x.chunks_exact(sums.len()) {
        add(sums, row);
    }
}

/// y += x
pub(crate) fn add(y: &mut [f32], x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
}

/// Adds `bias` (width) to each row of x (rows, width).
pub(crate) fn add_bias(x: &mut [f32], bias: &[f32]) {
    for row in x.chunks_exact_mut(bias.len()) {
        add(row, bias);
    }
}
