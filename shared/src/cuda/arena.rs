//! All weights of a model in one piece of a device's memory, and whatever lies as they do: gradients, moments.

use std::ops::Range;
use std::sync::Arc;

use super::device::{Address, Buffer, Device};
use crate::Error;
use crate::fused::layout::Layout;

/// Elements to a multiple of which the word embedding is moved up: of all tensors it alone lies behind one whose length is odd, the classifier's bias.
const ALIGNED: usize = 64;

/// Where the weights lie on a device: as in the [`Layout`], but for a gap before the word embedding, so that its rows can be read 16 bytes at a time.
#[derive(Clone)]
pub(super) struct Placement {
    pub layout: Arc<Layout>,
    gap: usize,
}

impl Placement {
    pub fn new(layout: &Arc<Layout>) -> Placement {
        let words = layout.words().start;
        Placement {
            layout: layout.clone(),
            gap: words.next_multiple_of(ALIGNED) - words,
        }
    }

    /// Number of elements, the gap included.
    pub fn len(&self) -> usize {
        self.layout.len() + self.gap
    }

    /// The word embedding.
    pub fn words(&self) -> Range<usize> {
        let words = self.layout.words();
        words.start + self.gap..words.end + self.gap
    }

    /// Where what lies at `range` in the layout lies here.
    pub fn place(&self, range: &Range<usize>) -> Range<usize> {
        let gap = if range.start >= self.layout.words().start {
            self.gap
        } else {
            0
        };
        range.start + gap..range.end + gap
    }

    /// Matrices, which come first.
    pub fn matrices(&self) -> usize {
        self.layout.vectors.start
    }
}

/// Numbers that lie as the weights do.
pub(super) struct Arena {
    pub placement: Placement,
    buffer: Buffer<f32>,
}

impl Arena {
    /// All zero.
    pub fn zeroed(device: &Arc<dyn Device>, placement: &Placement) -> Result<Arena, Error> {
        Ok(Arena {
            placement: placement.clone(),
            buffer: Buffer::zeroed(device, placement.len())?,
        })
    }

    /// The address of what lies at `index` in the layout.
    pub fn at(&self, index: usize) -> Address {
        self.buffer.at(self.placement.place(&(index..index)).start)
    }

    /// The address of the word embedding.
    pub fn words(&self) -> Address {
        self.buffer.at(self.placement.words().start)
    }

    /// The address of the first element.
    pub fn start(&self) -> Address {
        self.buffer.start()
    }

    /// Zeroes what lies at `range` in the layout, which does not hold the word embedding.
    pub fn zero(&self, range: &Range<usize>) -> Result<(), Error> {
        self.buffer.zero(range.clone())
    }

    /// Takes values that lie as in the layout.
    pub fn write(&self, values: &[f32]) -> Result<(), Error> {
        let (rest, words) = values.split_at(self.placement.layout.words().start);
        self.buffer.write(0, rest)?;
        self.buffer.write(self.placement.words().start, words)
    }

    /// The values, as in the layout.
    pub fn read(&self) -> Result<Vec<f32>, Error> {
        let mut values = vec![0.0; self.placement.layout.len()];
        let (rest, words) = values.split_at_mut(self.placement.layout.words().start);
        self.buffer.read(0, rest)?;
        self.buffer.read(self.placement.words().start, words)?;
        Ok(values)
    }
}
