//! AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019) as PyTorch computes it, in place, with gradients clipped by their global norm.

use anyhow::{Context, Result, ensure};
use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Tensor, bail};
use rayon::prelude::*;
use starsight_model::weights::Weights;

use super::groups::Group;

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
const EPS: f32 = 1e-8;
/// Elements a task works on, and the unit in which norms are summed: fixed, so that a sum does not depend on the number of cores.
const TASK: usize = 64 * 1024;

/// A tensor with what AdamW remembers of it.
struct Parameter {
    name: String,
    value: Tensor,
    first_moment: Tensor,
    second_moment: Tensor,
    group: Group,
}

/// The optimiser and the weights that it moves.
pub struct AdamW {
    parameters: Vec<Parameter>,
    weight_decay: f32,
    max_norm: f64,
    /// Updates made so far.
    steps: i32,
}

impl AdamW {
    /// An optimiser of `tensors`: name, tensor, and how it is treated. Gradients are clipped to a global norm of `max_norm`.
    ///
    /// # Errors
    /// When memory for the moments cannot be had.
    pub fn new(tensors: Vec<(String, Tensor, Group)>, weight_decay: f64, max_norm: f64) -> Result<AdamW> {
        let parameter = |(name, value, group): (String, Tensor, Group)| {
            Ok(Parameter { first_moment: value.zeros_like()?, second_moment: value.zeros_like()?, name, value, group })
        };
        let parameters = tensors.into_iter().map(parameter).collect::<Result<_>>()?;
        Ok(AdamW { parameters, weight_decay: weight_decay as f32, max_norm, steps: 0 })
    }

    /// The tensors that are trained, in the order in which [`AdamW::step`] wants their gradients.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> + Clone {
        self.trained().map(|p| &p.value)
    }

    fn trained(&self) -> impl Iterator<Item = &Parameter> + Clone {
        self.parameters.iter().filter(|p| p.group.trained)
    }

    /// The names of the trained tensors whose gradient is zero throughout: they stay as they are.
    ///
    /// # Errors
    /// When a gradient cannot be read.
    pub fn unmoved(&self, gradients: &[Tensor]) -> Result<Vec<&str>> {
        let mut out = Vec::new();
        for (parameter, gradient) in self.trained().zip(gradients) {
            if sum_of_squares(gradient)? == 0.0 {
                out.push(parameter.name.as_str());
            }
        }
        Ok(out)
    }

    /// Moves the weights against `gradients` (one for each trained tensor, contiguous) at the learning rate `rate`, and returns the gradients' norm before clipping.
    ///
    /// # Errors
    /// When a gradient is not finite: nothing is moved then.
    pub fn step(&mut self, gradients: &[Tensor], rate: f64) -> Result<f64> {
        ensure!(gradients.len() == self.trained().count(), "{} gradients for {} tensors", gradients.len(), self.trained().count());
        let mut squares = 0.0;
        for (parameter, gradient) in self.trained().zip(gradients) {
            let sum = sum_of_squares(gradient).with_context(|| format!("gradient of `{}`", parameter.name))?;
            ensure!(sum.is_finite(), "the gradient of `{}` is not finite: the loss has exploded; a lower learning rate may help", parameter.name);
            squares += sum;
        }
        let norm = squares.sqrt();
        // As torch.nn.utils.clip_grad_norm_.
        let clip = (self.max_norm / (norm + 1e-6)).min(1.0) as f32;
        self.steps += 1;
        let (correction1, correction2) = (1.0 - BETA1.powi(self.steps), 1.0 - f64::from(BETA2).powi(self.steps));
        for (parameter, gradient) in self.trained().zip(gradients) {
            parameter.first_moment.inplace_op2(gradient, &Average { keep: BETA1, scale: clip, squared: false })?;
            parameter.second_moment.inplace_op2(gradient, &Average { keep: BETA2, scale: clip, squared: true })?;
            let rate = rate * parameter.group.rate;
            let update = Update {
                shrink: 1.0 - rate as f32 * if parameter.group.decays { self.weight_decay } else { 0.0 },
                size: rate as f32 / correction1,
                root: correction2.sqrt() as f32,
            };
            parameter.value.inplace_op3(&parameter.first_moment, &parameter.second_moment, &update)?;
        }
        Ok(norm)
    }

    /// The weights by their names, sharing storage with those that are trained.
    pub fn weights(&self) -> Weights {
        self.gather(|p| &p.value)
    }

    /// First and second moments by the names of their tensors, and the number of updates: all that a resumed run needs.
    pub fn state(&self) -> (Weights, Weights, i32) {
        (self.gather(|p| &p.first_moment), self.gather(|p| &p.second_moment), self.steps)
    }

    fn gather(&self, part: impl Fn(&Parameter) -> &Tensor) -> Weights {
        let mut out = Weights::default();
        for parameter in &self.parameters {
            out.insert(parameter.name.clone(), part(parameter).detach());
        }
        out
    }

    /// Puts back weights, moments and the number of updates.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn restore(&mut self, weights: &Weights, first: &Weights, second: &Weights, steps: i32) -> Result<()> {
        for p in &self.parameters {
            for (to, from) in [(&p.value, weights), (&p.first_moment, first), (&p.second_moment, second)] {
                to.inplace_op2(&from.get(&p.name, p.value.dims())?, &Copy)?;
            }
        }
        self.steps = steps;
        Ok(())
    }
}

