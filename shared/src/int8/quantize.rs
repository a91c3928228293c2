//! Quantises trained weights to integers.
//!
//! The scale of a row is chosen to minimise the squared error of the quantised weights: first by a
//! search over the clipped share of the range, then by Lloyd's alternation ("Least Squares
//! Quantization in PCM", 1982), which optimises rounding and scale in turn.

use std::collections::HashMap;

use rayon::prelude::*;
use safetensors::tensor::{Dtype, TensorView};

use super::file::{OFFSET, VERSION, panel_shape};
use super::linear::{panel_bytes, place};
use crate::fused::layout::Layout;
use crate::weights::{Names, Role, Weights};
use crate::{EncoderConfig, Error, LABELS};

/// The largest magnitude of a quantised weight, and of a quantised embedding element.
pub(super) const LARGEST_WEIGHT: f32 = 63.0;
pub(super) const LARGEST_ELEMENT: f32 = 127.0;

/// Creates the bytes of `web/weights.safetensors`.
///
/// # Errors
/// [`Error::MissingTensor`] or [`Error::TensorShape`] for a tensor that does not match `config`,
/// [`Error::Int8`] when the file cannot be assembled.
pub fn quantize(config: &EncoderConfig, weights: &Weights) -> Result<Vec<u8>, Error> {
    let names = Names::of(config.architecture);
    let (h, f) = (config.hidden_size, config.intermediate_size);
    let mut out = Tensors {
        weights,
        found: Vec::new(),
    };

    let embedding = |kind: &str| format!("{}embeddings.{kind}_embeddings.weight", names.prefix);
    out.embedding(
        "embeddings.words",
        out.read(&embedding("word"), &[config.vocab_size, h])?,
        h,
    );
    let mut positions = out.read(&embedding("position"), &[config.max_positions, h])?;
    if config.type_vocab_size > 0 {
        // A review is always the first segment.
        let segments = out.read(&embedding("token_type"), &[config.type_vocab_size, h])?;
        positions
            .chunks_exact_mut(h)
            .for_each(|row| row.iter_mut().zip(&segments).for_each(|(x, s)| *x += s));
    }
    out.embedding("embeddings.positions", positions, h);
    out.norm(
        "embeddings.norm",
        &format!("{}embeddings.LayerNorm", names.prefix),
        h,
    )?;

    for i in 0..config.layers {
        let from = |module: &str| format!("{}{module}", names.layer(i));
        let to = |module: &str| format!("layers.{i}.{module}");
        out.linear(&to("query"), &[from(names.query)], h, h)?;
        out.linear(
            &to("key_value"),
            &[from(names.key), from(names.value)],
            h,
            h,
        )?;
        out.linear(
            &to("attention_output"),
            &[from(names.attention_output)],
            h,
            h,
        )?;
        out.norm(&to("attention_norm"), &from(names.attention_norm), h)?;
        out.linear(&to("feed_forward_in"), &[from(names.feed_forward_in)], f, h)?;
        out.linear(
            &to("feed_forward_out"),
            &[from(names.feed_forward_out)],
            h,
            f,
        )?;
        out.norm(&to("output_norm"), &from(names.output_norm), h)?;
    }
    for (to, from, outputs) in [
        ("pooler", names.pooler, h),
        ("classifier", "classifier", LABELS),
    ] {
        for (part, shape) in [("weight", &[outputs, h][..]), ("bias", &[outputs])] {
            out.floats(
                &format!("{to}.{part}"),
                shape,
                out.read(&format!("{from}.{part}"), shape)?,
            );
        }
    }
    out.write()
}

/// Replaces the weights in `values` that the int8 engine quantises by their quantised values, so
/// that training takes the quantisation error into account. In the word embedding, only the rows
/// `words` are replaced. (In a model with segments, the segment is added to the positions before
/// quantisation, so neither of the two is replaced.)
pub fn round(layout: &Layout, values: &mut [f32], words: impl Iterator<Item = usize>) {
    let (all, width) = (layout.words(), layout.width());
    for tensor in layout.tensors().iter().filter(|tensor| {
        tensor.spec.role == Role::Matrix && !tensor.spec.head && tensor.range != all
    }) {
        let embedding = tensor.spec.name.contains("embeddings.");
        if embedding && layout.has_segments() {
            continue;
        }
        let largest = if embedding {
            LARGEST_ELEMENT
        } else {
            LARGEST_WEIGHT
        };
        values[tensor.range.clone()]
            .par_chunks_exact_mut(tensor.spec.shape[1])
            .for_each(|row| round_row(row, largest));
    }
    words.for_each(|id| {
        round_row(
            &mut values[all.start + id * width..][..width],
            LARGEST_ELEMENT,
        );
    });
}

