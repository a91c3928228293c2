//! WebAssembly's relaxed SIMD, in two ways with the same result. Which is faster is for a measurement to say: [`quads`] where the engine turns its instruction into one of the
//! processor's (VNNI on x86, SDOT on ARM), [`pairs`] where it takes five.

use std::arch::wasm32::{
    i16x8_add, i16x8_relaxed_dot_i8x16_i7x16, i16x8_splat, i32x4_add, i32x4_dot_i16x8, i32x4_relaxed_dot_i8x16_i7x16_add, i32x4_splat, v128,
    v128_load, v128_load32_splat, v128_store,
};

use super::{PANEL, QUAD, Sums};

/// Vectors of a tile, of four outputs each; with 3 or 4 rows, 6 or 8 accumulators. With 10 and more, V8 runs out of registers and keeps some in memory; so it does when a
/// turn of the innermost loop takes in more inputs.
const VECTORS: usize = 2;

/// See [`super::Kernel::run`]: four inputs an instruction.
///
/// # Safety
/// `x` holds as many rows as `sums`, each as long as the panel is for, a multiple of 4.
#[target_feature(enable = "relaxed-simd")]
pub(super) unsafe fn quads(x: &[i8], panel: &[u8], sums: &mut [Sums]) {
    // SAFETY: as the caller says.
    unsafe { tiles::<4, 4>(x, panel, sums) }
}

/// See [`super::Kernel::run`]: eight inputs by instructions that add up in 16 bits.
///
/// # Safety
/// `x` holds as many rows as `sums`, each as long as the panel is for, a multiple of 8.
#[target_feature(enable = "relaxed-simd")]
pub(super) unsafe fn pairs(x: &[i8], panel: &[u8], sums: &mut [Sums]) {
    // SAFETY: as the caller says.
    unsafe { tiles::<8, 3>(x, panel, sums) }
}

/// # Safety
/// As for the kernels.
#[inline]
#[target_feature(enable = "relaxed-simd")]
unsafe fn tiles<const INPUTS: usize, const ROWS: usize>(x: &[i8], panel: &[u8], sums: &mut [Sums]) {
    let inputs = panel.len() / PANEL;
    let mut tiles = sums.chunks_exact_mut(ROWS);
    let mut at = x.as_ptr();
    for sums in &mut tiles {
        // SAFETY: ROWS rows of x begin at `at`.
        unsafe {
            tile::<INPUTS, ROWS>(at, inputs, panel.as_ptr(), sums);
            at = at.add(ROWS * inputs);
        }
    }
    for sums in tiles.into_remainder().chunks_exact_mut(1) {
        // SAFETY: one row of x begins at `at`.
        unsafe {
            tile::<INPUTS, 1>(at, inputs, panel.as_ptr(), sums);
            at = at.add(inputs);
        }
    }
}

/// The sums of R rows, over half a panel and then the other, INPUTS inputs at a time.
///
/// # Safety
/// R rows of `inputs` begin at `x`, a panel for as many at `panel`.
#[inline]
#[target_feature(enable = "relaxed-simd")]
unsafe fn tile<const INPUTS: usize, const R: usize>(x: *const i8, inputs: usize, panel: *const u8, sums: &mut [Sums]) {
    let ones = i16x8_splat(1);
    for half in 0..PANEL / 4 / VECTORS {
        let mut totals = [[i32x4_splat(0); VECTORS]; R];
        let mut w = panel.wrapping_add(16 * VECTORS * half);
        for k in (0..inputs).step_by(INPUTS) {
            for (r, totals) in totals.iter_mut().enumerate() {
                for (v, total) in totals.iter_mut().enumerate() {
                    // SAFETY: INPUTS inputs are so many bytes of each row, and for every four a vector of the panel, QUAD bytes apart.
                    let operands = |quad: usize| unsafe {
                        (v128_load32_splat(x.add(r * inputs + k + 4 * quad).cast()), v128_load(w.add(16 * v + quad * QUAD).cast()))
                    };
                    let (x, w) = operands(0);
                    *total = if INPUTS == 8 {
                        let (next_x, next_w) = operands(1);
                        let pairs = i16x8_add(i16x8_relaxed_dot_i8x16_i7x16(x, w), i16x8_relaxed_dot_i8x16_i7x16(next_x, next_w));
                        i32x4_add(*total, i32x4_dot_i16x8(pairs, ones))
                    } else {
                        i32x4_relaxed_dot_i8x16_i7x16_add(x, w, *total)
                    };
                }
            }
            w = w.wrapping_add(INPUTS / 4 * QUAD);
        }
        for (sums, totals) in sums.iter_mut().zip(&totals) {
            for (v, total) in totals.iter().enumerate() {
                // SAFETY: half of 16 sums are VECTORS vectors.
                unsafe { v128_store(sums.as_mut_ptr().cast::<v128>().add(VECTORS * half + v), *total) };
            }
        }
    }
}
