//! Bindings to `starsight.js`. This page uses the module's public interface, as any other page
//! would.

mod bench;
mod field;
mod info;
mod progress;
mod request;

use js_sys::{Array, Object, Promise, Reflect};
use wasm_bindgen::prelude::*;
use web_sys::{AbortSignal, DataTransfer};

pub use self::bench::{Batch, Row, Ways};
use self::field::{field, list, number, text};
pub use self::info::{Bin, Info, Metrics};
pub use self::progress::{DownloadProgress, LoadProgress};
pub use self::request::{ModelRequest, is_folder};

#[wasm_bindgen(raw_module = "./starsight.js")]
extern "C" {
    #[wasm_bindgen(catch, js_name = load)]
    async fn js_load(options: &Object) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(catch, js_name = kept)]
    async fn js_kept() -> Result<JsValue, JsValue>;
    #[wasm_bindgen(catch, js_name = forget)]
    async fn js_forget(model: &JsValue) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(js_name = filesOf)]
    fn js_files_of(transfer: &DataTransfer) -> Promise;
}

#[wasm_bindgen]
extern "C" {
    /// A loaded model.
    #[derive(Clone)]
    pub type Rater;
    #[wasm_bindgen(method, getter)]
    fn info(this: &Rater) -> JsValue;
    #[wasm_bindgen(method, catch, js_name = bench)]
    async fn js_bench(this: &Rater, texts: &Array, options: &Object) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = rate)]
    async fn js_rate(this: &Rater, texts: &Array, options: &Object) -> Result<JsValue, JsValue>;
    /// Stops its workers.
    #[wasm_bindgen(method)]
    pub fn free(this: &Rater);

    /// The progress of rating a list of reviews; also the final statistics.
    pub type Speed;
    /// Reviews tokenised so far; absent in the final statistics.
    #[wasm_bindgen(method, getter)]
    pub fn tokenised(this: &Speed) -> Option<f64>;
    /// Reviews rated so far; absent in the final statistics.
    #[wasm_bindgen(method, getter)]
    pub fn rated(this: &Speed) -> Option<f64>;
    /// Tokens of the rated reviews.
    #[wasm_bindgen(method, getter)]
    pub fn tokens(this: &Speed) -> f64;
    /// Seconds since the start.
    #[wasm_bindgen(method, getter)]
    pub fn seconds(this: &Speed) -> f64;
    /// Reviews per second.
    #[wasm_bindgen(method, getter, js_name = samplesPerSecond)]
    pub fn samples_per_second(this: &Speed) -> f64;
    /// Tokens per second.
    #[wasm_bindgen(method, getter, js_name = tokensPerSecond)]
    pub fn tokens_per_second(this: &Speed) -> f64;

    type Columns;
    #[wasm_bindgen(method, getter)]
    fn indices(this: &Columns) -> js_sys::Uint32Array;
    #[wasm_bindgen(method, getter)]
    fn stars(this: &Columns) -> js_sys::Uint8Array;
    #[wasm_bindgen(method, getter)]
    fn expected(this: &Columns) -> js_sys::Float32Array;
    #[wasm_bindgen(method, getter)]
    fn probabilities(this: &Columns) -> js_sys::Float32Array;
    #[wasm_bindgen(method, getter)]
    fn guesses(this: &Columns) -> js_sys::Uint8Array;
}

/// A review's rating.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rating {
    /// The number of stars.
    pub stars: u8,
    /// The mean of the distribution.
    pub expected: f32,
    /// The probabilities of one to five stars.
    pub probabilities: [f32; 5],
    /// Whether the text gave the model almost no information about its stars.
    pub guess: bool,
}

/// An error, whose name identifies its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptError {
    /// The kind of error, such as `DownloadError`.
    pub name: String,
    /// What happened.
    pub message: String,
}

impl ScriptError {
    /// Whether the reader cancelled the operation.
    pub fn is_cancel(&self) -> bool {
        self.name == "AbortError"
    }

    /// Whether the error is about a malformed access token.
    pub fn is_about_token(&self) -> bool {
        self.name == "TypeError" && self.message.starts_with("token ")
    }

    /// Whether the model may be private. The Hub gives the same answer for a private model and for
    /// one that does not exist.
    pub fn may_be_private(&self) -> bool {
        self.name == "DownloadError"
            && ["answered 401", "answered 403"]
                .iter()
                .any(|answer| self.message.contains(answer))
    }
}

impl From<JsValue> for ScriptError {
    fn from(thrown: JsValue) -> ScriptError {
        // In some browsers a DOMException is not an `instanceof` Error, so the two fields are read
        // from any object.
        let part = |name: &str| {
            Reflect::get(&thrown, &name.into())
                .ok()
                .and_then(|value| value.as_string())
        };
        ScriptError {
            name: part("name").unwrap_or_default(),
            message: part("message").unwrap_or_else(|| format!("{thrown:?}")),
        }
    }
}

/// Models and downloads that this browser has cached for this page.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Kept {
    /// Completely downloaded models.
    pub models: Vec<KeptModel>,
    /// Bytes of incomplete downloads.
    pub unfinished: f64,
}

/// A model in the browser's cache.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptModel {
    /// Where it came from.
    pub model: String,
    /// Total size of its files in bytes.
    pub bytes: f64,
}

/// Lists what this browser has cached for this page.
pub async fn kept() -> Result<Kept, ScriptError> {
    let found = js_kept().await?;
    let model = |entry: JsValue| KeptModel {
        model: text(&entry, "model").unwrap_or_default(),
        bytes: number(&entry, "bytes").unwrap_or_default(),
    };
    Ok(Kept {
        models: list(&found, "models").map(model).collect(),
        unfinished: number(&found, "unfinished").unwrap_or_default(),
    })
}

