//! One optimisation step: the gradient of the mean loss over its reviews, however they are packed.

use anyhow::Result;
use starsight_model::LABELS;
use starsight_model::batch::{PackedBatch, plan};
use starsight_model::fused::{Depth, Fused, Gradients, Tape};
use starsight_model::rng::dropout_keys;

use super::loss::{Counts, Loss};

/// The reviews of a step.
pub struct Step<'a> {
    /// Their row numbers, which determine their dropout masks.
    pub rows: &'a [usize],
    /// Their token ids.
    pub token_ids: Vec<&'a [u32]>,
    /// The star counts of each text; `None` for unlabelled ones.
    pub counts: Vec<Option<Counts>>,
    /// The teachers' logits of each text, where computed; empty without a teacher.
    pub teacher_logits: Vec<Option<&'a [f32; LABELS]>>,
}

/// Buffers of a step, reused from step to step.
pub struct Workspace {
    /// The step's gradient.
    pub gradients: Gradients,
    tape: Tape,
}

impl Workspace {
    /// Buffers for steps of `model`, which is not trained below `depth`.
    pub fn new(model: &Fused, depth: Depth) -> Workspace {
        Workspace {
            gradients: Gradients::new(model.layout(), depth),
            tape: Tape::default(),
        }
    }
}

/// Returns the mean of `loss` over the step's reviews, and leaves its gradient in `workspace`.
///
/// The reviews are computed in packed batches of at most `token_budget` tokens. Each review is
/// weighted by `loss` from its counts, and its dropout mask depends only on (seed, step, row), so
/// another budget changes the result only by rounding.
///
/// # Errors
/// When a review does not fit the model.
pub fn gradient(
    model: &Fused,
    workspace: &mut Workspace,
    step: &Step<'_>,
    loss: &Loss,
    token_budget: usize,
    seed: u64,
    number: usize,
) -> Result<f64> {
    let lengths: Vec<usize> = step.token_ids.iter().map(|ids| ids.len()).collect();
    let total: f64 = step
        .counts
        .iter()
        .map(|counts| loss.weight(counts.as_ref()))
        .sum();
    let mut mean = 0.0;
    workspace.gradients.clear();
    for group in plan(&lengths, token_budget) {
        let reviews: Vec<&[u32]> = group.iter().map(|i| step.token_ids[*i]).collect();
        let keys = dropout_keys(seed, number as u64, group.iter().map(|i| step.rows[*i]));
        let mut logits = model.forward(&PackedBatch::new(&reviews)?, &keys, &mut workspace.tape)?;
        for (logits, i) in logits.iter_mut().zip(&group) {
            let (value, slope) = match (
                &step.counts[*i],
                step.teacher_logits.get(*i).copied().flatten(),
            ) {
                (counts, Some(teacher)) => loss.distilled(logits, counts.as_ref(), teacher),
                (Some(counts), None) => loss.of_counts(logits, counts),
                // Neither stars nor a teacher's logits.
                (None, None) => (0.0, [0.0; LABELS]),
            };
            mean += value / total;
            *logits = slope.map(|x| (f64::from(x) / total) as f32);
        }
        model.backward(&logits, &mut workspace.tape, &mut workspace.gradients);
    }
    Ok(mean)
}
