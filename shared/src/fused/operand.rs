//! Operands of matrix products: which matrix of a linear layer, and how a result is written.

use super::layout::LinearAt;
use crate::kernels::product::View;

/// The direction in which rows pass a linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// From inputs to outputs.
    Forward,
    /// From the gradient of the outputs to that of the inputs.
    Backward,
}

/// How the result of a product is written.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Write {
    /// Replaces the existing values.
    Set,
    /// Adds to the existing values.
    Add,
}

/// Which threads compute a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    /// All threads of the pool share it.
    Pool,
    /// The calling thread alone computes it.
    Caller,
}

impl Threads {
    /// The same for a product of (m, k) and (k, n), unless it is too small to justify entering the
    /// thread pool.
    pub(super) fn if_worth_sharing(self, (m, n, k): (usize, usize, usize)) -> Threads {
        if m * n * k > 1 << 18 {
            self
        } else {
            Threads::Caller
        }
    }
}

impl LinearAt {
    /// Height and width of the matrix that rows are multiplied by.
    pub(super) fn shape(&self, direction: Direction) -> (usize, usize) {
        match direction {
            Direction::Forward => (self.inputs, self.outputs),
            Direction::Backward => (self.outputs, self.inputs),
        }
    }

    /// The matrix that rows are multiplied by: wᵀ in the forward pass and w in the backward pass,
    /// with the weight w (outputs, inputs).
    pub(super) fn operand<'a>(&self, values: &'a [f32], direction: Direction) -> View<'a> {
        let data = &values[self.weight.clone()];
        match direction {
            Direction::Forward => View {
                data,
                column_stride: self.inputs,
                row_stride: 1,
            },
            Direction::Backward => View {
                data,
                column_stride: 1,
                row_stride: self.inputs,
            },
        }
    }
}
