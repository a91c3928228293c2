//! AVX2: `maddubs` multiplies 32 bytes and adds neighbours; two such sums are added in 16 bits, and `madd` with ones takes them to 32.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi16, _mm256_add_epi32, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_setzero_si256, _mm256_storeu_si256,
};

use super::{PANEL, QUAD, Sums};

/// Rows of a tile: with two vectors of outputs, 6 accumulators. With 8, one of the 16 registers is missing, and a sum that goes through memory at every step halves the speed.
const ROWS: usize = 3;

/// See [`super::Kernel::run`].
///
/// # Safety
/// The processor has AVX2; `x` holds as many rows as `sums`, each as long as the panel is for, a multiple of 8.
#[target_feature(enable = "avx2")]
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
#[target_feature(enable = "avx2")]
unsafe fn tile<const R: usize>(x: *const i8, inputs: usize, panel: *const u8, sums: &mut [Sums]) {
    let ones = _mm256_set1_epi16(1);
    let mut totals = [[_mm256_setzero_si256(); 2]; R];
    for k in (0..inputs).step_by(8) {
        // SAFETY: eight inputs are 2 * QUAD bytes of the panel, four vectors; and eight bytes of each row.
        unsafe {
            let w = panel.add(k / 4 * QUAD);
            let w: [__m256i; 4] = std::array::from_fn(|i| _mm256_loadu_si256(w.add(32 * i).cast()));
            for (r, totals) in totals.iter_mut().enumerate() {
                let x = x.add(r * inputs + k).cast::<i32>();
                let (first, second) = (_mm256_set1_epi32(x.read_unaligned()), _mm256_set1_epi32(x.add(1).read_unaligned()));
                for (half, total) in totals.iter_mut().enumerate() {
                    let pairs = _mm256_add_epi16(_mm256_maddubs_epi16(w[half], first), _mm256_maddubs_epi16(w[2 + half], second));
                    *total = _mm256_add_epi32(*total, _mm256_madd_epi16(pairs, ones));
                }
            }
        }
    }
    for (sums, totals) in sums.iter_mut().zip(&totals) {
        let out = sums.as_mut_ptr().cast::<__m256i>();
        // SAFETY: 16 sums are two vectors.
        unsafe {
            _mm256_storeu_si256(out, totals[0]);
            _mm256_storeu_si256(out.add(1), totals[1]);
        }
    }
}
