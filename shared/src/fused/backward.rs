//! The backward pass, from the gradients of the logits to those of all weights.
//!
//! The shards of a layer run in parallel. The gradients of a layer's matrices are summed over all
//! shards, one block of rows per task so that no two threads write the same rows. These sums are
//! delayed until the shards of the layer below run: they fill the cores that the unequal shards
//! leave idle.

use std::ops::Range;

use super::forward::{drop_tokens, single_tokens};
use super::layer::Layer;
use super::layout::{Layout, LinearAt, NormAt};
use super::operand::Write;
use super::product;
use super::shard::{Backward, Factors, LayerTape, Normed, Shard};
use super::{Depth, Gradients, Pass, Precision, Tape};
use crate::config::Architecture;
use crate::kernels::attention;
use crate::kernels::dropout::site;
use crate::kernels::rows::{add, add_column_sums};
use crate::kernels::{activation, norm};
use crate::{LABELS, parallel};

/// Rows of a matrix gradient that one task sums: enough for an efficient product, few enough to
/// share among threads.
const ROWS: usize = 192;

/// Computes the gradients of the weights from those of the logits of the batch on the tape.
pub(super) fn run(
    pass: &Pass<'_>,
    d_logits: &[[f32; LABELS]],
    tape: &mut Tape,
    gradients: &mut Gradients,
) {
    let write = if gradients.begin() {
        Write::Set
    } else {
        Write::Add
    };
    let layout = pass.layout;
    let Tape {
        shards,
        used,
        backward,
        factors,
    } = tape;
    let shards = &shards[..*used];
    backward.resize_with(shards.len().max(backward.len()), Backward::default);
    factors
        .iter_mut()
        .for_each(|factors| factors.resize_with(shards.len().max(factors.len()), Factors::default));
    let backward = &mut backward[..shards.len()];
    let [above, here] = factors;
    let (mut above, mut here) = (&mut above[..shards.len()], &mut here[..shards.len()]);

    let work = shards
        .iter()
        .zip(backward.iter_mut())
        .zip(above.iter_mut())
        .collect();
    parallel::for_each(work, |((shard, back), factors)| {
        back.vectors.sized(layout.vectors.len()).fill(0.0);
        head(pass, shard, &d_logits[shard.reviews.clone()], back, factors);
    });
    let precision = pass.arithmetic.matrices.precision();
    let mut weights = weights_of_head(layout);
    let lowest = match gradients.depth() {
        Depth::Embeddings => 0,
        Depth::Layer(layer) => layer,
    };
    for index in (lowest..layout.layers.len()).rev() {
        let shards_of_layer = shards
            .iter()
            .zip(backward.iter_mut())
            .zip(here.iter_mut())
            .map(|((shard, back), factors)| Task::Shard(shard, back, factors));
        let tasks = shards_of_layer
            .chain(blocks(&weights, gradients.dense_mut()))
            .collect();
        parallel::for_each_in_order(tasks, |task| match task {
            Task::Shard(shard, back, factors) => {
                layer(&Layer::of(pass, index, shard), shard, back, factors);
            }
            Task::Block(block) => block.sum(precision, shards, above, write),
        });
        weights = weights_of_layer(layout, index);
        std::mem::swap(&mut above, &mut here);
    }
    let embeds = gradients.depth() == Depth::Embeddings;
    let rest = shards
        .iter()
        .zip(backward.iter_mut())
        .zip(here.iter_mut())
        .map(|((shard, back), factors)| Task::Shard(shard, back, factors));
    let tasks = rest
        .filter(|_| embeds)
        .chain(blocks(&weights, gradients.dense_mut()))
        .collect();
    parallel::for_each_in_order(tasks, |task| match task {
        Task::Shard(shard, back, _) => embedding_norm(pass, shard, back),
        Task::Block(block) => block.sum(precision, shards, above, write),
    });
    for (shard, back) in shards.iter().zip(backward) {
        if embeds {
            embeddings(pass, shard, &back.x, gradients);
        }
        add(
            &mut gradients.dense_mut()[layout.vectors.clone()],
            &back.vectors,
        );
    }
}

