//! Products of rows with what lies across, as weights do in the forward pass: it is turned over a panel of columns at a time, which stays in the nearest caches while the rows go
//! by. The gemm crate, whose tiles these are, would take it up one element at a time.

use std::cell::RefCell;

use super::operand::Write;
use crate::kernels::aligned::Aligned;
use crate::kernels::product::{Rows, View};
use crate::kernels::tile::Tiles;
use crate::kernels::transpose::transpose;

/// Steps of a sum that a panel holds at most: as many as gemm takes, so that sums are its own but of a few rows, where it takes another way.
const DEPTH: usize = 512;

thread_local! {
    /// A panel, kept from product to product, so that its memory is.
    static PANEL: RefCell<Aligned<f32>> = RefCell::default();
}

/// The tiles for a product of n columns, if this processor has any.
pub(super) fn tiles(n: usize) -> Option<&'static Tiles> {
    Tiles::best().filter(|tiles| tiles.whole(n) == n)
}

/// y (m, n) = a (m, k) bᵀ, or y += a bᵀ, with b (n, k) in rows and n as [`tiles`] wants it; y has no gaps, and nothing is empty.
///
/// # Safety
/// The operands must reach as far as the shape says, and the tiles be this processor's.
pub(super) unsafe fn product(
    tiles: &Tiles,
    write: Write,
    y: &mut [f32],
    (m, n, k): (usize, usize, usize),
    a: View<'_>,
    b: Rows<&[f32]>,
) {
    let depth = k.div_ceil(k.div_ceil(DEPTH));
    let mut room = PANEL.take();
    for from in (0..k).step_by(depth) {
        let steps = depth.min(k - from);
        let add = write == Write::Add || from > 0;
        let a = View {
            data: &a.data[from * a.columns..],
            ..a
        };
        for first in (0..n).step_by(tiles.width()) {
            let columns = tiles.width().min(n - first);
            let panel = room.sized(steps * columns);
            transpose(
                Rows {
                    data: &b.data[first * b.down + from..],
                    ..b
                },
                columns,
                steps,
                panel,
                columns,
            );
            let y = Rows {
                data: y[first..].as_mut_ptr(),
                down: n,
            };
            // SAFETY: the panel is as large as was just laid out, and the other operands are as the caller says.
            unsafe {
                tiles.product(
                    (m, columns, steps),
                    a,
                    Rows {
                        data: panel.as_ptr(),
                        down: columns,
                    },
                    y,
                    add,
                )
            };
        }
    }
    PANEL.set(room);
}
