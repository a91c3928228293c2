//! AdamW with gradients clipped by their global norm, over all weights in one pass.
//!
//! Most words of a vocabulary do not occur in a step. Their rows of the word embedding have no
//! gradient, but AdamW changes them all the same: moments decay, and so do weights. These updates
//! are deferred until the row is needed, and then applied together: bit-identical to immediate
//! updates, but each row is read and written once.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Error, Result, anyhow, ensure};
use rayon::prelude::*;
use starsight_model::fused::layout::Layout;
use starsight_model::fused::update::{self, Update};
use starsight_model::fused::{Aligned, Fused, Gradients};
use starsight_model::weights::Weights;

use super::groups::Group;

/// Elements that one task updates.
const TASK: usize = 64 * 1024;

/// The error for a tensor whose gradient is not finite.
pub fn not_finite(name: &str) -> Error {
    anyhow!(
        "the gradient of `{name}` is not finite: the loss has exploded; a lower learning rate may help"
    )
}

/// AdamW with its moments for each weight.
pub struct AdamW {
    layout: Arc<Layout>,
    /// The settings of each tensor of the layout.
    groups: Vec<Group>,
    first_moment: Aligned<f32>,
    second_moment: Aligned<f32>,
    weight_decay: f64,
    max_norm: f64,
    /// Updates made so far.
    updates: i32,
    /// The latest updates of the word embedding; some rows still have to apply some of them.
    recent: Vec<Update>,
    rows: Vec<Row>,
}

/// State of a row of the word embedding.
#[derive(Clone, Copy, Default)]
struct Row {
    /// Number of recent updates that it has applied.
    made: usize,
    /// Whether it ever had a gradient. If not, its moments are zero.
    moved: bool,
}

/// A row of the word embedding with its moments.
struct RowMut<'a> {
    row: &'a mut Row,
    values: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

impl RowMut<'_> {
    /// Applies the deferred updates.
    fn catch_up(&mut self, recent: &[Update]) {
        let due = &recent[self.row.made..];
        match self.row.moved {
            true => update::apply_without_gradient(due, self.values, self.first, self.second),
            false => update::apply_decay(due, self.values),
        }
        self.row.made = recent.len();
    }
}

impl AdamW {
    /// An optimiser for weights stored as in `layout`, with the group of each of its tensors.
    /// Gradients are clipped to a global norm of `max_norm`.
    pub fn new(
        layout: &Arc<Layout>,
        groups: Vec<Group>,
        weight_decay: f64,
        max_norm: f64,
    ) -> AdamW {
        let zeros = || Aligned::zeros(layout.len());
        AdamW {
            layout: layout.clone(),
            groups,
            first_moment: zeros(),
            second_moment: zeros(),
            weight_decay,
            max_norm,
            updates: 0,
            recent: Vec::new(),
            rows: vec![Row::default(); layout.words().len() / layout.width()],
        }
    }