/// Replaces a row by its quantised values.
fn round_row(row: &mut [f32], largest: f32) {
    let (scale, integers) = integers(row, largest);
    row.iter_mut()
        .zip(integers)
        .for_each(|(x, q)| *x = q as f32 * scale);
}

/// Collects the tensors of the file.
struct Tensors<'a> {
    weights: &'a Weights,
    found: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
}

impl Tensors<'_> {
    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        Ok(self
            .weights
            .get(name, shape)?
            .flatten_all()?
            .to_vec1::<f32>()?)
    }

    fn floats(&mut self, name: &str, shape: &[usize], values: Vec<f32>) {
        self.found.push((
            name.into(),
            Dtype::F32,
            shape.into(),
            values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        ));
    }

    /// Adds an embedding (rows, width) as `name.values` and `name.scales`.
    fn embedding(&mut self, name: &str, table: Vec<f32>, width: usize) {
        let rows: Vec<(f32, Vec<i32>)> = table
            .par_chunks_exact(width)
            .map(|row| integers(row, LARGEST_ELEMENT))
            .collect();
        let values = rows
            .iter()
            .flat_map(|(_, row)| row.iter().map(|q| *q as i8 as u8))
            .collect();
        self.found.push((
            format!("{name}.values"),
            Dtype::I8,
            vec![rows.len(), width],
            values,
        ));
        self.floats(
            &format!("{name}.scales"),
            &[rows.len()],
            rows.iter().map(|(scale, _)| *scale).collect(),
        );
    }

    /// Concatenates the outputs of the linear layers `from`, each (outputs, inputs), to one layer,
    /// and adds it as `name.panels`, `name.scales` and `name.bias`.
    fn linear(
        &mut self,
        name: &str,
        from: &[String],
        outputs: usize,
        inputs: usize,
    ) -> Result<(), Error> {
        let parts = |part: &str, shape: &[usize]| {
            from.iter()
                .map(|module| self.read(&format!("{module}.{part}"), shape))
                .collect::<Result<Vec<_>, _>>()
        };
        let (weight, bias) = (
            parts("weight", &[outputs, inputs])?.concat(),
            parts("bias", &[outputs])?.concat(),
        );
        let outputs = bias.len();
        let rows: Vec<(f32, Vec<i32>)> = weight
            .par_chunks_exact(inputs)
            .map(|row| integers(row, LARGEST_WEIGHT))
            .collect();
        let mut panels = vec![OFFSET; panel_bytes(outputs, inputs)];
        for (o, (_, row)) in rows.iter().enumerate() {
            for (i, q) in row.iter().enumerate() {
                panels[place(inputs, o, i)] = (q + i32::from(OFFSET)) as u8;
            }
        }
        self.found.push((
            format!("{name}.panels"),
            Dtype::U8,
            panel_shape(outputs, inputs).into(),
            panels,
        ));
        self.floats(
            &format!("{name}.scales"),
            &[outputs],
            rows.iter().map(|(scale, _)| *scale).collect(),
        );
        self.floats(&format!("{name}.bias"), &[outputs], bias);
        Ok(())
    }

    /// Adds a LayerNorm as `name.scale` and `name.bias`.
    fn norm(&mut self, name: &str, from: &str, width: usize) -> Result<(), Error> {
        for (to, part) in [("scale", "weight"), ("bias", "bias")] {
            self.floats(
                &format!("{name}.{to}"),
                &[width],
                self.read(&format!("{from}.{part}"), &[width])?,
            );
        }
        Ok(())
    }

    fn write(self) -> Result<Vec<u8>, Error> {
        let failed = |e| Error::Int8(format!("cannot be written: {e}"));
        let mut views = Vec::with_capacity(self.found.len());
        for (name, dtype, shape, bytes) in &self.found {
            views.push((
                name.as_str(),
                TensorView::new(*dtype, shape.clone(), bytes).map_err(failed)?,
            ));
        }
        let metadata = HashMap::from([(VERSION.0.to_string(), VERSION.1.to_string())]);
        safetensors::serialize(views, Some(metadata)).map_err(failed)
    }
}

