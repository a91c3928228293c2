//! The forward pass on a device, and rating.

use std::sync::{Arc, Mutex, PoisonError};

use super::Precision;
use super::arena::{Arena, Placement};
use super::arguments::{
    Activate, AddNorm, Attention, AttentionForward, Classify, Embed, GatherFirst, NONE,
    RoundMatrices, Rows,
};
use super::batch::{Sender, Sent};
use super::device::{Address, Buffer, Device, Form, Locked, Mark, Product};
use super::program::{
    COLUMN_THREADS, HEAD_WARPS, Program, ROW_WARPS, UPDATE_THREADS, tile, vector,
};
use super::tape::{Capacity, LayerTape, Normed, Tape};
use crate::batch::{PackedBatch, pack_in_order};
use crate::config::Architecture;
use crate::engine::Engine;
use crate::fused::layout::{LayerAt, Layout, LinearAt, NormAt};
use crate::kernels::dropout::{Dropout, site};
use crate::weights::Weights;
use crate::{EncoderConfig, Error, LABELS};

/// Tokens that a GPU rates at once, if not told otherwise: enough to keep it at work.
pub const TOKEN_BUDGET: usize = 32 * 1024;

/// The most blocks that share the rows of a column kernel.
const ROW_BLOCKS: usize = 1024;

/// An encoder with its head and its weights, in a device's memory.
pub struct Encoder {
    pub(super) core: Core,
    room: Mutex<Room>,
}

/// The model, and how it is computed.
pub(super) struct Core {
    pub device: Arc<dyn Device>,
    pub program: Program,
    pub config: EncoderConfig,
    pub precision: Precision,
    pub values: Arena,
    /// The matrices in bf16, when that is what is computed with.
    pub halves: Option<Buffer<u16>>,
}

/// What rating works in.
struct Room {
    capacity: Capacity,
    sender: Sender,
    tape: Tape,
    logits: Locked<f32>,
}

/// What of a batch decides the loss.
pub(super) struct Losses {
    pub labels: Address,
    pub targets: Address,
    pub losses: Address,
    pub d_logits: Address,
    pub pooled: Address,
}

/// Calls `make` with `budget`, and as long as the device's memory does not suffice with half as much, down to the model's longest review.
pub(super) fn fitting<T>(
    config: &EncoderConfig,
    budget: usize,
    make: impl Fn(usize) -> Result<T, Error>,
) -> Result<T, Error> {
    let least = config.max_positions;
    let mut budget = budget.max(least);
    loop {
        match make(budget) {
            Err(Error::DeviceMemory { .. }) if budget > least => budget = (budget / 2).max(least),
            other => return other,
        }
    }
}

impl Encoder {
    /// Puts the model on a device, to rate at most `token_budget` tokens at once: the longest review at least, and less when the memory does not suffice.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] or [`Error::TensorShape`] for a tensor that is not as `config` asks; [`Error::Device`] for a model that the kernels do not compute;
    /// [`Error::DeviceMemory`] when the memory does not suffice for the longest review.
    pub fn new(
        device: &Arc<dyn Device>,
        config: &EncoderConfig,
        weights: &Weights,
        precision: Precision,
        token_budget: usize,
    ) -> Result<Encoder, Error> {
        let layout = Arc::new(Layout::of(config));
        let core = Core::new(device, config, &layout, &layout.gather(weights)?, precision)?;
        let room = fitting(config, token_budget, |tokens| {
            // Each review has at least its two special tokens.
            let capacity = Capacity {
                tokens,
                reviews: tokens.div_ceil(2),
            };
            Ok(Room {
                capacity,
                sender: Sender::new(device, capacity)?,
                tape: Tape::new(device, config, precision, capacity, false)?,
                logits: Locked::new(device, capacity.reviews * LABELS)?,
            })
        })?;
        Ok(Encoder {
            core,
            room: Mutex::new(room),
        })
    }
}

impl Engine for Encoder {
    fn logits(&self, batch: &PackedBatch) -> Result<Vec<[f32; LABELS]>, Error> {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let Room {
            capacity,
            sender,
            tape,
            logits,
        } = &mut *room;
        self.core.rate(batch, *capacity, sender, tape, logits)
    }

    fn token_budget(&self) -> usize {
        self.room
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .capacity
            .tokens
    }
}

