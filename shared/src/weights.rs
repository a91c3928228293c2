//! Named tensors of an encoder and its head: read from Hugging Face's safetensors, initialised
//! randomly, written back.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor};
use safetensors::{SafeTensors, tensor::TensorView};

use crate::config::Architecture;
use crate::{EncoderConfig, Error, LABELS, rng};

/// f32 tensors by their Hugging Face names, with the prefix of the classification model
/// (`distilbert.` or `bert.`).
#[derive(Debug, Clone, Default)]
pub struct Weights {
    tensors: BTreeMap<String, Tensor>,
}

/// The role of a tensor, which decides its initialisation and whether weight decay applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A matrix: drawn from N(0, initializer_range²), with weight decay.
    Matrix,
    /// A bias: initialised to 0, without weight decay.
    Bias,
    /// A LayerNorm's scale: initialised to 1, without weight decay.
    NormScale,
}

/// A tensor of a model with a given configuration.
#[derive(Debug, Clone)]
pub struct TensorSpec {
    /// Hugging Face's name.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// The tensor's role.
    pub role: Role,
    /// Whether the tensor belongs to the head, not to the encoder. Hugging Face initialises the
    /// head randomly when a bare encoder is fine-tuned.
    pub head: bool,
}

/// All tensors of a classifier with this configuration, in the order of computation.
pub fn specs(config: &EncoderConfig) -> Vec<TensorSpec> {
    let mut out = Vec::new();
    let (h, f) = (config.hidden_size, config.intermediate_size);
    let mut push = |name: String, shape: Vec<usize>, role, head| {
        out.push(TensorSpec {
            name,
            shape,
            role,
            head,
        });
    };
    let names = Names::of(config.architecture);
    let prefix = names.prefix;
    push(
        word_table(config.architecture),
        vec![config.vocab_size, h],
        Role::Matrix,
        false,
    );
    push(
        format!("{prefix}embeddings.position_embeddings.weight"),
        vec![config.max_positions, h],
        Role::Matrix,
        false,
    );
    if config.type_vocab_size > 0 {
        push(
            format!("{prefix}embeddings.token_type_embeddings.weight"),
            vec![config.type_vocab_size, h],
            Role::Matrix,
            false,
        );
    }
    let modules = |list: &[(&str, Shape)],
                   base: &str,
                   head,
                   push: &mut dyn FnMut(String, Vec<usize>, Role, bool)| {
        for (module, shape) in list {
            match *shape {
                Shape::Linear(outputs, inputs) => {
                    push(
                        format!("{base}{module}.weight"),
                        vec![outputs, inputs],
                        Role::Matrix,
                        head,
                    );
                    push(
                        format!("{base}{module}.bias"),
                        vec![outputs],
                        Role::Bias,
                        head,
                    );
                }
                Shape::Norm => {
                    push(
                        format!("{base}{module}.weight"),
                        vec![h],
                        Role::NormScale,
                        head,
                    );
                    push(format!("{base}{module}.bias"), vec![h], Role::Bias, head);
                }
            }
        }
    };
    modules(
        &[("embeddings.LayerNorm", Shape::Norm)],
        prefix,
        false,
        &mut push,
    );
    for layer in 0..config.layers {
        let list = [
            (names.query, Shape::Linear(h, h)),
            (names.key, Shape::Linear(h, h)),
            (names.value, Shape::Linear(h, h)),
            (names.attention_output, Shape::Linear(h, h)),
            (names.attention_norm, Shape::Norm),
            (names.feed_forward_in, Shape::Linear(f, h)),
            (names.feed_forward_out, Shape::Linear(h, f)),
            (names.output_norm, Shape::Norm),
        ];
        modules(&list, &names.layer(layer), false, &mut push);
    }
    modules(
        &[
            (names.pooler, Shape::Linear(h, h)),
            ("classifier", Shape::Linear(LABELS, h)),
        ],
        "",
        true,
        &mut push,
    );
    out
}

/// The name of the word embedding, which has a row for each piece of the vocabulary.
pub fn word_table(architecture: Architecture) -> String {
    format!(
        "{}embeddings.word_embeddings.weight",
        Names::of(architecture).prefix
    )
}

enum Shape {
    Linear(usize, usize),
    Norm,
}

/// The names of the modules in an architecture.
pub(crate) struct Names {
    pub prefix: &'static str,
    layer: &'static str,
    pub query: &'static str,
    pub key: &'static str,
    pub value: &'static str,
    pub attention_output: &'static str,
    pub attention_norm: &'static str,
    pub feed_forward_in: &'static str,
    pub feed_forward_out: &'static str,
    pub output_norm: &'static str,
    pub pooler: &'static str,
}