/// A unit of parallel work.
enum Task<'a> {
    /// The backward pass of one shard through one layer.
    Shard(&'a Shard, &'a mut Backward, &'a mut Factors),
    /// Sums some rows of a matrix gradient.
    Block(Block<'a>),
}

/// A matrix whose gradient is dyᵀ x, summed over all shards.
#[derive(Clone, Copy)]
struct Weight<'a> {
    at: &'a LinearAt,
    dy: for<'s> fn(&'s Factors) -> &'s [f32],
    x: for<'s> fn(&'s Shard, &'s Factors, usize) -> &'s [f32],
    layer: usize,
}

/// The matrices of the head.
fn weights_of_head(layout: &Layout) -> Vec<Weight<'_>> {
    vec![
        Weight {
            at: &layout.classifier,
            dy: |f| &f.logits,
            x: |s, _, _| &s.pooled,
            layer: 0,
        },
        Weight {
            at: &layout.pooler,
            dy: |f| &f.pooled,
            x: |s, _, _| &s.first,
            layer: 0,
        },
    ]
}

/// The matrices of a layer.
fn weights_of_layer(layout: &Layout, layer: usize) -> Vec<Weight<'_>> {
    let at = &layout.layers[layer];
    vec![
        Weight {
            at: &at.feed_forward_in,
            dy: |f| &f.feed_forward_in,
            x: |s, _, i| &s.layers[i].attended,
            layer,
        },
        Weight {
            at: &at.feed_forward_out,
            dy: |f| &f.feed_forward_out,
            x: |_, f, _| &f.active,
            layer,
        },
        Weight {
            at: &at.key_value,
            dy: |f| &f.key_value,
            x: |s, _, i| &s.layers[i].x,
            layer,
        },
        Weight {
            at: &at.query,
            dy: |f| &f.query,
            x: if layer + 1 == layout.layers.len() {
                |s, _, i| &s.layers[i].x_first
            } else {
                |s, _, i| &s.layers[i].x
            },
            layer,
        },
        Weight {
            at: &at.attention_output,
            dy: |f| &f.attention_output,
            x: |s, _, i| &s.layers[i].context,
            layer,
        },
    ]
}

/// A block of rows of the weight's gradient, starting at row `first`.
struct Block<'a> {
    weight: Weight<'a>,
    first: usize,
    rows: &'a mut [f32],
}

/// Splits the gradients of `weights` in `dense` into blocks of rows.
fn blocks<'a>(weights: &[Weight<'a>], dense: &'a mut [f32]) -> impl Iterator<Item = Task<'a>> {
    // In the layout's order, so that each can be split off the rest.
    let mut order = weights.to_vec();
    order.sort_by_key(|weight| weight.at.weight.start);
    let (mut blocks, mut rest, mut at) = (Vec::new(), dense, 0);
    for weight in order {
        let range = weight.at.weight.clone();
        let (_, from) = std::mem::take(&mut rest).split_at_mut(range.start - at);
        let (own, after) = from.split_at_mut(range.len());
        (rest, at) = (after, range.end);
        let own = own.chunks_mut(ROWS * weight.at.inputs).enumerate();
        blocks.extend(own.map(|(i, rows)| {
            Task::Block(Block {
                weight,
                first: i * ROWS,
                rows,
            })
        }));
    }
    blocks.into_iter()
}

impl Block<'_> {
    fn sum(self, precision: Precision, shards: &[Shard], factors: &[Factors], mut write: Write) {
        let Block {
            weight: Weight { at, dy, x, layer },
            first,
            rows,
        } = self;
        for (shard, factors) in shards.iter().zip(factors) {
            product::linear_weight(
                at,
                first,
                dy(factors),
                x(shard, factors, layer),
                write,
                rows,
                precision,
            );
            write = Write::Add;
        }
    }
}

