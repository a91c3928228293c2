//! Converts the integers of the weight file back to f32 weights.

use candle_core::{Device, Tensor};
use safetensors::tensor::Dtype;

use super::file::{File, OFFSET, panel_shape};
use super::linear::place;
use crate::weights::{Names, Weights};
use crate::{EncoderConfig, Error, LABELS};

/// Dequantises the weights in `file`, the bytes of `web/weights.safetensors`. Values that were not
/// quantised are restored bit for bit. Segment embeddings, which were added to the positions, are
/// restored as zeros.
///
/// # Errors
/// [`Error::Int8`] for a file that is truncated, has another version, or has tensors that do not
/// match `config`.
pub fn restore(config: &EncoderConfig, file: Vec<u8>) -> Result<Weights, Error> {
    let names = Names::of(config.architecture);
    let (h, f) = (config.hidden_size, config.intermediate_size);
    let mut out = Restored {
        file: File::new(file)?,
        weights: Weights::default(),
    };

    let embedding = |kind: &str| format!("{}embeddings.{kind}_embeddings.weight", names.prefix);
    out.embedding("embeddings.words", embedding("word"), config.vocab_size, h)?;
    out.embedding(
        "embeddings.positions",
        embedding("position"),
        config.max_positions,
        h,
    )?;
    if config.type_vocab_size > 0 {
        out.insert(
            embedding("token_type"),
            vec![0.0; config.type_vocab_size * h],
            &[config.type_vocab_size, h],
        )?;
    }
    out.norm(
        "embeddings.norm",
        &format!("{}embeddings.LayerNorm", names.prefix),
        h,
    )?;
    for i in 0..config.layers {
        let from = |module: &str| format!("layers.{i}.{module}");
        let to = |module: &str| format!("{}{module}", names.layer(i));
        out.linear(&from("query"), &[to(names.query)], h, h)?;
        out.linear(&from("key_value"), &[to(names.key), to(names.value)], h, h)?;
        out.linear(
            &from("attention_output"),
            &[to(names.attention_output)],
            h,
            h,
        )?;
        out.norm(&from("attention_norm"), &to(names.attention_norm), h)?;
        out.linear(&from("feed_forward_in"), &[to(names.feed_forward_in)], f, h)?;
        out.linear(
            &from("feed_forward_out"),
            &[to(names.feed_forward_out)],
            h,
            f,
        )?;
        out.norm(&from("output_norm"), &to(names.output_norm), h)?;
    }
    for (from, to, outputs) in [
        ("pooler", names.pooler, h),
        ("classifier", "classifier", LABELS),
    ] {
        for (part, shape) in [("weight", &[outputs, h][..]), ("bias", &[outputs])] {
            let values = out.file.floats(&format!("{from}.{part}"), shape)?;
            out.insert(format!("{to}.{part}"), values, shape)?;
        }
    }
    Ok(out.weights)
}

/// Collects the restored weights.
struct Restored {
    file: File,
    weights: Weights,
}

impl Restored {
    fn insert(&mut self, name: String, values: Vec<f32>, shape: &[usize]) -> Result<(), Error> {
        self.weights
            .insert(name, Tensor::from_vec(values, shape, &Device::Cpu)?);
        Ok(())
    }

    /// Restores an embedding (rows, width).
    fn embedding(
        &mut self,
        from: &str,
        to: String,
        rows: usize,
        width: usize,
    ) -> Result<(), Error> {
        let range = self
            .file
            .integers(&format!("{from}.values"), Dtype::I8, &[rows, width])?;
        let scales = self.file.floats(&format!("{from}.scales"), &[rows])?;
        let table = self.file.bytes()[range].chunks_exact(width).zip(&scales);
        let values = table
            .flat_map(|(row, scale)| row.iter().map(move |q| f32::from(*q as i8) * scale))
            .collect();
        self.insert(to, values, &[rows, width])
    }

