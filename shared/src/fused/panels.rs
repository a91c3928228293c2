//! Products of row-major a with transposed b, as a linear layer's forward pass needs. b is
//! transposed one panel of columns at a time. A panel stays in the nearest caches while the rows of
//! a are processed. The gemm crate, whose microkernels are used here, would pack b one element at a
//! time.

use std::cell::RefCell;

use super::operand::Write;
use crate::kernels::aligned::Aligned;
use crate::kernels::product::{Rows, View};
use crate::kernels::tile::Tiles;
use crate::kernels::transpose::transpose;

/// The largest number of steps of a sum in a panel. It is the same as gemm's, so results equal
/// gemm's, except for products of a few rows, where gemm uses another algorithm.
const DEPTH: usize = 512;

thread_local! {
    /// The panel's buffer, kept between products to reuse its memory.
    static PANEL: RefCell<Aligned<f32>> = RefCell::default();
}

/// The microkernels for a product with n columns, if this processor has any.
pub(super) fn tiles(n: usize) -> Option<&'static Tiles> {
    Tiles::best().filter(|tiles| tiles.whole(n) == n)
}

/// y (m, n) = a (m, k) bᵀ, or y += a bᵀ. b (n, k) is row-major, [`tiles`] must support n, y is
/// contiguous, and no dimension is 0.
///
/// # Safety
/// The operands must be as large as the shape requires, and `tiles` must be supported by this
/// processor.
pub(super) unsafe fn product(
    tiles: &Tiles,
    write: Write,
    y: &mut [f32],
    (m, n, k): (usize, usize, usize),
    a: View<'_>,
    b: Rows<&[f32]>,
) {
    let depth = k.div_ceil(k.div_ceil(DEPTH));
    let mut buffer = PANEL.take();
    for from in (0..k).step_by(depth) {
        let steps = depth.min(k - from);
        let add = write == Write::Add || from > 0;
        let a = View {
            data: &a.data[from * a.column_stride..],
            ..a
        };
        for first in (0..n).step_by(tiles.width()) {
            let columns = tiles.width().min(n - first);
            let panel = buffer.sized(steps * columns);
            transpose(
                Rows {
                    data: &b.data[first * b.row_stride + from..],
                    ..b
                },
                columns,
                steps,
                panel,
                columns,
            );
            let y = Rows {
                data: y[first..].as_mut_ptr(),
                row_stride: n,
            };
            // SAFETY: the panel was just sized, and the caller guarantees the other operands.
            unsafe {
                tiles.product(
                    (m, columns, steps),
                    a,
                    Rows {
                        data: panel.as_ptr(),
                        row_stride: columns,
                    },
                    y,
                    add,
                );
            };
        }
    }
    PANEL.set(buffer);
}
