//! The int8 engine. It rates in the browser. Natively it computes the same ratings as the page, for
//! many reviews.
//!
//! Nearly all of the work are products of integers. Weights have 7 bits and a scale for each
//! output. Activations have 7 bits and a scale for each row, which is computed at run time
//! (`rows`). Everything else is f32, in unfused operations in a fixed order that round the same
//! everywhere, so every processor and every browser gives the same bits. The portable product in
//! `kernel` is the reference for the fast ones.
//!
//! - `kernel`: the integer product, for each instruction set.
//! - `rows`: quantisation of activations.
//! - `linear`: a layer with integer weights.
//! - `attention`: attention, in f32.
//! - `file`: the weight file `web/weights.safetensors`; `quantize` creates it, `restore` converts
//!   it back to f32.
//! - `forward`: the forward pass of a few hundred tokens.

mod attention;
mod file;
mod forward;
mod kernel;
mod linear;
#[cfg(feature = "native")]
mod quantize;
#[cfg(feature = "native")]
mod restore;
mod rows;

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use safetensors::tensor::Dtype;

#[cfg(feature = "native")]
pub use self::file::holds_integers;
use self::file::{File, panel_shape};
use self::forward::Workspace;
pub use self::kernel::{Int8Kernel, KernelBenchmark, KernelChoice};
use self::linear::Linear;
#[cfg(feature = "native")]
pub use self::quantize::{quantize, round};
#[cfg(feature = "native")]
pub use self::restore::restore;
use crate::batch::{PackedBatch, divide};
use crate::engine::Engine;
use crate::kernels::norm::Norm;
use crate::{EncoderConfig, Error, LABELS, parallel};

/// Tokens that pass through the network together; their activations stay in a core's own cache.
const TOKENS: usize = 2 * linear::ROWS;

/// An encoder with its head, with integer weights.
pub struct Int8 {
    config: EncoderConfig,
    file: File,
    kernel: KernelChoice,
    words: Table,
    positions: Table,
    embedding_norm: LayerNorm,
    layers: Vec<Layer>,
    pooler: Dense,
    classifier: Dense,
    /// Buffers from earlier passes, for reuse.
    idle: Mutex<Vec<Workspace>>,
}

/// An embedding table: rows of integers, each row with a scale.
struct Table {
    /// (rows, hidden)
    values: Range<usize>,
    /// (rows)
    scales: Vec<f32>,
}

struct LayerNorm {
    scale: Vec<f32>,
    bias: Vec<f32>,
    eps: f32,
}

impl LayerNorm {
    fn get(&self) -> Norm<'_> {
        Norm {
            scale: &self.scale,
            bias: &self.bias,
            eps: self.eps,
        }
    }
}

/// A linear layer in f32: weight (outputs, inputs) and bias (outputs).
struct Dense {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

struct Layer {
    query: Linear,
    /// Key and value as one layer with twice the outputs.
    key_value: Linear,
    attention_output: Linear,
    attention_norm: LayerNorm,
    feed_forward_in: Linear,
    feed_forward_out: Linear,
    output_norm: LayerNorm,
}

impl Int8 {
    /// Builds the engine from the bytes of `web/weights.safetensors`. It keeps the bytes and uses
    /// the integers in place; the f32 values are copied. `kernel` computes the products; every
    /// kernel gives the same result.
    ///
    /// # Errors
    /// [`Error::Int8`] for a file that is truncated, has another version, or has tensors that do
    /// not match `config`.
    pub fn new(
        config: &EncoderConfig,
        file: Vec<u8>,
        kernel: impl Into<KernelChoice>,
    ) -> Result<Int8, Error> {
        let mut file = File::new(file)?;
        file.centre()?;
        let (h, f) = (config.hidden_size, config.intermediate_size);
        let table = |name: &str, rows| -> Result<Table, Error> {
            let values = file.integers(&format!("{name}.values"), Dtype::I8, &[rows, h])?;
            Ok(Table {
                values,
                scales: file.floats(&format!("{name}.scales"), &[rows])?,
            })
        };
        let norm = |name: &str| -> Result<LayerNorm, Error> {
            let get = |part: &str| file.floats(&format!("{name}.{part}"), &[h]);
            Ok(LayerNorm {
                scale: get("scale")?,
                bias: get("bias")?,
                eps: config.layer_norm_eps,
            })
        };
        let linear = |name: &str, outputs, inputs| -> Result<Linear, Error> {
            let panels = file.integers(
                &format!("{name}.panels"),
                Dtype::U8,
                &panel_shape(outputs, inputs),
            )?;
            let get = |part: &str| file.floats(&format!("{name}.{part}"), &[outputs]);
            Ok(Linear::new(
                file.bytes(),
                panels,
                (outputs, inputs),
                &get("scales")?,
                &get("bias")?,
            ))
        };
        let dense = |name: &str, outputs| -> Result<Dense, Error> {
            Ok(Dense {
                weight: file.floats(&format!("{name}.weight"), &[outputs, h])?,
                bias: file.floats(&format!("{name}.bias"), &[outputs])?,
            })
        };
        let layer = |i: usize| -> Result<Layer, Error> {
            let name = |module: &str| format!("layers.{i}.{module}");
            Ok(Layer {
                query: linear(&name("query"), h, h)?,
                key_value: linear(&name("key_value"), 2 * h, h)?,
                attention_output: linear(&name("attention_output"), h, h)?,
                attention_norm: norm(&name("attention_norm"))?,
                feed_forward_in: linear(&name("feed_forward_in"), f, h)?,
                feed_forward_out: linear(&name("feed_forward_out"), h, f)?,
                output_norm: norm(&name("output_norm"))?,
            })
        };
        Ok(Int8 {
            words: table("embeddings.words", config.vocab_size)?,
            positions: table("embeddings.positions", config.max_positions)?,
            embedding_norm: norm("embeddings.norm")?,
            layers: (0..config.layers).map(layer).collect::<Result<_, _>>()?,
            pooler: dense("pooler", h)?,
            classifier: dense("classifier", LABELS)?,
            kernel: kernel.into(),
            idle: Mutex::default(),
            config: config.clone(),
            file,
        })
    }
}

impl Engine for Int8 {
    fn logits(&self, batch: &PackedBatch) -> Result<Vec<[f32; LABELS]>, Error> {
        self.config.check(batch)?;
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = |reviews: &Range<usize>| {
            let mut work = idle().pop().unwrap_or_default();
            let logits = forward::run(self, batch, reviews.clone(), &mut work);
            idle().push(work);
            logits
        };
        Ok(parallel::map(&divide(batch, TOKENS, self.config.hidden_size), rate).concat())
    }
}

#[cfg(all(test, feature = "native"))]
mod tests;
