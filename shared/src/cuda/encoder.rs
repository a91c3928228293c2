//! The forward pass on a device, and rating with it.

#![allow(
    unsafe_op_in_unsafe_fn,
    reason = "a pass is a sequence of launches that all have the same condition"
)]

use std::sync::{Arc, Mutex, PoisonError};

use super::Precision;
use super::arena::{Arena, Placement};
use super::arguments::{
    Activate, AddNorm, AttentionForward, AttentionOperands, Classify, Embed, GatherFirst, NONE,
    RoundMatrices, RowArguments,
};
use super::batch::{DeviceBatch, Sender};
use super::device::{Address, Buffer, Device, Event, Form, PinnedBuffer, Product};
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

/// Default number of tokens that a GPU rates at once, enough to keep it busy.
pub const TOKEN_BUDGET: usize = 32 * 1024;

/// The largest number of blocks among which a column kernel's rows are divided.
const ROW_BLOCKS: usize = 1024;

/// An encoder with its head and its weights, in a device's memory.
pub struct Encoder {
    pub(super) core: Core,
    buffers: Mutex<Buffers>,
}

/// The model's configuration, weights and kernels on a device.
pub(super) struct Core {
    pub device: Arc<dyn Device>,
    pub program: Program,
    pub config: EncoderConfig,
    pub precision: Precision,
    pub values: Arena,
    /// The matrices in bf16, if the model is computed in bf16.
    pub halves: Option<Buffer<u16>>,
}

/// Buffers for rating.
struct Buffers {
    capacity: Capacity,
    sender: Sender,
    tape: Tape,
    logits: PinnedBuffer<f32>,
}

/// The addresses that the loss needs.
pub(super) struct Losses {
    pub labels: Address,
    pub targets: Address,
    pub losses: Address,
    pub d_logits: Address,
    pub pooled: Address,
}

/// Calls `make` with `budget` tokens. While the device's memory does not suffice, it retries with
/// half as many, down to the model's longest review.
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
    /// Puts the model on a device, to rate at most `token_budget` tokens at once. The budget is
    /// raised to the longest review, and reduced when the memory does not suffice.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] or [`Error::TensorShape`] for a tensor that does not match
    /// `config`; [`Error::Device`] for a model that the kernels do not support;
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
        let buffers = fitting(config, token_budget, |tokens| {
            // Each review has at least its two special tokens.
            let capacity = Capacity {
                tokens,
                reviews: tokens.div_ceil(2),
            };
            Ok(Buffers {
                capacity,
                sender: Sender::new(device, capacity)?,
                tape: Tape::new(device, config, precision, capacity, false)?,
                logits: PinnedBuffer::new(device, capacity.reviews * LABELS)?,
            })
        })?;
        Ok(Encoder {
            core,
            buffers: Mutex::new(buffers),
        })
    }
}

impl Engine for Encoder {
    fn logits(&self, batch: &PackedBatch) -> Result<Vec<[f32; LABELS]>, Error> {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let Buffers {
            capacity,
            sender,
            tape,
            logits,
        } = &mut *buffers;
        self.core.rate(batch, *capacity, sender, tape, logits)
    }

    fn token_budget(&self) -> usize {
        self.buffers
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

    /// Updates the bf16 copy of the matrices.
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
        // SAFETY: both buffers have `count` elements and more.
        unsafe { self.program.launch([blocks, 1, 1], arguments) }
    }

