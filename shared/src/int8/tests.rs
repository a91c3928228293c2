//! Tests of the whole engine.

use super::*;
use crate::fused::Fused;
use crate::rng;
use crate::weights::Weights;

const BERT: &str = r#"{"model_type":"bert","vocab_size":50,"hidden_size":48,"num_hidden_layers":3,"num_attention_heads":4,"intermediate_size":100,
    "max_position_embeddings":40,"type_vocab_size":2,"initializer_range":0.2}"#;
const DISTILBERT: &str = r#"{"model_type":"distilbert","vocab_size":50,"dim":20,"n_layers":2,"n_heads":2,"hidden_dim":36,"max_position_embeddings":40,
    "activation":"relu","initializer_range":0.2}"#;

fn model(json: &str) -> (EncoderConfig, Weights, Vec<u8>) {
    let config = EncoderConfig::from_json(json.as_bytes()).expect("a good config");
    let weights = Weights::fresh(&config, 1).expect("weights");
    let file = quantize(&config, &weights).expect("a file");
    (config, weights, file)
}

fn reviews() -> Vec<Vec<u32>> {
    let length = |i: usize| 1 + (i * 7919) % 40;
    (0..60)
        .map(|i| {
            (0..length(i))
                .map(|j| (rng::bits(i as u64, j as u64) % 50) as u32)
                .collect()
        })
        .collect()
}

fn batch(reviews: &[Vec<u32>]) -> PackedBatch {
    PackedBatch::new(&reviews.iter().map(Vec::as_slice).collect::<Vec<_>>()).expect("a batch")
}

#[test]
fn logits_are_close_to_those_in_f32() {
    for json in [BERT, DISTILBERT] {
        let (config, weights, file) = model(json);
        let batch = batch(&reviews());
        let wanted = Fused::new(&config, &weights)
            .expect("a model")
            .logits(&batch)
            .expect("logits");
        let found = Int8::new(&config, file, Int8Kernel::best())
            .expect("a model")
            .logits(&batch)
            .expect("logits");
        assert_eq!(found.len(), wanted.len());
        let squares = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>();
        let error = squares(
            &mut found
                .iter()
                .flatten()
                .zip(wanted.iter().flatten())
                .map(|(a, b)| a - b),
        );
        let size = squares(&mut wanted.iter().flatten().copied());
        assert!(
            error < 5e-3 * size,
            "{json}: a relative error of {}",
            (error / size).sqrt()
        );
    }
}

#[test]
fn neither_kernel_nor_packing_changes_a_bit() {
    for json in [BERT, DISTILBERT] {
        let (config, _, file) = model(json);
        let reviews = reviews();
        let engine = |kernel| Int8::new(&config, file.clone(), kernel).expect("a model");
        let packed = engine(Int8Kernel::PORTABLE)
            .logits(&batch(&reviews))
            .expect("logits");
        for kernel in Int8Kernel::available() {
            let engine = engine(kernel);
            for (review, wanted) in reviews.iter().zip(&packed) {
                let found = engine
                    .logits(&batch(std::slice::from_ref(review)))
                    .expect("logits")[0];
                assert_eq!(
                    found.map(f32::to_bits),
                    wanted.map(f32::to_bits),
                    "{}",
                    kernel.name()
                );
            }
        }
        assert!(
            engine(Int8Kernel::best())
                .logits(&batch(&[]))
                .expect("nothing")
                .is_empty()
        );
    }
}

#[test]
fn a_file_that_does_not_fit_is_refused_with_the_reason() {
    let (config, _, file) = model(BERT);
    let (other, _, _) = model(DISTILBERT);
    let says = |file: &[u8], config: &EncoderConfig, wanted: &str| {
        let error = Int8::new(config, file.to_vec(), Int8Kernel::best())
            .err()
            .expect("an error")
            .to_string();
        assert!(
            error.starts_with("web/weights.safetensors: ") && error.contains(wanted),
            "{error}"
        );
    };
    says(&file[..file.len() - 1], &config, "truncated");
    says(b"{}", &config, "truncated, or not a safetensors");
    says(
        &file,
        &other,
        "tensor `embeddings.words.values` has shape [50, 48], but config.json asks for [50, 20]",
    );
    let replaced = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = file
            .windows(from.len())
            .position(|bytes| bytes == from.as_bytes())
            .expect("there");
        let mut file = file.clone();
        file[at..at + to.len()].copy_from_slice(to.as_bytes());
        file
    };
    says(
        &replaced(r#""starsight-int8":"1""#, r#""starsight-int8":"7""#),
        &config,
        "version 7 of its format; this starsight reads version 1",
    );
    says(
        &replaced("starsight-int8", "starsight-int9"),
        &config,
        "its metadata lack starsight-int8",
    );
    says(
        &replaced("layers.1.query.bias", "layers.1.queri.bias"),
        &config,
        "no tensor `layers.1.query.bias`, wanted with shape [48]",
    );
    // A weight of 8 bits, for which kernels would give different results.
    let head = File::new(file.clone()).expect("a file");
    let panels = head
        .integers("layers.0.query.panels", Dtype::U8, &panel_shape(48, 48))
        .expect("there");
    let mut wide = file.clone();
    wide[panels.start] = 128;
    says(
        &wide,
        &config,
        "tensor `layers.0.query.panels` holds a weight of more than 7 bits",
    );
    let mut infinite = file.clone();
    let bias = head
        .integers("pooler.bias", Dtype::F32, &[48])
        .expect("there");
    infinite[bias.start..bias.start + 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    says(
        &infinite,
        &config,
        "tensor `pooler.bias` holds a number that is not finite",
    );
}
