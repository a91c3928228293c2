//! Matrix products of operands rounded to bf16, with sums in f32, for processors with AVX512-BF16.
//! Its instruction `vdpbf16ps` adds two products to each of 16 sums.
//!
//! A bf16 is the upper half of an f32. Operands are rounded and packed in pairs of neighbours along
//! the summed dimension, as the instruction reads them. The left operand may have any strides. The
//! right operand is packed in panels of [`COLUMNS`] columns, which stay in the L1 cache while the
//! left operand's rows are processed. Weights are packed once and reused until they change. The
//! portable kernel runs on any processor and is the reference for the tests.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::layout::{Layout, LinearAt};
use super::operand::{Direction, Threads, Write};
use crate::kernels::aligned::Aligned;
use crate::kernels::product::View;

/// Rows of the result that a kernel computes at once.
const ROWS: usize = 8;
/// Columns of the result that a kernel computes at once: two registers of 16 sums.
const COLUMNS: usize = 32;
/// Rows of the result that one task computes when threads share a product.
const TASK: usize = 64;

/// Rounds to the nearest bf16, ties to even; a NaN stays a NaN.
#[inline(always)]
fn round(x: f32) -> u16 {
    half::bf16::from_f32(x).to_bits()
}

/// Packs two neighbours along the summed dimension, the first in the lower half.
#[inline(always)]
fn pair(first: f32, second: f32) -> u32 {
    u32::from(round(first)) | (u32::from(round(second)) << 16)
}

/// The implementation that computes a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bf16Kernel {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    Plain,
}

impl Bf16Kernel {
    fn best() -> Bf16Kernel {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512f") {
            return Bf16Kernel::Avx512;
        }
        Bf16Kernel::Plain
    }
}

/// Whether the processor has an instruction for bf16 products.
pub fn is_there() -> bool {
    Bf16Kernel::best() != Bf16Kernel::Plain
}

/// A left operand in packed form.
#[derive(Default)]
struct Left {
    pairs: Aligned<u32>,
    /// The strides, in pairs, between neighbouring rows and between neighbouring steps of the sum.
    row: usize,
    step: usize,
}

/// A right operand in packed form: (panels, steps, `COLUMNS`) pairs, the last panel padded with
/// zeros.
#[derive(Default)]
pub(super) struct Panels {
    pairs: Aligned<u32>,
    columns: usize,
    steps: usize,
}

impl Panels {
    /// Resizes the buffer for an operand of k rows and n columns.
    fn size(&mut self, k: usize, n: usize) {
        (self.columns, self.steps) = (n, k.div_ceil(2));
        self.pairs.sized(n.div_ceil(COLUMNS) * self.steps * COLUMNS);
    }

    /// The panels with the index of each one's first column.
    fn parts(&mut self) -> impl Iterator<Item = (usize, &mut [u32])> {
        (0..self.columns)
            .step_by(COLUMNS)
            .zip(self.pairs.chunks_exact_mut(self.steps * COLUMNS))
    }
}

/// A model's matrices packed as right operands. They are packed again after the weights change;
/// their memory is reused.
#[derive(Default)]
pub(super) struct PackedMatrices(Mutex<PackedState>);

#[derive(Default)]
struct PackedState {
    fresh: Option<Arc<Vec<Panels>>>,
    stale: Vec<Panels>,
}

impl PackedMatrices {
    /// Marks the packed matrices as outdated. Called when the weights change.
    pub fn invalidate(&mut self) {
        let state = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(panels) = state.fresh.take().and_then(Arc::into_inner) {
            state.stale = panels;
        }
    }

    /// The packed operand of each linear layer, indexed by [`LinearAt::number`]. `direction` must
    /// be the same in every call.
    pub fn get(&self, layout: &Layout, values: &[f32], direction: Direction) -> Arc<Vec<Panels>> {
        let state = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut panels = {
            let mut state = state();
            if let Some(fresh) = &state.fresh {
                return Arc::clone(fresh);
            }
            std::mem::take(&mut state.stale)
        };
        // The lock is not held here: a thread that waits for other threads may run another task
        // that needs the lock.
        let linears: Vec<&LinearAt> = layout.linears().collect();
        panels.resize_with(linears.len(), Panels::default);
        let parts = panels.iter_mut().zip(linears).flat_map(|(panels, at)| {
            let (k, n) = at.shape(direction);
            panels.size(k, n);
            panels.parts().map(move |(first, panel)| (at, first, panel))
        });
        parts
            .collect::<Vec<_>>()
            .into_par_iter()
            .for_each(|(at, first, panel)| {
                pack_panel(
                    at.operand(values, direction),
                    at.shape(direction),
                    first,
                    panel,
                );
            });
        let fresh = Arc::new(panels);
        state().fresh = Some(Arc::clone(&fresh));
        fresh
    }
}

