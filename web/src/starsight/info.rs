//! Information about a loaded model.

use js_sys::Object;
use wasm_bindgen::prelude::*;

use super::field::{field, list, number, text};

/// Information about the loaded model.
#[derive(Debug, Clone, PartialEq)]
pub struct Info {
    /// The model's name.
    pub name: String,
    /// Hugging Face's name of the architecture.
    pub model_type: String,
    /// Layers of the encoder.
    pub layers: f64,
    /// Width of the encoder.
    pub hidden_size: f64,
    /// Total size of its files in bytes.
    pub bytes: f64,
    /// Number of weights.
    pub parameters: f64,
    /// The largest number of tokens of a review that the model reads.
    pub max_tokens: f64,
    /// The address of the bundle.
    pub source: String,
    /// Whether it was cached by an earlier visit.
    pub is_kept: bool,
    /// Calibration temperature; 1 means no calibration.
    pub temperature: f64,
    /// The decoding rule for stars: `likeliest`, `median`, `expected` or `balanced`.
    pub decoding: String,
    /// SHA-256 of the weights.
    pub weights: Option<String>,
    /// Base model, data and code version, as the trainer wrote them: the fields that are strings or
    /// numbers, with their names.
    pub provenance: Vec<(String, String)>,
    /// Metrics on the test reviews, if the model's author measured them.
    pub metrics: Option<Metrics>,
}

/// Metrics on the test reviews.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metrics {
    /// Number of reviews.
    pub samples: f64,
    /// Name (as the trainer gives it), value and 95% confidence interval of each metric.
    pub values: Vec<(String, f64, Option<[f64; 2]>)>,
    /// The number of reviews with each true number of stars (row) and each rated number of stars
    /// (column), 1 to 5.
    pub confusion: Option<[[f64; 5]; 5]>,
    /// The calibration curve: reviews grouped by the model's confidence.
    pub calibration: Vec<Bin>,
}

/// Reviews of similar confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// Number of reviews.
    pub samples: f64,
    /// The share of them whose most probable number of stars was right.
    pub right: f64,
    /// The mean probability of their most probable number of stars.
    pub confidence: f64,
}

impl Info {
    pub(super) fn of(info: &JsValue) -> Info {
        let of_text = |name| text(info, name).unwrap_or_default();
        let of_number = |name| number(info, name).unwrap_or_default();
        let weights = list(info, "files")
            .find(|file| text(file, "path").is_some_and(|path| path.ends_with(".safetensors")));
        Info {
            name: of_text("name"),
            model_type: of_text("modelType"),
            layers: of_number("layers"),
            hidden_size: of_number("hiddenSize"),
            bytes: of_number("bytes"),
            parameters: of_number("parameters"),
            max_tokens: of_number("maxTokens"),
            source: of_text("source"),
            is_kept: field(info, "kept").is_truthy(),
            temperature: number(info, "temperature").unwrap_or(1.0),
            decoding: of_text("decoding"),
            weights: weights.and_then(|file| text(&file, "sha256")),
            provenance: entries(&field(info, "provenance"))
                .filter_map(|(name, value)| Some((name, shown(&value)?)))
                .collect(),
            metrics: Metrics::of(&field(info, "metrics")),
        }
    }

    /// Share of the test reviews that were rated correctly.
    pub fn accuracy(&self) -> Option<f64> {
        self.metrics
            .as_ref()?
            .values
            .iter()
            .find(|(name, ..)| name == "accuracy")
            .map(|(_, value, _)| *value)
    }

    /// The provenance field `name`.
    pub fn provenance(&self, name: &str) -> Option<&str> {
        self.provenance
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The Hub commit that the model comes from.
    pub fn commit(&self) -> Option<&str> {
        self.source
            .split_once("/resolve/")
            .map(|(_, rest)| rest.trim_end_matches('/'))
    }
}

impl Metrics {
    fn of(metrics: &JsValue) -> Option<Metrics> {
        if !metrics.is_object() {
            return None;
        }
        let intervals = field(metrics, "intervals");
        let interval = |name: &str| {
            let bounds: Vec<f64> = list(&intervals, name)
                .filter_map(|bound| bound.as_f64())
                .collect();
            <[f64; 2]>::try_from(bounds).ok()
        };
        let values = entries(metrics).filter_map(|(name, value)| {
            let interval = interval(&name);
            Some((name, value.as_f64()?, interval))
        });
        let bin = |bin: JsValue| {
            let samples = number(&bin, "samples").filter(|samples| *samples > 0.0)?;
            Some(Bin {
                samples,
                right: number(&bin, "right")? / samples,
                confidence: number(&bin, "confidence")?,
            })
        };
        Some(Metrics {
            samples: number(metrics, "samples").unwrap_or_default(),
            values: values.collect(),
            confusion: confusion(list(metrics, "confusion")),
            calibration: list(metrics, "calibration").filter_map(bin).collect(),
        })
    }
}

fn confusion(rows: impl Iterator<Item = JsValue>) -> Option<[[f64; 5]; 5]> {
    let row = |row: JsValue| {
        <[f64; 5]>::try_from(
            js_sys::Array::from(&row)
                .iter()
                .filter_map(|count| count.as_f64())
                .collect::<Vec<_>>(),
        )
        .ok()
    };
    rows.map(row).collect::<Option<Vec<_>>>()?.try_into().ok()
}

/// The fields of a plain object, in their order.
fn entries(of: &JsValue) -> impl Iterator<Item = (String, JsValue)> {
    let names = of
        .dyn_ref::<Object>()
        .map(|object| Object::keys(object).to_vec())
        .unwrap_or_default();
    let of = of.clone();
    names.into_iter().filter_map(move |name| {
        let name = name.as_string()?;
        let value = field(&of, &name);
        Some((name, value))
    })
}

/// A string or a number, as text.
fn shown(value: &JsValue) -> Option<String> {
    value
        .as_string()
        .or_else(|| value.as_f64().map(|number| number.to_string()))
}
