//! The model that the page rates with: loading, ready or failed.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::Array;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::prelude::Closure;
use web_sys::{AbortController, AbortSignal};

use crate::meter::Meter;
use crate::starsight::{
    self, DownloadProgress, Info, Listeners, LoadProgress, ModelRequest, Rater, Rating, Row,
    ScriptError, Source, Speed, Ways, is_folder,
};
use crate::words;

/// The model's state.
#[derive(Debug, Clone, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one of it, and it is moved when a model comes"
)]
pub enum ModelState {
    /// Being loaded.
    Loading,
    /// Ready to rate.
    Ready(Info),
    /// It could not be loaded, its engine failed, or loading was cancelled.
    Failed(ScriptError),
}

/// The page's model, as a context for all components.
#[derive(Clone, Copy)]
pub struct Model {
    /// The model's state.
    pub state: RwSignal<ModelState>,
    /// The progress of its download.
    pub progress: RwSignal<DownloadProgress>,
    /// The last problem that the module recovered from.
    pub notice: RwSignal<Option<String>>,
    /// Whether the source has a newer version than this cached one.
    pub is_outdated: RwSignal<bool>,
    /// Whether a run over many reviews is in progress; benchmarks are not possible then.
    pub is_busy: RwSignal<bool>,
    request: RwSignal<ModelRequest>,
    meter: Meter,
    /// The access token for private models. It is kept only in memory, while the page is open.
    token: StoredValue<Option<String>>,
    /// Local files that hold the model, used instead of the model in the address.
    files: RwSignal<Option<Array>, LocalStorage>,
    /// Number of times that a model was loaded.
    attempts: StoredValue<u32>,
    rater: StoredValue<Option<Rater>, LocalStorage>,
    loading: StoredValue<Option<AbortController>, LocalStorage>,
    listeners: StoredValue<Option<Rc<Listeners>>, LocalStorage>,
}

impl Model {
    /// Loads the model `wanted`, and again whenever it changes. `meter` counts the ratings.
    pub fn load(request: RwSignal<ModelRequest>, meter: Meter) -> Model {
        let model = Model {
            state: RwSignal::new(ModelState::Loading),
            progress: RwSignal::default(),
            notice: RwSignal::new(None),
            is_outdated: RwSignal::new(false),
            is_busy: RwSignal::new(false),
            request,
            meter,
            token: StoredValue::new(None),
            files: RwSignal::new_local(None),
            attempts: StoredValue::new(0),
            rater: StoredValue::new_local(None),
            loading: StoredValue::new_local(None),
            listeners: StoredValue::new_local(None),
        };
        Effect::new(move |_| {
            model.request.track();
            model.start_wanted();
        });
        model
    }

    /// Loads or reloads the model.
    pub fn start(self) {
        self.begin(false);
    }

    /// Loads the model in the address, instead of local files.
    pub fn start_wanted(self) {
        self.files.set(None);
        self.begin(false);
    }

    /// Loads the bundle in the local `files`, until another model is requested.
    pub fn start_from(self, files: Array) {
        self.files.set(Some(files));
        self.begin(false);
    }

    /// Whether the model is loaded from local files. Reactive.
    pub fn is_from_files(self) -> bool {
        self.files.with(Option::is_some)
    }

    /// Sets the token for private models; an empty one removes it.
    pub fn set_token(self, token: &str) {
        self.token
            .set_value(Some(token.to_owned()).filter(|token| !token.is_empty()));
    }

    /// Loads the model with an access token.
    pub fn start_with(self, token: &str) {
        self.set_token(token);
        self.begin(false);
    }

    /// Whether a token may be missing or wrong: a Hub refused access to the model, or the token is
    /// malformed.
    pub fn wants_token(self, error: &ScriptError) -> bool {
        let is_on_a_hub = self.request.with_untracked(|request| {
            request
                .model
                .as_deref()
                .is_some_and(|model| !is_folder(model) && !model.contains("://"))
        });
        is_on_a_hub
            && self.files.with_untracked(Option::is_none)
            && (error.may_be_private() || error.is_about_token())
    }

    /// Loads the newest version of the model.
    pub fn update(self) {
        self.begin(true);
    }

    fn begin(self, update: bool) {
        let Ok(controller) = AbortController::new() else {
            return;
        };
        let signal = controller.signal();
        self.cancel();
        self.loading.set_value(Some(controller));
        let attempt = self.attempts.get_value() + 1;
        self.attempts.set_value(attempt);
        if let Some(old) = self.rater.try_update_value(Option::take).flatten() {
            old.free();
        }
        self.progress.set(DownloadProgress::default());
        self.notice.set(None);
        self.is_outdated.set(false);
        self.state.set(ModelState::Loading);
        let listeners = Rc::new(Listeners {
            on_progress: Closure::new(move |progress: LoadProgress| {
                self.progress.set(DownloadProgress::of(&progress));
            }),
            on_notice: Closure::new(move |notice| self.notice.set(Some(notice))),
            on_newer: Closure::new(move || self.is_outdated.set(true)),
        });
        self.listeners.set_value(Some(Rc::clone(&listeners)));
        spawn_local(async move {
            let source = Source {
                request: self.request.get_untracked(),
                files: self.files.get_untracked(),
                token: self.token.get_value(),
                update,
            };
            let loaded = starsight::load(&source, &signal, &listeners).await;
            if self.attempts.get_value() != attempt {
                // Another model was requested meanwhile.
                if let Ok(rater) = loaded {
                    rater.free();
                }
                return;
            }
            let state = match loaded {
                Ok(rater) => {
                    let info = rater.describe();
                    self.rater.set_value(Some(rater));
                    ModelState::Ready(info)
                }
                Err(error) => ModelState::Failed(error),
            };
            self.state.set(state);
        });
    }

