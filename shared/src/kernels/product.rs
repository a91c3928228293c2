//! Products of small matrices on the calling thread, as attention needs them within a head.

use super::simd::mul_add;
use super::tile::Tiles;

/// A strided matrix: element (i, j) is `data[i * row_stride + j * column_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub data: &'a [f32],
    pub column_stride: usize,
    pub row_stride: usize,
}

/// A matrix with contiguous rows that are `row_stride` elements apart.
#[derive(Clone, Copy)]
pub(crate) struct Rows<T> {
    pub data: T,
    pub row_stride: usize,
}

/// y (m, n) = a (m, k) b (k, n) for `shape` (m, n, k). Each sum is computed in order, starting from
/// zero.
pub(crate) fn product(
    shape: (usize, usize, usize),
    a: View<'_>,
    b: Rows<&[f32]>,
    y: Rows<&mut [f32]>,
) {
    let (m, n, k) = shape;
    let last = |rows: usize, row_stride: usize, columns: usize, column_stride: usize| {
        rows.saturating_sub(1) * row_stride + columns.saturating_sub(1) * column_stride
    };
    assert!(
        m * n * k > 0
            && last(m, a.row_stride, k, a.column_stride) < a.data.len()
            && last(k, b.row_stride, n, 1) < b.data.len()
            && last(m, y.row_stride, n, 1) < y.data.len(),
        "operands of a product of {m} x {k} x {n}"
    );
    let mut done = 0;
    if let Some(tiles) = Tiles::best() {
        done = tiles.whole(n);
        // SAFETY: the assertion above checks the operands.
        unsafe {
            tiles.product(
                (m, done, k),
                a,
                Rows {
                    data: b.data.as_ptr(),
                    row_stride: b.row_stride,
                },
                Rows {
                    data: y.data.as_mut_ptr(),
                    row_stride: y.row_stride,
                },
                false,
            );
        };
    }
    if done < n {
        plain(shape, a, b, y, done);
    }
}

multiversion! {
    /// Computes the columns of the result from `done`: the remaining ones of a narrow matrix, or
    /// all if there are no tiles.
    fn plain(shape: (usize, usize, usize), a: View<'_>, b: Rows<&[f32]>, y: Rows<&mut [f32]>, done: usize) {
        let column = columns::<FMA, 4, 8>(shape, a, b, y.data, y.row_stride, done);
        columns::<FMA, 4, 1>(shape, a, b, y.data, y.row_stride, column);
    }
}

/// Computes whole blocks of `N` columns from `column`, up to `R` rows at once. Returns the first
/// column that was not computed.
#[inline(always)]
fn columns<const FMA: bool, const R: usize, const N: usize>(
    (m, n, k): (usize, usize, usize),
    a: View<'_>,
    b: Rows<&[f32]>,
    y: &mut [f32],
    row_stride: usize,
    mut column: usize,
) -> usize {
    while column + N <= n {
        let mut row = 0;
        while row < m {
            let a = View {
                data: &a.data[row * a.row_stride..],
                ..a
            };
            let b = Rows {
                data: &b.data[column..],
                ..b
            };
            let y = &mut y[row * row_stride + column..];
            // SAFETY: `product` has asserted that the operands cover the whole result.
            row += unsafe {
                match m - row {
                    rest if rest >= R => tile::<FMA, R, N>(k, a, b, y, row_stride),
                    3 => tile::<FMA, 3, N>(k, a, b, y, row_stride),
                    2 => tile::<FMA, 2, N>(k, a, b, y, row_stride),
                    _ => tile::<FMA, 1, N>(k, a, b, y, row_stride),
                }
            };
        }
        column += N;
    }
    column
}

/// Computes the first `R` rows and `N` columns of the given result. Returns `R`.
///
/// # Safety
/// The operands must cover `k` steps of `R` rows and `N` columns.
#[inline(always)]
unsafe fn tile<const FMA: bool, const R: usize, const N: usize>(
    k: usize,
    a: View<'_>,
    b: Rows<&[f32]>,
    y: &mut [f32],
    row_stride: usize,
) -> usize {
    let mut sums = [[0f32; N]; R];
    for step in 0..k {
        // SAFETY: the caller guarantees it.
        let row = unsafe {
            b.data
                .get_unchecked(step * b.row_stride..step * b.row_stride + N)
        };
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller guarantees it.
            let x = unsafe {
                *a.data
                    .get_unchecked(r * a.row_stride + step * a.column_stride)
            };
            for (sum, y) in sums.iter_mut().zip(row) {
                *sum = mul_add::<FMA>(x, *y, *sum);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        y[r * row_stride..][..N].copy_from_slice(sums);
    }
    R
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn a_product_is_its_sums_whatever_its_operands_strides() {
        for (m, n, k) in [
            (1, 1, 1),
            (4, 32, 16),
            (3, 7, 5),
            (21, 61, 33),
            (6, 24, 1),
            (12, 16, 4),
        ] {
            let (a, b) = (
                rng::normals(1, m * k, 1.0),
                rng::normals(2, k * (n + 3), 1.0),
            );
            for left in [
                View {
                    data: &a,
                    column_stride: 1,
                    row_stride: k,
                },
                View {
                    data: &a,
                    column_stride: m,
                    row_stride: 1,
                },
            ] {
                let mut y = vec![7.0; m * (n + 2)];
                product(
                    (m, n, k),
                    left,
                    Rows {
                        data: &b,
                        row_stride: n + 3,
                    },
                    Rows {
                        data: &mut y,
                        row_stride: n + 2,
                    },
                );
                for (i, row) in y.chunks(n + 2).enumerate() {
                    for (j, found) in row[..n].iter().enumerate() {
                        let wanted: f64 = (0..k)
                            .map(|l| {
                                f64::from(a[i * left.row_stride + l * left.column_stride])
                                    * f64::from(b[l * (n + 3) + j])
                            })
                            .sum();
                        assert!(
                            (f64::from(*found) - wanted).abs() < 1e-5,
                            "{m} x {n} x {k}: {found}, wanted {wanted}"
                        );
                    }
                    assert_eq!(row[n..], [7.0; 2], "beyond the result nothing is written");
                }
            }
        }
    }
}
