//! Matrix products of row-major operands: in f32 by the gemm crate, in bf16 by our own kernel,
//! because no maintained crate has one.

use gemm::Parallelism;

use super::bf16::{self, Panels};
use super::layout::LinearAt;
use super::operand::{Direction, Threads, Write};
use super::panels;
use super::precision::Precision;
use crate::kernels::product::{Rows, View};

/// How a pass over a model computes its products.
#[derive(Clone, Copy)]
pub(super) struct Arithmetic<'a> {
    pub matrices: Matrices<'a>,
    pub threads: Threads,
}

/// The matrices that rows are multiplied by in a pass.
#[derive(Clone, Copy)]
pub(super) enum Matrices<'a> {
    /// All weights, unchanged.
    F32(&'a [f32]),
    /// The matrix of each layer, rounded and packed for the direction of the pass.
    Bf16(&'a [Panels]),
}

impl Matrices<'_> {
    pub fn precision(self) -> Precision {
        match self {
            Matrices::F32(_) => Precision::F32,
            Matrices::Bf16(_) => Precision::Bf16,
        }
    }
}

/// y (m, n) = a (m, k) b (k, n), a and b strided, y row-major.
fn product(
    precision: Precision,
    write: Write,
    y: &mut [f32],
    (m, n, k): (usize, usize, usize),
    a: View<'_>,
    b: View<'_>,
    threads: Threads,
) {
    let last = |v: View<'_>, i: usize, j: usize| {
        i.saturating_sub(1) * v.row_stride + j.saturating_sub(1) * v.column_stride
    };
    assert!(
        y.len() >= m * n
            && last(a, m, k) < a.data.len().max(1)
            && last(b, k, n) < b.data.len().max(1),
        "operands of a product of {m} x {k} x {n}"
    );
    if k == 0 && write == Write::Set {
        y[..m * n].fill(0.0);
    }
    if m * n * k == 0 {
        return;
    }
    let threads = threads.if_worth_sharing((m, n, k));
    if precision == Precision::Bf16 {
        return bf16::product(write, &mut y[..m * n], (m, n, k), a, b, threads);
    }
    if threads == Threads::Caller
        && b.row_stride == 1
        && let Some(tiles) = panels::tiles(n)
    {
        // SAFETY: the assertion above checks the operands.
        return unsafe {
            panels::product(
                tiles,
                write,
                y,
                (m, n, k),
                a,
                Rows {
                    data: b.data,
                    row_stride: b.column_stride,
                },
            );
        };
    }
    // SAFETY: the assertion above checks the operands.
    unsafe { gemm_product(write, y, (m, n, k), a, b, threads) };
}

/// y (m, n) = a (m, k) b (k, n) in f32, or += with [`Write::Add`], by the gemm crate. y is row-major.
///
/// # Safety
/// y must hold m n elements; a and b must reach (m, k) and (k, n) with their strides.
unsafe fn gemm_product(
    write: Write,
    y: &mut [f32],
    (m, n, k): (usize, usize, usize),
    a: View<'_>,
    b: View<'_>,
    threads: Threads,
) {
    let parallelism = match threads {
        // As many as the pool has.
        Threads::Pool => Parallelism::Rayon(0),
        Threads::Caller => Parallelism::None,
    };
    let [y_column_stride, y_row_stride] = [1, n as isize];
    let adds_to_y = write == Write::Add;
    // y = factor_of_y y + factor_of_product a b
    let [factor_of_y, factor_of_product] = [1.0, 1.0];
    let [conjugate_y, conjugate_a, conjugate_b] = [false; 3];
    // SAFETY: the caller guarantees the operands.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            y.as_mut_ptr(),
            y_column_stride,
            y_row_stride,
            adds_to_y,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            factor_of_y,
            factor_of_product,
            conjugate_y,
            conjugate_a,
            conjugate_b,
            parallelism,
        );
    }
}

/// y = a bᵀ with matrices of `side` x `side`, on the calling thread. The product is computed as in
/// a linear layer. It is used to measure the peak rate of this processor in `precision`.
///
/// # Panics
/// When a matrix has fewer than `side` x `side` elements.
pub fn square(precision: Precision, side: usize, a: &[f32], b: &[f32], y: &mut [f32]) {
    let (a, b) = (
        View {
            data: a,
            column_stride: 1,
            row_stride: side,
        },
        View {
            data: b,
            column_stride: side,
            row_stride: 1,
        },
    );
    product(
        precision,
        Write::Set,
        y,
        (side, side, side),
        a,
        b,
        Threads::Caller,
    );
}

impl LinearAt {
    fn multiply(
        &self,
        direction: Direction,
        x: &[f32],
        write: Write,
        y: &mut [f32],
        arithmetic: Arithmetic<'_>,
    ) {
        let (k, n) = self.shape(direction);
        let rows = x.len() / k;
        let x = View {
            data: x,
            column_stride: 1,
            row_stride: k,
        };
        match arithmetic.matrices {
            Matrices::F32(values) => product(
                Precision::F32,
                write,
                y,
                (rows, n, k),
                x,
                self.operand(values, direction),
                arithmetic.threads,
            ),
            Matrices::Bf16(panels) => bf16::product_by(
                write,
                &mut y[..rows * n],
                x,
                &panels[self.number],
                arithmetic.threads.if_worth_sharing((rows, n, k)),
            ),
        }
    }
}

