//! AVX-512 VNNI: one instruction processes four inputs of all 16 outputs of a panel.

use std::arch::x86_64::{
    _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_storeu_si512,
};

use super::{Panel, QUAD, Sums};

/// Rows of a tile: enough accumulators to cover the latency of the dot product.
const ROWS: usize = 8;

in_tiles! {
    #[target_feature(enable = "avx512f,avx512vnni")]
    panel: tile of ROWS
}

/// Computes the sums of R rows.
///
/// # Safety
/// As for the kernel; x must hold R rows.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn tile<const R: usize>(x: &[u8], panel: Panel<'_>, sums: &mut [Sums]) {
    let inputs = panel.inputs();
    // SAFETY: 16 sums are one vector.
    let mut totals = [unsafe { _mm512_loadu_si512(panel.start.whole.as_ptr().cast()) }; R];
    for k in (0..inputs).step_by(4) {
        // SAFETY: four inputs are QUAD bytes of the panel (one vector) and four bytes of each row.
        unsafe {
            let w = _mm512_loadu_si512(panel.weights.as_ptr().add(k / 4 * QUAD).cast());
            for (r, total) in totals.iter_mut().enumerate() {
                let x = _mm512_set1_epi32(
                    x.as_ptr()
                        .add(r * inputs + k)
                        .cast::<i32>()
                        .read_unaligned(),
                );
                *total = _mm512_dpbusd_epi32(*total, x, w);
            }
        }
    }
    for (sums, total) in sums.iter_mut().zip(&totals) {
        // SAFETY: 16 sums are one vector.
        unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), *total) };
    }
}
