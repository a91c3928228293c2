//! The bias of a linear layer.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::{elements, rows_per_task, slice};
use crate::parallel;

/// x (rows, width) + bias (width), row by row.
///
/// # Errors
/// When the operands are not contiguous f32 or their widths differ.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.apply_op2(bias, AddBias)
}

struct AddBias;

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add_bias"
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_layout: &Layout, bias: &CpuStorage, bias_layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (values, bias) = (slice(x, x_layout, self.name())?, slice(bias, bias_layout, self.name())?);
        let (_, width) = x_layout.shape().dims2()?;
        if bias.len() != width {
            bail!("add_bias: rows of {width} and a bias of {}", bias.len());
        }
        let mut y = vec![0f32; values.len()];
        let rows = rows_per_task(width);
        parallel::for_each_chunk(&mut y, rows * width, |i, chunk| {
            for (y, x) in chunk.chunks_exact_mut(width).zip(values[i * rows * width..].chunks_exact(width)) {
                for ((y, x), b) in y.iter_mut().zip(x).zip(bias) {
                    *y = x + b;
                }
            }
        });
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, bias: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (_, width) = grad.dims2()?;
        let sum = column_sums(&elements(grad)?, width);
        Ok((Some(grad.clone()), Some(Tensor::from_vec(sum, width, bias.device())?)))
    }
}

/// The sum of each column of (rows, width), tasks of columns side by side.
pub(super) fn column_sums(values: &[f32], width: usize) -> Vec<f32> {
    /// A cache line of columns a task, so that tasks share no line.
    const COLUMNS: usize = 64;
    let mut sums = vec![0f32; width];
    parallel::for_each_chunk(&mut sums, COLUMNS, |i, chunk| {
        let start = i * COLUMNS;
        for row in values.chunks_exact(width) {
            for (sum, x) in chunk.iter_mut().zip(&row[start..]) {
                *sum += x;
            }
        }
    });
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check;

    #[test]
    fn equals_the_reference_and_finite_differences() {
        let inputs = [check::random(1, &[23, 130]), check::random(2, &[130])];
        check::same(&inputs, 1e-5, |v| add_bias(&v[0], &v[1]), |v| v[0].broadcast_add(&v[1]));
        check::finite_differences(&inputs, |v| add_bias(&v[0], &v[1]));
        assert!(add_bias(&inputs[0], &check::random(3, &[7])).is_err());
    }
}