/// y (rows, outputs) = x (rows, inputs) wᵀ, with the linear layer's weight w (outputs, inputs). The
/// bias is not added.
pub(super) fn linear(at: &LinearAt, x: &[f32], y: &mut [f32], arithmetic: Arithmetic<'_>) {
    at.multiply(Direction::Forward, x, Write::Set, y, arithmetic);
}

/// dx (rows, inputs) = dy (rows, outputs) w: the gradient with respect to a linear layer's input.
pub(super) fn linear_input(
    at: &LinearAt,
    dy: &[f32],
    write: Write,
    dx: &mut [f32],
    arithmetic: Arithmetic<'_>,
) {
    at.multiply(Direction::Backward, dy, write, dx, arithmetic);
}

/// dw (outputs', inputs) = dyᵀ x, part of the gradient of a linear layer's weight. It uses the
/// columns of dy (rows, outputs) from index `first`, as many as dw has rows.
pub(super) fn linear_weight(
    at: &LinearAt,
    first: usize,
    dy: &[f32],
    x: &[f32],
    write: Write,
    dw: &mut [f32],
    precision: Precision,
) {
    let rows = x.len() / at.inputs;
    let dy = View {
        data: dy.get(first..).unwrap_or_default(),
        column_stride: at.outputs,
        row_stride: 1,
    };
    product(
        precision,
        write,
        dw,
        (dw.len() / at.inputs, at.inputs, rows),
        dy,
        View {
            data: x,
            column_stride: 1,
            row_stride: at.inputs,
        },
        Threads::Caller,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn panels_give_what_gemm_gives() {
        for (m, n, k) in [
            (1, 16, 3),
            (7, 32, 48),
            (100, 384, 384),
            (61, 80, 1536),
            (20, 208, 1100),
        ] {
            let (x, w, before) = (
                rng::normals(1, m * k, 1.0),
                rng::normals(2, n * k, 0.1),
                rng::normals(3, m * n, 1.0),
            );
            let (a, b) = (
                View {
                    data: &x,
                    column_stride: 1,
                    row_stride: k,
                },
                View {
                    data: &w,
                    column_stride: k,
                    row_stride: 1,
                },
            );
            for write in [Write::Set, Write::Add] {
                let (mut panels, mut gemm) = (before.clone(), before.clone());
                product(
                    Precision::F32,
                    write,
                    &mut panels,
                    (m, n, k),
                    a,
                    b,
                    Threads::Caller,
                );
                // SAFETY: the operands were created for the shape.
                unsafe { gemm_product(write, &mut gemm, (m, n, k), a, b, Threads::Caller) };
                for (i, (found, wanted)) in panels.iter().zip(&gemm).enumerate() {
                    assert!(
                        (found - wanted).abs() <= 1e-5 * (1.0 + wanted.abs()),
                        "{m} x {n} x {k}, element {i}: {found}, wanted {wanted}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_three_products_of_a_linear_layer_are_their_sums() {
        let (rows, outputs, inputs) = (7, 5, 6);
        let at = LinearAt {
            number: 0,
            weight: 3..3 + outputs * inputs,
            bias: 0..0,
            outputs,
            inputs,
        };
        let (values, x, dy) = (
            rng::normals(1, 3 + outputs * inputs, 1.0),
            rng::normals(2, rows * inputs, 1.0),
            rng::normals(3, rows * outputs, 1.0),
        );
        let w = |o: usize, i: usize| values[3 + o * inputs + i];
        let close = |found: f32, wanted: f32| {
            assert!((found - wanted).abs() < 1e-5, "{found}, wanted {wanted}");
        };
        let (mut y, mut dx, mut dw) = (
            vec![0.0; rows * outputs],
            vec![1.0; rows * inputs],
            vec![1.0; 2 * inputs],
        );
        let arithmetic = |threads| Arithmetic {
            matrices: Matrices::F32(&values),
            threads,
        };
        linear(&at, &x, &mut y, arithmetic(Threads::Caller));
        linear_input(&at, &dy, Write::Add, &mut dx, arithmetic(Threads::Pool));
        linear_weight(&at, 3, &dy, &x, Write::Set, &mut dw, Precision::F32);
        for r in 0..rows {
            for o in 0..outputs {
                close(
                    y[r * outputs + o],
                    (0..inputs).map(|i| x[r * inputs + i] * w(o, i)).sum(),
                );
            }
            for i in 0..inputs {
                close(
                    dx[r * inputs + i],
                    1.0 + (0..outputs)
                        .map(|o| dy[r * outputs + o] * w(o, i))
                        .sum::<f32>(),
                );
            }
        }
        let mut y = [0.0; 9];
        square(Precision::F32, 3, &x[..9], &dy[..9], &mut y);
        for (r, o) in (0..3).flat_map(|r| (0..3).map(move |o| (r, o))) {
            close(
                y[3 * r + o],
                (0..3).map(|i| x[3 * r + i] * dy[3 * o + i]).sum(),
            );
        }
        for o in 0..2 {
            for i in 0..inputs {
                close(
                    dw[o * inputs + i],
                    (0..rows)
                        .map(|r| dy[r * outputs + 3 + o] * x[r * inputs + i])
                        .sum(),
                );
            }
        }
    }
}
