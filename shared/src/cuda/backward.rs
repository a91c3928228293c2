//! The backward pass on a device: gradients of the logits to those of all weights.

use super::arena::Arena;
use super::arguments::{
    ActivateBackward, AttentionBackwardKeys, AttentionBackwardQueries, ClassifierGradient,
    ColumnSums, NONE, NormBackward, PositionGradient, ScatterFirst, SumParts, WordGradient,
};
use super::batch::{Lesson, Sent};
use super::device::{Address, Buffer, Form};
use super::encoder::{Core, Write};
use super::program::COLUMNS;
use super::tape::{GradientTape, Normed, Tape};
use crate::Error;
use crate::config::Architecture;
use crate::fused::Depth;
use crate::fused::layout::{LayerAt, LinearAt, NormAt};
use crate::kernels::dropout::site;

/// Parts into which sums over rows are divided: enough blocks for a large GPU, few enough to be added up quickly.
pub(super) const PARTS: usize = 128;

/// The gradients of a step's weights, and the parts of the sums that become those of the vectors.
pub(super) struct Sums {
    pub gradients: Arena,
    /// (PARTS, vectors + hidden): the last columns are the first segment's row, when there is one.
    pub parts: Buffer<f32>,
    pub stride: usize,
    pub marks: Buffer<u32>,
    pub depth: Depth,
}

/// A backward pass.
pub(super) struct Backward<'a> {
    pub core: &'a Core,
    pub batch: &'a Sent,
    pub lesson: &'a Lesson,
    pub tape: &'a Tape,
    pub grad: &'a GradientTape,
    pub sums: &'a Sums,
    /// Whether gradients are added to those of the step's earlier batches.
    pub add: bool,
    /// The step's mark in the word embedding's rows.
    pub mark: u32,
}

/// The dropouts around a LayerNorm, in the order of this pass.
#[derive(Clone, Copy)]
struct Dropouts {
    before: f32,
    after: f32,
    site: u64,
}

