//! A linear layer with its bias.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::{elements, rows_per_task, slice};
use crate::parallel;

/// x Wᵀ + b, with x (rows, inputs), W (outputs, inputs) and b (outputs), the layout in which PyTorch keeps them.
///
/// candle's own product with a transposed weight gives a gradient in the other layout, which then is copied and added element by element on one thread; here it comes out in W's
/// own.
///
/// # Errors
/// When the operands are not contiguous f32 or their shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let ((_, inputs), (outputs, columns)) = (x.dims2()?, weight.dims2()?);
    if columns != inputs || bias.dims() != [outputs] {
        bail!("linear: x {:?}, weight {:?}, bias {:?}", x.dims(), weight.dims(), bias.dims());
    }
    x.apply_op3(weight, bias, Linear)
}

struct Linear;

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let bias = slice(bias, bias_layout, self.name())?;
        let (rows, inputs) = x_layout.shape().dims2()?;
        let outputs = bias.len();
        let CpuStorage::F32(mut y) = x.matmul(weight, (1, rows, outputs, inputs), x_layout, &weight_layout.transpose(0, 1)?)? else {
            bail!("linear wants f32 operands");
        };
        parallel::for_each_chunk(&mut y, rows_per_task(outputs) * outputs, |_, chunk| {
            for row in chunk.chunks_exact_mut(outputs) {
                for (y, b) in row.iter_mut().zip(bias) {
                    *y += b;
                }
            }
        });
        Ok((CpuStorage::F32(y), Shape::from((rows, outputs))))
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, bias: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (_, outputs) = grad.dims2()?;
        let sums = column_sums(&elements(grad)?, outputs);
        Ok((Some(grad.matmul(weight)?), Some(grad.t()?.matmul(x)?), Some(Tensor::from_vec(sums, outputs, bias.device())?)))
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
        let inputs = [check::random(1, &[23, 17]), check::random(2, &[130, 17]), check::random(3, &[130])];
        let reference = |x: &Tensor, w: &Tensor, b: &Tensor| x.matmul(&w.t()?)?.broadcast_add(b);
        check::same(&inputs, 1e-4, |v| linear(&v[0], &v[1], &v[2]), |v| reference(&v[0], &v[1], &v[2]));
        check::finite_differences(&inputs, |v| linear(&v[0], &v[1], &v[2]));
        assert!(linear(&inputs[0], &inputs[1], &check::random(4, &[7])).is_err());
    }
}
