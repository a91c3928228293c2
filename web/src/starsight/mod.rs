//! `starsight.js` as this page uses it: no otherwise than any other page would.

mod arriving;
mod bench;
mod field;
mod info;
mod wanted;

use js_sys::{Array, Object, Promise, Reflect};
use wasm_bindgen::prelude::*;
use web_sys::{AbortSignal, DataTransfer};

pub use self::arriving::{Arriving, LoadProgress};
pub use self::bench::{Batch, Row, Ways};
use self::field::{field, list, number, text};
pub use self::info::{Bin, Info, Metrics};
pub use self::wanted::{Wanted, is_folder};

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
    /// Ends its workers.
    #[wasm_bindgen(method)]
    pub fn free(this: &Rater);

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
    /// Of one to five stars.
    pub probabilities: [f32; 5],
    /// Whether the text told the model almost nothing about its stars.
    pub guess: bool,
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
    /// Whether the reader asked for it.
    pub fn is_cancel(&self) -> bool {
        self.name == "AbortError"
    }

    /// Whether it is that of an access token that cannot be one.
    pub fn is_about_token(&self) -> bool {
        self.name == "TypeError" && self.message.starts_with("token ")
    }

    /// Whether the Hub may give it to somebody it knows: it answers so for a model that is private, and for one that does not exist.
    pub fn may_be_private(&self) -> bool {
        self.name == "DownloadError"
            && ["answered 401", "answered 403"]
                .iter()
                .any(|answer| self.message.contains(answer))
    }
}

impl From<JsValue> for Trouble {
    fn from(thrown: JsValue) -> Trouble {
        // A DOMException is no Error to `instanceof` in every browser, so the two fields are read from whatever it is.
        let part = |name: &str| {
            Reflect::get(&thrown, &name.into())
                .ok()
                .and_then(|value| value.as_string())
        };
        Trouble {
            name: part("name").unwrap_or_default(),
            message: part("message").unwrap_or_else(|| format!("{thrown:?}")),
        }
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
    let model = |entry: JsValue| KeptModel {
        model: text(&entry, "model").unwrap_or_default(),
        bytes: number(&entry, "bytes").unwrap_or_default(),
    };
    Ok(Kept {
        models: list(&found, "models").map(model).collect(),
        unfinished: number(&found, "unfinished").unwrap_or_default(),
    })
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

/// The files of a drop, those in its folders too.
pub fn files_of(transfer: &DataTransfer) -> impl Future<Output = Result<Array, Trouble>> + use<> {
    // It can be asked only now, while the drop is being handled.
    let found = wasm_bindgen_futures::JsFuture::from(js_files_of(transfer));
    async move { Ok(found.await?.unchecked_into()) }
}

/// What is loaded, and how.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// The model that the page's address asks for.
    pub wanted: Wanted,
    /// Files of this device that hold a bundle, in its place.
    pub files: Option<Array>,
    /// What opens a private model.
    pub token: Option<String>,
    /// The newest version of it, not the one that is kept.
    pub update: bool,
}

/// Loads a model. `listeners` must live as long as it.
pub async fn load(
    source: &Source,
    signal: &AbortSignal,
    listeners: &Listeners,
) -> Result<Rater, Trouble> {
    let mut options = Options::default();
    options.set("onProgress", listeners.on_progress.as_ref());
    options.set("onNotice", listeners.on_notice.as_ref());
    options.set("onNewer", listeners.on_newer.as_ref());
    options.set("update", &source.update.into());
    options.set("signal", signal);
    let Source {
        wanted,
        files,
        token,
        ..
    } = source;
    let texts = [
        ("token", token),
        ("model", &wanted.model),
        ("endpoint", &wanted.endpoint),
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
    if let Some(workers) = &wanted.workers {
        // What is no number goes on as it stands, for the error to show it.
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
    /// About the model.
    pub fn describe(&self) -> Info {
        Info::of(&self.info())
    }

    /// Rates one text; also tells how much work it was.
    pub async fn rate_one(&self, text: &str) -> Result<(Rating, Speed), Trouble> {
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

/// A plain object of named arguments.
#[derive(Default)]
struct Options(Object);

impl Options {
    fn set(&mut self, name: &str, value: &JsValue) {
        // A fresh plain object takes every property.
        let _ = Reflect::set(&self.0, &name.into(), value);
    }
}
