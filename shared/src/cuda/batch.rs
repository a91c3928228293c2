//! Uploading a packed batch to a device: everything that its kernels look up, in one copy.

use std::collections::HashSet;
use std::sync::Arc;

use super::device::{Address, Buffer, Device, Event, PinnedBuffer};
use super::tape::Capacity;
use crate::Error;
use crate::batch::PackedBatch;

/// Copies that may be in flight: the host packs the next batch while the device computes.
const SLOTS: usize = 4;

/// A batch in a device's memory, as addresses of what its kernels look up.
#[derive(Clone, Copy)]
pub(super) struct DeviceBatch {
    pub tokens: usize,
    pub reviews: usize,
    /// Tokens of the longest review.
    pub longest: usize,
    /// (tokens) for `ids`, `positions` and `review_of`.
    pub ids: Address,
    pub positions: Address,
    pub review_of: Address,
    /// (reviews + 1)
    pub starts: Address,
    /// The key of each review's random stream, (reviews); null when nothing is dropped.
    pub keys: Address,
    /// The review and first token of each attention block's tile, (tiles, 2).
    pub tiles: Address,
    pub tile_count: usize,
    /// Data that only training needs.
    pub training: Option<TrainingInputs>,
}

/// Data that the backward pass of a batch needs.
#[derive(Clone, Copy)]
pub(super) struct TrainingInputs {
    /// (reviews)
    pub labels: Address,
    /// The distinct ids of the batch, (words). The highest bit is set for ids that occur for the
    /// first time in the step.
    pub word_ids: Address,
    /// Token indices sorted by id, (tokens), and the start of each id's run, (words + 1).
    pub word_order: Address,
    pub word_starts: Address,
    pub words: usize,
}

/// The host's data from which [`TrainingInputs`] are made.
pub(super) struct TrainingInputPlan<'a> {
    pub keys: &'a [u64],
    pub labels: &'a [u32],
    /// The ids that have occurred in the step so far.
    pub seen: &'a mut HashSet<u32>,
}

/// Packs batches in locked host memory and uploads them.
pub(super) struct Sender {
    device_buffer: Buffer<u32>,
    slots: Vec<(PinnedBuffer<u32>, Event)>,
    turn: usize,
}

/// The largest number of u32 values that a batch takes.
fn max_values(Capacity { tokens, reviews }: Capacity) -> usize {
    // Keys, ids, positions, reviews, word order, word ids, word starts, starts and labels. There is
    // a tile for each review, and one more for each full tile of tokens.
    2 * reviews + 6 * tokens + 2 * reviews + 2 + 2 * (reviews + tokens)
}

impl Sender {
    /// A sender for batches of at most `capacity`.
    pub fn new(device: &Arc<dyn Device>, capacity: Capacity) -> Result<Sender, Error> {
        let len = max_values(capacity);
        let slot = |_| Ok((PinnedBuffer::new(device, len)?, Event::new(device)?));
        Ok(Sender {
            device_buffer: Buffer::new(device, len)?,
            slots: (0..SLOTS).map(slot).collect::<Result<_, Error>>()?,
            turn: 0,
        })
    }

    /// Uploads a batch in tiles of `tile` tokens, with the data for training if `training` is
    /// given.
    pub fn send(
        &mut self,
        batch: &PackedBatch,
        tile: usize,
        training: Option<TrainingInputPlan<'_>>,
    ) -> Result<DeviceBatch, Error> {
        let (slot, copied) = &mut self.slots[self.turn];
        self.turn = (self.turn + 1) % SLOTS;
        // This returns at once unless the device is `SLOTS` batches behind.
        copied.wait()?;
        let mut packer = Packer {
            to: slot.as_mut_slice(),
            len: 0,
            device_buffer: &self.device_buffer,
        };
        // Keys come first because they are u64 and need its alignment.
        let keys = training.as_ref().map_or(&[][..], |training| training.keys);
        let keys = if keys.is_empty() {
            0
        } else {
            packer.put(
                keys.iter()
                    .flat_map(|key| [*key as u32, (key >> 32) as u32]),
            )
        };
        let ids = packer.put(batch.token_ids.iter().copied());
        let positions = packer.put(batch.lengths().flat_map(|n| 0..n as u32));
        let review_of = packer.put(
            (0u32..)
                .zip(batch.lengths())
                .flat_map(|(review, n)| std::iter::repeat_n(review, n)),
        );
        let starts = packer.put(batch.cu_seqlens.iter().copied());
        let (tiles, tile_numbers) =
            packer.count((0u32..).zip(batch.lengths()).flat_map(|(review, n)| {
                (0..n as u32)
                    .step_by(tile)
                    .flat_map(move |first| [review, first])
            }));
        let training = training.map(|training| {
            let labels = packer.put(training.labels.iter().copied());
            let mut order: Vec<u32> = (0..batch.tokens() as u32).collect();
            order.sort_by_key(|token| batch.token_ids[*token as usize]);
            let word_order = packer.put(order.iter().copied());
            let id = |token: &u32| batch.token_ids[*token as usize];
            let groups = || order.chunk_by(|a, b| id(a) == id(b));
            let mark = |group: &[u32]| {
                let id = id(&group[0]);
                if training.seen.insert(id) {
                    id | FIRST
                } else {
                    id
                }
            };
            let (word_ids, words) = packer.count(groups().map(mark));
            let ends = groups().scan(0, |end, group| {
                *end += group.len() as u32;
                Some(*end)
            });
            let word_starts = packer.put(std::iter::once(0).chain(ends));
            TrainingInputs {
                labels,
                word_ids,
                word_order,
                word_starts,
                words,
            }
        });
        let len = packer.len;
        self.device_buffer.send(slot, len)?;
        copied.record()?;
        Ok(DeviceBatch {
            tokens: batch.tokens(),
            reviews: batch.reviews(),
            longest: batch.lengths().max().unwrap_or(0),
            ids,
            positions,
            review_of,
            starts,
            keys,
            tiles,
            tile_count: tile_numbers / 2,
            training,
        })
    }
}

/// Set in a word's id when it occurs for the first time in the step.
const FIRST: u32 = 1 << 31;

struct Packer<'a> {
    to: &'a mut [u32],
    len: usize,
    device_buffer: &'a Buffer<u32>,
}

impl Packer<'_> {
    /// Adds numbers and returns their address on the device.
    fn put(&mut self, numbers: impl Iterator<Item = u32>) -> Address {
        self.count(numbers).0
    }

    /// Like `put`, and also returns how many numbers were added.
    fn count(&mut self, numbers: impl Iterator<Item = u32>) -> (Address, usize) {
        let first = self.len;
        for (to, number) in self.to[first..].iter_mut().zip(numbers) {
            *to = number;
            self.len += 1;
        }
        (self.device_buffer.at(first), self.len - first)
    }
}