impl Core {
    pub fn new(
        device: &Arc<dyn Device>,
        config: &EncoderConfig,
        layout: &Arc<Layout>,
        values: &[f32],
        precision: Precision,
    ) -> Result<Core, Error> {
        let program = Program::new(device, config, precision)?;
        let placement = Placement::new(layout);
        let arena = Arena::zeroed(device, &placement)?;
        arena.write(values)?;
        let halves = match precision {
            Precision::F32 => None,
            Precision::Bf16 => Some(Buffer::new(device, placement.matrices())?),
        };
        let core = Core {
            device: device.clone(),
            program,
            config: config.clone(),
            precision,
            values: arena,
            halves,
        };
        core.round_matrices()?;
        Ok(core)
    }

    /// Brings the bf16 copy of the matrices up to date.
    fn round_matrices(&self) -> Result<(), Error> {
        let Some(halves) = &self.halves else {
            return Ok(());
        };
        let blocks = halves
            .len()
            .div_ceil(UPDATE_THREADS as usize)
            .min(ROW_BLOCKS);
        let arguments = RoundMatrices {
            values: self.values.start().into(),
            halves: halves.start().into(),
            count: halves.len() as u32,
        };
        self.program.launch([blocks, 1, 1], arguments)
    }

    /// The logits of a batch of any size.
    pub fn rate(
        &self,
        batch: &PackedBatch,
        capacity: Capacity,
        sender: &mut Sender,
        tape: &Tape,
        room: &mut Locked<f32>,
    ) -> Result<Vec<[f32; LABELS]>, Error> {
        self.config.check(batch)?;
        let lengths: Vec<usize> = batch.lengths().collect();
        let order: Vec<usize> = (0..lengths.len()).collect();
        let copied = Mark::new(&self.device)?;
        let mut out = Vec::with_capacity(lengths.len());
        for group in pack_in_order(&order, &lengths, capacity.tokens)
            .iter()
            .flat_map(|group| group.chunks(capacity.reviews))
        {
            let review = |i: &usize| {
                &batch.token_ids[batch.cu_seqlens[*i] as usize..batch.cu_seqlens[i + 1] as usize]
            };
            let part = PackedBatch::new(&group.iter().map(review).collect::<Vec<_>>())?;
            let sent = sender.send(&part, tile(&self.config), None)?;
            self.forward(&sent, tape, None)?;
            tape.logits.fetch(room, part.reviews() * LABELS)?;
            copied.set()?;
            copied.wait()?;
            let (rows, _) = room.as_slice()[..part.reviews() * LABELS].as_chunks::<LABELS>();
            out.extend_from_slice(rows);
        }
        Ok(out)
    }

    /// The address of a matrix as products take it.
    pub fn matrix(&self, at: &LinearAt) -> Address {
        match &self.halves {
            Some(halves) => halves.at(at.weight.start),
            None => self.values.at(at.weight.start),
        }
    }

    /// The address of a linear layer's bias.
    pub fn bias(&self, at: &LinearAt) -> Address {
        self.values.at(at.bias.start)
    }

    /// Bytes of a row of activations of this width.
    pub fn bytes(&self, width: usize) -> Address {
        (width * self.precision.bytes()) as Address
    }

    /// A product of a linear layer, of which the operands and the result lie at these addresses.
    pub fn multiply(
        &self,
        form: Form,
        at: &LinearAt,
        rows: usize,
        operands: [Address; 2],
        result: Address,
        write: Write,
    ) -> Result<(), Error> {
        let LinearAt {
            outputs, inputs, ..
        } = *at;
        let (wide, add) = match write {
            Write::Stored => (false, false),
            Write::Wide { add } => (true, add),
        };
        // SAFETY: the addresses are those of buffers for the most rows that a batch may have, and of the layer's weight.
        unsafe {
            self.device.multiply(&Product {
                form,
                rows,
                outputs,
                inputs,
                operands,
                result,
                precision: self.precision,
                wide,
                add,
            })
        }
    }

    /// y = x wᵀ
    fn linear(&self, at: &LinearAt, rows: usize, x: Address, y: Address) -> Result<(), Error> {
        self.multiply(
            Form::Output,
            at,
            rows,
            [x, self.matrix(at)],
            y,
            Write::Stored,
        )
    }

    /// The rows of a batch, or of its first tokens.
    pub fn rows(batch: &Sent, first: bool) -> Rows {
        Rows {
            keys: batch.keys.into(),
            reviews: batch.review_of.into(),
            positions: batch.positions.into(),
            first: first.into(),
        }
    }

    /// Threshold and scale of a dropout, which is in force when a batch has streams.
    pub fn dropout(batch: &Sent, rate: f32) -> (u32, f32) {
        Dropout::new(rate)
            .filter(|_| batch.keys != NONE)
            .map_or((0, 1.0), Dropout::parts)
    }

