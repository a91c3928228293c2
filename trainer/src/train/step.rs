//! One optimisation step: the gradient of the mean loss over its reviews, however they are packed.

use anyhow::{Result, ensure};
use starsight_model::LABELS;
use starsight_model::batch::{PackedBatch, plan};
use starsight_model::fused::{Fused, Gradients, Tape};
use starsight_model::model::dropout_keys;

/// The reviews of a step.
pub struct Step<'a> {
    /// Their row numbers, which decide what dropout draws.
    pub rows: &'a [usize],
    /// Their token ids.
    pub token_ids: Vec<&'a [u32]>,
    /// Their labels, 0 to 4.
    pub labels: Vec<usize>,
}

/// What a step is computed in; kept from step to step, so that its memory is.
pub struct Workspace {
    /// The step's gradient.
    pub gradients: Gradients,
    tape: Tape,
}

impl Workspace {
    /// Room for the steps of `model`.
    pub fn new(model: &Fused) -> Workspace {
        Workspace { gradients: Gradients::new(model.layout()), tape: Tape::default() }
    }
}

/// The mean cross-entropy of the step's reviews; its gradient is left in `workspace`.
///
/// The reviews are computed in packed batches of at most `token_budget` tokens. Each review weighs the same, and its dropout is drawn from (seed, step, row), so another budget
/// changes nothing but rounding.
///
/// # Errors
/// When a review does not fit the model, or the loss is not finite.
pub fn gradient(model: &Fused, workspace: &mut Workspace, step: &Step<'_>, token_budget: usize, seed: u64, number: usize) -> Result<f64> {
    let lengths: Vec<usize> = step.token_ids.iter().map(|ids| ids.len()).collect();
    let weight = 1.0 / step.rows.len() as f64;
    let mut loss = 0.0;
    workspace.gradients.clear();
    for group in plan(&lengths, token_budget) {
        let reviews: Vec<&[u32]> = group.iter().map(|i| step.token_ids[*i]).collect();
        let keys = dropout_keys(seed, number as u64, group.iter().map(|i| step.rows[*i]));
        let mut logits = model.forward(&PackedBatch::new(&reviews)?, &keys, &mut workspace.tape)?;
        for (logits, i) in logits.iter_mut().zip(&group) {
            loss += weight * cross_entropy(logits, step.labels[*i], weight);
        }
        model.backward(&logits, &mut workspace.tape, &mut workspace.gradients);
    }
    ensure!(loss.is_finite(), "the loss is {loss}: it has exploded; a lower learning rate may help");
    Ok(loss)
}

/// The cross-entropy of a review, whose logits become the gradient with respect to them times `weight`: softmax less the true label.
fn cross_entropy(logits: &mut [f32; LABELS], label: usize, weight: f64) -> f64 {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let exps = logits.map(|x| (f64::from(x) - max).exp());
    let sum: f64 = exps.iter().sum();
    let loss = sum.ln() + max - f64::from(logits[label]);
    for (i, (x, exp)) in logits.iter_mut().zip(exps).enumerate() {
        *x = (weight * (exp / sum - f64::from(u8::from(i == label)))) as f32;
    }
    loss
}
