//! The arithmetic between the matrix products, on slices and on one thread: what the fused encoder, candle's graph and the int8 engine call.
//!
//! Each kernel is plain Rust in a form that the compiler turns into vector instructions, compiled once for each instruction set that is worth it (see `simd`). The tests of
//! `ops` hold each to candle's differentiable primitives and its gradient to finite differences.

#[macro_use]
pub(crate) mod simd;

#[cfg(feature = "native")]
pub(crate) mod activation;
#[cfg(feature = "native")]
pub(crate) mod aligned;
#[cfg(feature = "native")]
pub(crate) mod attention;
#[cfg(feature = "native")]
pub(crate) mod dropout;
pub(crate) mod norm;
#[cfg(feature = "native")]
pub(crate) mod product;
/// Only the fused encoder calls these: candle's graph has its own.
#[cfg(feature = "native")]
pub(crate) mod rows;
#[cfg(feature = "native")]
pub(crate) mod tile;
#[cfg(feature = "native")]
pub(crate) mod transpose;

#[cfg(all(test, feature = "native", target_arch = "x86_64"))]
mod tests;
