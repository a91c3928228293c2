//! The backward pass: gradients of the logits to those of all weights. Shards go back a layer side by side; then the gradients of that layer's matrices are summed over all
//! shards, a block of their rows at a time, so that no two threads write the same.

use rayon::prelude::*;

use super::forward::{drop_tokens, single_tokens};
use super::layout::{LayerAt, LinearAt, NormAt};
use super::product::{self, Arithmetic, Write};
use super::shard::{Normed, Shard, sized, spans};
use super::{Depth, Gradients, Pass, Precision};
use crate::config::Architecture;
use crate::kernels::attention::{self, Operands};
use crate::kernels::dropout::{Dropout, site};
use crate::kernels::rows::{add, add_column_sums};
use crate::kernels::{activation, norm};
use crate::{LABELS, rng};

/// Rows of a weight's gradient that one task sums: enough for a product to be quick, few enough to share.
const ROWS: usize = 96;

/// Takes the gradients of the logits of all `shards` back to those of the weights.
pub(super) fn run(pass: &Pass<'_>, d_logits: &[[f32; LABELS]], shards: &mut [Shard], gradients: &mut Gradients) {
    let write = if gradients.begin() { Write::Set } else { Write::Add };
    let layout = pass.layout;
    shards.par_iter_mut().for_each(|shard| {
        sized(&mut shard.backward.vectors, layout.vectors.len()).fill(0.0);
        let reviews = shard.reviews.clone();
        head(pass, shard, &d_logits[reviews]);
    });
    let weights = [
        Weight { at: &layout.classifier, dy: |s, _| &s.backward.logits, x: |s, _| &s.pooled, layer: 0 },
        Weight { at: &layout.pooler, dy: |s, _| &s.backward.pooled, x: |s, _| &s.first, layer: 0 },
    ];
    sum_weights(pass.arithmetic.precision, &weights, shards, write, gradients.dense_mut());
    let lowest = match gradients.depth() {
        Depth::Embeddings => 0,
        Depth::Layer(layer) => layer,
    };
    for (i, at) in layout.layers.iter().enumerate().skip(lowest).rev() {
        let last = i + 1 == layout.layers.len();
        shards.par_iter_mut().for_each(|shard| layer(pass, shard, i, at, last));
        let weights = [
            Weight { at: &at.feed_forward_in, dy: |s, _| &s.backward.inner, x: |s, i| &s.layers[i].attended, layer: i },
            Weight { at: &at.feed_forward_out, dy: |s, _| &s.backward.feed_forward_out, x: |s, _| &s.inner, layer: i },
            Weight { at: &at.key_value, dy: |s, _| &s.backward.key_value, x: |s, i| &s.layers[i].x, layer: i },
            Weight {
                at: &at.query,
                dy: |s, _| &s.backward.query,
                x: if last { |s, i| &s.layers[i].x_first } else { |s, i| &s.layers[i].x },
                layer: i,
            },
            Weight { at: &at.attention_output, dy: |s, _| &s.backward.attention_output, x: |s, i| &s.layers[i].context, layer: i },
        ];
        sum_weights(pass.arithmetic.precision, &weights, shards, write, gradients.dense_mut());
    }
    if gradients.depth() == Depth::Embeddings {
        shards.par_iter_mut().for_each(|shard| embedding_norm(pass, shard));
        shards.iter().for_each(|shard| embeddings(pass, shard, gradients));
    }
    for shard in shards {
        add(&mut gradients.dense_mut()[layout.vectors.clone()], &shard.backward.vectors);
    }
}

/// A matrix whose gradient is dyᵀ x, summed over all shards.
struct Weight<'a> {
    at: &'a LinearAt,
    dy: for<'s> fn(&'s Shard, usize) -> &'s [f32],
    x: for<'s> fn(&'s Shard, usize) -> &'s [f32],
    layer: usize,
}

