//! WebAssembly's 128-bit SIMD, which every browser has: bytes are widened to 16 bits, and a dot
//! product adds neighbours.

use std::arch::wasm32::{
    i16x8_extend_low_u8x16, i16x8_load_extend_i8x8, i32x4_add, i32x4_dot_i16x8, i32x4_shuffle,
    i32x4_splat, v128, v128_load, v128_load32_splat, v128_store,
};

use super::{PANEL, Panel, QUAD, Sums};

/// Rows and vectors of a tile: 8 accumulators. A vector holds two sums for each of two outputs.
const ROWS: usize = 2;
const VECTORS: usize = 4;

in_tiles! {
    panel: tile of ROWS
}

/// Computes the sums of R rows, one half of the panel after the other.
///
/// # Safety
/// As for the kernel; x must hold R rows.
#[inline(always)]
unsafe fn tile<const R: usize>(x: &[u8], panel: Panel<'_>, sums: &mut [Sums]) {
    let inputs = panel.inputs();
    for half in 0..PANEL / 2 / VECTORS {
        let mut totals = [[i32x4_splat(0); VECTORS]; R];
        // SAFETY: four inputs are four bytes of each row and QUAD bytes of the panel; half of 16
        // sums are two vectors.
        unsafe {
            let mut w = panel.weights.as_ptr().add(8 * VECTORS * half).cast::<i8>();
            for k in (0..inputs).step_by(4) {
                let w_wide: [v128; VECTORS] =
                    std::array::from_fn(|v| i16x8_load_extend_i8x8(w.add(8 * v)));
                for (r, totals) in totals.iter_mut().enumerate() {
                    let x = i16x8_extend_low_u8x16(v128_load32_splat(
                        x.as_ptr().add(r * inputs + k).cast(),
                    ));
                    for (total, w) in totals.iter_mut().zip(w_wide) {
                        *total = i32x4_add(*total, i32x4_dot_i16x8(x, w));
                    }
                }
                w = w.add(QUAD);
            }
            let at = VECTORS / 2 * half;
            let start = panel.start.whole.as_ptr().cast::<v128>().add(at);
            for (sums, totals) in sums.iter_mut().zip(&totals) {
                let out = sums.as_mut_ptr().cast::<v128>().add(at);
                for (i, pair) in totals.chunks_exact(2).enumerate() {
                    let (even, odd) = (
                        i32x4_shuffle::<0, 2, 4, 6>(pair[0], pair[1]),
                        i32x4_shuffle::<1, 3, 5, 7>(pair[0], pair[1]),
                    );
                    v128_store(
                        out.add(i),
                        i32x4_add(v128_load(start.add(i)), i32x4_add(even, odd)),
                    );
                }
            }
        }
    }
}
