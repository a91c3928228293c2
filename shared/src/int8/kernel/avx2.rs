//! AVX2: `maddubs` multiplies 32 bytes and adds neighbours. These sums are added in 16 bits until
//! the end of a run; then `madd` with ones widens them to 32 bits.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi16, _mm256_add_epi32, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setzero_si256,
    _mm256_storeu_si256,
};

use super::{Panel, QUAD, Sums};

/// Rows of a tile. With two vectors of outputs, a run has 6 sums; with 8 sums, the 16 registers
/// would not suffice.
const ROWS: usize = 3;

in_tiles! {
    #[target_feature(enable = "avx2")]
    panel: tile of ROWS
}

/// Computes the sums of R rows.
///
/// # Safety
/// As for the kernel; x must hold R rows.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn tile<const R: usize>(x: &[u8], panel: Panel<'_>, sums: &mut [Sums]) {
    let ones = _mm256_set1_epi16(1);
    let mut totals = [[_mm256_setzero_si256(); 2]; R];
    // SAFETY: a row has `panel.inputs()` bytes.
    let mut rows: [*const u8; R] =
        std::array::from_fn(|r| unsafe { x.as_ptr().add(r * panel.inputs()) });
    let mut w = panel.weights.as_ptr();
    for run in &panel.start.runs {
        // SAFETY: 32 sums in 16 bits are two vectors.
        let start: [__m256i; 2] = std::array::from_fn(|half| unsafe {
            _mm256_loadu_si256(run.start.as_ptr().add(16 * half).cast())
        });
        let mut sums = [start; R];
        for _ in 0..run.quads {
            // SAFETY: four inputs are QUAD bytes of the panel (two vectors) and four bytes of each
            // row.
            unsafe {
                let quad: [__m256i; 2] =
                    std::array::from_fn(|half| _mm256_loadu_si256(w.add(32 * half).cast()));
                for (row, sums) in rows.iter_mut().zip(&mut sums) {
                    let x = _mm256_set1_epi32(row.cast::<i32>().read_unaligned());
                    for (sum, w) in sums.iter_mut().zip(quad) {
                        *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(x, w));
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
            *total = _mm256_add_epi32(*total, _mm256_madd_epi16(*sum, ones));
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