    /// Blocks of a kernel that takes `rows` rows, a warp each.
    pub fn row_blocks(rows: usize) -> [usize; 3] {
        [rows.div_ceil(ROW_WARPS as usize), 1, 1]
    }

    /// Blocks side by side over a row.
    pub fn column_blocks(&self, columns: usize) -> usize {
        columns.div_ceil(COLUMN_THREADS as usize * vector(&self.config))
    }

    /// The logits of a batch; in training its losses too, and what the backward pass needs.
    pub fn forward(&self, batch: &Sent, tape: &Tape, losses: Option<&Losses>) -> Result<(), Error> {
        self.embed(batch, tape)?;
        let layout = &self.values.placement.layout;
        for (i, at) in layout.layers.iter().enumerate() {
            self.layer(batch, tape, i, at)?;
        }
        self.linear(
            &layout.pooler,
            batch.reviews,
            tape.first.start(),
            tape.pooler.start(),
        )?;
        let (threshold, drop_scale) = Core::dropout(batch, self.config.classifier_dropout);
        let of = |address: fn(&Losses) -> Address| losses.map_or(NONE, address);
        let arguments = Classify {
            x: tape.pooler.start().into(),
            bias: self.bias(&layout.pooler).into(),
            classifier: self.values.at(layout.classifier.weight.start).into(),
            classifier_bias: self.bias(&layout.classifier).into(),
            logits: tape.logits.start().into(),
            keys: batch.keys.into(),
            labels: of(|l| l.labels).into(),
            targets: of(|l| l.targets).into(),
            losses: of(|l| l.losses).into(),
            d_logits: of(|l| l.d_logits).into(),
            pooled: of(|l| l.pooled).into(),
            site: site::HEAD,
            rows: batch.reviews as u32,
            threshold,
            drop_scale,
        };
        self.program.launch(
            [batch.reviews.div_ceil(HEAD_WARPS as usize), 1, 1],
            arguments,
        )
    }

    fn embed(&self, batch: &Sent, tape: &Tape) -> Result<(), Error> {
        let layout = &self.values.placement.layout;
        let (threshold, drop_scale) = Core::dropout(batch, self.config.hidden_dropout);
        let arguments = Embed {
            ids: batch.ids.into(),
            at: Core::rows(batch, false),
            words: self.values.words().into(),
            position_table: self.values.at(layout.positions.start).into(),
            // A review is always the first segment.
            segment: layout
                .segments
                .as_ref()
                .map_or(NONE, |segments| self.values.at(segments.start))
                .into(),
            scale: self.values.at(layout.embedding_norm.scale.start).into(),
            bias: self.values.at(layout.embedding_norm.bias.start).into(),
            sum: tape.embedded.sum.start().into(),
            moments: tape.embedded.moments.start().into(),
            y: tape.layers[0].x.start().into(),
            site: site::EMBEDDINGS,
            rows: batch.tokens as u32,
            eps: self.config.layer_norm_eps,
            threshold,
            drop_scale,
        };
        self.program
            .launch(Core::row_blocks(batch.tokens), arguments)
    }

    /// What attention of a layer reads.
    pub fn attention(
        &self,
        batch: &Sent,
        here: &LayerTape,
        index: usize,
        at: &LayerAt,
    ) -> Attention {
        let h = self.config.hidden_size;
        let last = index + 1 == self.config.layers;
        let (threshold, drop_scale) = Core::dropout(batch, self.config.attention_dropout);
        let projected = here.projected.start();
        let (q, kv, q_stride, kv_stride) = match &here.first {
            Some([_, query]) if last => (query.start(), projected, h, 2 * h),
            _ => (projected, projected + self.bytes(h), 3 * h, 3 * h),
        };
        Attention {
            q: q.into(),
            kv: kv.into(),
            q_bias: self.bias(&at.query).into(),
            kv_bias: self.bias(&at.key_value).into(),
            starts: batch.starts.into(),
            keys: batch.keys.into(),
            tiles: batch.tiles.into(),
            site: site::attention(index),
            q_stride: q_stride as u32,
            kv_stride: kv_stride as u32,
            scale: 1.0 / (self.config.head_size() as f32).sqrt(),
            threshold,
            drop_scale,
            first_only: last.into(),
        }
    }