/// Deletes the cached model from `model`, or all.
pub async fn forget(model: Option<&str>) -> Result<(), ScriptError> {
    js_forget(&model.map_or(JsValue::UNDEFINED, JsValue::from)).await?;
    Ok(())
}

/// Callbacks for events of a model.
pub struct Listeners {
    /// Reports the download's progress.
    pub on_progress: Closure<dyn FnMut(LoadProgress)>,
    /// Reports a problem that the module recovered from.
    pub on_notice: Closure<dyn FnMut(String)>,
    /// Reports that a newer version than the cached one exists.
    pub on_newer: Closure<dyn FnMut()>,
}

/// The files of a drop, including those in its folders.
pub fn files_of(
    transfer: &DataTransfer,
) -> impl Future<Output = Result<Array, ScriptError>> + use<> {
    // The browser gives access only now, while the drop is being handled.
    let found = wasm_bindgen_futures::JsFuture::from(js_files_of(transfer));
    async move { Ok(found.await?.unchecked_into()) }
}

/// The model to load, and options for loading it.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// The model in the page's address.
    pub request: ModelRequest,
    /// Local files that hold a bundle, to be used instead.
    pub files: Option<Array>,
    /// The access token for a private model.
    pub token: Option<String>,
    /// Whether to load the newest version instead of the cached one.
    pub update: bool,
}

/// Loads a model. `listeners` must live as long as the model.
pub async fn load(
    source: &Source,
    signal: &AbortSignal,
    listeners: &Listeners,
) -> Result<Rater, ScriptError> {
    let mut options = Options::default();
    options.set("onProgress", listeners.on_progress.as_ref());
    options.set("onNotice", listeners.on_notice.as_ref());
    options.set("onNewer", listeners.on_newer.as_ref());
    options.set("update", &source.update.into());
    options.set("signal", signal);
    let Source {
        request,
        files,
        token,
        ..
    } = source;
    let texts = [
        ("token", token),
        ("model", &request.model),
        ("endpoint", &request.endpoint),
    ];
    for (name, value) in texts
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_ref()?)))
    {
        options.set(name, &value.into());
    }
    if let Some(files) = files {
        options.set("files", files);
    }
    if let Some(workers) = &request.workers {
        // A value that is not a number is passed on unchanged, so that the error shows it.
        options.set(
            "workers",
            &workers
                .parse::<f64>()
                .map_or_else(|_| workers.into(), JsValue::from),
        );
    }
    Ok(js_load(&options.0).await?.unchecked_into())
}

impl Rater {
    /// Information about the model.
    pub fn describe(&self) -> Info {
        Info::of(&self.info())
    }

    /// Rates one text; also returns the statistics of the call.
    pub async fn rate_one(&self, text: &str) -> Result<(Rating, Speed), ScriptError> {
        let rated = self
            .js_rate(&Array::of1(&text.into()), &Object::new())
            .await?;
        let rating = list(&rated, "ratings").next().unwrap_or_default();
        let mut probabilities = [0.0; 5];
        for (p, value) in probabilities.iter_mut().zip(list(&rating, "probabilities")) {
            *p = value.as_f64().unwrap_or_default() as f32;
        }
        let of = |name| number(&rating, name).unwrap_or_default();
        Ok((
            Rating {
                stars: of("stars") as u8,
                expected: of("expected") as f32,
                probabilities,
                guess: field(&rating, "guess").is_truthy(),
            },
            Reflect::get(&rated, &"stats".into())?.unchecked_into(),
        ))
    }

    /// Rates `texts`, an array of strings. `on_ratings` is called with (index, rating) in the order
    /// in which they are computed.
    pub async fn rate_many(
        &self,
        texts: &Array,
        signal: &AbortSignal,
        on_progress: impl FnMut(Speed) + 'static,
        mut on_ratings: impl FnMut(&mut dyn Iterator<Item = (usize, Rating)>) + 'static,
    ) -> Result<Speed, ScriptError> {
        let on_progress = Closure::<dyn FnMut(Speed)>::new(on_progress);
        let on_ratings = Closure::<dyn FnMut(Columns)>::new(move |columns: Columns| {
            let (indices, stars, expected, probabilities) = (
                columns.indices().to_vec(),
                columns.stars().to_vec(),
                columns.expected().to_vec(),
                columns.probabilities().to_vec(),
            );
            let (probabilities, _) = probabilities.as_chunks::<5>();
            let guesses = columns.guesses().to_vec();
            let rating = |i: usize| Rating {
                stars: stars[i],
                expected: expected[i],
                probabilities: probabilities[i],
                guess: guesses[i] == 1,
            };
            let mut ratings = (0..indices.len()).map(|i| (indices[i] as usize, rating(i)));
            on_ratings(&mut ratings);
        });
        let mut options = Options::default();
        options.set("signal", signal);
        options.set("onProgress", on_progress.as_ref());
        options.set("onRatings", on_ratings.as_ref());
        let rated = self.js_rate(texts, &options.0).await?;
        Ok(Reflect::get(&rated, &"stats".into())?.unchecked_into())
    }
}

/// A plain JavaScript object of named arguments.
#[derive(Default)]
struct Options(Object);

impl Options {
    fn set(&mut self, name: &str, value: &JsValue) {
        // Setting a property of a new plain object cannot fail.
        let _ = Reflect::set(&self.0, &name.into(), value);
    }
}
