//! One optimisation step: the gradient of the mean loss over its reviews, however they are packed.

use anyhow::{Result, ensure};
use candle_core::Tensor;
use candle_nn::loss::cross_entropy;
use starsight_model::batch::{PackedBatch, plan};
use starsight_model::model::{Classifier, dropout_keys};

/// The reviews of a step.
pub struct Step<'a> {
    /// Their row numbers, which decide what dropout draws.
    pub rows: &'a [usize],
    /// Their token ids.
    pub token_ids: Vec<&'a [u32]>,
    /// Their labels, 0 to 4.
    pub labels: Vec<usize>,
}

/// The mean cross-entropy of the step's reviews, and its gradient with respect to each of `tensors`.
///
/// The reviews are computed in packed batches of at most `token_budget` tokens. Each batch weighs as many reviews as it holds, and a review's dropout is drawn from (seed,
/// step, row), so another budget changes nothing but rounding.
///
/// # Errors
/// When a review does not fit the model, or a tensor gets no gradient at all: it would stay untrained in silence.
pub fn gradient<'t>(
    model: &Classifier,
    tensors: impl Iterator<Item = &'t Tensor> + Clone,
    step: &Step<'_>,
    token_budget: usize,
    seed: u64,
    number: usize,
) -> Result<(f64, Vec<Tensor>)> {
    let lengths: Vec<usize> = step.token_ids.iter().map(|ids| ids.len()).collect();
    let mut loss = 0.0;
    let mut sums: Vec<Option<Tensor>> = tensors.clone().map(|_| None).collect();
    for group in plan(&lengths, token_budget) {
        let reviews: Vec<&[u32]> = group.iter().map(|i| step.token_ids[*i]).collect();
        let labels: Vec<u32> = group.iter().map(|i| step.labels[*i] as u32).collect();
        let keys = dropout_keys(seed, number as u64, group.iter().map(|i| step.rows[*i]));
        let logits = model.forward(&PackedBatch::new(&reviews)?, Some(&keys))?;
        let weight = group.len() as f64 / step.rows.len() as f64;
        let part = (cross_entropy(&logits, &Tensor::new(labels, model.device())?)? * weight)?;
        let mut gradients = part.backward()?;
        loss += f64::from(part.to_scalar::<f32>()?);
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
    ensure!(loss.is_finite(), "the loss is {loss}: it has exploded; a lower learning rate may help");
    Ok((loss, out))
}
