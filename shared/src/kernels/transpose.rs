//! Transposes a matrix.

use super::product::Rows;

/// Transposes x (rows, columns) to out (columns, padded); elements after the rows are zeros.
pub(crate) fn transpose(
    x: Rows<&[f32]>,
    rows: usize,
    columns: usize,
    out: &mut [f32],
    padded: usize,
) {
    let reached = rows.saturating_sub(1) * x.row_stride + columns;
    assert!(
        rows <= padded && (rows == 0 || reached <= x.data.len()) && columns * padded <= out.len(),
        "a matrix of {rows} x {columns} in rows of {padded}"
    );
    #[cfg(target_arch = "x86_64")]
    if super::simd::level() == super::simd::Level::Avx512 {
        // SAFETY: `level` has checked the processor's features, and the assertion checks the
        // matrices.
        return unsafe { avx512::transpose(x, rows, columns, out.as_mut_ptr(), padded) };
    }
    plain(x, rows, columns, out, padded);
}

fn plain(x: Rows<&[f32]>, rows: usize, columns: usize, out: &mut [f32], padded: usize) {
    for (j, out) in out
        .chunks_exact_mut(padded.max(1))
        .take(columns)
        .enumerate()
    {
        for (i, out) in out.iter_mut().enumerate() {
            *out = if i < rows {
                x.data[i * x.row_stride + j]
            } else {
                0.0
            };
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    #[allow(clippy::wildcard_imports, reason = "intrinsics have their prefix")]
    use std::arch::x86_64::*;

    use crate::kernels::product::Rows;

    /// Rows and columns that are transposed at once: the size of 16 registers.
    const BLOCK: usize = 16;

    /// A mask of the first `n` lanes.
    fn first(n: usize) -> __mmask16 {
        if n < BLOCK { (1 << n) - 1 } else { !0 }
    }

    /// # Safety
    /// `x` must cover its last row, and `out` must hold `columns` rows of `padded` elements.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn transpose(
        x: Rows<&[f32]>,
        rows: usize,
        columns: usize,
        out: *mut f32,
        padded: usize,
    ) {
        for i in (0..padded).step_by(BLOCK) {
            for j in (0..columns).step_by(BLOCK) {
                let mut lines = [_mm512_setzero_ps(); BLOCK];
                let wanted = first(columns - j);
                for (r, line) in lines.iter_mut().enumerate().take(rows.saturating_sub(i)) {
                    // SAFETY: the row exists, and the mask selects its existing columns.
                    *line = unsafe {
                        _mm512_maskz_loadu_ps(
                            wanted,
                            x.data.as_ptr().add((i + r) * x.row_stride + j),
                        )
                    };
                }
                let wanted = first(padded - i);
                for (c, line) in block(lines).into_iter().enumerate().take(columns - j) {
                    // SAFETY: the mask selects the existing elements of a row of the result.
                    unsafe { _mm512_mask_storeu_ps(out.add((j + c) * padded + i), wanted, line) };
                }
            }
        }
    }

    /// Transposes a block in four rounds: neighbouring rows exchange single elements, then pairs,
    /// then groups of four, then groups of eight.
    #[target_feature(enable = "avx512f")]
    fn block(rows: [__m512; BLOCK]) -> [__m512; BLOCK] {
        let (mut x, mut y) = (rows, rows);
        for i in (0..BLOCK).step_by(2) {
            y[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
            y[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
        }
        for i in (0..BLOCK).step_by(4) {
            let [a, b, c, d] = [y[i], y[i + 1], y[i + 2], y[i + 3]].map(|x| _mm512_castps_pd(x));
            x[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
            x[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
            x[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
            x[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
        }
        for i in (0..BLOCK).step_by(8) {
            for j in i..i + 4 {
                y[j] = _mm512_shuffle_f32x4::<0x88>(x[j], x[j + 4]);
                y[j + 4] = _mm512_shuffle_f32x4::<0xdd>(x[j], x[j + 4]);
            }
        }
        for j in 0..8 {
            x[j] = _mm512_shuffle_f32x4::<0x88>(y[j], y[j + 8]);
            x[j + 8] = _mm512_shuffle_f32x4::<0xdd>(y[j], y[j + 8]);
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn rows_become_columns() {
        for (rows, columns, row_stride, padded) in [
            (1, 1, 1, 1),
            (16, 16, 16, 16),
            (5, 32, 40, 16),
            (33, 7, 9, 48),
            (20, 19, 19, 24),
            (64, 384, 400, 64),
            (0, 3, 3, 2),
        ] {
            let x = rng::normals(1, rows * row_stride, 1.0);
            let x = Rows {
                data: x
                    .get(..(rows * row_stride + columns).saturating_sub(row_stride))
                    .unwrap_or(&[]),
                row_stride,
            };
            let (mut fast, mut slow) = (
                vec![7.0; columns * padded + 1],
                vec![7.0; columns * padded + 1],
            );
            transpose(x, rows, columns, &mut fast, padded);
            plain(x, rows, columns, &mut slow, padded);
            assert_eq!(fast, slow, "{rows} x {columns}");
            for (i, x) in x
                .data
                .iter()
                .enumerate()
                .filter(|(i, _)| i % row_stride < columns)
            {
                assert_eq!(slow[i % row_stride * padded + i / row_stride], *x);
            }
            assert_eq!(
                slow.last(),
                Some(&7.0),
                "beyond the result nothing is written"
            );
        }
    }
}