impl Names {
    pub(crate) fn of(architecture: Architecture) -> &'static Names {
        match architecture {
            Architecture::DistilBert => &Names {
                prefix: "distilbert.",
                layer: "transformer.layer.",
                query: "attention.q_lin",
                key: "attention.k_lin",
                value: "attention.v_lin",
                attention_output: "attention.out_lin",
                attention_norm: "sa_layer_norm",
                feed_forward_in: "ffn.lin1",
                feed_forward_out: "ffn.lin2",
                output_norm: "output_layer_norm",
                pooler: "pre_classifier",
            },
            Architecture::Bert => &Names {
                prefix: "bert.",
                layer: "encoder.layer.",
                query: "attention.self.query",
                key: "attention.self.key",
                value: "attention.self.value",
                attention_output: "attention.output.dense",
                attention_norm: "attention.output.LayerNorm",
                feed_forward_in: "intermediate.dense",
                feed_forward_out: "output.dense",
                output_norm: "output.LayerNorm",
                pooler: "bert.pooler.dense",
            },
        }
    }

    /// `bert.encoder.layer.3.`
    pub(crate) fn layer(&self, index: usize) -> String {
        format!("{}{}{index}.", self.prefix, self.layer)
    }
}

impl Weights {
    /// Reads the tensors that `config` needs from the bytes of a safetensors file. Names may have
    /// the architecture's prefix or not; LayerNorm may be weight/bias or gamma/beta; the type may
    /// be f32, f16 or bf16. Tensors that the model does not use (position_ids, a pretraining head)
    /// are ignored. Missing ones are left out: [`Classifier::new`] or [`Weights::fill_head`] decide
    /// whether that is an error.
    ///
    /// [`Classifier::new`]: crate::model::Classifier::new
    ///
    /// # Errors
    /// [`Error::Weights`] for a file that is truncated or not safetensors, or a tensor of an
    /// unsupported type; [`Error::TensorShape`] for a tensor with the wrong shape.
    pub fn from_safetensors(bytes: &[u8], config: &EncoderConfig) -> Result<Weights, Error> {
        let file = SafeTensors::deserialize(bytes)
            .map_err(|e| Error::Weights(format!("truncated, or not a safetensors file: {e}")))?;
        let prefix = Names::of(config.architecture).prefix;
        let found: HashMap<String, String> = file
            .names()
            .into_iter()
            .map(|name| (canonical(name, prefix), name.to_string()))
            .collect();
        let mut tensors = BTreeMap::new();
        for spec in specs(config) {
            let Some(original) = found.get(&spec.name) else {
                continue;
            };
            let view = file
                .tensor(original)
                .map_err(|e| Error::Weights(format!("tensor `{original}`: {e}")))?;
            if view.shape() != spec.shape {
                return Err(Error::TensorShape {
                    name: original.clone(),
                    wanted: spec.shape,
                    found: view.shape().to_vec(),
                });
            }
            tensors.insert(spec.name, read(&view, original)?);
        }
        Ok(Weights { tensors })
    }

    /// Initialises a whole model from `seed`, for training from scratch: matrices N(0,
    /// initializer_range²), biases 0, LayerNorm scales 1, as transformers does.
    ///
    /// # Errors
    /// [`Error::Compute`] when a tensor cannot be created.
    pub fn fresh(config: &EncoderConfig, seed: u64) -> Result<Weights, Error> {
        let mut weights = Weights::default();
        for (i, spec) in specs(config).into_iter().enumerate() {
            weights.insert_fresh(spec, config, rng::stream(seed, i as u64))?;
        }
        Ok(weights)
    }

    /// Initialises the missing tensors of the head from `seed`, from the distributions that
    /// transformers uses when a bare encoder is fine-tuned, and returns their names.
    ///
    /// # Errors
    /// [`Error::Compute`] when a tensor cannot be created.
    pub fn fill_head(&mut self, config: &EncoderConfig, seed: u64) -> Result<Vec<String>, Error> {
        let mut fresh = Vec::new();
        for (i, spec) in specs(config).into_iter().enumerate() {
            // A tensor's numbers depend on its place among all, not on which others are missing.
            if spec.head && !self.tensors.contains_key(&spec.name) {
                fresh.push(spec.name.clone());
                self.insert_fresh(spec, config, rng::stream(seed, i as u64))?;
            }
        }
        Ok(fresh)
    }

