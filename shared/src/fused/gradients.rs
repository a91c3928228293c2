//! Gradients of all weights: dense as they lie in the layout, but for the word embedding, of which only the rows that occur have any.

use std::collections::HashMap;
use std::sync::Arc;

use super::layout::Layout;
use crate::kernels::aligned::Aligned;

/// How far down gradients are asked for: what lies below is not computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Everything.
    Embeddings,
    /// Encoder layers from this one on (from 0), and the head; with the number of layers, the head alone.
    Layer(usize),
}

/// The gradient of a step, added up over its batches.
pub struct Gradients {
    layout: Arc<Layout>,
    depth: Depth,
    /// All but the word embedding, laid out as the values.
    dense: Aligned<f32>,
    /// Where in `rows` the gradient of a token id lies.
    slots: HashMap<u32, usize>,
    ids: Vec<u32>,
    /// (ids, width)
    rows: Vec<f32>,
    /// Whether nothing was added yet: the first batch then writes the weights' gradients without reading them.
    empty: bool,
}

impl Gradients {
    /// Room for the gradients of a model of this layout, empty; those below `depth` stay zero.
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

    /// Forgets what was added.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.ids.clear();
        self.rows.clear();
        self.empty = true;
    }

    /// All but those of the word embedding, laid out as the values.
    pub fn dense(&self) -> &[f32] {
        &self.dense
    }

    /// The token ids that occurred, in the order of their first occurrence, and the gradients of their rows of the word embedding, (ids, width).
    pub fn words(&self) -> (&[u32], &[f32]) {
        (&self.ids, &self.rows)
    }

    /// The gradient laid out as the values, the word embedding's in full.
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

    /// Starts a batch: whether it is the first. What is not written but only added to is then zero.
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

    /// The row of a token id, zero when it did not occur before.
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
