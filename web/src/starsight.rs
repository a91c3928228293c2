//! `starsight.js` as this page uses it: no otherwise than any other page would.

use js_sys::{Array, Object, Reflect};
use wasm_bindgen::prelude::*;
use web_sys::AbortSignal;

use crate::address::Wanted;
use crate::words;

#[wasm_bindgen(raw_module = "./starsight.js")]
extern "C" {
    #[wasm_bindgen(catch, js_name = load)]
    async fn js_load(options: &Object) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(catch, js_name = kept)]
    async fn js_kept() -> Result<JsValue, JsValue>;
    #[wasm_bindgen(catch, js_name = forget)]
    async fn js_forget(model: &JsValue) -> Result<JsValue, JsValue>;
}

#[wasm_bindgen]
extern "C" {
    /// A loaded model.
    #[derive(Clone)]
    pub type Rater;
    #[wasm_bindgen(method, getter)]
    fn info(this: &Rater) -> JsInfo;
    #[wasm_bindgen(method, catch, js_name = rate)]
    async fn js_rate(this: &Rater, texts: &Array, options: &Object) -> Result<JsValue, JsValue>;
    /// Ends its workers.
    #[wasm_bindgen(method)]
    pub fn free(this: &Rater);

    type JsInfo;
    #[wasm_bindgen(method, getter)]
    fn name(this: &JsInfo) -> String;
    #[wasm_bindgen(method, getter)]
    fn bytes(this: &JsInfo) -> f64;
    #[wasm_bindgen(method, getter)]
    fn parameters(this: &JsInfo) -> f64;
    #[wasm_bindgen(method, getter, js_name = maxTokens)]
    fn max_tokens(this: &JsInfo) -> f64;
    #[wasm_bindgen(method, getter)]
    fn metrics(this: &JsInfo) -> JsValue;

    /// How far a download is.
    pub type LoadProgress;
    /// `wait`, `download` or `prepare`.
    #[wasm_bindgen(method, getter)]
    pub fn phase(this: &LoadProgress) -> String;
    /// Bytes so far.
    #[wasm_bindgen(method, getter)]
    pub fn loaded(this: &LoadProgress) -> f64;
    /// Bytes in all.
    #[wasm_bindgen(method, getter)]
    pub fn total(this: &LoadProgress) -> f64;

    /// How far a list of reviews is; also the closing statistics.
    pub type Speed;
    /// Reviews turned into tokens so far; the closing statistics have none.
    #[wasm_bindgen(method, getter)]
    pub fn tokenised(this: &Speed) -> Option<f64>;
    /// Reviews rated so far; the closing statistics have none.
    #[wasm_bindgen(method, getter)]
    pub fn rated(this: &Speed) -> Option<f64>;
    /// Tokens of the rated reviews.
    #[wasm_bindgen(method, getter)]
    pub fn tokens(this: &Speed) -> f64;
    /// Since the start.
    #[wasm_bindgen(method, getter)]
    pub fn seconds(this: &Speed) -> f64;
    /// Reviews a second.
    #[wasm_bindgen(method, getter, js_name = samplesPerSecond)]
    pub fn samples_per_second(this: &Speed) -> f64;
    /// Tokens a second.
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
}

/// About the loaded model.
#[derive(Debug, Clone, PartialEq)]
pub struct Info {
    /// Its name.
    pub name: String,
    /// Bytes of its files.
    pub bytes: f64,
    /// Number of weights.
    pub parameters: f64,
    /// Tokens of a review that it reads.
    pub max_tokens: f64,
    /// Share of the test reviews that it rated right, if its maker measured it.
    pub accuracy: Option<f64>,
}

/// A review's rating.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rating {
    /// The likeliest number of stars.
    pub stars: u8,
    /// The mean of the distribution.
    pub expected: f32,
    /// Of one to five stars.
    pub probabilities: [f32; 5],
}

/// An error, with the name by which kinds are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Such as `DownloadError`.
    pub name: String,
    /// What happened.
    pub message: String,
}

impl Trouble {
    /// There is no model to rate with yet.
    pub fn not_ready() -> Trouble {
        Trouble { name: "NotReady".into(), message: words::NOT_READY.into() }
    }

    /// Whether the reader asked for it.
    pub fn is_cancel(&self) -> bool {
        self.name == "AbortError"
    }

    /// Whether the Hub may give it to somebody it knows: it answers so for a model that is private, and for one that does not exist.
    pub fn may_be_private(&self) -> bool {
        self.name == "DownloadError" && ["answered 401", "answered 403"].iter().any(|answer| self.message.contains(answer))
    }
}

impl From<JsValue> for Trouble {
    fn from(thrown: JsValue) -> Trouble {
        // A DOMException is no Error to `instanceof` in every browser, so the two fields are read from whatever it is.
        let field = |name: &str| Reflect::get(&thrown, &name.into()).ok().and_then(|value| value.as_string());
        Trouble { name: field("name").unwrap_or_default(), message: field("message").unwrap_or_else(|| format!("{thrown:?}")) }
    }
}

/// What this browser keeps for this page.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Kept {
    /// Models that arrived whole.
    pub models: Vec<KeptModel>,
    /// Bytes of downloads that were cut off.
    pub unfinished: f64,
}