    fn insert_fresh(
        &mut self,
        spec: TensorSpec,
        config: &EncoderConfig,
        key: u64,
    ) -> Result<(), Error> {
        let n = spec.shape.iter().product();
        let values = match spec.role {
            Role::Matrix => rng::normals(key, n, config.initializer_range),
            Role::Bias => vec![0.0; n],
            Role::NormScale => vec![1.0; n],
        };
        self.tensors.insert(
            spec.name,
            Tensor::from_vec(values, spec.shape, &Device::Cpu)?,
        );
        Ok(())
    }

    /// The tensor `name`, which must have the shape `wanted`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] when it is missing; [`Error::TensorShape`] when it has another
    /// shape.
    pub fn get(&self, name: &str, wanted: &[usize]) -> Result<Tensor, Error> {
        match self.tensors.get(name) {
            None => Err(Error::MissingTensor {
                name: name.into(),
                wanted: wanted.to_vec(),
            }),
            Some(tensor) if tensor.dims() != wanted => Err(Error::TensorShape {
                name: name.into(),
                wanted: wanted.to_vec(),
                found: tensor.dims().to_vec(),
            }),
            Some(tensor) => Ok(tensor.clone()),
        }
    }

    /// Adds or replaces a tensor.
    pub fn insert(&mut self, name: String, tensor: Tensor) {
        self.tensors.insert(name, tensor);
    }

    /// Overwrites the first elements of the rows of the matrix `name` with `rows`; where `rows` has
    /// `None`, the row is unchanged.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] when the matrix is missing; [`Error::Compute`] when it cannot be
    /// rewritten.
    pub fn set_rows(&mut self, name: &str, rows: &[Option<Vec<f32>>]) -> Result<(), Error> {
        let Some(tensor) = self.tensors.get_mut(name) else {
            return Err(Error::MissingTensor {
                name: name.into(),
                wanted: vec![rows.len()],
            });
        };
        let mut matrix = tensor.to_vec2::<f32>()?;
        for (kept, row) in matrix.iter_mut().zip(rows) {
            kept.iter_mut()
                .zip(row.iter().flatten())
                .for_each(|(kept, x)| *kept = *x);
        }
        *tensor = Tensor::new(matrix, &Device::Cpu)?;
        Ok(())
    }

    /// Divides the weights of the last linear layer by `temperature`, so that every engine computes
    /// logits that are already divided.
    ///
    /// # Errors
    /// [`Error::Compute`] when the division fails.
    pub fn divide_logits(&mut self, temperature: f32) -> Result<(), Error> {
        for (_, tensor) in self
            .tensors
            .iter_mut()
            .filter(|(name, _)| name.starts_with("classifier."))
        {
            *tensor = (&*tensor / f64::from(temperature))?;
        }
        Ok(())
    }

    /// All tensors in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Number of weights.
    pub fn parameters(&self) -> usize {
        self.tensors.values().map(Tensor::elem_count).sum()
    }

    /// The bytes of a safetensors file that transformers loads unchanged: f32, with the metadata
    /// `format=pt`.
    ///
    /// # Errors
    /// [`Error::Compute`] or [`Error::Weights`] when a tensor cannot be read back or written.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, Error> {
        let mut data = Vec::with_capacity(self.tensors.len());
        for (name, tensor) in &self.tensors {
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            data.push((name.as_str(), tensor.dims().to_vec(), bytes));
        }
        let mut views = Vec::with_capacity(data.len());
        for (name, shape, bytes) in &data {
            let view = TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes)
                .map_err(|e| Error::Weights(format!("`{name}`: {e}")))?;
            views.push((*name, view));
        }
        let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
        safetensors::serialize(views, Some(metadata))
            .map_err(|e| Error::Weights(format!("cannot be written: {e}")))
    }
}

/// The classification model's name (with `prefix`) for the tensor that a file calls `name`.
fn canonical(name: &str, prefix: &str) -> String {
    let name = name
        .replace("LayerNorm.gamma", "LayerNorm.weight")
        .replace("LayerNorm.beta", "LayerNorm.bias");
    let head = ["pre_classifier.", "classifier."]
        .iter()
        .any(|h| name.starts_with(h));
    if head || name.starts_with(prefix) {
        name
    } else {
        format!("{prefix}{name}")
    }
}

