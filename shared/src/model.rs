//! The encoder and its head as a candle graph, computed as transformers does. It is the reference
//! for tests of the fused encoder.

use candle_core::{Device, Tensor};

use crate::batch::PackedBatch;
use crate::config::{Activation, Architecture};
use crate::engine::Engine;
use crate::kernels::dropout::{Dropout, site, token_stream};
use crate::ops;
use crate::weights::{Names, Weights};
use crate::{EncoderConfig, Error, LABELS, rng};

/// `DistilBertForSequenceClassification` or `BertForSequenceClassification` over packed batches, in
/// f32 with candle.
pub struct Classifier {
    config: EncoderConfig,
    embeddings: Embeddings,
    layers: Vec<Layer>,
    /// DistilBERT's pre_classifier, BERT's pooler.
    pooler: Linear,
    classifier: Linear,
}

/// The random streams of dropout in training, one for each review of the batch.
#[derive(Clone, Copy)]
struct Streams<'a> {
    /// (reviews)
    reviews: &'a [u64],
    batch: &'a PackedBatch,
}

/// Applies dropout to x (tokens, width) in training; each token has its own random stream.
fn dropout_tokens(
    x: Tensor,
    rate: f32,
    site: u64,
    streams: Option<Streams<'_>>,
) -> Result<Tensor, Error> {
    let Some(Streams { reviews, batch }) = streams else {
        return Ok(x);
    };
    let keys = reviews
        .iter()
        .zip(batch.lengths())
        .flat_map(|(key, n)| (0..n).map(|i| token_stream(*key, site, i)));
    Ok(ops::dropout(&x, rate, &keys.collect())?)
}

struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn new(weights: &Weights, name: &str, outputs: usize, inputs: usize) -> Result<Linear, Error> {
        Ok(Linear {
            weight: weights.get(&format!("{name}.weight"), &[outputs, inputs])?,
            bias: weights.get(&format!("{name}.bias"), &[outputs])?,
        })
    }

    /// x (rows, inputs) -> (rows, outputs)
    fn forward(&self, x: &Tensor) -> Result<Tensor, Error> {
        Ok(x.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)?)
    }
}

struct LayerNorm {
    scale: Tensor,
    bias: Tensor,
    eps: f32,
}