/// A model that this browser keeps.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptModel {
    /// Where it came from.
    pub model: String,
    /// Bytes of its files.
    pub bytes: f64,
}

/// What this browser keeps for this page.
pub async fn kept() -> Result<Kept, Trouble> {
    let found = js_kept().await?;
    let number = |of: &JsValue, name: &str| Reflect::get(of, &name.into()).ok().and_then(|value| value.as_f64()).unwrap_or_default();
    let model = |entry: JsValue| KeptModel {
        model: Reflect::get(&entry, &"model".into()).ok().and_then(|value| value.as_string()).unwrap_or_default(),
        bytes: number(&entry, "bytes"),
    };
    let models = Array::from(&Reflect::get(&found, &"models".into())?).iter().map(model).collect();
    Ok(Kept { models, unfinished: number(&found, "unfinished") })
}

/// Deletes the kept model that came from `model`, or all.
pub async fn forget(model: Option<&str>) -> Result<(), Trouble> {
    js_forget(&model.map_or(JsValue::UNDEFINED, JsValue::from)).await?;
    Ok(())
}

/// What is heard of a model.
pub struct Listeners {
    /// How far the download is.
    pub on_progress: Closure<dyn FnMut(LoadProgress)>,
    /// Words about something that went otherwise than expected but was made good.
    pub on_notice: Closure<dyn FnMut(String)>,
    /// There is a newer version than the kept one.
    pub on_newer: Closure<dyn FnMut()>,
}

/// Loads the model that is `wanted`; the newest version of it on `update`, else the one that is kept. A private one takes a `token`. `listeners` must live as long as the model.
pub async fn load(wanted: &Wanted, token: Option<String>, update: bool, signal: &AbortSignal, listeners: &Listeners) -> Result<Rater, Trouble> {
    let mut options = Options::default();
    options.set("onProgress", listeners.on_progress.as_ref());
    options.set("onNotice", listeners.on_notice.as_ref());
    options.set("onNewer", listeners.on_newer.as_ref());
    options.set("update", &update.into());
    options.set("signal", signal);
    if let Some(token) = token {
        options.set("token", &token.into());
    }
    if let Some(model) = &wanted.model {
        options.set("model", &model.into());
    }
    if let Some(endpoint) = &wanted.endpoint {
        options.set("endpoint", &endpoint.into());
    }
    if let Some(workers) = &wanted.workers {
        // What is no number goes on as it stands, for the error to show it.
        options.set("workers", &workers.parse::<f64>().map_or_else(|_| workers.into(), JsValue::from));
    }
    Ok(js_load(&options.0).await?.unchecked_into())
}

impl Rater {
    /// About the model.
    pub fn describe(&self) -> Info {
        let info = self.info();
        let accuracy = Reflect::get(&info.metrics(), &"accuracy".into()).ok().and_then(|value| value.as_f64());
        Info { name: info.name(), bytes: info.bytes(), parameters: info.parameters(), max_tokens: info.max_tokens(), accuracy }
    }

    /// Rates one text; also tells how much work it was.
    pub async fn rate_one(&self, text: &str) -> Result<(Rating, Speed), Trouble> {
        let rated = self.js_rate(&Array::of1(&text.into()), &Object::new()).await?;
        let field = |of: &JsValue, name: &str| Reflect::get(of, &name.into());
        let rating = Reflect::get_u32(&field(&rated, "ratings")?, 0)?;
        let mut probabilities = [0.0; 5];
        for (p, value) in probabilities.iter_mut().zip(Array::from(&field(&rating, "probabilities")?).iter()) {
            *p = value.as_f64().unwrap_or_default() as f32;
        }
        let number = |name| field(&rating, name).map(|value| value.as_f64().unwrap_or_default());
        Ok((Rating { stars: number("stars")? as u8, expected: number("expected")? as f32, probabilities }, field(&rated, "stats")?.unchecked_into()))
    }

    /// Rates `texts`, an array of strings. `on_ratings` gets (index, rating) in the order in which they are done.
    pub async fn rate_many(
        &self,
        texts: &Array,
        signal: &AbortSignal,
        on_progress: impl FnMut(Speed) + 'static,
        mut on_ratings: impl FnMut(&mut dyn Iterator<Item = (usize, Rating)>) + 'static,
    ) -> Result<Speed, Trouble> {
        let on_progress = Closure::<dyn FnMut(Speed)>::new(on_progress);
        let on_ratings = Closure::<dyn FnMut(Columns)>::new(move |columns: Columns| {
            let (indices, stars, expected, probabilities) =
                (columns.indices().to_vec(), columns.stars().to_vec(), columns.expected().to_vec(), columns.probabilities().to_vec());
            let (probabilities, _) = probabilities.as_chunks::<5>();
            let mut ratings =
                (0..indices.len()).map(|i| (indices[i] as usize, Rating { stars: stars[i], expected: expected[i], probabilities: probabilities[i] }));
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

/// A plain object of named arguments.
#[derive(Default)]
struct Options(Object);

impl Options {
    fn set(&mut self, name: &str, value: &JsValue) {
        // A fresh plain object takes every property.
        let _ = Reflect::set(&self.0, &name.into(), value);
    }
}
