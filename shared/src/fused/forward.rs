//! The forward pass of a shard: token ids to logits.

use super::layout::{LayerAt, NormAt};
use super::shard::{LayerTape, Normed, Shard, spans};
use super::{Pass, product};
use crate::config::Architecture;
use crate::kernels::activation;
use crate::kernels::attention::{self, Operands};
use crate::kernels::dropout::{Dropout, site, token_stream};
use crate::kernels::norm::{self, Norm};
use crate::kernels::rows::{add, add_bias};
use crate::{LABELS, rng};

/// Computes the logits of a loaded shard. With `keep`, each layer has buffers of its own, for the backward pass.
pub(super) fn run(pass: &Pass<'_>, shard: &mut Shard, keep: bool) {
    let layers = pass.layout.layers.len();
    let buffers = if keep { layers } else { 2 };
    if shard.layers.len() < buffers {
        shard.layers.resize_with(buffers, LayerTape::default);
    }
    embed(pass, shard);
    for (i, at) in pass.layout.layers.iter().enumerate() {
        layer(
            pass,
            shard,
            i,
            at,
            i % buffers,
            (i + 1) % buffers,
            i + 1 == layers,
        );
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

/// Words, positions and segment, LayerNorm and dropout: into the first layer's x.
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

/// Drops elements of x (tokens, width), each token from a stream of its own; nothing when `keys` is empty. The gradient is dropped by the same call.
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

/// The boundaries of reviews of which only the first token is there.
pub(super) fn single_tokens(reviews: usize) -> Vec<usize> {
    (0..=reviews).collect()
}

/// One layer, from the x of buffer `here` to that of buffer `next`; the last one, from the first token of each review to the shard's `first`.
fn layer(
    pass: &Pass<'_>,
    shard: &mut Shard,
    index: usize,
    at: &LayerAt,
    here: usize,
    next: usize,
    last: bool,
) {
    let config = pass.config;
    let (h, f, values, by) = (
        config.hidden_size,
        config.intermediate_size,
        pass.values,
        pass.arithmetic,
    );
    let (tokens, reviews) = (shard.tokens(), shard.boundaries.len() - 1);
    let rows = if last { reviews } else { tokens };
    let mut result = std::mem::take(if last {
        &mut shard.first
    } else {
        &mut shard.layers[next].x
    });
    let singles;
    let row_boundaries = if last {
        singles = single_tokens(reviews);
        &singles
    } else {
        &shard.boundaries
    };
    let tape = &mut shard.layers[here];

    let asked: &[f32] = if last {
        let first = tape.x_first.sized(reviews * h);
        for (row, start) in first.chunks_exact_mut(h).zip(&shard.boundaries) {
            row.copy_from_slice(&tape.x[start * h..][..h]);
        }
        first
    } else {
        &tape.x
    };
    let query = tape.query.sized(rows * h);
    product::linear(&at.query, asked, query, by);
    add_bias(query, &values[at.query.bias.clone()]);
    let key_value = tape.key_value.sized(tokens * 2 * h);
    product::linear(&at.key_value, &tape.x, key_value, by);
    add_bias(key_value, &values[at.key_value.bias.clone()]);

    let context = tape.context.sized(rows * h);
    let dropout = Dropout::new(config.attention_dropout);
    for ((review, span), (_, asked)) in spans(&shard.boundaries).zip(spans(row_boundaries)) {
        let operands = Operands {
            q: &query[asked.start * h..asked.end * h],
            kv: &key_value[span.start * 2 * h..span.end * 2 * h],
            heads: config.heads,
            size: h / config.heads,
            dropout: dropout.zip(
                shard
                    .keys
                    .get(review)
                    .map(|key| rng::stream(*key, site::attention(index))),
            ),
        };
        attention::forward(
            operands,
            &mut context[asked.start * h..asked.end * h],
            &mut shard.attention,
        );
    }

    let attended = tape.attended.sized(rows * h);
    let sum = tape.attention.sum.sized(rows * h);
    product::linear(&at.attention_output, context, sum, by);
    add_bias(sum, &values[at.attention_output.bias.clone()]);
    // BERT drops here; DistilBERT does not.
    if config.architecture == Architecture::Bert {
        drop_tokens(
            sum,
            config.hidden_dropout,
            &shard.keys,
            site::attention_output(index),
            row_boundaries,
        );
    }
    add_and_norm(
        pass,
        &at.attention_norm,
        &mut tape.attention,
        asked,
        attended,
    );

    let inner = tape.inner.sized(rows * f);
    product::linear(&at.feed_forward_in, attended, inner, by);
    add_bias(inner, &values[at.feed_forward_in.bias.clone()]);
    let active = shard.active.sized(rows * f);
    activation::forward(config.activation, inner, active);
    let sum = tape.output.sum.sized(rows * h);
    product::linear(&at.feed_forward_out, active, sum, by);
    add_bias(sum, &values[at.feed_forward_out.bias.clone()]);
    drop_tokens(
        sum,
        config.hidden_dropout,
        &shard.keys,
        site::output(index),
        row_boundaries,
    );
    add_and_norm(
        pass,
        &at.output_norm,
        &mut tape.output,
        attended,
        result.sized(rows * h),
    );
    *(if last {
        &mut shard.first
    } else {
        &mut shard.layers[next].x
    }) = result;
}

/// y = LayerNorm(sum + x), the sum kept.
fn add_and_norm(pass: &Pass<'_>, at: &NormAt, normed: &mut Normed, x: &[f32], y: &mut [f32]) {
    add(&mut normed.sum, x);
    let rows = x.len() / pass.config.hidden_size;
    norm::forward(pass.norm(at), &normed.sum, y, normed.moments.sized(rows));
}

/// The first token of each review through the head.
fn head(pass: &Pass<'_>, shard: &mut Shard) {
    let h = pass.config.hidden_size;
    let reviews = shard.boundaries.len() - 1;
    let pooled_in = shard.pooled_in.sized(reviews * h);
    product::linear(
        &pass.layout.pooler,
        &shard.first,
        pooled_in,
        pass.arithmetic,
    );
    add_bias(pooled_in, &pass.values[pass.layout.pooler.bias.clone()]);
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
    product::linear(classifier, pooled, logits, pass.arithmetic);
    add_bias(logits, &pass.values[classifier.bias.clone()]);
}
