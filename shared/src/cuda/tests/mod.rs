//! Tests of the device's engine against the CPU's.
//!
//! On a machine without a GPU the kernels run on the emulated device. With `STARSIGHT_TEST_GPU=1`
//! the same tests run on the GPU.

mod compilation;
mod kernels;
mod memory;
mod steps;

use std::sync::{Arc, OnceLock};

use super::device::Device;
use super::driver::Gpu;
use super::emulated::Emulated;
use crate::weights::Weights;
use crate::{EncoderConfig, rng};

/// The device that the tests use.
fn device() -> Arc<dyn Device> {
    // One GPU is shared by all tests, because it caches the kernels that it compiled.
    static GPU: OnceLock<Arc<dyn Device>> = OnceLock::new();
    if std::env::var_os("STARSIGHT_TEST_GPU").is_some() {
        return GPU
            .get_or_init(|| Arc::new(Gpu::open().expect("a GPU, as STARSIGHT_TEST_GPU says")))
            .clone();
    }
    Arc::new(Emulated::new(usize::MAX))
}

fn distilbert(width: usize, heads: usize, intermediate: usize) -> EncoderConfig {
    config(&format!(
        r#"{{"model_type":"distilbert","vocab_size":50,"dim":{width},"n_layers":3,"n_heads":{heads},"hidden_dim":{intermediate},"max_position_embeddings":80}}"#
    ))
}

fn bert(width: usize, heads: usize, intermediate: usize, activation: &str) -> EncoderConfig {
    config(&format!(
        r#"{{"model_type":"bert","vocab_size":50,"hidden_size":{width},"num_hidden_layers":3,"num_attention_heads":{heads},"intermediate_size":{intermediate},
        "max_position_embeddings":80,"type_vocab_size":2,"hidden_act":"{activation}"}}"#
    ))
}

fn config(json: &str) -> EncoderConfig {
    EncoderConfig::from_json(json.as_bytes()).expect("a good config")
}

/// Weights in which nothing is 0 or 1: biases and LayerNorm parameters are random too. Matrices are
/// scaled so that outputs are about as large as inputs.
fn weights(config: &EncoderConfig) -> Weights {
    let mut config = config.clone();
    config.initializer_range = 0.85 / (config.hidden_size as f32).sqrt();
    let mut weights = Weights::fresh(&config, 7).expect("fresh weights");
    let names: Vec<(String, Vec<usize>)> = weights
        .iter()
        .map(|(name, tensor)| (name.to_string(), tensor.dims().to_vec()))
        .collect();
    for ((name, dims), key) in names
        .into_iter()
        .zip(100..)
        .filter(|((_, dims), _)| dims.len() == 1)
    {
        let middle = if name.to_lowercase().contains("norm.weight") {
            1.0
        } else {
            0.0
        };
        let values: Vec<f32> = rng::normals(key, dims[0], 0.2)
            .iter()
            .map(|x| x + middle)
            .collect();
        weights.insert(
            name,
            candle_core::Tensor::new(values, &candle_core::Device::Cpu).expect("a tensor"),
        );
    }
    weights
}

/// Reviews with lengths below and above a tile's, and their labels.
fn reviews(config: &EncoderConfig) -> (Vec<Vec<u32>>, Vec<usize>) {
    let lengths = [5, 2, 33, 9, 70, 1, 32, 12];
    let ids = |(i, n): (usize, &usize)| {
        (0..*n)
            .map(|j| (rng::bits(i as u64, j as u64) % config.vocab_size as u64) as u32)
            .collect()
    };
    (
        lengths.iter().enumerate().map(ids).collect(),
        vec![4, 0, 2, 3, 1, 0, 4, 4],
    )
}

/// Asserts that the distance between `found` and `wanted` is at most `bound` times (length of
/// `wanted` + `floor`). Differences below `bound` · `floor` are rounding errors.
fn assert_close(what: &str, found: &[f32], wanted: &[f32], floor: f64, bound: f64) {
    let length =
        |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let distance = length(&mut found.iter().zip(wanted).map(|(a, b)| a - b));
    let size = length(&mut wanted.iter().copied());
    assert_eq!(found.len(), wanted.len(), "{what}");
    println!(
        "{what}: difference {distance:.1e}, {:.0}% of the tolerance",
        100.0 * distance / (bound * (size + floor))
    );
    // Written so that a NaN fails.
    assert!(
        distance <= bound * (size + floor),
        "{what}: {distance:.3e} from what is {size:.3e} long"
    );
}