fn sum_weights(precision: Precision, weights: &[Weight<'_>], shards: &[Shard], write: Write, dense: &mut [f32]) {
    // In the order in which they lie, so that each can be split off the rest.
    let mut order: Vec<&Weight<'_>> = weights.iter().collect();
    order.sort_by_key(|weight| weight.at.weight.start);
    let (mut tasks, mut rest, mut at) = (Vec::new(), dense, 0);
    for weight in order {
        let range = weight.at.weight.clone();
        let (_, from) = std::mem::take(&mut rest).split_at_mut(range.start - at);
        let (own, after) = from.split_at_mut(range.len());
        (rest, at) = (after, range.end);
        tasks.extend(own.chunks_mut(ROWS * weight.at.inputs).enumerate().map(|(i, block)| (weight, i * ROWS, block)));
    }
    let by = Arithmetic { precision, alone: false };
    tasks.into_par_iter().for_each(|(weight, first, block)| {
        let mut write = write;
        for shard in shards {
            product::linear_weight(weight.at, first, (weight.dy)(shard, weight.layer), (weight.x)(shard, weight.layer), write, block, by);
            write = Write::Add;
        }
    });
}

/// From the gradient of the logits to that of the first tokens after the last layer.
fn head(pass: &Pass<'_>, shard: &mut Shard, d_logits: &[[f32; LABELS]]) {
    let (h, layout) = (pass.config.hidden_size, pass.layout);
    let reviews = d_logits.len();
    let vectors = layout.vectors.start;
    let back = &mut shard.backward;
    let logits = sized(&mut back.logits, reviews * LABELS);
    logits.copy_from_slice(d_logits.as_flattened());
    let bias = |at: &LinearAt| at.bias.start - vectors..at.bias.end - vectors;
    add_column_sums(logits, &mut back.vectors[bias(&layout.classifier)]);
    let pooled = sized(&mut back.pooled, reviews * h);
    product::linear_input(&layout.classifier, pass.values, logits, Write::Set, pooled, pass.arithmetic);
    drop_tokens(pooled, pass.config.classifier_dropout, &shard.keys, site::HEAD, &single_tokens(reviews));
    for (d, x) in pooled.iter_mut().zip(&shard.pooled_in) {
        *d *= match pass.config.architecture {
            Architecture::DistilBert => f32::from(*x > 0.0),
            Architecture::Bert => 1.0 - x.tanh().powi(2),
        };
    }
    add_column_sums(pooled, &mut back.vectors[bias(&layout.pooler)]);
    product::linear_input(&layout.pooler, pass.values, pooled, Write::Set, sized(&mut back.x, reviews * h), pass.arithmetic);
}

/// The gradient `dy` with respect to a LayerNorm's result becomes that with respect to the sum that it takes.
fn norm_backward(pass: &Pass<'_>, at: &NormAt, normed: &Normed, dy: &mut [f32], vectors: &mut [f32]) {
    let h = pass.config.hidden_size;
    let start = pass.layout.vectors.start;
    // Scale and bias are neighbours.
    let (d_scale, d_bias) = vectors[at.scale.start - start..at.bias.end - start].split_at_mut(h);
    norm::backward(&pass.values[at.scale.clone()], &normed.sum, &normed.moments, dy, d_scale, d_bias);
}

/// One layer: from the gradient of its result to that of its input.
fn layer(pass: &Pass<'_>, shard: &mut Shard, index: usize, at: &LayerAt, last: bool) {
    let config = pass.config;
    let (h, f, values, by) = (config.hidden_size, config.intermediate_size, pass.values, pass.arithmetic);
    let (tokens, reviews) = (shard.tokens(), shard.boundaries.len() - 1);
    let rows = if last { reviews } else { tokens };
    let singles;
    let row_boundaries = if last {
        singles = single_tokens(reviews);
        &singles
    } else {
        &shard.boundaries
    };
    let (tape, back) = (&shard.layers[index], &mut shard.backward);
    let vectors = pass.layout.vectors.start;
    let bias = |at: &LinearAt| at.bias.start - vectors..at.bias.end - vectors;

    // x holds the gradient with respect to the layer's result; then to the sum before the second LayerNorm: of the residual and of what the feed-forward layers add.
    norm_backward(pass, &at.output_norm, &tape.output, &mut back.x, &mut back.vectors);
    let out = sized(&mut back.feed_forward_out, rows * h);
    out.copy_from_slice(&back.x);
    drop_tokens(out, config.hidden_dropout, &shard.keys, site::output(index), row_boundaries);
    add_column_sums(out, &mut back.vectors[bias(&at.feed_forward_out)]);
    let inner = sized(&mut back.inner, rows * f);
    product::linear_input(&at.feed_forward_out, values, out, Write::Set, inner, by);
    activation::backward(config.activation, &tape.inner, inner, sized(&mut shard.inner, rows * f));
    add_column_sums(inner, &mut back.vectors[bias(&at.feed_forward_in)]);
    product::linear_input(&at.feed_forward_in, values, inner, Write::Add, &mut back.x, by);

    // The same for the first LayerNorm and attention.
    norm_backward(pass, &at.attention_norm, &tape.attention, &mut back.x, &mut back.vectors);
    let out = sized(&mut back.attention_output, rows * h);
    out.copy_from_slice(&back.x);
    if config.architecture == Architecture::Bert {
        drop_tokens(out, config.hidden_dropout, &shard.keys, site::attention_output(index), row_boundaries);
    }
    add_column_sums(out, &mut back.vectors[bias(&at.attention_output)]);
    let context = sized(&mut back.context, rows * h);
    product::linear_input(&at.attention_output, values, out, Write::Set, context, by);

    let (query, key_value) = (sized(&mut back.query, rows * h), sized(&mut back.key_value, tokens * 2 * h));
    let dropout = Dropout::new(config.attention_dropout);
    for ((review, span), (_, asked)) in spans(&shard.boundaries).zip(spans(row_boundaries)) {
        let (asked, span) = (asked.start * h..asked.end * h, span.start * 2 * h..span.end * 2 * h);
        let operands = Operands {
            q: &tape.query[asked.clone()],
            kv: &tape.key_value[span.clone()],
            heads: config.heads,
            size: h / config.heads,
            dropout: dropout.zip(shard.keys.get(review).map(|key| rng::stream(*key, site::attention(index)))),
        };
        attention::backward(operands, &context[asked.clone()], &mut query[asked], &mut key_value[span], &mut shard.attention);
    }
    add_column_sums(query, &mut back.vectors[bias(&at.query)]);
    add_column_sums(key_value, &mut back.vectors[bias(&at.key_value)]);
    product::linear_input(&at.query, values, query, Write::Add, &mut back.x, by);
    if last {
        // From the rows that were asked for to all of them.
        let first = std::mem::take(&mut back.attended);
        let first = std::mem::replace(&mut back.x, first);
        let all = sized(&mut back.x, tokens * h);
        all.fill(0.0);
        for (row, start) in first.chunks_exact(h).zip(&shard.boundaries) {
            all[start * h..][..h].copy_from_slice(row);
        }
        back.attended = first;
    }
    product::linear_input(&at.key_value, values, key_value, Write::Add, &mut back.x, by);
}

/// Through dropout and LayerNorm of the embeddings.
fn embedding_norm(pass: &Pass<'_>, shard: &mut Shard) {
    drop_tokens(&mut shard.backward.x, pass.config.hidden_dropout, &shard.keys, site::EMBEDDINGS, &shard.boundaries);
    norm_backward(pass, &pass.layout.embedding_norm, &shard.embedded, &mut shard.backward.x, &mut shard.backward.vectors);
}

/// Adds the gradient of each token to the rows that it was the sum of.
fn embeddings(pass: &Pass<'_>, shard: &Shard, gradients: &mut Gradients) {
    let h = pass.config.hidden_size;
    let (positions, segments) = (pass.layout.positions.start, pass.layout.segments.clone());
    for (_, span) in shard.spans() {
        for (position, token) in span.enumerate() {
            let row = &shard.backward.x[token * h..][..h];
            add(gradients.word_row(shard.token_ids[token]), row);
            add(&mut gradients.dense_mut()[positions + position * h..][..h], row);
        }
    }
    if let Some(segments) = segments {
        add_column_sums(&shard.backward.x, &mut gradients.dense_mut()[segments][..h]);
    }
}