/// Backward pass of the head: from the gradient of the logits to that of the last layer's output
/// for the first tokens.
fn head(
    pass: &Pass<'_>,
    shard: &Shard,
    d_logits: &[[f32; LABELS]],
    back: &mut Backward,
    factors: &mut Factors,
) {
    let (h, layout) = (pass.config.hidden_size, pass.layout);
    let reviews = d_logits.len();
    let logits = factors.logits.sized(reviews * LABELS);
    logits.copy_from_slice(d_logits.as_flattened());
    add_column_sums(logits, &mut back.vectors[bias(pass, &layout.classifier)]);
    let pooled = factors.pooled.sized(reviews * h);
    product::linear_input(
        &layout.classifier,
        logits,
        Write::Set,
        pooled,
        pass.arithmetic,
    );
    drop_tokens(
        pooled,
        pass.config.classifier_dropout,
        &shard.keys,
        site::HEAD,
        &single_tokens(reviews),
    );
    for (d, x) in pooled.iter_mut().zip(shard.pooled_in.iter()) {
        *d *= match pass.config.architecture {
            Architecture::DistilBert => f32::from(*x > 0.0),
            Architecture::Bert => 1.0 - x.tanh().powi(2),
        };
    }
    add_column_sums(pooled, &mut back.vectors[bias(pass, &layout.pooler)]);
    product::linear_input(
        &layout.pooler,
        pooled,
        Write::Set,
        back.x.sized(reviews * h),
        pass.arithmetic,
    );
}

/// Replaces `dy`, the gradient of a LayerNorm's output, by the gradient of its input sum.
fn norm_backward(
    pass: &Pass<'_>,
    at: &NormAt,
    normed: &Normed,
    dy: &mut [f32],
    vectors: &mut [f32],
) {
    let h = pass.config.hidden_size;
    let start = pass.layout.vectors.start;
    // Scale and bias are adjacent in the layout.
    let (d_scale, d_bias) = vectors[at.scale.start - start..at.bias.end - start].split_at_mut(h);
    norm::backward(
        &pass.values[at.scale.clone()],
        &normed.sum,
        &normed.moments,
        dy,
        d_scale,
        d_bias,
    );
}

/// Where the bias of a linear layer is among the gradients of all vectors.
fn bias(pass: &Pass<'_>, at: &LinearAt) -> Range<usize> {
    let start = pass.layout.vectors.start;
    at.bias.start - start..at.bias.end - start
}

/// Backward pass of one layer: replaces `back.x`, the gradient of its output (rows, hidden), by the
/// gradient of its input (tokens, hidden).
fn layer(layer: &Layer<'_>, shard: &Shard, back: &mut Backward, factors: &mut Factors) {
    let tape = &shard.layers[layer.index];
    feed_forward(layer, tape, back, factors);
    attend(layer, tape, back, factors);
    project(layer, back, factors);
}

/// Backward pass of the second LayerNorm and the feed-forward network: `back.x` becomes the
/// gradient of `attended` (rows, hidden).
fn feed_forward(layer: &Layer<'_>, tape: &LayerTape, back: &mut Backward, factors: &mut Factors) {
    let (pass, at, rows) = (layer.pass, layer.at, layer.rows());
    let (h, f) = (pass.config.hidden_size, pass.config.intermediate_size);
    let Backward { x, vectors, .. } = back;
    // Then `x` holds the gradient of the LayerNorm's input sum: residual + feed-forward output.
    norm_backward(pass, &at.output_norm, &tape.output, x, vectors);
    let out = factors.feed_forward_out.sized(rows * h);
    out.copy_from_slice(x);
    layer.drop_output(out);
    add_column_sums(out, &mut vectors[bias(pass, &at.feed_forward_out)]);
    let inner = factors.feed_forward_in.sized(rows * f);
    let arithmetic = pass.arithmetic;
    product::linear_input(&at.feed_forward_out, out, Write::Set, inner, arithmetic);
    activation::backward(
        pass.config.activation,
        &tape.inner,
        inner,
        factors.active.sized(rows * f),
    );
    add_column_sums(inner, &mut vectors[bias(pass, &at.feed_forward_in)]);
    product::linear_input(&at.feed_forward_in, inner, Write::Add, x, arithmetic);
}