/// The sum of squares of a tensor's elements, in f64, in an order that does not depend on the number of cores.
fn sum_of_squares(tensor: &Tensor) -> candle_core::Result<f64> {
    let (storage, layout) = tensor.storage_and_layout();
    let candle_core::Storage::Cpu(storage) = &*storage else { bail!("the optimiser runs on the CPU") };
    let parts: Vec<f64> = elements(storage, layout)?.par_chunks(TASK).map(|chunk| chunk.iter().map(|x| f64::from(*x).powi(2)).sum()).collect();
    Ok(parts.iter().sum())
}

fn elements<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("the optimiser wants contiguous tensors"),
    }
}

fn elements_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> candle_core::Result<&'a mut [f32]> {
    match (layout.contiguous_offsets(), storage) {
        (Some((start, end)), CpuStorage::F32(values)) => Ok(&mut values[start..end]),
        _ => bail!("the optimiser wants contiguous f32 tensors"),
    }
}

/// m <- keep m + (1 - keep) g, or g² for the second moment, with g the gradient times `scale`
struct Average {
    keep: f32,
    scale: f32,
    squared: bool,
}

impl InplaceOp2 for Average {
    fn name(&self) -> &'static str {
        "adamw_moment"
    }

    fn cpu_fwd(&self, moment: &mut CpuStorage, layout: &Layout, gradient: &CpuStorage, gradient_layout: &Layout) -> candle_core::Result<()> {
        let (m, g) = (elements_mut(moment, layout)?, elements(gradient, gradient_layout)?);
        let new = 1.0 - self.keep;
        m.par_chunks_mut(TASK).zip(g.par_chunks(TASK)).for_each(|(m, g)| {
            for (m, g) in m.iter_mut().zip(g) {
                let g = g * self.scale;
                *m = self.keep * *m + new * if self.squared { g * g } else { g };
            }
        });
        Ok(())
    }
}

/// p <- shrink p - size m / (sqrt(v) / root + eps)
struct Update {
    shrink: f32,
    size: f32,
    root: f32,
}

impl InplaceOp3 for Update {
    fn name(&self) -> &'static str {
        "adamw_update"
    }

    fn cpu_fwd(
        &self,
        value: &mut CpuStorage,
        layout: &Layout,
        first: &CpuStorage,
        first_layout: &Layout,
        second: &CpuStorage,
        second_layout: &Layout,
    ) -> candle_core::Result<()> {
        let p = elements_mut(value, layout)?;
        let (m, v) = (elements(first, first_layout)?, elements(second, second_layout)?);
        p.par_chunks_mut(TASK).zip(m.par_chunks(TASK)).zip(v.par_chunks(TASK)).for_each(|((p, m), v)| {
            for ((p, m), v) in p.iter_mut().zip(m).zip(v) {
                *p = *p * self.shrink - self.size * m / (v.sqrt() / self.root + EPS);
            }
        });
        Ok(())
    }
}

struct Copy;

impl InplaceOp2 for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn cpu_fwd(&self, to: &mut CpuStorage, layout: &Layout, from: &CpuStorage, from_layout: &Layout) -> candle_core::Result<()> {
        elements_mut(to, layout)?.copy_from_slice(elements(from, from_layout)?);
        Ok(())
    }
}