    /// One layer: from its x to that of the next one, and the last, from the first token of each review to the tape's `first`.
    fn layer(&self, batch: &Sent, tape: &Tape, index: usize, at: &LayerAt) -> Result<(), Error> {
        let config = &self.config;
        let buffers = tape.layers.len();
        let here = &tape.layers[index % buffers];
        let last = index + 1 == config.layers;
        let rows = if last { batch.reviews } else { batch.tokens };
        let x = here.x.start();
        let asked = match &here.first {
            Some([first, query]) if last => {
                let arguments = GatherFirst {
                    x: x.into(),
                    starts: batch.starts.into(),
                    first: first.start().into(),
                    rows: rows as u32,
                };
                self.program.launch(Core::row_blocks(rows), arguments)?;
                self.linear(&at.query, rows, first.start(), query.start())?;
                self.linear(&at.key_value, batch.tokens, x, here.projected.start())?;
                first.start()
            }
            _ => {
                self.linear(&at.query_key_value(), rows, x, here.projected.start())?;
                x
            }
        };
        let blocks = [
            if last {
                batch.reviews
            } else {
                batch.tile_count
            },
            config.heads,
            1,
        ];
        let of = self.attention(batch, here, index, at);
        self.program.launch(
            blocks,
            AttentionForward {
                of,
                context: here.context.start().into(),
                log_sums: here.log_sums.start().into(),
            },
        )?;

        self.linear(
            &at.attention_output,
            rows,
            here.context.start(),
            tape.added.start(),
        )?;
        // BERT drops here; DistilBERT does not.
        let rate = if config.architecture == Architecture::Bert {
            config.hidden_dropout
        } else {
            0.0
        };
        let added = Added {
            x: tape.added.start(),
            by: &at.attention_output,
            rate,
            site: site::attention_output(index),
        };
        self.add_norm(
            batch,
            last,
            added,
            asked,
            &at.attention_norm,
            &here.attention,
            here.attended.start(),
        )?;

        self.linear(
            &at.feed_forward_in,
            rows,
            here.attended.start(),
            here.inner.start(),
        )?;
        let blocks = [
            self.column_blocks(config.intermediate_size),
            rows.min(ROW_BLOCKS),
            1,
        ];
        let bias = self.bias(&at.feed_forward_in);
        self.program.launch(
            blocks,
            Activate {
                x: here.inner.start().into(),
                bias: bias.into(),
                y: tape.active.start().into(),
                rows: rows as u32,
            },
        )?;
        self.linear(
            &at.feed_forward_out,
            rows,
            tape.active.start(),
            tape.added.start(),
        )?;
        let added = Added {
            x: tape.added.start(),
            by: &at.feed_forward_out,
            rate: config.hidden_dropout,
            site: site::output(index),
        };
        let next = if last {
            tape.first.start()
        } else {
            tape.layers[(index + 1) % buffers].x.start()
        };
        self.add_norm(
            batch,
            last,
            added,
            here.attended.start(),
            &at.output_norm,
            &here.output,
            next,
        )
    }

    /// y = LayerNorm(residual + what is added), its sum and moments kept.
    #[allow(
        clippy::too_many_arguments,
        reason = "a kernel takes its operands one by one"
    )]
    fn add_norm(
        &self,
        batch: &Sent,
        first: bool,
        added: Added<'_>,
        residual: Address,
        at: &NormAt,
        kept: &Normed,
        y: Address,
    ) -> Result<(), Error> {
        let rows = if first { batch.reviews } else { batch.tokens };
        let (threshold, drop_scale) = Core::dropout(batch, added.rate);
        let arguments = AddNorm {
            x: added.x.into(),
            x_bias: self.bias(added.by).into(),
            residual: residual.into(),
            at: Core::rows(batch, first),
            scale: self.values.at(at.scale.start).into(),
            bias: self.values.at(at.bias.start).into(),
            sum: kept.sum.start().into(),
            moments: kept.moments.start().into(),
            y: y.into(),
            site: added.site,
            rows: rows as u32,
            eps: self.config.layer_norm_eps,
            threshold,
            drop_scale,
        };
        self.program.launch(Core::row_blocks(rows), arguments)
    }
}

/// How a product is written.
#[derive(Clone, Copy)]
pub(super) enum Write {
    /// As activations are stored.
    Stored,
    /// In f32, over what is there or added to it.
    Wide {
        /// Whether it is added.
        add: bool,
    },
}

/// What a linear layer adds to the residual, and its dropout.
struct Added<'a> {
    x: Address,
    by: &'a LinearAt,
    rate: f32,
    site: u64,
}