/// Buffers for products of two operands that both need packing. They are kept between products to
/// reuse their memory.
#[derive(Default)]
struct Scratch {
    left: Left,
    right: Panels,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// y (m, n) = a (m, k) b (k, n), or y += a b. a and b have one stride of 1, y is row-major, and no
/// dimension is 0.
pub(super) fn product(
    write: Write,
    y: &mut [f32],
    (m, n, k): (usize, usize, usize),
    a: View<'_>,
    b: View<'_>,
    threads: Threads,
) {
    // The buffers are taken out of the thread-local, because a thread that waits for others may run
    // another product meanwhile.
    let mut scratch = SCRATCH.take();
    scratch.right.size(k, n);
    scratch
        .right
        .parts()
        .for_each(|(first, panel)| pack_panel(b, (k, n), first, panel));
    pack_left(&mut scratch.left, a, m, k);
    by_panels(
        Bf16Kernel::best(),
        write,
        y,
        &scratch.left,
        &scratch.right,
        threads,
    );
    SCRATCH.set(scratch);
}

/// Like [`product`], with a right operand that is already packed, and row-major a.
pub(super) fn product_by(write: Write, y: &mut [f32], a: View<'_>, b: &Panels, threads: Threads) {
    let mut scratch = SCRATCH.take();
    pack_left(&mut scratch.left, a, y.len() / b.columns, a.row_stride);
    by_panels(Bf16Kernel::best(), write, y, &scratch.left, b, threads);
    SCRATCH.set(scratch);
}

fn by_panels(
    kernel: Bf16Kernel,
    write: Write,
    y: &mut [f32],
    left: &Left,
    right: &Panels,
    threads: Threads,
) {
    let n = right.columns;
    let rows = |first: usize, y: &mut [f32]| {
        for (panel, columns) in right
            .pairs
            .chunks_exact(right.steps * COLUMNS)
            .zip((0..n).step_by(COLUMNS))
        {
            for (block, y) in y.chunks_mut(ROWS * n).enumerate() {
                tile(
                    kernel,
                    left,
                    first + block * ROWS,
                    panel,
                    write,
                    y,
                    columns,
                    n,
                );
            }
        }
    };
    match threads {
        Threads::Pool => y
            .par_chunks_mut(TASK * n)
            .enumerate()
            .for_each(|(i, y)| rows(i * TASK, y)),
        Threads::Caller => rows(0, y),
    }
}

multiversion! {
    /// Packs the left operand in its own order, row-major or column-major, so that only neighbours
    /// are combined and nothing else moves.
    fn pack_left(left: &mut Left, a: View<'_>, m: usize, k: usize) {
        let steps = k.div_ceil(2);
        let pairs = left.pairs.sized(m * steps).chunks_exact_mut(if a.column_stride == 1 { steps } else { m });
        if a.column_stride == 1 {
            (left.row, left.step) = (steps, 1);
            for (to, row) in pairs.zip(a.data.chunks(a.row_stride)) {
                neighbours(&row[..k], to);
            }
        } else {
            (left.row, left.step) = (1, m);
            for (step, to) in pairs.enumerate() {
                interleave(a, 2 * step, k, 0, to);
            }
        }
    }
}

multiversion! {
    /// Packs one panel: the columns of b (k, n) from index `first`.
    fn pack_panel(b: View<'_>, shape: (usize, usize), first: usize, panel: &mut [u32]) {
        let (k, n) = shape;
        let width = COLUMNS.min(n - first);
        if width < COLUMNS {
            panel.fill(0);
        }
        if b.column_stride == 1 {
            for (step, to) in panel.chunks_exact_mut(COLUMNS).enumerate() {
                interleave(b, 2 * step, k, first, &mut to[..width]);
            }
        } else {
            // A column of b is contiguous, as a weight's row is.
            for column in 0..width {
                let from = &b.data[(first + column) * b.column_stride..][..k];
                let (pairs, last) = from.as_chunks::<2>();
                let mut to = panel[column..].iter_mut().step_by(COLUMNS);
                for ([x, y], to) in pairs.iter().zip(to.by_ref()) {
                    *to = pair(*x, *y);
                }
                if let ([x], Some(to)) = (last, to.next()) {
                    *to = pair(*x, 0.0);
                }
            }
        }
    }
}

/// Packs pairs of neighbours in a row; an odd last element is paired with zero.
#[inline(always)]
fn neighbours(row: &[f32], to: &mut [u32]) {
    let (pairs, last) = row.as_chunks::<2>();
    for (to, [x, y]) in to.iter_mut().zip(pairs) {
        *to = pair(*x, *y);
    }
    if let ([x], Some(to)) = (last, to.last_mut()) {
        *to = pair(*x, 0.0);
    }
}

/// Packs pairs of elements from the lines `line` and `line + 1` of `lines`, starting at element
/// `first`. A line is contiguous. Elements beyond the last line are zeros.
#[inline(always)]
fn interleave(x: View<'_>, line: usize, lines: usize, first: usize, to: &mut [u32]) {
    let stride = x.column_stride.max(x.row_stride);
    let one = &x.data[line * stride + first..][..to.len()];
    if line + 1 < lines {
        let other = &x.data[(line + 1) * stride + first..][..to.len()];
        for ((to, x), y) in to.iter_mut().zip(one).zip(other) {
            *to = pair(*x, *y);
        }
    } else {
        to.iter_mut()
            .zip(one)
            .for_each(|(to, x)| *to = pair(*x, 0.0));
    }
}

/// Computes up to `ROWS` rows of y in the columns of one panel, starting at row `first` of the left
/// operand.
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel takes its operands one by one"
)]
fn tile(
    kernel: Bf16Kernel,
    left: &Left,
    first: usize,
    panel: &[u32],
    write: Write,
    y: &mut [f32],
    columns: usize,
    n: usize,
) {
    let rows = y.len() / n;
    let (row, step, left) = (left.row, left.step, &left.pairs[first * left.row..]);
    let steps = panel.len() / COLUMNS;
    assert!(
        rows <= ROWS && (rows - 1) * row + (steps - 1) * step < left.len(),
        "a tile lies in its operand"
    );
    let mut sums = [[0f32; COLUMNS]; ROWS];
    match kernel {
        // SAFETY: `Bf16Kernel::best` has checked the processor's features, and the assertion checks
        // that the last pair read from the left operand lies within it.
        #[cfg(target_arch = "x86_64")]
        Bf16Kernel::Avx512 => unsafe {
            match rows {
                1 => avx512::<1>(left, row, step, panel, &mut sums),
                2 => avx512::<2>(left, row, step, panel, &mut sums),
                3 => avx512::<3>(left, row, step, panel, &mut sums),
                4 => avx512::<4>(left, row, step, panel, &mut sums),
                5 => avx512::<5>(left, row, step, panel, &mut sums),
                6 => avx512::<6>(left, row, step, panel, &mut sums),
                7 => avx512::<7>(left, row, step, panel, &mut sums),
                _ => avx512::<8>(left, row, step, panel, &mut sums),
            }
        },
        Bf16Kernel::Plain => plain(rows, left, row, step, panel, &mut sums),
    }
    let width = COLUMNS.min(n - columns);
    for (y, sums) in y.chunks_exact_mut(n).zip(&sums) {
        let y = &mut y[columns..columns + width];
        match write {
            Write::Set => y.copy_from_slice(&sums[..width]),
            Write::Add => y.iter_mut().zip(sums).for_each(|(y, sum)| *y += sum),
        }
    }
}

