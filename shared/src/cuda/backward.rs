//! The backward pass on a device, from the gradients of the logits to those of all weights.

#![allow(
    unsafe_op_in_unsafe_fn,
    reason = "a pass is a sequence of launches that all have the same condition"
)]

use super::arena::Arena;
use super::arguments::{
    ActivateBackward, AttentionBackwardKeys, AttentionBackwardQueries, ClassifierGradient,
    ColumnSums, NONE, NormBackward, PositionGradient, ScatterFirst, SumParts, WordGradient,
};
use super::batch::{DeviceBatch, TrainingInputs};
use super::device::{Address, Buffer, Form};
use super::encoder::{Core, Layer, Write};
use super::program::COLUMNS;
use super::tape::{GradientTape, Normed, Tape};
use crate::Error;
use crate::fused::Depth;
use crate::fused::layout::{LinearAt, NormAt};
use crate::kernels::dropout::site;

/// Number of partial sums into which sums over rows are divided: enough blocks for a large GPU, few
/// enough to be added up quickly.
pub(super) const PARTS: usize = 128;

/// The gradients of a step's weights, and the partial sums for the gradients of the vectors.
pub(super) struct Sums {
    pub gradients: Arena,
    /// (PARTS, vectors + hidden): the last columns are the gradient of the first segment's row, if
    /// the model has segments.
    pub parts: Buffer<f32>,
    pub stride: usize,
    pub marks: Buffer<u32>,
    pub depth: Depth,
}

/// A backward pass.
pub(super) struct Backward<'a> {
    pub core: &'a Core,
    pub batch: &'a DeviceBatch,
    pub training: &'a TrainingInputs,
    pub tape: &'a Tape,
    pub grad: &'a GradientTape,
    pub sums: &'a Sums,
    /// Whether gradients are added to those of the step's earlier batches.
    pub add: bool,
    /// The step's number in the marks of the word embedding's rows.
    pub mark: u32,
}

/// The dropouts before and after a LayerNorm, in the order of the backward pass.
#[derive(Clone, Copy)]
struct Dropouts {
    before: f32,
    after: f32,
    site: u64,
}