    /// The logits of a batch of any size.
    pub fn rate(
        &self,
        batch: &PackedBatch,
        capacity: Capacity,
        sender: &mut Sender,
        tape: &Tape,
        host_logits: &mut PinnedBuffer<f32>,
    ) -> Result<Vec<[f32; LABELS]>, Error> {
        self.config.check(batch)?;
        let lengths: Vec<usize> = batch.lengths().collect();
        let order: Vec<usize> = (0..lengths.len()).collect();
        let copied = Event::new(&self.device)?;
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
            // SAFETY: the group fits the capacity that the tape was made for.
            unsafe { self.forward(&sent, tape, None) }?;
            tape.logits.fetch(host_logits, part.reviews() * LABELS)?;
            copied.record()?;
            copied.wait()?;
            let (rows, _) = host_logits.as_slice()[..part.reviews() * LABELS].as_chunks::<LABELS>();
            out.extend_from_slice(rows);
        }
        Ok(out)
    }

    /// The address of a matrix in the precision that products read.
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

    /// A product of a linear layer with operands and result at these addresses.
    ///
    /// # Safety
    /// The addresses must be those of matrices of the product's sizes in this device's memory.
    pub unsafe fn multiply(
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

    /// y = x wᵀ
    unsafe fn linear(
        &self,
        at: &LinearAt,
        rows: usize,
        x: Address,
        y: Address,
    ) -> Result<(), Error> {
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
    pub fn rows(batch: &DeviceBatch, first: bool) -> RowArguments {
        RowArguments {
            keys: batch.keys.into(),
            reviews: batch.review_of.into(),
            positions: batch.positions.into(),
            first: first.into(),
        }
    }

    /// Threshold and scale of a dropout, which is active only if the batch has random streams.
    pub fn dropout(batch: &DeviceBatch, rate: f32) -> (u32, f32) {
        Dropout::new(rate)
            .filter(|_| batch.keys != NONE)
            .map_or((0, 1.0), Dropout::threshold_and_scale)
    }

    /// Number of blocks of a kernel with one warp per row.
    pub fn row_blocks(rows: usize) -> [usize; 3] {
        [rows.div_ceil(ROW_WARPS as usize), 1, 1]
    }

    /// Number of blocks that cover a row of `columns` elements.
    pub fn column_blocks(&self, columns: usize) -> usize {
        columns.div_ceil(COLUMN_THREADS as usize * vector(&self.config))
    }

    /// Computes the logits of a batch. In training it also computes the losses and keeps what the
    /// backward pass needs.
    ///
    /// # Safety
    /// The tape, and the buffers of the losses, must have room for the batch.
    pub unsafe fn forward(
        &self,
        batch: &DeviceBatch,
        tape: &Tape,
        losses: Option<&Losses>,
    ) -> Result<(), Error> {
        self.embed(batch, tape)?;
        let layout = &self.values.placement.layout;
        for index in 0..layout.layers.len() {
            let layer = self.layer(batch, tape, index);
            let residual = self.project(batch, &layer)?;
            self.attend(batch, tape, &layer, residual)?;
            self.feed_forward(batch, tape, &layer)?;
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

    unsafe fn embed(&self, batch: &DeviceBatch, tape: &Tape) -> Result<(), Error> {
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

    /// The attention operands of a layer.
    pub fn attention(&self, batch: &DeviceBatch, layer: &Layer<'_>) -> AttentionOperands {
        let Layer {
            index,
            at,
            here,
            is_last,
            ..
        } = *layer;
        let h = self.config.hidden_size;
        let (threshold, drop_scale) = Core::dropout(batch, self.config.attention_dropout);
        let projected = here.projected.start();
        let (q, kv, q_stride, kv_stride) = match &here.first {
            Some([_, query]) if is_last => (query.start(), projected, h, 2 * h),
            _ => (projected, projected + self.bytes(h), 3 * h, 3 * h),
        };
        AttentionOperands {
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
            first_only: is_last.into(),
        }
    }

    /// The layer `index` of a batch.
    pub fn layer<'a>(&'a self, batch: &DeviceBatch, tape: &'a Tape, index: usize) -> Layer<'a> {
        let is_last = index + 1 == self.config.layers;
        Layer {
            index,
            at: &self.values.placement.layout.layers[index],
            here: &tape.layers[index % tape.layers.len()],
            is_last,
            rows: if is_last { batch.reviews } else { batch.tokens },
        }
    }

    /// Blocks of an attention kernel that works on the layer's queries.
    pub fn query_blocks(&self, batch: &DeviceBatch, layer: &Layer<'_>) -> [usize; 3] {
        let blocks = if layer.is_last {
            batch.reviews
        } else {
            batch.tile_count
        };
        [blocks, self.config.heads, 1]
    }

    /// The dropout after the attention's output: BERT has one, DistilBERT has none.
    pub fn attention_output_dropout(&self) -> f32 {
        match self.config.architecture {
            Architecture::Bert => self.config.hidden_dropout,
            Architecture::DistilBert => 0.0,
        }
    }

    /// Computes queries, keys and values. Returns the rows of the layer's input that are its
    /// residual: all, or in the last layer those of the first tokens.
    unsafe fn project(&self, batch: &DeviceBatch, layer: &Layer<'_>) -> Result<Address, Error> {
        let Layer {
            at,
            here,
            is_last,
            rows,
            ..
        } = *layer;
        let x = here.x.start();
        match &here.first {
            Some([first, query]) if is_last => {
                let arguments = GatherFirst {
                    x: x.into(),
                    starts: batch.starts.into(),
                    first: first.start().into(),
                    rows: rows as u32,
                };
                self.program.launch(Core::row_blocks(rows), arguments)?;
                self.linear(&at.query, rows, first.start(), query.start())?;
                self.linear(&at.key_value, batch.tokens, x, here.projected.start())?;
                Ok(first.start())
            }
            _ => {
                self.linear(&at.query_key_value(), rows, x, here.projected.start())?;
                Ok(x)
            }
        }
    }

    /// Attention, its output layer, and the first LayerNorm: writes `attended`.
    unsafe fn attend(
        &self,
        batch: &DeviceBatch,
        tape: &Tape,
        layer: &Layer<'_>,
        residual: Address,
    ) -> Result<(), Error> {
        let Layer { at, here, rows, .. } = *layer;
        let arguments = AttentionForward {
            of: self.attention(batch, layer),
            context: here.context.start().into(),
            log_sums: here.log_sums.start().into(),
        };
        self.program
            .launch(self.query_blocks(batch, layer), arguments)?;
        let (context, x) = (here.context.start(), tape.added.start());
        self.linear(&at.attention_output, rows, context, x)?;
        let added = Added {
            x,
            layer: &at.attention_output,
            rate: self.attention_output_dropout(),
            site: site::attention_output(layer.index),
        };
        self.add_norm(
            batch,
            layer.is_last,
            added,
            residual,
            &at.attention_norm,
            &here.attention,
            here.attended.start(),
        )
    }

    /// The feed-forward network and the second LayerNorm. The result is the next layer's `x`; that
    /// of the last layer is the tape's `first`.
    unsafe fn feed_forward(
        &self,
        batch: &DeviceBatch,
        tape: &Tape,
        layer: &Layer<'_>,
    ) -> Result<(), Error> {
        let Layer { at, here, rows, .. } = *layer;
        let (attended, inner) = (here.attended.start(), here.inner.start());
        self.linear(&at.feed_forward_in, rows, attended, inner)?;
        let columns = self.column_blocks(self.config.intermediate_size);
        let arguments = Activate {
            x: inner.into(),
            bias: self.bias(&at.feed_forward_in).into(),
            y: tape.active.start().into(),
            rows: rows as u32,
        };
        self.program
            .launch([columns, rows.min(ROW_BLOCKS), 1], arguments)?;
        let (active, x) = (tape.active.start(), tape.added.start());
        self.linear(&at.feed_forward_out, rows, active, x)?;
        let added = Added {
            x,
            layer: &at.feed_forward_out,
            rate: self.config.hidden_dropout,
            site: site::output(layer.index),
        };
        let next = if layer.is_last {
            tape.first.start()
        } else {
            tape.layers[(layer.index + 1) % tape.layers.len()].x.start()
        };
        self.add_norm(
            batch,
            layer.is_last,
            added,
            attended,
            &at.output_norm,
            &here.output,
            next,
        )
    }

    /// y = LayerNorm(residual + dropout(added)), for all tokens or for the first of each review. The
    /// sum and its moments are kept for the backward pass.
    #[allow(
        clippy::too_many_arguments,
        reason = "a kernel takes its operands one by one"
    )]
    unsafe fn add_norm(
        &self,
        batch: &DeviceBatch,
        first_tokens: bool,
        added: Added<'_>,
        residual: Address,
        norm: &NormAt,
        for_backward: &Normed,
        y: Address,
    ) -> Result<(), Error> {
        let rows = if first_tokens {
            batch.reviews
        } else {
            batch.tokens
        };
        let (threshold, drop_scale) = Core::dropout(batch, added.rate);
        let arguments = AddNorm {
            x: added.x.into(),
            x_bias: self.bias(added.layer).into(),
            residual: residual.into(),
            at: Core::rows(batch, first_tokens),
            scale: self.values.at(norm.scale.start).into(),
            bias: self.values.at(norm.bias.start).into(),
            sum: for_backward.sum.start().into(),
            moments: for_backward.moments.start().into(),
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

/// One layer of a batch. Its rows are tokens; in the last layer, which computes only the first
/// token of each review, they are reviews.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    pub index: usize,
    pub at: &'a LayerAt,
    /// The activations that it keeps.
    pub here: &'a LayerTape,
    pub is_last: bool,
    pub rows: usize,
}

/// How the result of a product is written.
#[derive(Clone, Copy)]
pub(super) enum Write {
    /// In the activations' precision.
    Stored,
    /// In f32, replacing the existing values or added to them.
    Wide {
        /// Whether the product is added to the existing values.
        add: bool,
    },
}

/// A linear layer's output that is added to the residual, and its dropout.
struct Added<'a> {
    /// The output without its bias.
    x: Address,
    /// The layer, for its bias.
    layer: &'a LinearAt,
    rate: f32,
    site: u64,
}
