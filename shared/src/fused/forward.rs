//! The forward pass of a shard, from token ids to logits.

use super::layer::Layer;
use super::layout::{LinearAt, NormAt};
use super::shard::{LayerTape, Normed, Shard, spans};
use super::{Pass, product};
use crate::LABELS;
use crate::config::Architecture;
use crate::kernels::activation;
use crate::kernels::aligned::Aligned;
use crate::kernels::attention::{self, Scratch};
use crate::kernels::dropout::{Dropout, site, token_stream};
use crate::kernels::norm::{self, Norm};
use crate::kernels::rows::{add, add_bias};

/// Computes the logits of a loaded shard. With `keep`, each layer has its own buffers, which the
/// backward pass needs.
pub(super) fn run(pass: &Pass<'_>, shard: &mut Shard, keep: bool) {
    let layers = pass.layout.layers.len();
    let buffers = if keep { layers } else { 2 };
    if shard.layers.len() < buffers {
        shard.layers.resize_with(buffers, LayerTape::default);
    }
    embed(pass, shard);
    for index in 0..layers {
        layer(pass, shard, index, buffers);
    }
    head(pass, shard);
}

impl Pass<'_> {
    pub(super) fn norm(&self, at: &NormAt) -> Norm<'_> {
        Norm {
            scale: &self.values[at.scale.clone()],
            bias: &self.values[at.bias.clone()],
            eps: self.config.layer_norm_eps,
        }
    }
}

/// Sums the word, position and segment embeddings, and applies LayerNorm and dropout. The result
/// goes to the first layer's x.
fn embed(pass: &Pass<'_>, shard: &mut Shard) {
    let h = pass.config.hidden_size;
    let tokens = shard.tokens();
    let (words, positions) = (
        &pass.values[pass.layout.words()],
        &pass.values[pass.layout.positions.clone()],
    );
    let segment = pass
        .layout
        .segments
        .clone()
        .map(|range| &pass.values[range][..h]);
    let sum = shard.embedded.sum.sized(tokens * h);
    for (_, span) in spans(&shard.boundaries) {
        let rows = sum[span.start * h..span.end * h].chunks_exact_mut(h);
        for ((row, id), position) in rows
            .zip(&shard.token_ids[span])
            .zip(positions.chunks_exact(h))
        {
            let word = &words[*id as usize * h..][..h];
            row.iter_mut()
                .zip(word)
                .zip(position)
                .for_each(|((x, w), p)| *x = w + p);
            // A review is always the first segment.
            if let Some(segment) = segment {
                add(row, segment);
            }
        }
    }
    let x = shard.layers[0].x.sized(tokens * h);
    norm::forward(
        pass.norm(&pass.layout.embedding_norm),
        sum,
        x,
        shard.embedded.moments.sized(tokens),
    );
    drop_tokens(
        x,
        pass.config.hidden_dropout,
        &shard.keys,
        site::EMBEDDINGS,
        &shard.boundaries,
    );
}

/// Applies dropout to x (tokens, width), each token with its own random stream; does nothing if
/// `keys` is empty. The backward pass applies the same call to the gradient.
pub(super) fn drop_tokens(x: &mut [f32], rate: f32, keys: &[u64], site: u64, boundaries: &[usize]) {
    let Some(dropout) = Dropout::new(rate) else {
        return;
    };
    let Some(tokens) = boundaries.last().filter(|n| **n > 0) else {
        return;
    };
    let width = x.len() / tokens;
    for (key, (_, span)) in keys.iter().zip(spans(boundaries)) {
        for (i, row) in x[span.start * width..span.end * width]
            .chunks_exact_mut(width)
            .enumerate()
        {
            dropout.apply(row, token_stream(*key, site, i));
        }
    }
}

/// The boundaries of reviews that have only their first token.
pub(super) fn single_tokens(reviews: usize) -> Vec<usize> {
    (0..=reviews).collect()
}

/// Forward pass of one layer: from the x of its buffer to that of the next. The last layer computes
/// only the first token of each review and writes the shard's `first`.
fn layer(pass: &Pass<'_>, shard: &mut Shard, index: usize, buffers: usize) {
    let Shard {
        layers,
        boundaries,
        keys,
        first,
        active,
        attention,
        ..
    } = shard;
    let layer = Layer::new(pass, index, boundaries, keys);
    let (here, next) = (index % buffers, (index + 1) % buffers);
    let mut result = std::mem::take(if layer.is_last {
        &mut *first
    } else {
        &mut layers[next].x
    });
    let tape = &mut layers[here];
    project(&layer, tape);
    attend(&layer, tape, attention);
    feed_forward(&layer, tape, active, &mut result);
    *(if layer.is_last {
        first
    } else {
        &mut layers[next].x
    }) = result;
}