    /// Restores the linear layers `to`, each (outputs, inputs), which the file stores as one.
    fn linear(
        &mut self,
        from: &str,
        to: &[String],
        outputs: usize,
        inputs: usize,
    ) -> Result<(), Error> {
        let all = to.len() * outputs;
        let range = self.file.integers(
            &format!("{from}.panels"),
            Dtype::U8,
            &panel_shape(all, inputs),
        )?;
        let (scales, bias) = (
            self.file.floats(&format!("{from}.scales"), &[all])?,
            self.file.floats(&format!("{from}.bias"), &[all])?,
        );
        for (i, name) in to.iter().enumerate() {
            let own = i * outputs..(i + 1) * outputs;
            let panels = &self.file.bytes()[range.clone()];
            let weight = |o: usize| {
                (0..inputs).map(move |input| {
                    (i32::from(panels[place(inputs, o, input)]) - i32::from(OFFSET)) as f32
                })
            };
            let values = own
                .clone()
                .flat_map(|o| weight(o).map(|q| q * scales[o]).collect::<Vec<_>>())
                .collect();
            self.insert(format!("{name}.weight"), values, &[outputs, inputs])?;
            self.insert(format!("{name}.bias"), bias[own].to_vec(), &[outputs])?;
        }
        Ok(())
    }

    /// Restores a LayerNorm.
    fn norm(&mut self, from: &str, to: &str, width: usize) -> Result<(), Error> {
        for (from_part, to_part) in [("scale", "weight"), ("bias", "bias")] {
            let values = self.file.floats(&format!("{from}.{from_part}"), &[width])?;
            self.insert(format!("{to}.{to_part}"), values, &[width])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::quantize::{LARGEST_ELEMENT, LARGEST_WEIGHT};
    use super::super::{Int8, Int8Kernel, quantize};
    use super::*;
    use crate::batch::PackedBatch;
    use crate::engine::Engine;
    use crate::fused::Fused;

    #[test]
    fn restored_weights_are_what_the_integers_stand_for() {
        for json in [
            r#"{"model_type":"bert","vocab_size":50,"hidden_size":48,"num_hidden_layers":2,"num_attention_heads":4,"intermediate_size":100,
                "max_position_embeddings":40,"type_vocab_size":2,"initializer_range":0.2}"#,
            r#"{"model_type":"distilbert","vocab_size":50,"dim":20,"n_layers":2,"n_heads":2,"hidden_dim":36,"max_position_embeddings":40,"initializer_range":0.2}"#,
        ] {
            let config = EncoderConfig::from_json(json.as_bytes()).expect("a good config");
            let weights = Weights::fresh(&config, 1).expect("weights");
            let file = quantize(&config, &weights).expect("a file");
            let restored = restore(&config, file.clone()).expect("weights");
            assert_eq!(restored.parameters(), weights.parameters());
            // When a row is quantised again, the error is at most half a step: if its largest
            // integer is below the maximum, its scale is not among the candidates.
            let again =
                restore(&config, quantize(&config, &restored).expect("a file")).expect("weights");
            for (name, tensor) in restored.iter() {
                let of = |weights: &Weights| {
                    weights
                        .get(name, tensor.dims())
                        .and_then(|t| Ok(t.flatten_all()?.to_vec1::<f32>()?))
                        .expect("a tensor")
                };
                let (one, two) = (of(&restored), of(&again));
                let width = tensor.dims().last().copied().expect("a width");
                for (row, (one, two)) in one.chunks(width).zip(two.chunks(width)).enumerate() {
                    let largest = |row: &[f32]| row.iter().fold(0f32, |most, a| most.max(a.abs()));
                    let far = one
                        .iter()
                        .zip(two)
                        .map(|(a, b)| (a - b).abs())
                        .fold(0f32, f32::max);
                    let steps = if name.contains("embeddings.") {
                        LARGEST_ELEMENT
                    } else {
                        LARGEST_WEIGHT
                    };
                    assert!(
                        far <= 0.51 * largest(one) / (steps - 1.0),
                        "{name}, row {row}: {far}"
                    );
                }
            }
            // The int8 engine differs only in that it also rounds activations.
            let batch = PackedBatch::new(&[&[1, 2, 3, 4, 5, 6][..], &[7]]).expect("a batch");
            let found = Fused::new(&config, &restored)
                .expect("a model")
                .logits(&batch)
                .expect("logits");
            let wanted = Int8::new(&config, file.clone(), Int8Kernel::best())
                .expect("a model")
                .logits(&batch)
                .expect("logits");
            let far = found
                .iter()
                .flatten()
                .zip(wanted.iter().flatten())
                .map(|(a, b)| (a - b).abs())
                .fold(0f32, f32::max);
            assert!(far < 0.15, "{far}");
            assert!(restore(&config, file[..file.len() - 1].to_vec()).is_err());
        }
    }
}