impl Backward<'_> {
    /// Computes the gradients of the weights from those of the logits, which the forward pass left.
    ///
    /// # Safety
    /// The forward pass must have filled the tape with this batch, for which the gradients' buffers
    /// must have room.
    pub unsafe fn run(&self) -> Result<(), Error> {
        let layout = &self.core.values.placement.layout;
        let lowest = match self.sums.depth {
            Depth::Embeddings => 0,
            Depth::Layer(layer) => layer,
        };
        self.head(lowest < layout.layers.len())?;
        for index in (lowest..layout.layers.len()).rev() {
            let layer = self.core.layer(self.batch, self.tape, index);
            let below = index > lowest || self.sums.depth == Depth::Embeddings;
            self.feed_forward(&layer)?;
            let projected = self.attend(&layer)?;
            self.project(&layer, projected, below)?;
        }
        if self.sums.depth == Depth::Embeddings {
            self.embeddings()?;
        }
        let vectors = layout.vectors.len();
        let segment = layout
            .segments
            .as_ref()
            .filter(|_| self.sums.depth == Depth::Embeddings);
        let arguments = SumParts {
            parts: self.sums.parts.start().into(),
            gradient: self.sums.gradients.at(layout.vectors.start).into(),
            segment: segment
                .map_or(NONE, |segments| self.sums.gradients.at(segments.start))
                .into(),
            count: PARTS as u32,
            part_stride: self.sums.stride as u32,
            vectors: vectors as u32,
            add: self.add.into(),
        };
        self.core.program.launch(
            [self.sums.stride.div_ceil(COLUMNS as usize), 1, 1],
            arguments,
        )
    }

    /// Offset in a part of the sums for a vector.
    fn part_at(&self, vector: &std::ops::Range<usize>) -> u32 {
        (vector.start - self.core.values.placement.layout.vectors.start) as u32
    }

    /// dw = dyᵀ x, over the given rows of dy and x.
    unsafe fn weight_gradient(
        &self,
        at: &LinearAt,
        rows: usize,
        dy: Address,
        x: Address,
    ) -> Result<(), Error> {
        let gradient = self.sums.gradients.at(at.weight.start);
        self.core.multiply(
            Form::Weight,
            at,
            rows,
            [dy, x],
            gradient,
            Write::Wide { add: self.add },
        )
    }

    /// dx = dy w
    unsafe fn input_gradient(
        &self,
        at: &LinearAt,
        rows: usize,
        dy: Address,
        dx: Address,
        write: Write,
    ) -> Result<(), Error> {
        self.core
            .multiply(Form::Input, at, rows, [dy, self.core.matrix(at)], dx, write)
    }

    /// Partial sums of the columns of x, (rows, columns), for the bias at range `bias`.
    unsafe fn column_sums(
        &self,
        x: Address,
        rows: usize,
        columns: usize,
        bias: &std::ops::Range<usize>,
    ) -> Result<(), Error> {
        let arguments = ColumnSums {
            x: x.into(),
            parts: self.sums.parts.start().into(),
            part_stride: self.sums.stride as u32,
            bias_at: self.part_at(bias),
            rows: rows as u32,
            columns: columns as u32,
        };
        self.core
            .program
            .launch([self.core.column_blocks(columns), PARTS, 1], arguments)
    }

    /// Backward pass of the head. If `below`, it also computes the gradient of the last layer's
    /// output, which has the first tokens only.
    unsafe fn head(&self, below: bool) -> Result<(), Error> {
        let layout = &self.core.values.placement.layout;
        let reviews = self.batch.reviews;
        let width = self.core.config.hidden_size;
        let arguments = ClassifierGradient {
            pooled: self.grad.pooled.start().into(),
            d_logits: self.grad.logits.start().into(),
            gradient: self
                .sums
                .gradients
                .at(layout.classifier.weight.start)
                .into(),
            parts: self.sums.parts.start().into(),
            bias_at: self.part_at(&layout.classifier.bias),
            rows: reviews as u32,
            add: self.add.into(),
        };
        self.core
            .program
            .launch([width.div_ceil(COLUMNS as usize), 1, 1], arguments)?;
        // The classify kernel has overwritten the pooler's product with its gradient.
        let pooler = self.tape.pooler.start();
        self.column_sums(pooler, reviews, width, &layout.pooler.bias)?;
        self.weight_gradient(&layout.pooler, reviews, pooler, self.tape.first.start())?;
        if below {
            self.input_gradient(
                &layout.pooler,
                reviews,
                pooler,
                self.grad.first.start(),
                Write::Wide { add: false },
            )?;
        }
        Ok(())
    }

    /// Backward pass of a LayerNorm. Replaces `dy` (rows, hidden), the gradient of its output, by
    /// the gradient of its input sum. If `dropped` is not null, it receives the gradient of the
    /// added linear output, and that gradient's sums over rows go to `added_at`.
    #[allow(
        clippy::too_many_arguments,
        reason = "a kernel takes its operands one by one"
    )]
    unsafe fn norm(
        &self,
        at: &NormAt,
        kept: &Normed,
        first: bool,
        dy: Address,
        dropped: Address,
        added_at: u32,
        drops: Dropouts,
    ) -> Result<(), Error> {
        let rate = drops.before.max(drops.after);
        let (threshold, drop_scale) = Core::dropout(self.batch, rate);
        let arguments = NormBackward {
            dy: dy.into(),
            sum: kept.sum.start().into(),
            moments: kept.moments.start().into(),
            scale: self.core.values.at(at.scale.start).into(),
            dropped: dropped.into(),
            at: Core::rows(self.batch, first),
            parts: self.sums.parts.start().into(),
            site: drops.site,
            part_stride: self.sums.stride as u32,
            scale_at: self.part_at(&at.scale),
            bias_at: self.part_at(&at.bias),
            added_at,
            rows: if first {
                self.batch.reviews
            } else {
                self.batch.tokens
            } as u32,
            threshold_before: if drops.before > 0.0 { threshold } else { 0 },
            threshold_after: if drops.after > 0.0 { threshold } else { 0 },
            drop_scale,
        };
        self.core.program.launch([PARTS, 1, 1], arguments)
    }

    /// The f32 gradient of the layer's residual, (rows, hidden). The products read a copy, `added`,
    /// in the activations' precision.
    fn residual(&self, layer: &Layer<'_>) -> Address {
        if layer.is_last {
            self.grad.first.start()
        } else {
            self.grad.x.start()
        }
    }

    /// Backward pass of the second LayerNorm and the feed-forward network: the residual's gradient
    /// becomes that of `attended`.
    unsafe fn feed_forward(&self, layer: &Layer<'_>) -> Result<(), Error> {
        let Layer { at, here, rows, .. } = *layer;
        let core = self.core;
        let (dx, added) = (self.residual(layer), self.grad.added.start());
        let (inner, active) = (self.grad.inner.start(), self.tape.active.start());
        let drops = Dropouts {
            before: 0.0,
            after: core.config.hidden_dropout,
            site: site::output(layer.index),
        };
        let bias_at = self.part_at(&at.feed_forward_out.bias);
        self.norm(
            &at.output_norm,
            &here.output,
            layer.is_last,
            dx,
            added,
            bias_at,
            drops,
        )?;
        self.input_gradient(&at.feed_forward_out, rows, added, inner, Write::Stored)?;
        let arguments = ActivateBackward {
            x: here.inner.start().into(),
            bias: core.bias(&at.feed_forward_in).into(),
            y: active.into(),
            dy: inner.into(),
            parts: self.sums.parts.start().into(),
            part_stride: self.sums.stride as u32,
            bias_at: self.part_at(&at.feed_forward_in.bias),
            rows: rows as u32,
        };
        let columns = core.column_blocks(core.config.intermediate_size);
        core.program.launch([columns, PARTS, 1], arguments)?;
        self.weight_gradient(&at.feed_forward_out, rows, added, active)?;
        self.weight_gradient(&at.feed_forward_in, rows, inner, here.attended.start())?;
        let add = Write::Wide { add: true };
        self.input_gradient(&at.feed_forward_in, rows, inner, dx, add)
    }

    /// Backward pass of the first LayerNorm and the attention. Returns where the gradients of the
    /// queries, and of keys and values, are.
    unsafe fn attend(&self, layer: &Layer<'_>) -> Result<[Address; 2], Error> {
        let Layer { at, here, rows, .. } = *layer;
        let (core, batch) = (self.core, self.batch);
        let (added, context) = (self.grad.added.start(), self.grad.context.start());
        let drops = Dropouts {
            before: 0.0,
            after: core.attention_output_dropout(),
            site: site::attention_output(layer.index),
        };
        let bias_at = self.part_at(&at.attention_output.bias);
        self.norm(
            &at.attention_norm,
            &here.attention,
            layer.is_last,
            self.residual(layer),
            added,
            bias_at,
            drops,
        )?;
        self.weight_gradient(&at.attention_output, rows, added, here.context.start())?;
        self.input_gradient(&at.attention_output, rows, added, context, Write::Stored)?;

        let projected = self.grad.projected.start();
        let [dq, dkv] = if layer.is_last {
            [self.grad.first_query.start(), projected]
        } else {
            let width = core.bytes(core.config.hidden_size);
            [projected, projected + width]
        };
        let of = core.attention(batch, layer);
        let arguments = AttentionBackwardQueries {
            of,
            grad: context.into(),
            context: here.context.start().into(),
            log_sums: here.log_sums.start().into(),
            products: self.grad.products.start().into(),
            dq: dq.into(),
        };
        core.program
            .launch(core.query_blocks(batch, layer), arguments)?;
        let arguments = AttentionBackwardKeys {
            of,
            grad: context.into(),
            log_sums: here.log_sums.start().into(),
            products: self.grad.products.start().into(),
            dkv: dkv.into(),
        };
        core.program
            .launch([batch.tile_count, core.config.heads, 1], arguments)?;
        Ok([dq, dkv])
    }

    /// Backward pass of the projections, whose gradients are at `dq` and `dkv`. The gradient of the
    /// layer's input is computed only if `below`.
    unsafe fn project(
        &self,
        layer: &Layer<'_>,
        [dq, dkv]: [Address; 2],
        below: bool,
    ) -> Result<(), Error> {
        let Layer { at, here, rows, .. } = *layer;
        let (core, tokens, h) = (self.core, self.batch.tokens, self.core.config.hidden_size);
        let (x, dx, add) = (
            here.x.start(),
            self.residual(layer),
            Write::Wide { add: true },
        );
        let Some([first, _]) = here.first.as_ref().filter(|_| layer.is_last) else {
            let all = at.query_key_value();
            self.column_sums(dq, rows, 3 * h, &all.bias)?;
            self.weight_gradient(&all, rows, dq, x)?;
            if below {
                self.input_gradient(&all, rows, dq, dx, add)?;
            }
            return Ok(());
        };
        self.column_sums(dq, rows, h, &at.query.bias)?;
        self.column_sums(dkv, tokens, 2 * h, &at.key_value.bias)?;
        self.weight_gradient(&at.query, rows, dq, first.start())?;
        self.weight_gradient(&at.key_value, tokens, dkv, x)?;
        if below {
            self.input_gradient(&at.query, rows, dq, dx, add)?;
            // Expand the gradient from the first tokens' rows to all rows.
            let all = self.grad.x.start();
            let arguments = ScatterFirst {
                first: dx.into(),
                positions: self.batch.positions.into(),
                reviews: self.batch.review_of.into(),
                x: all.into(),
                rows: tokens as u32,
            };
            core.program.launch(Core::row_blocks(tokens), arguments)?;
            self.input_gradient(&at.key_value, tokens, dkv, all, add)?;
        }
        Ok(())
    }

    /// Backward pass of the embeddings: dropout, LayerNorm, and the sums of rows from the embedding
    /// tables.
    unsafe fn embeddings(&self) -> Result<(), Error> {
        let Backward {
            core,
            batch,
            training,
            sums,
            ..
        } = self;
        let layout = &core.values.placement.layout;
        let width = core.config.hidden_size;
        let dx = self.grad.x.start();
        let drops = Dropouts {
            before: core.config.hidden_dropout,
            after: 0.0,
            site: site::EMBEDDINGS,
        };
        // Every token adds the same segment row, so its gradient is the sum over all rows.
        self.norm(
            &layout.embedding_norm,
            &self.tape.embedded,
            false,
            dx,
            NONE,
            layout.vectors.len() as u32,
            drops,
        )?;
        let blocks = |rows| [rows, width.div_ceil(COLUMNS as usize), 1];
        let arguments = WordGradient {
            dx: dx.into(),
            order: training.word_order.into(),
            starts: training.word_starts.into(),
            ids: training.word_ids.into(),
            gradient: sums.gradients.words().into(),
            marks: sums.marks.start().into(),
            mark: self.mark,
        };
        core.program.launch(blocks(training.words), arguments)?;
        if !self.add {
            sums.gradients.zero(&layout.positions)?;
            layout
                .segments
                .iter()
                .try_for_each(|segments| sums.gradients.zero(segments))?;
        }
        let arguments = PositionGradient {
            dx: dx.into(),
            starts: batch.starts.into(),
            gradient: sums.gradients.at(layout.positions.start).into(),
            reviews: batch.reviews as u32,
        };
        core.program.launch(blocks(batch.longest), arguments)
    }
}
