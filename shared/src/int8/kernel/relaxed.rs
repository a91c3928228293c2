//! WebAssembly's relaxed SIMD, in two variants with the same result. [`quads`] is faster where the
//! browser's engine compiles its instruction to one of the processor's (VNNI on x86, SDOT on ARM),
//! [`runs`] where it needs several. Which one to use is decided by measuring.

use std::arch::wasm32::{
    i16x8_add, i16x8_relaxed_dot_i8x16_i7x16, i32x4_add, i32x4_extadd_pairwise_i16x8,
    i32x4_relaxed_dot_i8x16_i7x16_add, i32x4_splat, v128, v128_load, v128_load32_splat, v128_store,
};

use super::{PANEL, Panel, QUAD, Sums};

/// Rows and vectors of a tile: 8 accumulators, of two vectors of four outputs for [`quads`] and all
/// four for [`runs`]. With 10 or more accumulators, V8 runs out of registers and spills some to
/// memory. It also does so when an iteration of the innermost loop processes more than four inputs.
const QUADS_ROWS: usize = 4;
const QUADS_VECTORS: usize = 2;
const RUNS_ROWS: usize = 2;
const RUNS_VECTORS: usize = PANEL / 4;

in_tiles! {
    /// Four inputs per instruction, summed in 32 bits.
    #[target_feature(enable = "relaxed-simd")]
    quads: quads_tile of QUADS_ROWS
}

/// Computes the sums of R rows, one half of the panel after the other.
///
/// # Safety
/// As for the kernel; x must hold R rows.
#[inline]
#[target_feature(enable = "relaxed-simd")]
unsafe fn quads_tile<const R: usize>(x: &[u8], panel: Panel<'_>, sums: &mut [Sums]) {
    let inputs = panel.inputs();
    for half in 0..PANEL / 4 / QUADS_VECTORS {
        let at = QUADS_VECTORS * half;
        // SAFETY: four inputs are QUAD bytes of the panel and four bytes of each row; half of 16
        // sums are QUADS_VECTORS vectors.
        unsafe {
            let start = panel.start.whole.as_ptr().cast::<v128>().add(at);
            let mut totals: [[v128; QUADS_VECTORS]; R] =
                [std::array::from_fn(|v| v128_load(start.add(v))); R];
            let mut w = panel.weights.as_ptr().add(16 * at);
            for k in (0..inputs).step_by(4) {
                let quad: [v128; QUADS_VECTORS] =
                    std::array::from_fn(|v| v128_load(w.add(16 * v).cast()));
                for (r, totals) in totals.iter_mut().enumerate() {
                    let x = v128_load32_splat(x.as_ptr().add(r * inputs + k).cast());
                    for (total, w) in totals.iter_mut().zip(quad) {
                        *total = i32x4_relaxed_dot_i8x16_i7x16_add(w, x, *total);
                    }
                }
                w = w.add(QUAD);
            }
            for (sums, totals) in sums.iter_mut().zip(&totals) {
                for (v, total) in totals.iter().enumerate() {
                    v128_store(sums.as_mut_ptr().cast::<v128>().add(at + v), *total);
                }
            }
        }
    }
}

in_tiles! {
    /// Four inputs in two 16-bit sums, which accumulate until the end of a run.
    #[target_feature(enable = "relaxed-simd")]
    runs: runs_tile of RUNS_ROWS
}

/// Computes the sums of R rows.
///
/// # Safety
/// As for the kernel; x must hold R rows.
#[inline]
#[target_feature(enable = "relaxed-simd")]
unsafe fn runs_tile<const R: usize>(x: &[u8], panel: Panel<'_>, sums: &mut [Sums]) {
    let mut totals = [[i32x4_splat(0); RUNS_VECTORS]; R];
    // SAFETY: a row has `panel.inputs()` bytes.
    let mut rows: [*const u8; R] =
        std::array::from_fn(|r| unsafe { x.as_ptr().add(r * panel.inputs()) });
    let mut w = panel.weights.as_ptr();
    for run in &panel.start.runs {
        // SAFETY: 32 sums of 16 bits are RUNS_VECTORS vectors.
        let start: [v128; RUNS_VECTORS] =
            std::array::from_fn(|v| unsafe { v128_load(run.start.as_ptr().add(8 * v).cast()) });
        let mut sums = [start; R];
        // SAFETY: four inputs are QUAD bytes of the panel and four bytes of each row.
        unsafe {
            let end = w.add(run.quads * QUAD);
            while w != end {
                let quad: [v128; RUNS_VECTORS] =
                    std::array::from_fn(|v| v128_load(w.add(16 * v).cast()));
                for (row, sums) in rows.iter_mut().zip(&mut sums) {
                    let x = v128_load32_splat(row.cast());
                    for (sum, w) in sums.iter_mut().zip(quad) {
                        *sum = i16x8_add(*sum, i16x8_relaxed_dot_i8x16_i7x16(w, x));
                    }
                    *row = row.add(4);
                }
                w = w.add(QUAD);
            }
        }
        for (total, sum) in totals
            .as_flattened_mut()
            .iter_mut()
            .zip(sums.as_flattened())
        {
            *total = i32x4_add(*total, i32x4_extadd_pairwise_i16x8(*sum));
        }
    }
    for (sums, totals) in sums.iter_mut().zip(&totals) {
        for (v, total) in totals.iter().enumerate() {
            // SAFETY: 16 sums are RUNS_VECTORS vectors.
            unsafe { v128_store(sums.as_mut_ptr().cast::<v128>().add(v), *total) };
        }
    }
}
