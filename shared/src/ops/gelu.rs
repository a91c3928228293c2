//! GELU with the exact normal distribution (Hendrycks and Gimpel, "Gaussian Error Linear Units",
//! 2016): Hugging Face's `gelu`, not the tanh approximation.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{TASK, elements, slice};
use crate::kernels::activation;
use crate::parallel;

/// x Φ(x) element by element; Φ is the standard normal distribution, computed with erf.
///
/// # Errors
/// When the tensor is not contiguous f32.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    x.apply_op1(Gelu)
}

struct Gelu;

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(storage, layout, self.name())?;
        let mut y = vec![0f32; x.len()];
        parallel::for_each_chunk(&mut y, TASK, |i, chunk| {
            activation::gelu(&x[i * TASK..][..chunk.len()], chunk);
        });
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (values, mut grads) = (elements(x)?, elements(grad)?);
        parallel::for_each_chunk(&mut grads, TASK, |i, chunk| {
            activation::gelu_backward(
                &values[i * TASK..][..chunk.len()],
                chunk,
                &mut vec![0f32; chunk.len()],
            );
        });
        Ok(Some(Tensor::from_vec(grads, x.shape(), x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check;

    #[test]
    fn equals_the_reference_and_finite_differences() {
        let x = check::random(1, &[37, 19]);
        check::same(
            std::slice::from_ref(&x),
            1e-5,
            |v| gelu(&v[0]),
            |v| v[0].gelu_erf(),
        );
        check::finite_differences(&[x], |v| gelu(&v[0]));
    }
}
