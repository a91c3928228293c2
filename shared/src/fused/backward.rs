//! The backward pass: gradients of the logits to those of all weights.
//!
//! A layer's shards go back side by side. The gradients of its matrices, each summed over all shards, a block of rows at a time so that no two threads write the same, are left
//! for the time when the shards of the layer below go back: those sums fill whatever the unequal shards leave of the cores.

use super::forward::{drop_tokens, single_tokens};
use super::layout::{LayerAt, LinearAt, NormAt};
use super::operand::Write;
use super::product;
use super::shard::{Backward, Factors, Normed, Shard, spans};
use super::{Depth, Gradients, Pass, Precision, Tape};
use crate::config::Architecture;
use crate::kernels::attention::{self, Operands};
use crate::kernels::dropout::{Dropout, site};
use crate::kernels::rows::{add, add_column_sums};
use crate::kernels::{activation, norm};
use crate::{LABELS, parallel, rng};

/// Rows of a weight's gradient that one task sums: enough for a product to be quick, few enough to share.
const ROWS: usize = 192;

/// Takes the gradients of the logits of the batch on the tape back to those of the weights.
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
    let mut weights = vec![
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
    ];
    let lowest = match gradients.depth() {
        Depth::Embeddings => 0,
        Depth::Layer(layer) => layer,
    };
    for (i, at) in layout.layers.iter().enumerate().skip(lowest).rev() {
        let last = i + 1 == layout.layers.len();
        let shards_of_layer = shards
            .iter()
            .zip(backward.iter_mut())
            .zip(here.iter_mut())
            .map(|((shard, back), factors)| Task::Shard(shard, back, factors));
        let tasks = shards_of_layer
            .chain(blocks(&weights, gradients.dense_mut()))
            .collect();
        parallel::in_turn(tasks, |task| match task {
            Task::Shard(shard, back, factors) => layer(pass, shard, back, factors, i, at, last),
            Task::Block(block) => {
                block.sum(pass.arithmetic.matrices.precision(), shards, above, write)
            }
        });
        weights = vec![
            Weight {
                at: &at.feed_forward_in,
                dy: |f| &f.feed_forward_in,
                x: |s, _, i| &s.layers[i].attended,
                layer: i,
            },
            Weight {
                at: &at.feed_forward_out,
                dy: |f| &f.feed_forward_out,
                x: |_, f, _| &f.active,
                layer: i,
            },
            Weight {
                at: &at.key_value,
                dy: |f| &f.key_value,
                x: |s, _, i| &s.layers[i].x,
                layer: i,
            },
            Weight {
                at: &at.query,
                dy: |f| &f.query,
                x: if last {
                    |s, _, i| &s.layers[i].x_first
                } else {
                    |s, _, i| &s.layers[i].x
                },
                layer: i,
            },
            Weight {
                at: &at.attention_output,
                dy: |f| &f.attention_output,
                x: |s, _, i| &s.layers[i].context,
                layer: i,
            },
        ];
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
    parallel::in_turn(tasks, |task| match task {
        Task::Shard(shard, back, _) => embedding_norm(pass, shard, back),
        Task::Block(block) => block.sum(pass.arithmetic.matrices.precision(), shards, above, write),
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

/// What is done side by side.
enum Task<'a> {
    /// A shard goes back a layer.
    Shard(&'a Shard, &'a mut Backward, &'a mut Factors),
    /// Some rows of a matrix's gradient are summed.
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

/// The rows of its gradient from `first` on.
struct Block<'a> {
    weight: Weight<'a>,
    first: usize,
    rows: &'a mut [f32],
}

/// The gradients of `weights` in `dense`, in blocks of rows.
fn blocks<'a>(weights: &[Weight<'a>], dense: &'a mut [f32]) -> impl Iterator<Item = Task<'a>> {
    // In the order in which they lie, so that each can be split off the rest.
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

/// From the gradient of the logits to that of the first tokens after the last layer.
fn head(
    pass: &Pass<'_>,
    shard: &Shard,
    d_logits: &[[f32; LABELS]],
    back: &mut Backward,
    factors: &mut Factors,
) {
    let (h, layout) = (pass.config.hidden_size, pass.layout);
    let reviews = d_logits.len();
    let vectors = layout.vectors.start;
    let logits = factors.logits.sized(reviews * LABELS);
    logits.copy_from_slice(d_logits.as_flattened());
    let bias = |at: &LinearAt| at.bias.start - vectors..at.bias.end - vectors;
    add_column_sums(logits, &mut back.vectors[bias(&layout.classifier)]);
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
    add_column_sums(pooled, &mut back.vectors[bias(&layout.pooler)]);
    product::linear_input(
        &layout.pooler,
        pooled,
        Write::Set,
        back.x.sized(reviews * h),
        pass.arithmetic,
    );
}

/// The gradient `dy` with respect to a LayerNorm's result becomes that with respect to the sum that it takes.
fn norm_backward(
    pass: &Pass<'_>,
    at: &NormAt,
    normed: &Normed,
    dy: &mut [f32],
    vectors: &mut [f32],
) {
    let h = pass.config.hidden_size;
    let start = pass.layout.vectors.start;
    // Scale and bias are neighbours.
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

/// One layer: from the gradient of its result to that of its input.
fn layer(
    pass: &Pass<'_>,
    shard: &Shard,
    back: &mut Backward,
    factors: &mut Factors,
    index: usize,
    at: &LayerAt,
    last: bool,
) {
    let config = pass.config;
    let (h, f, by) = (
        config.hidden_size,
        config.intermediate_size,
        pass.arithmetic,
    );
    let (tokens, reviews) = (shard.tokens(), shard.boundaries.len() - 1);
    let rows = if last { reviews } else { tokens };
    let singles;
    let row_boundaries = if last {
        singles = single_tokens(reviews);
        &singles
    } else {
        &shard.boundaries
    };
    let tape = &shard.layers[index];
    let vectors = pass.layout.vectors.start;
    let bias = |at: &LinearAt| at.bias.start - vectors..at.bias.end - vectors;

    // x holds the gradient with respect to the layer's result; then to the sum before the second LayerNorm: of the residual and of what the feed-forward layers add.
    norm_backward(
        pass,
        &at.output_norm,
        &tape.output,
        &mut back.x,
        &mut back.vectors,
    );
    let out = factors.feed_forward_out.sized(rows * h);
    out.copy_from_slice(&back.x);
    drop_tokens(
        out,
        config.hidden_dropout,
        &shard.keys,
        site::output(index),
        row_boundaries,
    );
    add_column_sums(out, &mut back.vectors[bias(&at.feed_forward_out)]);
    let inner = factors.feed_forward_in.sized(rows * f);
    product::linear_input(&at.feed_forward_out, out, Write::Set, inner, by);
    activation::backward(
        config.activation,
        &tape.inner,
        inner,
        factors.active.sized(rows * f),
    );
    add_column_sums(inner, &mut back.vectors[bias(&at.feed_forward_in)]);
    product::linear_input(&at.feed_forward_in, inner, Write::Add, &mut back.x, by);

    // The same for the first LayerNorm and attention.
    norm_backward(
        pass,
        &at.attention_norm,
        &tape.attention,
        &mut back.x,
        &mut back.vectors,
    );
    let out = factors.attention_output.sized(rows * h);
    out.copy_from_slice(&back.x);
    if config.architecture == Architecture::Bert {
        drop_tokens(
            out,
            config.hidden_dropout,
            &shard.keys,
            site::attention_output(index),
            row_boundaries,
        );
    }
    add_column_sums(out, &mut back.vectors[bias(&at.attention_output)]);
    let context = back.context.sized(rows * h);
    product::linear_input(&at.attention_output, out, Write::Set, context, by);

    let (query, key_value) = (
        factors.query.sized(rows * h),
        factors.key_value.sized(tokens * 2 * h),
    );
    let dropout = Dropout::new(config.attention_dropout);
    for ((review, span), (_, asked)) in spans(&shard.boundaries).zip(spans(row_boundaries)) {
        let (asked, span) = (
            asked.start * h..asked.end * h,
            span.start * 2 * h..span.end * 2 * h,
        );
        let operands = Operands {
            q: &tape.query[asked.clone()],
            kv: &tape.key_value[span.clone()],
            heads: config.heads,
            size: h / config.heads,
            dropout: dropout.zip(
                shard
                    .keys
                    .get(review)
                    .map(|key| rng::stream(*key, site::attention(index))),
            ),
        };
        attention::backward(
            operands,
            &context[asked.clone()],
            &mut query[asked],
            &mut key_value[span],
            &mut back.attention,
        );
    }
    add_column_sums(query, &mut back.vectors[bias(&at.query)]);
    add_column_sums(key_value, &mut back.vectors[bias(&at.key_value)]);
    product::linear_input(&at.query, query, Write::Add, &mut back.x, by);
    if last {
        // From the rows that were asked for to all of them.
        let all = back.x_all.sized(tokens * h);
        all.fill(0.0);
        for (row, start) in back.x.chunks_exact(h).zip(&shard.boundaries) {
            all[start * h..][..h].copy_from_slice(row);
        }
        std::mem::swap(&mut back.x, &mut back.x_all);
    }
    product::linear_input(&at.key_value, key_value, Write::Add, &mut back.x, by);
}

/// Through dropout and LayerNorm of the embeddings.
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

/// Adds the gradient of each token to the rows that it was the sum of.
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