fn read(view: &TensorView<'_>, name: &str) -> Result<Tensor, Error> {
    let dtype = match view.dtype() {
        safetensors::Dtype::F32 => DType::F32,
        safetensors::Dtype::F16 => DType::F16,
        safetensors::Dtype::BF16 => DType::BF16,
        other => {
            return Err(Error::Weights(format!(
                "tensor `{name}` holds {other:?}; wanted F32, F16 or BF16"
            )));
        }
    };
    Ok(
        Tensor::from_raw_buffer(view.data(), dtype, view.shape(), &Device::Cpu)?
            .to_dtype(DType::F32)?,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> EncoderConfig {
        let json = r#"{"model_type":"bert","vocab_size":20,"hidden_size":8,"num_hidden_layers":1,"num_attention_heads":2,"intermediate_size":12,
            "max_position_embeddings":10,"type_vocab_size":2}"#;
        EncoderConfig::from_json(json.as_bytes()).expect("a good config")
    }

    #[test]
    fn names_of_old_and_bare_checkpoints_are_understood() {
        assert_eq!(
            canonical("embeddings.LayerNorm.gamma", "bert."),
            "bert.embeddings.LayerNorm.weight"
        );
        assert_eq!(
            canonical("bert.pooler.dense.bias", "bert."),
            "bert.pooler.dense.bias"
        );
        assert_eq!(canonical("classifier.weight", "bert."), "classifier.weight");
        assert_eq!(
            canonical("pre_classifier.weight", "distilbert."),
            "pre_classifier.weight"
        );
    }

    #[test]
    fn a_temperature_divides_the_logits() {
        let mut weights = Weights::fresh(&config(), 1).expect("fresh weights");
        let before = weights.clone();
        weights.divide_logits(2.0).expect("divided");
        for ((name, x), (_, y)) in before.iter().zip(weights.iter()) {
            let [x, y] = [x, y].map(|tensor| {
                tensor
                    .flatten_all()
                    .and_then(|flat| flat.to_vec1::<f32>())
                    .expect("f32")
            });
            let by = if ["classifier.weight", "classifier.bias"].contains(&name) {
                2.0
            } else {
                1.0
            };
            assert!(x.iter().zip(&y).all(|(x, y)| *x == by * y), "{name}");
        }
    }

    #[test]
    fn a_file_is_read_back_as_written() {
        let weights = Weights::fresh(&config(), 1).expect("fresh weights");
        assert_eq!(weights.parameters(), config().parameters());
        let bytes = weights.to_safetensors().expect("bytes");
        let back = Weights::from_safetensors(&bytes, &config()).expect("weights");
        assert_eq!(back.parameters(), weights.parameters());
        for ((a, x), (b, y)) in weights.iter().zip(back.iter()) {
            assert_eq!(a, b);
            let (x, y) = (
                x.flatten_all().expect("flat"),
                y.flatten_all().expect("flat"),
            );
            assert_eq!(
                x.to_vec1::<f32>().expect("f32"),
                y.to_vec1::<f32>().expect("f32"),
                "{a}"
            );
        }
        let cut =
            Weights::from_safetensors(&bytes[..bytes.len() - 9], &config()).expect_err("cut off");
        assert!(
            cut.to_string().starts_with("model.safetensors: truncated"),
            "{cut}"
        );
    }

    #[test]
    fn a_misshapen_tensor_is_named_with_both_shapes() {
        let mut weights = Weights::fresh(&config(), 1).expect("fresh weights");
        weights.insert(
            "bert.pooler.dense.bias".into(),
            Tensor::zeros(9, DType::F32, &Device::Cpu).expect("zeros"),
        );
        let error = Weights::from_safetensors(&weights.to_safetensors().expect("bytes"), &config())
            .expect_err("another shape");
        assert_eq!(
            error.to_string(),
            "model.safetensors: tensor `bert.pooler.dense.bias` has shape [9], but config.json asks for [8]"
        );
    }

    #[test]
    fn a_fresh_head_is_drawn_from_its_seed_and_named() {
        let mut a = Weights::default();
        let names = a.fill_head(&config(), 42).expect("a head");
        assert_eq!(
            names,
            [
                "bert.pooler.dense.weight",
                "bert.pooler.dense.bias",
                "classifier.weight",
                "classifier.bias"
            ]
        );
        let draw = |seed| {
            let mut w = Weights::default();
            w.fill_head(&config(), seed).expect("a head");
            let classifier = w.get("classifier.weight", &[5, 8]).expect("there");
            classifier
                .flatten_all()
                .and_then(|t| t.to_vec1::<f32>())
                .expect("f32")
        };
        assert_eq!(draw(42), draw(42));
        assert_ne!(draw(42), draw(43));
        assert!(
            a.fill_head(&config(), 42)
                .expect("nothing to add")
                .is_empty()
        );
    }
}
