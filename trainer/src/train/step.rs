//! One optimisation step: the gradient of the mean loss over its reviews, however they are packed.

use anyhow::{Result, ensure};
use candle_core::Tensor;
use starsight_model::LABELS;
use starsight_model::batch::{PackedBatch, plan};
use starsight_model::model::{Classifier, dropout_keys};

use super::loss::Loss;

/// The reviews of a step.
pub struct Step<'a> {
    /// Their row numbers, which decide what dropout draws.
    pub rows: &'a [usize],
    /// Their token ids.
    pub token_ids: Vec<&'a [u32]>,
    /// Their labels, 0 to 4.
    pub labels: Vec<usize>,
}

/// The mean of `loss` over the step's reviews, and its gradient with respect to each of `tensors`.
///
/// The reviews are computed in packed batches of at most `token_budget` tokens. Each review weighs what `loss` says of its label, and its dropout is drawn from (seed,
/// step, row), so another budget changes nothing but rounding.
///
/// # Errors
/// When a review does not fit the model, or a tensor gets no gradient at all: it would stay untrained in silence.
pub fn gradient<'t>(
    model: &Classifier,
    tensors: impl Iterator<Item = &'t Tensor> + Clone,
    step: &Step<'_>,
    loss: &Loss,
    token_budget: usize,
    seed: u64,
    number: usize,
) -> Result<(f64, Vec<Tensor>)> {
    let lengths: Vec<usize> = step.token_ids.iter().map(|ids| ids.len()).collect();
    let total: f64 = step.labels.iter().map(|label| loss.weight(*label)).sum();
    let mut mean = 0.0;
    let mut sums: Vec<Option<Tensor>> = tensors.clone().map(|_| None).collect();
    for group in plan(&lengths, token_budget) {
        let reviews: Vec<&[u32]> = group.iter().map(|i| step.token_ids[*i]).collect();
        let keys = dropout_keys(seed, number as u64, group.iter().map(|i| step.rows[*i]));
        let logits = model.forward(&PackedBatch::new(&reviews)?, Some(&keys))?;
        let mut slopes = Vec::with_capacity(group.len() * LABELS);
        for (i, row) in group.iter().zip(logits.to_vec2::<f32>()?) {
            let (value, slope) = loss.of(&std::array::from_fn(|c| row[c]), step.labels[*i]);
            mean += value / total;
            slopes.extend(slope.map(|x| (f64::from(x) / total) as f32));
        }
        // The gradient of this sum is that of the loss.
        let mut gradients = (&logits * Tensor::from_vec(slopes, logits.shape(), model.device())?)?.sum_all()?.backward()?;
        for (tensor, sum) in tensors.clone().zip(&mut sums) {
            if let Some(gradient) = gradients.remove(tensor) {
                *sum = Some(match sum.take() {
                    Some(sum) => (sum + gradient)?,
                    None => gradient.contiguous()?,
                });
            }
        }
    }
    let mut out = Vec::with_capacity(sums.len());
    for (sum, tensor) in sums.into_iter().zip(tensors) {
        ensure!(sum.is_some(), "a tensor of shape {:?} got no gradient", tensor.dims());
        out.extend(sum);
    }
    Ok((mean, out))
}