    /// Brings the word embedding's rows of these token ids up to date, as a forward pass needs
    /// them.
    pub fn prepare<'a>(&mut self, model: &mut Fused, token_ids: impl Iterator<Item = &'a u32>) {
        let mut ids: Vec<u32> = token_ids.copied().collect();
        ids.sort_unstable();
        ids.dedup();
        let AdamW {
            layout,
            recent,
            first_moment,
            second_moment,
            rows,
            ..
        } = self;
        let due = rows_mut(
            layout,
            rows,
            model.values_mut(),
            first_moment,
            second_moment,
            &ids,
        );
        due.into_par_iter().for_each(|mut row| row.catch_up(recent));
    }

    /// Brings all weights up to date, as an evaluation or a checkpoint needs them.
    pub fn settle(&mut self, model: &mut Fused) {
        let ids: Vec<u32> = (0..self.rows.len() as u32).collect();
        let AdamW {
            layout,
            recent,
            first_moment,
            second_moment,
            rows,
            ..
        } = self;
        rows_mut(
            layout,
            rows,
            model.values_mut(),
            first_moment,
            second_moment,
            &ids,
        )
        .into_par_iter()
        .for_each(|mut row| row.catch_up(recent));
        self.recent.clear();
        self.rows.iter_mut().for_each(|row| row.made = 0);
    }

    /// Updates the weights from `gradients` with the learning rate `rate`, and returns the
    /// gradients' norm before clipping. The rows of the word embedding that have a gradient must be
    /// up to date, as [`AdamW::prepare`] leaves them.
    ///
    /// # Errors
    /// When a gradient is not finite; then no weight changes.
    pub fn step(&mut self, model: &mut Fused, gradients: &Gradients, rate: f64) -> Result<f64> {
        let (ids, word_gradients) = gradients.words();
        let norm = self.norm(gradients)?;
        self.updates += 1;
        // As torch.nn.utils.clip_grad_norm_.
        let clip = (self.max_norm / (norm + 1e-6)).min(1.0) as f32;
        let make = |group: &Group| Update {
            clip,
            ..group.update(rate, self.weight_decay, self.updates)
        };
        let updates: Vec<Option<Update>> = self
            .groups
            .iter()
            .map(|group| group.trained.then(|| make(group)))
            .collect();
        let (layout, words) = (self.layout.clone(), self.layout.words());
        let (values, word_values) = model.values_mut().split_at_mut(words.start);
        let (first, word_first) = self.first_moment.split_at_mut(words.start);
        let (second, word_second) = self.second_moment.split_at_mut(words.start);

        let mut tasks = Vec::new();
        let mut rest = (values, gradients.dense(), first, second);
        for (tensor, update) in layout
            .tensors()
            .iter()
            .zip(&updates)
            .filter(|(tensor, _)| tensor.range.start < words.start)
        {
            let n = tensor.range.len();
            let (p, g, m, v) = rest;
            let ((p, p_rest), (g, g_rest)) = (p.split_at_mut(n), g.split_at(n));
            let ((m, m_rest), (v, v_rest)) = (m.split_at_mut(n), v.split_at_mut(n));
            if let Some(update) = update {
                let parts = p
                    .chunks_mut(TASK)
                    .zip(g.chunks(TASK))
                    .zip(m.chunks_mut(TASK))
                    .zip(v.chunks_mut(TASK));
                tasks.extend(parts.map(|(((p, g), m), v)| (update, p, g, m, v)));
            }
            rest = (p_rest, g_rest, m_rest, v_rest);
        }
        tasks
            .into_par_iter()
            .for_each(|(update, p, g, m, v)| update::apply(update, p, g, m, v));

        // The word embedding is the last tensor.
        let Some(Some(update)) = updates.last() else {
            return Ok(norm);
        };
        let width = layout.width();
        let mut order: Vec<(u32, &[f32])> = ids
            .iter()
            .copied()
            .zip(word_gradients.chunks_exact(width))
            .collect();
        order.sort_unstable_by_key(|(id, _)| *id);
        let sorted: Vec<u32> = order.iter().map(|(id, _)| *id).collect();
        let made = self.recent.len() + 1;
        let rows = split_rows(
            &mut self.rows,
            word_values,
            word_first,
            word_second,
            width,
            &sorted,
        );
        rows.into_par_iter().zip(order).for_each(|(row, (_, g))| {
            update::apply(update, row.values, g, row.first, row.second);
            *row.row = Row { made, moved: true };
        });
        self.recent.push(*update);
        Ok(norm)
    }

    /// The names of the trained tensors and the sums of their gradients' squares.
    fn squares(&self, gradients: &Gradients) -> impl Iterator<Item = (&str, f64)> {
        let trained = || {
            self.layout
                .tensors()
                .iter()
                .zip(&self.groups)
                .filter(|(_, group)| group.trained)
                .map(|(tensor, _)| tensor)
        };
        let gradient = |range: &Range<usize>| {
            if *range == self.layout.words() {
                gradients.words().1
            } else {
                &gradients.dense()[range.clone()]
            }
        };
        let sums = update::sums_of_squares(
            &trained()
                .map(|tensor| gradient(&tensor.range))
                .collect::<Vec<_>>(),
        );
        trained().map(|tensor| tensor.spec.name.as_str()).zip(sums)
    }

    fn norm(&self, gradients: &Gradients) -> Result<f64> {
        let mut squares = 0.0;
        for (name, sum) in self.squares(gradients) {
            if !sum.is_finite() {
                return Err(not_finite(name));
            }
            squares += sum;
        }
        Ok(squares.sqrt())
    }

    /// The names of the trained tensors whose gradient is zero everywhere.
    pub fn unmoved(&self, gradients: &Gradients) -> Vec<&str> {
        self.squares(gradients)
            .filter(|(_, sum)| *sum == 0.0)
            .map(|(name, _)| name)
            .collect()
    }

    /// First and second moments by tensor name. All weights must be up to date, as
    /// [`AdamW::settle`] leaves them.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn moments(&self, model: &Fused) -> Result<[Weights; 2]> {
        ensure!(self.recent.is_empty(), "some weights are not up to date");
        Ok([
            model.layout().name(&self.first_moment)?,
            model.layout().name(&self.second_moment)?,
        ])
    }

    /// Restores moments that were saved after `updates` updates.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn restore(&mut self, first: &Weights, second: &Weights, updates: i32) -> Result<()> {
        for tensor in self.layout.tensors() {
            for (to, from) in [
                (&mut self.first_moment, first),
                (&mut self.second_moment, second),
            ] {
                let from = from
                    .get(&tensor.spec.name, &tensor.spec.shape)?
                    .flatten_all()?
                    .to_vec1::<f32>()?;
                to[tensor.range.clone()].copy_from_slice(&from);
            }
        }
        let words = self.layout.words();
        let width = self.layout.width();
        let moments = self.first_moment[words.clone()]
            .chunks_exact(width)
            .zip(self.second_moment[words].chunks_exact(width));
        for (row, (m, v)) in self.rows.iter_mut().zip(moments) {
            *row = Row {
                made: 0,
                moved: m.iter().chain(v).any(|x| *x != 0.0),
            };
        }
        (self.updates, self.recent) = (updates, Vec::new());
        Ok(())
    }
}

/// The rows of these token ids, which ascend, from all weights and moments.
fn rows_mut<'a>(
    layout: &Layout,
    rows: &'a mut [Row],
    values: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    ids: &[u32],
) -> Vec<RowMut<'a>> {
    let words = layout.words();
    split_rows(
        rows,
        &mut values[words.clone()],
        &mut first[words.clone()],
        &mut second[words],
        layout.width(),
        ids,
    )
}

/// The rows of these token ids, which ascend, from a word embedding and its moments.
fn split_rows<'a>(
    rows: &'a mut [Row],
    values: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    width: usize,
    ids: &[u32],
) -> Vec<RowMut<'a>> {
    let all = rows
        .iter_mut()
        .zip(values.chunks_exact_mut(width))
        .zip(first.chunks_exact_mut(width))
        .zip(second.chunks_exact_mut(width));
    let mut wanted = ids.iter().peekable();
    let mut out = Vec::with_capacity(ids.len());
    for (id, (((row, values), first), second)) in (0u32..).zip(all) {
        if wanted.next_if(|wanted| **wanted == id).is_some() {
            out.push(RowMut {
                row,
                values,
                first,
                second,
            });
        }
    }
    out
}