/// Computes queries (rows, hidden), and keys and values (tokens, 2 hidden), from the layer's input.
fn project(layer: &Layer<'_>, tape: &mut LayerTape) {
    let (pass, at, h) = (layer.pass, layer.at, layer.pass.config.hidden_size);
    let LayerTape {
        x,
        x_first,
        query,
        key_value,
        ..
    } = tape;
    if layer.is_last {
        let first = x_first.sized(layer.rows() * h);
        for (row, start) in first.chunks_exact_mut(h).zip(layer.boundaries) {
            row.copy_from_slice(&x[start * h..][..h]);
        }
    }
    let rows = if layer.is_last { x_first } else { &*x };
    linear(pass, &at.query, rows, query.sized(layer.rows() * h));
    let key_value = key_value.sized(layer.tokens() * 2 * h);
    linear(pass, &at.key_value, x, key_value);
}

/// Attention, its output layer, and the first residual and LayerNorm: writes `attended`.
fn attend(layer: &Layer<'_>, tape: &mut LayerTape, scratch: &mut Scratch) {
    let (pass, at, h) = (layer.pass, layer.at, layer.pass.config.hidden_size);
    let context = tape.context.sized(layer.rows() * h);
    for (review, tokens, rows) in layer.reviews() {
        let rows = rows.start * h..rows.end * h;
        let operands = layer.attention(
            review,
            &tape.query[rows.clone()],
            &tape.key_value[tokens.start * 2 * h..tokens.end * 2 * h],
        );
        attention::forward(operands, &mut context[rows], scratch);
    }
    let sum = tape.attention.sum.sized(layer.rows() * h);
    linear(pass, &at.attention_output, context, sum);
    layer.drop_attention_output(sum);
    let residual = if layer.is_last {
        &tape.x_first
    } else {
        &tape.x
    };
    let attended = tape.attended.sized(layer.rows() * h);
    add_and_norm(
        pass,
        &at.attention_norm,
        &mut tape.attention,
        residual,
        attended,
    );
}

/// The feed-forward network, and the second residual and LayerNorm: writes `result` (rows, hidden).
fn feed_forward(
    layer: &Layer<'_>,
    tape: &mut LayerTape,
    active: &mut Aligned<f32>,
    result: &mut Aligned<f32>,
) {
    let (pass, at, rows) = (layer.pass, layer.at, layer.rows());
    let (h, f) = (pass.config.hidden_size, pass.config.intermediate_size);
    let inner = tape.inner.sized(rows * f);
    linear(pass, &at.feed_forward_in, &tape.attended, inner);
    let active = active.sized(rows * f);
    activation::forward(pass.config.activation, inner, active);
    let sum = tape.output.sum.sized(rows * h);
    linear(pass, &at.feed_forward_out, active, sum);
    layer.drop_output(sum);
    add_and_norm(
        pass,
        &at.output_norm,
        &mut tape.output,
        &tape.attended,
        result.sized(rows * h),
    );
}

/// y (rows, outputs) = x (rows, inputs) wᵀ + b
fn linear(pass: &Pass<'_>, at: &LinearAt, x: &[f32], y: &mut [f32]) {
    product::linear(at, x, y, pass.arithmetic);
    add_bias(y, &pass.values[at.bias.clone()]);
}

/// y = LayerNorm(sum + x); the sum is kept.
fn add_and_norm(pass: &Pass<'_>, at: &NormAt, normed: &mut Normed, x: &[f32], y: &mut [f32]) {
    add(&mut normed.sum, x);
    let rows = x.len() / pass.config.hidden_size;
    norm::forward(pass.norm(at), &normed.sum, y, normed.moments.sized(rows));
}

/// The head: from the first token of each review to its logits.
fn head(pass: &Pass<'_>, shard: &mut Shard) {
    let h = pass.config.hidden_size;
    let reviews = shard.boundaries.len() - 1;
    let pooled_in = shard.pooled_in.sized(reviews * h);
    linear(pass, &pass.layout.pooler, &shard.first, pooled_in);
    let pooled = shard.pooled.sized(reviews * h);
    let act = match pass.config.architecture {
        Architecture::DistilBert => activation::relu,
        Architecture::Bert => f32::tanh,
    };
    pooled
        .iter_mut()
        .zip(pooled_in)
        .for_each(|(y, x)| *y = act(*x));
    drop_tokens(
        pooled,
        pass.config.classifier_dropout,
        &shard.keys,
        site::HEAD,
        &single_tokens(reviews),
    );
    let classifier = &pass.layout.classifier;
    shard.logits.resize(reviews, [0.0; LABELS]);
    let logits = shard.logits.as_flattened_mut();
    linear(pass, classifier, pooled, logits);
}