/// Quantises a row: returns its scale and its integers, whose magnitudes are at most `largest`.
fn integers(row: &[f32], largest: f32) -> (f32, Vec<i32>) {
    let (mut scale, mut integers) = (0.0, vec![0; row.len()]);
    fit(row, largest, &mut scale, &mut integers);
    (scale, integers)
}

multiversion! {
    /// Like [`integers`], with the results in `best` and `integers`. (It is compiled for several
    /// instruction sets because without a rounding instruction each rounding is a function call.)
    fn fit(row: &[f32], largest: f32, best: &mut f32, integers: &mut [i32]) {
        let extent = row.iter().fold(0f32, |most, x| most.max(x.abs()));
        // The row is zero, or so small that its squares underflow.
        if extent < 1e-15 {
            return;
        }
        let round = |x: f32, scale: f32| (x / scale).round_ties_even().clamp(-largest, largest);
        let error = |scale: f32| -> f64 { row.iter().map(|x| f64::from(round(*x, scale) * scale - x).powi(2)).sum() };
        // Clipping some of the largest weights may reduce the total error.
        let candidates = (0..=20).map(|i| extent / largest * (0.6 + 0.02 * i as f32));
        *best = candidates.map(|scale| (error(scale), scale)).min_by(|a, b| a.0.total_cmp(&b.0)).map_or(extent / largest, |(_, scale)| scale);
        for _ in 0..5 {
            // The best scale for these integers: Σ x q / Σ q².
            let (xq, qq) = row.iter().fold((0f64, 0f64), |(xq, qq), x| {
                let q = f64::from(round(*x, *best));
                (xq + f64::from(*x) * q, qq + q * q)
            });
            *best = (xq / qq) as f32;
        }
        integers.iter_mut().zip(row).for_each(|(q, x)| *q = round(*x, *best) as i32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn a_row_is_cut_where_the_squared_error_is_least() {
        let mut row = rng::normals(1, 384, 0.05);
        let error = |scale: f32, q: &[i32]| {
            row.iter()
                .zip(q)
                .map(|(x, q)| (scale * *q as f32 - x).powi(2))
                .sum::<f32>()
        };
        let extent = row.iter().fold(0f32, |most, x| most.max(x.abs()));
        let whole: Vec<i32> = row
            .iter()
            .map(|x| (x / extent * 63.0).round() as i32)
            .collect();
        let (scale, q) = integers(&row, LARGEST_WEIGHT);
        assert!(q.iter().all(|q| q.abs() <= 63));
        assert!(error(scale, &q) < error(extent / 63.0, &whole));
        row.fill(0.0);
        assert_eq!(integers(&row, LARGEST_WEIGHT), (0.0, vec![0; 384]));
    }

    #[test]
    fn weights_are_rounded_to_what_is_restored() {
        let config = r#"{"model_type":"distilbert","vocab_size":50,"dim":20,"n_layers":2,"n_heads":2,"hidden_dim":36,"max_position_embeddings":40,"initializer_range":0.2}"#;
        let config = EncoderConfig::from_json(config.as_bytes()).expect("a good config");
        let (weights, layout) = (
            Weights::fresh(&config, 1).expect("weights"),
            Layout::of(&config),
        );
        let restored = super::super::restore(&config, quantize(&config, &weights).expect("a file"))
            .expect("weights");
        let [before, wanted] = [&weights, &restored]
            .map(|weights| layout.gather(weights).expect("all of them").to_vec());
        let mut found = before.clone();
        round(&layout, &mut found, 0..config.vocab_size);
        assert_eq!(found, wanted);
        let error = |values: &[f32]| {
            before
                .iter()
                .zip(values)
                .map(|(a, b)| (a - b).abs())
                .fold(0f32, f32::max)
        };
        assert!(error(&found) > 0.0 && error(&found) < 0.2 * 5.0 / 63.0);
        // The row of a word that does not occur is unchanged.
        let mut found = before.clone();
        round(&layout, &mut found, [3].into_iter());
        let row =
            |values: &[f32], id: usize| values[layout.words().start + 20 * id..][..20].to_vec();
        assert_eq!(
            (row(&found, 3), row(&found, 4)),
            (row(&wanted, 3), row(&before, 4))
        );
    }
}