    /// Stops loading.
    pub fn cancel(self) {
        if let Some(controller) = self.loading.get_value() {
            controller.abort();
        }
    }

    /// Rates one text; also returns the statistics of the call.
    pub async fn rate_one(self, text: &str) -> Result<(Rating, Speed), ScriptError> {
        let attempt = self.attempts.get_value();
        let rated = self
            .rater()?
            .rate_one(text)
            .await
            .map_err(|error| self.hear(attempt, error))?;
        self.meter.count_asked(1.0, rated.1.tokens());
        Ok(rated)
    }

    /// Rates variants of a text, an array of strings. Returns their ratings in order.
    pub async fn rate_variants(
        self,
        texts: &Array,
        signal: &AbortSignal,
    ) -> Result<Vec<Rating>, ScriptError> {
        let ratings = Rc::new(RefCell::new(vec![None; texts.length() as usize]));
        let found = Rc::clone(&ratings);
        let gather = move |some: &mut dyn Iterator<Item = (usize, Rating)>| {
            some.for_each(|(place, rating)| found.borrow_mut()[place] = Some(rating));
        };
        self.rate(texts, signal, Meter::count, |_| {}, gather)
            .await?;
        Ok(ratings.take().into_iter().flatten().collect())
    }

    /// Rates `texts`, an array of the visitor's reviews. `on_ratings` is called with (index,
    /// rating) in the order in which they are computed.
    pub async fn rate_many(
        self,
        texts: &Array,
        signal: &AbortSignal,
        on_progress: impl FnMut(Speed) + 'static,
        on_ratings: impl FnMut(&mut dyn Iterator<Item = (usize, Rating)>) + 'static,
    ) -> Result<Speed, ScriptError> {
        self.rate(texts, signal, Meter::count_asked, on_progress, on_ratings)
            .await
    }

    async fn rate(
        self,
        texts: &Array,
        signal: &AbortSignal,
        count: fn(Meter, f64, f64),
        mut on_progress: impl FnMut(Speed) + 'static,
        on_ratings: impl FnMut(&mut dyn Iterator<Item = (usize, Rating)>) + 'static,
    ) -> Result<Speed, ScriptError> {
        let mut counted = (0.0, 0.0);
        let heard = move |speed: Speed| {
            let rated = (speed.rated().unwrap_or_default(), speed.tokens());
            count(self.meter, rated.0 - counted.0, rated.1 - counted.1);
            counted = rated;
            on_progress(speed);
        };
        let attempt = self.attempts.get_value();
        self.rater()?
            .rate_many(texts, signal, heard, on_ratings)
            .await
            .map_err(|error| self.hear(attempt, error))
    }

    /// Measures how fast `texts`, an array of strings, are rated in each of the `ways`. `on_row` is
    /// called with each result as soon as it is known.
    pub async fn bench(
        self,
        texts: &Array,
        ways: &Ways,
        signal: &AbortSignal,
        on_row: impl FnMut(Row) + 'static,
    ) -> Result<(), ScriptError> {
        let mut counted = (0.0, 0.0);
        let on_rated = move |rated, tokens| {
            self.meter.count(rated - counted.0, tokens - counted.1);
            counted = (rated, tokens);
        };
        let attempt = self.attempts.get_value();
        self.rater()?
            .bench(texts, ways, signal, on_row, on_rated)
            .await
            .map_err(|error| self.hear(attempt, error))
    }

    /// Handles an error of a rating call. If the engine has failed, the model's state becomes
    /// failed. If the rater was freed because another model replaced it, the error becomes
    /// `superseded`, which says nothing about the new model.
    fn hear(self, attempt: u32, error: ScriptError) -> ScriptError {
        if self.attempts.get_value() != attempt {
            return superseded();
        }
        if error.name == "EngineError" {
            self.state.set(ModelState::Failed(error.clone()));
        }
        error
    }

    fn rater(self) -> Result<Rater, ScriptError> {
        self.rater.get_value().ok_or_else(not_ready)
    }

    /// Whether the model is ready. Reactive.
    pub fn is_ready(self) -> bool {
        self.state
            .with(|state| matches!(state, ModelState::Ready(_)))
    }

    /// The model's name, once it is loaded. Reactive.
    pub fn name(self) -> Option<String> {
        self.state.with(|state| {
            if let ModelState::Ready(info) = state {
                Some(info.name.clone())
            } else {
                None
            }
        })
    }

    /// Sets the state to failed, for files that could not even be read.
    pub fn fail(self, error: ScriptError) {
        self.state.set(ModelState::Failed(error));
    }
}

/// The error for rating while no model is loaded.
fn not_ready() -> ScriptError {
    ScriptError {
        name: "NotReady".into(),
        message: words::NOT_READY.into(),
    }
}

/// The error for a request that another one has replaced.
pub fn superseded() -> ScriptError {
    ScriptError {
        name: "AbortError".into(),
        message: words::SUPERSEDED.into(),
    }
}
