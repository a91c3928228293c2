//! Operations on packed rows, each fused and with its own backward pass.
//!
//! candle's fused LayerNorm and softmax have no backward pass (gradients silently stop), its erf
//! GELU and bias run on one thread, and it has no attention over packed sequences. Each operation
//! here runs on all cores. A test compares it with a reference made of candle's differentiable
//! primitives, and its gradient with finite differences.

mod attention;
mod dropout;
mod gelu;
mod layer_norm;

pub use attention::attention;
pub use dropout::dropout;
pub use gelu::gelu;
pub use layer_norm::layer_norm;

use candle_core::{CpuStorage, Layout, Result, Tensor, bail};

/// Elements per parallel task: enough to outweigh the cost of starting it, few enough to share.
const TASK: usize = 16 * 1024;

/// The elements of a contiguous f32 operand.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout, op: &str) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("{op} needs contiguous operands"),
    }
}

/// A copy of a tensor's elements, for a backward pass that is computed outside candle's storage.
fn elements(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1::<f32>()
}

/// Rows of `width` elements per parallel task.
fn rows_per_task(width: usize) -> usize {
    (TASK / width.max(1)).max(1)
}

#[cfg(test)]
mod check {
    //! Helpers for the tests of all operations.
    use candle_core::{Device, Result, Tensor, Var};

    use crate::rng;

    pub(crate) fn random(key: u64, shape: &[usize]) -> Var {
        let values = rng::normals(key, shape.iter().product(), 1.0);
        Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor"))
            .expect("a variable")
    }

    pub(crate) fn close(found: &Tensor, wanted: &Tensor, tolerance: f32, what: &str) {
        assert_eq!(found.dims(), wanted.dims(), "{what}");
        let found = found
            .flatten_all()
            .and_then(|t| t.to_vec1::<f32>())
            .expect("f32");
        let wanted = wanted
            .flatten_all()
            .and_then(|t| t.to_vec1::<f32>())
            .expect("f32");
        for (i, (a, b)) in found.iter().zip(&wanted).enumerate() {
            assert!(
                (a - b).abs() <= tolerance * (1.0 + b.abs()),
                "{what}: element {i} is {a}, the reference {b}"
            );
        }
    }

    /// Compares `op` with `reference`, and their gradients with each other.
    pub(crate) fn same(
        inputs: &[Var],
        tolerance: f32,
        op: impl Fn(&[Var]) -> Result<Tensor>,
        reference: impl Fn(&[Var]) -> Result<Tensor>,
    ) {
        let (y, want) = (
            op(inputs).expect("the operation"),
            reference(inputs).expect("the reference"),
        );
        close(&y, &want, tolerance, "forward");
        // Uneven weights, so that a gradient that ignores its upstream factor is detected.
        let weight = random(99, y.dims());
        let loss = |y: &Tensor| {
            (y * weight.as_tensor())
                .and_then(|t| t.sum_all())
                .expect("a loss")
        };
        let (grads, wants) = (
            loss(&y).backward().expect("gradients"),
            loss(&want).backward().expect("gradients"),
        );
        for (i, input) in inputs.iter().enumerate() {
            close(
                grads.get(input).expect("a gradient"),
                wants.get(input).expect("a gradient"),
                tolerance,
                &format!("gradient {i}"),
            );
        }
    }

    /// Compares the gradients of `op` with central differences, at up to 40 elements of each input.
    pub(crate) fn finite_differences(inputs: &[Var], op: impl Fn(&[Tensor]) -> Result<Tensor>) {
        let tensors: Vec<Tensor> = inputs.iter().map(|v| v.as_tensor().clone()).collect();
        let weight = random(98, op(&tensors).expect("the operation").dims());
        let loss = |inputs: &[Tensor]| {
            op(inputs)
                .and_then(|y| y * weight.as_tensor())
                .and_then(|t| t.sum_all())
                .expect("a loss")
        };
        let grads = loss(&tensors).backward().expect("gradients");
        for (i, input) in inputs.iter().enumerate() {
            let gradient = grads
                .get(input)
                .expect("a gradient")
                .flatten_all()
                .and_then(|t| t.to_vec1::<f32>())
                .expect("f32");
            let values = input
                .flatten_all()
                .and_then(|t| t.to_vec1::<f32>())
                .expect("f32");
            for at in (0..values.len()).step_by(values.len().div_ceil(40)) {
                let shifted = |by: f32| {
                    let mut moved = values.clone();
                    moved[at] += by;
                    let mut all = tensors.clone();
                    all[i] =
                        Tensor::from_vec(moved, input.shape(), &Device::Cpu).expect("a tensor");
                    f64::from(loss(&all).to_scalar::<f32>().expect("f32"))
                };
                let step = 1e-2;
                let slope = (shifted(step) - shifted(-step)) / (2.0 * f64::from(step));
                let found = f64::from(gradient[at]);
                assert!(
                    (found - slope).abs() <= 2e-2 * (1.0 + slope.abs()),
                    "input {i}, element {at}: gradient {found}, slope {slope}"
                );
            }
        }
    }
}