impl Backward<'_> {
    /// Takes the gradients of the logits, which the forward pass left, back to those of the weights.
    pub fn run(&self) -> Result<(), Error> {
        let layout = &self.core.values.placement.layout;
        let lowest = match self.sums.depth {
            Depth::Embeddings => 0,
            Depth::Layer(layer) => layer,
        };
        self.head(lowest < layout.layers.len())?;
        for (i, at) in layout.layers.iter().enumerate().skip(lowest).rev() {
            self.layer(i, at, i > lowest || self.sums.depth == Depth::Embeddings)?;
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

    /// Where in a part the sums for a vector lie.
    fn part_at(&self, vector: &std::ops::Range<usize>) -> u32 {
        (vector.start - self.core.values.placement.layout.vectors.start) as u32
    }

    /// dw = dyᵀ x, of the rows of dy and x.
    fn weight(&self, at: &LinearAt, rows: usize, dy: Address, x: Address) -> Result<(), Error> {
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
    fn input(
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

    /// Sums of the columns of x (rows, columns), for the bias that lies at `bias`.
    fn column_sums(
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

    /// From the gradient of the logits to that of the first tokens after the last layer, the latter if `below`.
    fn head(&self, below: bool) -> Result<(), Error> {
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
        // The classifier's kernel has left the gradient of the pooler's sum in its place.
        let pooler = self.tape.pooler.start();
        self.column_sums(pooler, reviews, width, &layout.pooler.bias)?;
        self.weight(&layout.pooler, reviews, pooler, self.tape.first.start())?;
        if below {
            self.input(
                &layout.pooler,
                reviews,
                pooler,
                self.grad.first.start(),
                Write::Wide { add: false },
            )?;
        }
        Ok(())
    }

    /// The gradient `dy` (rows, hidden) with respect to a LayerNorm's result becomes that with respect to the sum that it takes; `dropped`, if there is one, that of what was
    /// added, whose sums over rows go to `added_at`.
    #[allow(
        clippy::too_many_arguments,
        reason = "a kernel takes its operands one by one"
    )]
    fn norm(
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

    /// One layer: from the gradient of its result to that of its input, the latter if `below`.
    fn layer(&self, index: usize, at: &LayerAt, below: bool) -> Result<(), Error> {
        let Backward {
            core,
            batch,
            tape,
            grad,
            ..
        } = self;
        let config = &core.config;
        let (h, f) = (config.hidden_size, config.intermediate_size);
        let here = &tape.layers[index];
        let last = index + 1 == config.layers;
        let rows = if last { batch.reviews } else { batch.tokens };
        // Of the residual's gradient, in f32, the products take a copy as activations are stored.
        let dx = if last {
            grad.first.start()
        } else {
            grad.x.start()
        };
        let added = grad.added.start();

        let drops = Dropouts {
            before: 0.0,
            after: config.hidden_dropout,
            site: site::output(index),
        };
        self.norm(
            &at.output_norm,
            &here.output,
            last,
            dx,
            added,
            self.part_at(&at.feed_forward_out.bias),
            drops,
        )?;
        self.input(
            &at.feed_forward_out,
            rows,
            added,
            grad.inner.start(),
            Write::Stored,
        )?;
        let arguments = ActivateBackward {
            x: here.inner.start().into(),
            bias: core.bias(&at.feed_forward_in).into(),
            y: tape.active.start().into(),
            dy: grad.inner.start().into(),
            parts: self.sums.parts.start().into(),
            part_stride: self.sums.stride as u32,
            bias_at: self.part_at(&at.feed_forward_in.bias),
            rows: rows as u32,
        };
        core.program
            .launch([core.column_blocks(f), PARTS, 1], arguments)?;
        self.weight(&at.feed_forward_out, rows, added, tape.active.start())?;
        self.weight(
            &at.feed_forward_in,
            rows,
            grad.inner.start(),
            here.attended.start(),
        )?;
        self.input(
            &at.feed_forward_in,
            rows,
            grad.inner.start(),
            dx,
            Write::Wide { add: true },
        )?;

        let after = if config.architecture == Architecture::Bert {
            config.hidden_dropout
        } else {
            0.0
        };
        let drops = Dropouts {
            before: 0.0,
            after,
            site: site::attention_output(index),
        };
        self.norm(
            &at.attention_norm,
            &here.attention,
            last,
            dx,
            added,
            self.part_at(&at.attention_output.bias),
            drops,
        )?;
        self.weight(&at.attention_output, rows, added, here.context.start())?;
        self.input(
            &at.attention_output,
            rows,
            added,
            grad.context.start(),
            Write::Stored,
        )?;

        let of = core.attention(batch, here, index, at);
        let projected = grad.projected.start();
        let (dq, dkv) = if last {
            (grad.first_query.start(), projected)
        } else {
            (projected, projected + core.bytes(h))
        };
        let arguments = AttentionBackwardQueries {
            of,
            grad: grad.context.start().into(),
            context: here.context.start().into(),
            log_sums: here.log_sums.start().into(),
            products: grad.products.start().into(),
            dq: dq.into(),
        };
        core.program.launch(
            [
                if last {
                    batch.reviews
                } else {
                    batch.tile_count
                },
                config.heads,
                1,
            ],
            arguments,
        )?;
        let arguments = AttentionBackwardKeys {
            of,
            grad: grad.context.start().into(),
            log_sums: here.log_sums.start().into(),
            products: grad.products.start().into(),
            dkv: dkv.into(),
        };
        core.program
            .launch([batch.tile_count, config.heads, 1], arguments)?;

        let x = here.x.start();
        let all = at.query_key_value();
        match &here.first {
            Some([first, _]) if last => {
                self.column_sums(dq, rows, h, &at.query.bias)?;
                self.column_sums(dkv, batch.tokens, 2 * h, &at.key_value.bias)?;
                self.weight(&at.query, rows, dq, first.start())?;
                self.weight(&at.key_value, batch.tokens, dkv, x)?;
                if below {
                    self.input(&at.query, rows, dq, dx, Write::Wide { add: true })?;
                    // From the rows that were asked for to all of them.
                    let arguments = ScatterFirst {
                        first: dx.into(),
                        positions: batch.positions.into(),
                        reviews: batch.review_of.into(),
                        x: grad.x.start().into(),
                        rows: batch.tokens as u32,
                    };
                    core.program
                        .launch(Core::row_blocks(batch.tokens), arguments)?;
                    self.input(
                        &at.key_value,
                        batch.tokens,
                        dkv,
                        grad.x.start(),
                        Write::Wide { add: true },
                    )?;
                }
            }
            _ => {
                self.column_sums(projected, rows, 3 * h, &all.bias)?;
                self.weight(&all, rows, projected, x)?;
                if below {
                    self.input(&all, rows, projected, dx, Write::Wide { add: true })?;
                }
            }
        }
        Ok(())
    }

    /// Through dropout and LayerNorm of the embeddings, to the rows that each token was the sum of.
    fn embeddings(&self) -> Result<(), Error> {
        let Backward {
            core,
            batch,
            lesson,
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
        // What was added up is the segment's row, once for each token.
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
            order: lesson.word_order.into(),
            starts: lesson.word_starts.into(),
            ids: lesson.word_ids.into(),
            gradient: sums.gradients.words().into(),
            marks: sums.marks.start().into(),
            mark: self.mark,
        };
        core.program.launch(blocks(lesson.words), arguments)?;
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
