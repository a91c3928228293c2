//! Gradients of all weights. They are dense, in the layout's order, except for the word embedding:
//! only the rows of token ids that occur have a gradient.

use std::collections::HashMap;
use std::sync::Arc;

use super::layout::Layout;
use crate::kernels::aligned::Aligned;

/// The lowest part of the model that needs gradients. Gradients below it are not computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// All weights.
    Embeddings,
    /// The encoder layers from this index (from 0) and the head. If the index equals the number of
    /// layers, only the head.
    Layer(usize),
}

/// The gradient of a step, summed over its batches.
pub struct Gradients {
    layout: Arc<Layout>,
    depth: Depth,
    /// All gradients except the word embedding's, in the layout's order.
    dense: Aligned<f32>,
    /// The index in `rows` of each token id's gradient.
    slots: HashMap<u32, usize>,
    ids: Vec<u32>,
    /// (ids, width).
    rows: Vec<f32>,
    /// Whether nothing was added yet. The first batch then writes the matrices' gradients without
    /// reading them.
    empty: bool,
}

impl Gradients {
    /// Empty gradients for a model of this layout; those below `depth` stay zero.
    pub fn new(layout: &Arc<Layout>, depth: Depth) -> Gradients {
        Gradients {
            layout: layout.clone(),
            depth,
            dense: Aligned::zeros(layout.words().start),
            slots: HashMap::new(),
            ids: Vec::new(),
            rows: Vec::new(),
            empty: true,
        }
    }

    /// Resets the gradients for the next step.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.ids.clear();
        self.rows.clear();
        self.empty = true;
    }

    /// All gradients except the word embedding's, in the layout's order.
    pub fn dense(&self) -> &[f32] {
        &self.dense
    }

    /// The token ids that occurred, in the order of their first occurrence, and the gradients of
    /// their rows of the word embedding, (ids, width).
    pub fn words(&self) -> (&[u32], &[f32]) {
        (&self.ids, &self.rows)
    }

    /// The whole gradient in the layout's order, including all rows of the word embedding.
    pub fn to_dense(&self) -> Vec<f32> {
        let mut out = self.dense.to_vec();
        out.resize(self.layout.len(), 0.0);
        let width = self.layout.width();
        for (id, row) in self.ids.iter().zip(self.rows.chunks_exact(width)) {
            out[self.layout.words()][*id as usize * width..][..width].copy_from_slice(row);
        }
        out
    }

    pub(super) fn depth(&self) -> Depth {
        self.depth
    }

    /// Starts a batch and returns whether it is the first. For the first, the gradients that
    /// batches only add to are zeroed.
    pub(super) fn begin(&mut self) -> bool {
        let first = std::mem::replace(&mut self.empty, false);
        if first {
            let added = [
                Some(self.layout.positions.clone()),
                self.layout.segments.clone(),
                Some(self.layout.vectors.clone()),
            ];
            added
                .into_iter()
                .flatten()
                .for_each(|range| self.dense[range].fill(0.0));
        }
        first
    }

    pub(super) fn dense_mut(&mut self) -> &mut [f32] {
        &mut self.dense
    }

    /// The gradient row of a token id, zero if the id has not occurred before.
    pub(super) fn word_row(&mut self, id: u32) -> &mut [f32] {
        let width = self.layout.width();
        let (ids, rows) = (&mut self.ids, &mut self.rows);
        let slot = *self.slots.entry(id).or_insert_with(|| {
            ids.push(id);
            rows.resize(ids.len() * width, 0.0);
            ids.len() - 1
        });
        &mut self.rows[slot * width..][..width]
    }
}
