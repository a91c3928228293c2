//! The arithmetic between the matrix products, on slices and on one thread. The fused encoder,
//! candle's graph and the int8 engine use it.
//!
//! Each kernel is plain Rust in a form that the compiler vectorises, compiled for each instruction
//! set that is worth it (see `simd`). The tests of `ops` compare each kernel with candle's
//! differentiable primitives, and its gradient with finite differences.

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
/// Used only by the fused encoder; candle's graph has its own.
#[cfg(feature = "native")]
pub(crate) mod rows;
#[cfg(feature = "native")]
pub(crate) mod tile;
#[cfg(feature = "native")]
pub(crate) mod transpose;

#[cfg(all(test, feature = "native", target_arch = "x86_64"))]
mod tests;
