//! Tiles of products in f32: the gemm crate's inner loops, which reach nearly all that a processor can, for operands that gemm itself would first lay out anew.

use super::product::{Rows, View};
#[cfg(target_arch = "x86_64")]
use super::simd::{Level, level};

/// Rows of a result that a tile has at most.
pub(crate) const ROWS: usize = 6;

/// Columns and rows of a tile and steps of its sums; the tile, the right operand's row and the left one's element that they begin with; strides of the tile's rows and columns, of
/// the right operand's rows, and of the left one's columns and rows; the factors of what is there and of the product, and whether the former counts.
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

/// The tiles of a processor.
pub(crate) struct Tiles {
    /// Columns that a register holds.
    lanes: usize,
    /// By registers of columns, and rows, each less one.
    kernels: &'static [[Kernel; ROWS]],
}

impl Tiles {
    /// The best of this processor; none where it has no vectors that are worth it.
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

    /// Columns that a tile has at most.
    pub fn width(&self) -> usize {
        self.kernels.len() * self.lanes
    }

    /// Of n columns those that are whole registers of tiles.
    pub fn whole(&self, n: usize) -> usize {
        n - n % self.lanes
    }

    /// y (m, n) = a (m, k) b (k, n) for `shape` (m, n, k), or with `add` y += a b. Each sum is taken in order.
    ///
    /// # Safety
    /// The operands must reach as far as their shapes say, the processor be the tiles' own, and n whole registers.
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
                // SAFETY: the tile lies within the operands, which are as the caller says.
                unsafe {
                    kernels[rows - 1](
                        columns,
                        rows,
                        k,
                        y.data.add(row * y.down + column),
                        b.data.add(column),
                        a.data.as_ptr().add(row * a.rows),
                        y.down as isize,
                        1,
                        b.down as isize,
                        a.columns as isize,
                        a.rows as isize,
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