impl LayerNorm {
    fn new(weights: &Weights, name: &str, config: &EncoderConfig) -> Result<LayerNorm, Error> {
        let get = |part: &str| weights.get(&format!("{name}.{part}"), &[config.hidden_size]);
        Ok(LayerNorm {
            scale: get("weight")?,
            bias: get("bias")?,
            eps: config.layer_norm_eps,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, Error> {
        Ok(ops::layer_norm(x, &self.scale, &self.bias, self.eps)?)
    }
}

struct Embeddings {
    words: Tensor,
    positions: Tensor,
    /// The first row of the segment embedding: a review is always the first segment.
    segment: Option<Tensor>,
    norm: LayerNorm,
    dropout: f32,
}

impl Embeddings {
    fn new(weights: &Weights, config: &EncoderConfig, prefix: &str) -> Result<Embeddings, Error> {
        let h = config.hidden_size;
        let table = |name: &str, rows| {
            weights.get(
                &format!("{prefix}embeddings.{name}_embeddings.weight"),
                &[rows, h],
            )
        };
        let segment = match config.type_vocab_size {
            0 => None,
            rows => Some(table("token_type", rows)?),
        };
        Ok(Embeddings {
            words: table("word", config.vocab_size)?,
            positions: table("position", config.max_positions)?,
            segment,
            norm: LayerNorm::new(weights, &format!("{prefix}embeddings.LayerNorm"), config)?,
            dropout: config.hidden_dropout,
        })
    }

    /// -> (tokens, hidden)
    fn forward(&self, batch: &PackedBatch, streams: Option<Streams<'_>>) -> Result<Tensor, Error> {
        let device = self.words.device();
        let ids = Tensor::new(batch.token_ids.as_slice(), device)?;
        let positions = Tensor::new(batch.positions(), device)?;
        let mut x =
            (self.words.index_select(&ids, 0)? + self.positions.index_select(&positions, 0)?)?;
        if let Some(segment) = &self.segment {
            x = x.broadcast_add(&segment.narrow(0, 0, 1)?)?;
        }
        dropout_tokens(
            self.norm.forward(&x)?,
            self.dropout,
            site::EMBEDDINGS,
            streams,
        )
    }
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: LayerNorm,
    feed_forward_in: Linear,
    feed_forward_out: Linear,
    output_norm: LayerNorm,
}

impl Layer {
    fn new(
        weights: &Weights,
        config: &EncoderConfig,
        names: &Names,
        index: usize,
    ) -> Result<Layer, Error> {
        let (h, f) = (config.hidden_size, config.intermediate_size);
        let base = names.layer(index);
        let linear = |module: &str, outputs, inputs| {
            Linear::new(weights, &format!("{base}{module}"), outputs, inputs)
        };
        let norm = |module: &str| LayerNorm::new(weights, &format!("{base}{module}"), config);
        Ok(Layer {
            query: linear(names.query, h, h)?,
            key: linear(names.key, h, h)?,
            value: linear(names.value, h, h)?,
            attention_output: linear(names.attention_output, h, h)?,
            attention_norm: norm(names.attention_norm)?,
            feed_forward_in: linear(names.feed_forward_in, f, h)?,
            feed_forward_out: linear(names.feed_forward_out, h, f)?,
            output_norm: norm(names.output_norm)?,
        })
    }

    /// x (tokens, hidden) -> (tokens, hidden)
    fn forward(
        &self,
        index: usize,
        x: &Tensor,
        batch: &PackedBatch,
        config: &EncoderConfig,
        streams: Option<Streams<'_>>,
    ) -> Result<Tensor, Error> {
        let keys = |reviews: &[u64]| {
            reviews
                .iter()
                .map(|key| rng::stream(*key, site::attention(index)))
                .collect()
        };
        let dropout = Dropout::new(config.attention_dropout)
            .zip(streams.map(|streams| keys(streams.reviews)));
        let key_value = Tensor::cat(&[self.key.forward(x)?, self.value.forward(x)?], 1)?;
        let attended = ops::attention(
            &self.query.forward(x)?,
            &key_value,
            &batch.cu_seqlens,
            config.heads,
            dropout,
        )?;
        let mut attended = self.attention_output.forward(&attended)?;
        // BERT has a dropout here; DistilBERT has none.
        if config.architecture == Architecture::Bert {
            attended = dropout_tokens(
                attended,
                config.hidden_dropout,
                site::attention_output(index),
                streams,
            )?;
        }
        let x = self.attention_norm.forward(&(attended + x)?)?;
        let inner = self.feed_forward_in.forward(&x)?;
        let inner = match config.activation {
            Activation::Gelu => ops::gelu(&inner)?,
            Activation::Relu => inner.relu()?,
        };
        let outer = dropout_tokens(
            self.feed_forward_out.forward(&inner)?,
            config.hidden_dropout,
            site::output(index),
            streams,
        )?;
        self.output_norm.forward(&(outer + x)?)
    }
}

impl Classifier {
    /// Builds the model on `weights`. Its tensors share storage with them, so a trainer that
    /// changes the weights in place changes the model.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] or [`Error::TensorShape`] for a tensor that does not match
    /// `config`.
    pub fn new(config: &EncoderConfig, weights: &Weights) -> Result<Classifier, Error> {
        let names = Names::of(config.architecture);
        let h = config.hidden_size;
        Ok(Classifier {
            embeddings: Embeddings::new(weights, config, names.prefix)?,
            layers: (0..config.layers)
                .map(|i| Layer::new(weights, config, names, i))
                .collect::<Result<_, _>>()?,
            pooler: Linear::new(weights, names.pooler, h, h)?,
            classifier: Linear::new(weights, "classifier", LABELS, h)?,
            config: config.clone(),
        })
    }

    /// Logits, (reviews, 5). With `dropout_keys`, the key of each review's random stream, the model
    /// is in training and applies dropout as configured. Without them, it rates.
    ///
    /// # Errors
    /// [`Error::Input`] for a token id beyond the vocabulary or a review longer than the positions;
    /// [`Error::Compute`] when an operation fails.
    pub fn forward(
        &self,
        batch: &PackedBatch,
        dropout_keys: Option<&[u64]>,
    ) -> Result<Tensor, Error> {
        self.config.check(batch)?;
        let streams = dropout_keys.map(|reviews| Streams { reviews, batch });
        let mut x = self.embeddings.forward(batch, streams)?;
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(i, &x, batch, &self.config, streams)?;
        }
        let first = x.index_select(&Tensor::new(batch.first_rows(), x.device())?, 0)?; // (reviews, hidden)
        let pooled = self.pooler.forward(&first)?;
        let pooled = match self.config.architecture {
            Architecture::DistilBert => pooled.relu()?,
            Architecture::Bert => pooled.tanh()?,
        };
        let dropped = match dropout_keys {
            // As in the other dropouts, the stream is that of the review's first token.
            Some(keys) => ops::dropout(
                &pooled,
                self.config.classifier_dropout,
                &keys
                    .iter()
                    .map(|key| token_stream(*key, site::HEAD, 0))
                    .collect(),
            )?,
            None => pooled,
        };
        self.classifier.forward(&dropped)
    }

    /// The device that holds the weights.
    pub fn device(&self) -> &Device {
        self.classifier.weight.device()
    }
}

impl Engine for Classifier {
    fn logits(&self, batch: &PackedBatch) -> Result<Vec<[f32; LABELS]>, Error> {
        if batch.reviews() == 0 {
            return Ok(Vec::new());
        }
        let rows = self.forward(batch, None)?.to_vec2::<f32>()?;
        Ok(rows
            .into_iter()
            .map(|row| std::array::from_fn(|i| row[i]))
            .collect())
    }
}
