//! Arenas: all weights of a model in one allocation on a device, and other arrays with the same
//! layout (gradients, moments).

use std::ops::Range;
use std::sync::Arc;

use super::device::{Address, Buffer, Device};
use crate::Error;
use crate::fused::layout::Layout;

/// The word embedding starts at a multiple of this many elements. It is the only tensor that needs
/// alignment: it follows the classifier's bias, whose length is odd.
const ALIGNED: usize = 64;

/// Offsets of the weights on a device: those of the [`Layout`], with a gap before the word
/// embedding so that its rows can be read 16 bytes at a time.
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

    /// Number of elements, including the gap.
    pub fn len(&self) -> usize {
        self.layout.len() + self.gap
    }

    /// Range of the word embedding.
    pub fn words(&self) -> Range<usize> {
        let words = self.layout.words();
        words.start + self.gap..words.end + self.gap
    }

    /// Translates a range of the layout to the range on the device.
    pub fn place(&self, range: &Range<usize>) -> Range<usize> {
        let gap = if range.start >= self.layout.words().start {
            self.gap
        } else {
            0
        };
        range.start + gap..range.end + gap
    }

    /// Number of elements of the matrices, which come first.
    pub fn matrices(&self) -> usize {
        self.layout.vectors.start
    }
}

/// An f32 array with the weights' placement.
pub(super) struct Arena {
    pub placement: Placement,
    buffer: Buffer<f32>,
}

impl Arena {
    /// A zeroed arena.
    pub fn zeroed(device: &Arc<dyn Device>, placement: &Placement) -> Result<Arena, Error> {
        Ok(Arena {
            placement: placement.clone(),
            buffer: Buffer::zeroed(device, placement.len())?,
        })
    }

    /// The address of element `index` of the layout.
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

    /// Zeroes `range` of the layout, which must lie before the word embedding.
    pub fn zero(&self, range: &Range<usize>) -> Result<(), Error> {
        self.buffer.zero(range.clone())
    }

    /// Writes values that are in the layout's order.
    pub fn write(&self, values: &[f32]) -> Result<(), Error> {
        let (rest, words) = values.split_at(self.placement.layout.words().start);
        self.buffer.write(0, rest)?;
        self.buffer.write(self.placement.words().start, words)
    }

    /// Reads the values in the layout's order.
    pub fn read(&self) -> Result<Vec<f32>, Error> {
        let mut values = vec![0.0; self.placement.layout.len()];
        let (rest, words) = values.split_at_mut(self.placement.layout.words().start);
        self.buffer.read(0, rest)?;
        self.buffer.read(self.placement.words().start, words)?;
        Ok(values)
    }
}