/// Backward pass of the first LayerNorm and the attention: `back.x` becomes the gradient of the
/// residual (rows, hidden), `factors.query` and `factors.key_value` those of the projections.
fn attend(layer: &Layer<'_>, tape: &LayerTape, back: &mut Backward, factors: &mut Factors) {
    let (pass, at, rows) = (layer.pass, layer.at, layer.rows());
    let h = pass.config.hidden_size;
    let Backward { x, vectors, .. } = back;
    norm_backward(pass, &at.attention_norm, &tape.attention, x, vectors);
    let out = factors.attention_output.sized(rows * h);
    out.copy_from_slice(x);
    layer.drop_attention_output(out);
    add_column_sums(out, &mut vectors[bias(pass, &at.attention_output)]);
    let context = back.context.sized(rows * h);
    product::linear_input(
        &at.attention_output,
        out,
        Write::Set,
        context,
        pass.arithmetic,
    );

    let query = factors.query.sized(rows * h);
    let key_value = factors.key_value.sized(layer.tokens() * 2 * h);
    for (review, tokens, rows) in layer.reviews() {
        let rows = rows.start * h..rows.end * h;
        let tokens = tokens.start * 2 * h..tokens.end * 2 * h;
        let operands = layer.attention(
            review,
            &tape.query[rows.clone()],
            &tape.key_value[tokens.clone()],
        );
        attention::backward(
            operands,
            &context[rows.clone()],
            &mut query[rows],
            &mut key_value[tokens],
            &mut back.attention,
        );
    }
    add_column_sums(query, &mut vectors[bias(pass, &at.query)]);
    add_column_sums(key_value, &mut vectors[bias(pass, &at.key_value)]);
}

/// Backward pass of the projections: `back.x` becomes the gradient of the layer's input
/// (tokens, hidden).
fn project(layer: &Layer<'_>, back: &mut Backward, factors: &Factors) {
    let (pass, at) = (layer.pass, layer.at);
    let (h, arithmetic) = (pass.config.hidden_size, pass.arithmetic);
    product::linear_input(
        &at.query,
        &factors.query,
        Write::Add,
        &mut back.x,
        arithmetic,
    );
    if layer.is_last {
        // Expand the gradient from the first tokens' rows to all rows.
        let all = back.x_all.sized(layer.tokens() * h);
        all.fill(0.0);
        for (row, start) in back.x.chunks_exact(h).zip(layer.boundaries) {
            all[start * h..][..h].copy_from_slice(row);
        }
        std::mem::swap(&mut back.x, &mut back.x_all);
    }
    product::linear_input(
        &at.key_value,
        &factors.key_value,
        Write::Add,
        &mut back.x,
        arithmetic,
    );
}

/// Backward pass of the embeddings' dropout and LayerNorm.
fn embedding_norm(pass: &Pass<'_>, shard: &Shard, back: &mut Backward) {
    drop_tokens(
        &mut back.x,
        pass.config.hidden_dropout,
        &shard.keys,
        site::EMBEDDINGS,
        &shard.boundaries,
    );
    norm_backward(
        pass,
        &pass.layout.embedding_norm,
        &shard.embedded,
        &mut back.x,
        &mut back.vectors,
    );
}

/// Adds the gradient of each token to the rows of the embedding tables that it is the sum of.
fn embeddings(pass: &Pass<'_>, shard: &Shard, d_sum: &[f32], gradients: &mut Gradients) {
    let h = pass.config.hidden_size;
    let (positions, segments) = (pass.layout.positions.start, pass.layout.segments.clone());
    for (_, span) in shard.spans() {
        for (position, token) in span.enumerate() {
            let row = &d_sum[token * h..][..h];
            add(gradients.word_row(shard.token_ids[token]), row);
            add(
                &mut gradients.dense_mut()[positions + position * h..][..h],
                row,
            );
        }
    }
    if let Some(segments) = segments {
        add_column_sums(d_sum, &mut gradients.dense_mut()[segments][..h]);
    }
}
