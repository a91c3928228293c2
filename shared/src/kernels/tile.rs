//! Tiles of f32 products: the gemm crate's microkernels, which come close to a processor's peak,
//! for operands that gemm itself would first pack.

use super::product::{Rows, View};
#[cfg(target_arch = "x86_64")]
use super::simd::{Level, level};

/// The largest number of rows of a tile.
pub(crate) const ROWS: usize = 6;

/// A microkernel of the gemm crate. Its parameters, in order: the tile's columns, its rows, and the
/// steps of its sums; the tile, and the first row of the right and the first element of the left
/// operand; the strides of the tile's rows and columns, of the right operand's rows, and of the
/// left operand's columns and rows; the factors of the existing values and of the product, and
/// whether existing values are added.
type Kernel = unsafe fn(
    usize,
    usize,
    usize,
    *mut f32,
    *const f32,
    *const f32,
    isize,
    isize,
    isize,
    isize,
    isize,
    f32,
    f32,
    u8,
    bool,
    bool,
    bool,
    *const f32,
);

/// The microkernels for an instruction set.
pub(crate) struct Tiles {
    /// Columns per register.
    lanes: usize,
    /// Indexed by the number of registers per row - 1, and by rows - 1.
    kernels: &'static [[Kernel; ROWS]],
}

impl Tiles {
    /// The best microkernels for this processor; `None` without AVX2.
    pub fn best() -> Option<&'static Tiles> {
        #[cfg(target_arch = "x86_64")]
        {
            use gemm_f32::microkernel::{avx512f, fma};
            static AVX512: Tiles = Tiles {
                lanes: 16,
                kernels: &avx512f::f32::UKR,
            };
            static AVX2: Tiles = Tiles {
                lanes: 8,
                kernels: &fma::f32::UKR,
            };
            match level() {
                Level::Avx512 => Some(&AVX512),
                Level::Avx2 => Some(&AVX2),
                Level::Baseline => None,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        None
    }

    /// The largest number of columns of a tile.
    pub fn width(&self) -> usize {
        self.kernels.len() * self.lanes
    }

    /// The number of the n columns that fill whole registers.
    pub fn whole(&self, n: usize) -> usize {
        n - n % self.lanes
    }

    /// y (m, n) = a (m, k) b (k, n), or with `add` y += a b, for the shape (m, n, k). Each sum is
    /// computed in order.
    ///
    /// # Safety
    /// The operands must be as large as their shapes require, this processor must support the
    /// microkernels, and n must be a multiple of the columns per register.
    pub unsafe fn product(
        &self,
        (m, n, k): (usize, usize, usize),
        a: View<'_>,
        b: Rows<*const f32>,
        y: Rows<*mut f32>,
        add: bool,
    ) {
        for column in (0..n).step_by(self.width()) {
            let columns = self.width().min(n - column);
            let kernels = &self.kernels[columns / self.lanes - 1];
            for row in (0..m).step_by(ROWS) {
                let rows = ROWS.min(m - row);
                // SAFETY: the tile lies within the operands, which the caller guarantees.
                unsafe {
                    kernels[rows - 1](
                        columns,
                        rows,
                        k,
                        y.data.add(row * y.row_stride + column),
                        b.data.add(column),
                        a.data.as_ptr().add(row * a.row_stride),
                        y.row_stride as isize,
                        1,
                        b.row_stride as isize,
                        a.column_stride as isize,
                        a.row_stride as isize,
                        1.0,
                        1.0,
                        u8::from(add),
                        false,
                        false,
                        false,
                        std::ptr::null(),
                    );
                }
            }
        }
    }
}