/// Computes the sums of a tile on any processor.
fn plain(
    rows: usize,
    left: &[u32],
    row: usize,
    step: usize,
    panel: &[u32],
    sums: &mut [[f32; COLUMNS]; ROWS],
) {
    let halves = |pair: u32| {
        [
            f32::from_bits(pair << 16),
            f32::from_bits(pair & 0xffff_0000),
        ]
    };
    for (at, right) in panel.chunks_exact(COLUMNS).enumerate() {
        for (r, sums) in sums[..rows].iter_mut().enumerate() {
            let [first, second] = halves(left[r * row + at * step]);
            for (sum, right) in sums.iter_mut().zip(right) {
                let [x, y] = halves(*right);
                *sum += second * y + first * x;
            }
        }
    }
}

/// Computes the sums of a tile of `R` rows with AVX512-BF16.
///
/// # Safety
/// The processor must have AVX512-BF16, and index `(R - 1) * row + (steps - 1) * step` must lie
/// within `left`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn avx512<const R: usize>(
    left: &[u32],
    row: usize,
    step: usize,
    panel: &[u32],
    sums: &mut [[f32; COLUMNS]; ROWS],
) {
    use std::arch::x86_64::{
        __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_set1_epi32,
        _mm512_setzero_ps, _mm512_storeu_ps,
    };
    use std::mem::transmute;

    let mut acc = [[_mm512_setzero_ps(); 2]; R];
    for (at, right) in panel.chunks_exact(COLUMNS).enumerate() {
        // SAFETY: a step of a panel is 32 pairs, and the caller guarantees the left operand's
        // length. A register of 16 pairs holds 32 bf16.
        unsafe {
            let x = transmute::<__m512i, __m512bh>(_mm512_loadu_si512(right.as_ptr().cast()));
            let y =
                transmute::<__m512i, __m512bh>(_mm512_loadu_si512(right.as_ptr().add(16).cast()));
            for (r, [first, second]) in acc.iter_mut().enumerate() {
                let a = transmute::<__m512i, __m512bh>(_mm512_set1_epi32(
                    left.get_unchecked(r * row + at * step).cast_signed(),
                ));
                *first = _mm512_dpbf16_ps(*first, a, x);
                *second = _mm512_dpbf16_ps(*second, a, y);
            }
        }
    }
    for ([first, second], sums) in acc.iter().zip(sums) {
        // SAFETY: a row of sums has 32 elements.
        unsafe {
            _mm512_storeu_ps(sums.as_mut_ptr(), *first);
            _mm512_storeu_ps(sums.as_mut_ptr().add(16), *second);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    fn rounded(x: f32) -> f64 {
        f64::from(f32::from_bits(u32::from(round(x)) << 16))
    }

    #[test]
    fn rounding_is_to_the_nearest_and_ties_to_even() {
        for (x, wanted) in [
            (1.0, 1.0),
            (1.0 + 1.0 / 256.0, 1.0),
            (1.0 + 3.0 / 256.0, 1.0 + 1.0 / 64.0),
            (1.0 + 1.001 / 256.0, 1.0 + 1.0 / 128.0),
            (-2.5, -2.5),
            (0.0, 0.0),
        ] {
            assert_eq!(rounded(x), wanted, "{x}");
        }
        assert_eq!(
            (rounded(f32::INFINITY), rounded(f32::MAX)),
            (f64::INFINITY, f64::INFINITY)
        );
        assert!(rounded(f32::NAN).is_nan() && rounded(f32::from_bits(0x7f80_0001)).is_nan());
    }

    /// All combinations of row-major and column-major operands that a linear layer uses, in sizes
    /// that are no multiples of the tile's.
    #[test]
    fn products_are_the_sums_of_rounded_operands() {
        for (m, n, k) in [
            (1, 1, 1),
            (8, 32, 2),
            (3, 5, 7),
            (17, 70, 33),
            (130, 96, 65),
            (9, 33, 384),
        ] {
            let (a, b, before) = (
                rng::normals(1, m * k, 1.0),
                rng::normals(2, k * n, 1.0),
                rng::normals(3, m * n, 1.0),
            );
            for (a_by_rows, b_by_rows) in [(true, false), (true, true), (false, true)] {
                let view = |data, by_rows, height: usize, width: usize| {
                    if by_rows {
                        View {
                            data,
                            column_stride: 1,
                            row_stride: width,
                        }
                    } else {
                        View {
                            data,
                            column_stride: height,
                            row_stride: 1,
                        }
                    }
                };
                let (left, right) = (view(&a, a_by_rows, m, k), view(&b, b_by_rows, k, n));
                let at = |v: View<'_>, i: usize, j: usize| {
                    rounded(v.data[i * v.row_stride + j * v.column_stride])
                };
                for (write, threads) in [(Write::Set, Threads::Caller), (Write::Add, Threads::Pool)]
                {
                    for kernel in [Bf16Kernel::Plain, Bf16Kernel::best()] {
                        let mut y = before.clone();
                        let mut scratch = Scratch::default();
                        scratch.right.size(k, n);
                        scratch
                            .right
                            .parts()
                            .for_each(|(first, panel)| pack_panel(right, (k, n), first, panel));
                        pack_left(&mut scratch.left, left, m, k);
                        by_panels(
                            kernel,
                            write,
                            &mut y,
                            &scratch.left,
                            &scratch.right,
                            threads,
                        );
                        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                            let sum: f64 = (0..k).map(|l| at(left, i, l) * at(right, l, j)).sum();
                            let wanted = sum
                                + if write == Write::Add {
                                    f64::from(before[i * n + j])
                                } else {
                                    0.0
                                };
                            let found = f64::from(y[i * n + j]);
                            assert!(
                                (found - wanted).abs() < 1e-4,
                                "{kernel:?}, {m} x {n} x {k}: {found}, wanted {wanted}"
                            );
                        }
                    }
                }
            }
        }
    }
}
