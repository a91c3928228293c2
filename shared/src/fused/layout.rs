//! The layout of all weights of a model in one slice. It lets an optimiser update them in one pass,
//! and gradients and moments use the same layout.

use std::cell::Cell;
use std::ops::Range;

use candle_core::{Device, Tensor};

use crate::config::Architecture;
use crate::kernels::aligned::Aligned;
use crate::weights::{Names, TensorSpec, Weights, specs, word_table};
use crate::{EncoderConfig, Error, LABELS};

/// A tensor and its range in the slice.
#[derive(Debug, Clone)]
pub struct Placed {
    /// The tensor's name, shape and role.
    pub spec: TensorSpec,
    /// The tensor's elements.
    pub range: Range<usize>,
}

/// The position of each tensor: matrices first, then vectors, and last the word embedding, whose
/// gradient is sparse.
#[derive(Debug, Clone)]
pub struct Layout {
    tensors: Vec<Placed>,
    pub(crate) positions: Range<usize>,
    pub(crate) segments: Option<Range<usize>>,
    pub(crate) embedding_norm: NormAt,
    pub(crate) layers: Vec<LayerAt>,
    pub(crate) pooler: LinearAt,
    pub(crate) classifier: LinearAt,
    pub(crate) vectors: Range<usize>,
    words: Range<usize>,
    width: usize,
}

/// A linear layer: weight (outputs, inputs) and bias (outputs).
#[derive(Debug, Clone)]
pub(crate) struct LinearAt {
    /// The layer's index in [`Layout::linears`].
    pub number: usize,
    pub weight: Range<usize>,
    pub bias: Range<usize>,
    pub outputs: usize,
    pub inputs: usize,
}

/// A LayerNorm: scale and bias.
#[derive(Debug, Clone)]
pub(crate) struct NormAt {
    pub scale: Range<usize>,
    pub bias: Range<usize>,
}

#[derive(Debug, Clone)]
pub(crate) struct LayerAt {
    pub query: LinearAt,
    /// Key and value as one layer with twice the outputs.
    pub key_value: LinearAt,
    pub attention_output: LinearAt,
    pub attention_norm: NormAt,
    pub feed_forward_in: LinearAt,
    pub feed_forward_out: LinearAt,
    pub output_norm: NormAt,
}

impl LayerAt {
    fn linears(&self) -> [&LinearAt; 5] {
        [
            &self.query,
            &self.key_value,
            &self.attention_output,
            &self.feed_forward_in,
            &self.feed_forward_out,
        ]
    }

    /// Query, key and value as one layer with three times the outputs; the three are adjacent in
    /// the layout.
    #[cfg(feature = "cuda")]
    pub(crate) fn query_key_value(&self) -> LinearAt {
        let (query, key_value) = (&self.query, &self.key_value);
        LinearAt {
            number: query.number,
            weight: query.weight.start..key_value.weight.end,
            bias: query.bias.start..key_value.bias.end,
            outputs: query.outputs + key_value.outputs,
            inputs: query.inputs,
        }
    }
}

impl Layout {
    /// The layout of a classifier of this configuration.
    pub fn of(config: &EncoderConfig) -> Layout {
        let names = Names::of(config.architecture);
        let (h, f) = (config.hidden_size, config.intermediate_size);
        let word_name = word_table(config.architecture);
        // The sort is stable: within each part, tensors stay in the order of computation, in which
        // key and value are adjacent.
        let mut ordered = specs(config);
        ordered.sort_by_key(|spec| {
            if spec.name == word_name {
                2
            } else {
                usize::from(spec.shape.len() == 1)
            }
        });
        let mut at = 0;
        let place = |spec: TensorSpec| {
            let start = at;
            at += spec.shape.iter().product::<usize>();
            Placed {
                spec,
                range: start..at,
            }
        };
        let tensors: Vec<Placed> = ordered.into_iter().map(place).collect();
        let range = |name: &str| {
            tensors
                .iter()
                .find(|t| t.spec.name == name)
                .map_or(0..0, |t| t.range.clone())
        };
        let linears = Cell::new(0);
        let linear = |first: &str, last: &str, outputs, inputs| {
            let span = |part: &str| {
                range(&format!("{first}.{part}")).start..range(&format!("{last}.{part}")).end
            };
            LinearAt {
                number: linears.replace(linears.get() + 1),
                weight: span("weight"),
                bias: span("bias"),
                outputs,
                inputs,
            }
        };
        let norm = |name: &str| NormAt {
            scale: range(&format!("{name}.weight")),
            bias: range(&format!("{name}.bias")),
        };
        let layer = |index| {
            let name = |module: &str| format!("{}{module}", names.layer(index));
            let one = |module: &str, outputs, inputs| {
                linear(&name(module), &name(module), outputs, inputs)
            };
            LayerAt {
                query: one(names.query, h, h),
                key_value: linear(&name(names.key), &name(names.value), 2 * h, h),
                attention_output: one(names.attention_output, h, h),
                attention_norm: norm(&name(names.attention_norm)),
                feed_forward_in: one(names.feed_forward_in, f, h),
                feed_forward_out: one(names.feed_forward_out, h, f),
                output_norm: norm(&name(names.output_norm)),
            }
        };
        let embedding = |kind: &str| {
            range(&format!(
                "{}embeddings.{kind}_embeddings.weight",
                names.prefix
            ))
        };
        Layout {
            positions: embedding("position"),
            segments: (config.architecture == Architecture::Bert).then(|| embedding("token_type")),
            embedding_norm: norm(&format!("{}embeddings.LayerNorm", names.prefix)),
            layers: (0..config.layers).map(layer).collect(),
            pooler: linear(names.pooler, names.pooler, h, h),
            classifier: linear("classifier", "classifier", LABELS, h),
            vectors: tensors
                .iter()
                .find(|t| t.spec.shape.len() == 1)
                .map_or(0, |t| t.range.start)..embedding("word").start,
            words: embedding("word"),
            width: h,
            tensors,
        }
    }

