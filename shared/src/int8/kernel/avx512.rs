//! AVX-512 VNNI: one instruction takes four inputs of all 16 outputs of a panel.

use std::arch::x86_64::{_mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_storeu_si512};

use super::{PANEL, QUAD, Sums};

/// Rows of a tile: enough accumulators to cover the latency of the dot product.
const ROWS: usize = 8;

/// See [`super::Kernel::run`].
///
/// # Safety
/// The processor has AVX-512 with VNNI; `x` holds as many rows as `sums`, each as long as the panel is for, a multiple of 4.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) unsafe fn panel(x: &[i8], panel: &[u8], sums: &mut [Sums]) {
    let inputs = panel.len() / PANEL;
    let mut tiles = sums.chunks_exact_mut(ROWS);
    let mut at = x.as_ptr();
    for sums in &mut tiles {
        // SAFETY: ROWS rows of x begin at `at`.
        unsafe {
            tile::<ROWS>(at, inputs, panel.as_ptr(), sums);
            at = at.add(ROWS * inputs);
        }
    }
    for sums in tiles.into_remainder().chunks_exact_mut(1) {
        // SAFETY: one row of x begins at `at`.
        unsafe {
            tile::<1>(at, inputs, panel.as_ptr(), sums);
            at = at.add(inputs);
        }
    }
}

/// The sums of R rows.
///
/// # Safety
/// R rows of `inputs` begin at `x`, a panel for as many at `panel`.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn tile<const R: usize>(x: *const i8, inputs: usize, panel: *const u8, sums: &mut [Sums]) {
    let mut totals = [_mm512_setzero_si512(); R];
    for k in (0..inputs).step_by(4) {
        // SAFETY: four inputs are QUAD bytes of the panel, one vector; and four bytes of each row.
        unsafe {
            let w = _mm512_loadu_si512(panel.add(k / 4 * QUAD).cast());
            for (r, total) in totals.iter_mut().enumerate() {
                let x = _mm512_set1_epi32(x.add(r * inputs + k).cast::<i32>().read_unaligned());
                *total = _mm512_dpbusd_epi32(*total, w, x);
            }
        }
    }
    for (sums, total) in sums.iter_mut().zip(&totals) {
        // SAFETY: 16 sums are one vector.
        unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), *total) };
    }
}
