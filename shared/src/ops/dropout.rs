//! Dropout of packed rows (see [`crate::kernels::dropout`]).

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{elements, rows_per_task, slice};
use crate::kernels::dropout::Dropout;
use crate::parallel;

/// x (rows, width) with each element zeroed with probability `rate` and the others scaled so that
/// the mean is unchanged. Row r draws from the stream `keys[r]`.
///
/// # Errors
/// When the tensor is not contiguous f32.
pub fn dropout(x: &Tensor, rate: f32, keys: &Arc<[u64]>) -> Result<Tensor> {
    match Dropout::new(rate) {
        Some(dropout) => x.apply_op1(Rows {
            dropout,
            keys: keys.clone(),
        }),
        None => Ok(x.clone()),
    }
}

struct Rows {
    dropout: Dropout,
    keys: Arc<[u64]>,
}

impl Rows {
    fn apply(&self, values: &mut [f32], width: usize) {
        let rows = rows_per_task(width);
        parallel::for_each_chunk(values, rows * width, |i, chunk| {
            for (row, key) in chunk.chunks_exact_mut(width).zip(&self.keys[i * rows..]) {
                self.dropout.apply(row, *key);
            }
        });
    }
}

impl CustomOp1 for Rows {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        let mut values = slice(storage, layout, self.name())?.to_vec();
        self.apply(&mut values, width);
        Ok((CpuStorage::F32(values), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (_, width) = x.dims2()?;
        let mut grads = elements(grad)?;
        self.apply(&mut grads, width);
        Ok(Some(Tensor::from_vec(grads, x.shape(), x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check;

    #[test]
    fn drops_its_share_and_keeps_the_mean() {
        let keys: Arc<[u64]> = (0..200).collect();
        let ones = Tensor::ones(
            (200, 301),
            candle_core::DType::F32,
            &candle_core::Device::Cpu,
        )
        .expect("ones");
        let y = elements(&dropout(&ones, 0.2, &keys).expect("dropout")).expect("f32");
        let zeros = y.iter().filter(|x| **x == 0.0).count() as f32 / y.len() as f32;
        let mean = y.iter().sum::<f32>() / y.len() as f32;
        assert!(
            (zeros - 0.2).abs() < 0.01 && (mean - 1.0).abs() < 0.01,
            "{zeros} {mean}"
        );
        assert!(y.iter().all(|x| *x == 0.0 || (x - 1.25).abs() < 1e-4));
    }

    #[test]
    fn a_row_draws_the_same_wherever_it_lies() {
        let x = check::random(5, &[4, 33]);
        let both = dropout(&x, 0.5, &Arc::from([9, 8, 7, 6])).expect("dropout");
        let alone =
            dropout(&x.narrow(0, 2, 1).expect("a row"), 0.5, &Arc::from([7])).expect("dropout");
        check::close(&alone, &both.narrow(0, 2, 1).expect("a row"), 0.0, "row 2");
    }

    #[test]
    fn the_gradient_has_the_same_mask() {
        let keys: Arc<[u64]> = (0..9).collect();
        check::finite_differences(&[check::random(6, &[9, 40])], |v| {
            dropout(&v[0], 0.3, &keys)
        });
    }
}