    /// All linear layers.
    pub(crate) fn linears(&self) -> impl Iterator<Item = &LinearAt> {
        let of_layers = self.layers.iter().flat_map(LayerAt::linears);
        of_layers.chain([&self.pooler, &self.classifier])
    }

    /// Copies named tensors into one slice.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] or [`Error::TensorShape`] for a tensor that does not match the
    /// model's configuration.
    pub fn gather(&self, weights: &Weights) -> Result<Aligned<f32>, Error> {
        // Allocate only after all tensors were found, because config.json may contain any sizes.
        let found = self
            .tensors
            .iter()
            .map(|tensor| weights.get(&tensor.spec.name, &tensor.spec.shape))
            .collect::<Result<Vec<_>, _>>()?;
        let mut values = Aligned::zeros(self.len());
        for (tensor, found) in self.tensors.iter().zip(found) {
            let from = found.flatten_all()?.to_vec1::<f32>()?;
            values[tensor.range.clone()].copy_from_slice(&from);
        }
        Ok(values)
    }

    /// Splits values in the layout's order into named tensors.
    ///
    /// # Errors
    /// [`Error::Compute`] when a tensor cannot be created.
    pub fn name(&self, values: &[f32]) -> Result<Weights, Error> {
        let mut out = Weights::default();
        for tensor in &self.tensors {
            out.insert(
                tensor.spec.name.clone(),
                Tensor::from_slice(
                    &values[tensor.range.clone()],
                    tensor.spec.shape.as_slice(),
                    &Device::Cpu,
                )?,
            );
        }
        Ok(out)
    }

    /// Number of weights.
    pub fn len(&self) -> usize {
        self.words.end
    }

    /// Whether there are no weights.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All tensors, in the layout's order.
    pub fn tensors(&self) -> &[Placed] {
        &self.tensors
    }

    /// The range of the word embedding, (vocabulary, width).
    pub fn words(&self) -> Range<usize> {
        self.words.clone()
    }

    /// Whether the model has segment embeddings.
    pub fn has_segments(&self) -> bool {
        self.segments.is_some()
    }

    /// Width of a token's vector.
    pub fn width(&self) -> usize {
        self.width
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_lie_end_to_end_and_what_is_used_as_one_is_one() {
        for json in [
            r#"{"model_type":"bert","vocab_size":20,"hidden_size":8,"num_hidden_layers":2,"num_attention_heads":2,"intermediate_size":12,
            "max_position_embeddings":10,"type_vocab_size":2}"#,
            r#"{"model_type":"distilbert","vocab_size":20,"dim":8,"n_layers":2,"n_heads":2,"hidden_dim":12,"max_position_embeddings":10}"#,
        ] {
            let config = EncoderConfig::from_json(json.as_bytes()).expect("a good config");
            let layout = Layout::of(&config);
            let mut end = 0;
            for tensor in layout.tensors() {
                assert_eq!(tensor.range.start, end, "{}", tensor.spec.name);
                end = tensor.range.end;
            }
            assert_eq!((end, layout.words()), (layout.len(), end - 160..end));
            for layer in &layout.layers {
                let all = [
                    &layer.query,
                    &layer.key_value,
                    &layer.attention_output,
                    &layer.feed_forward_in,
                    &layer.feed_forward_out,
                ];
                for linear in all.into_iter().chain([&layout.pooler, &layout.classifier]) {
                    assert_eq!(linear.weight.len(), linear.outputs * linear.inputs);
                    assert_eq!(linear.bias.len(), linear.outputs);
                    assert!(
                        layout.vectors.start <= linear.bias.start
                            && linear.bias.end <= layout.vectors.end
                    );
                }
            }
            assert_eq!(layout.segments.is_some(), config.type_vocab_size > 0);
        }
    }
}
