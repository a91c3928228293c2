//! A run: rating all reviews of the table.

use std::cell::Cell;

use futures_util::future::join_all;
use js_sys::Date;
use leptos::prelude::*;
use leptos::task::spawn_local;
use starsight_table::protocol::Request;
use web_sys::AbortController;

use crate::model::{Model, ModelState};
use crate::starsight::{Info, Rating, ScriptError, Speed};
use crate::views::many::sheet::Sheet;

/// Portions that are rated at the same time. They are enough for the worker pool to decide whether
/// to start more workers, and for no worker to wait.
const LANES: usize = 4;

/// The state of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// Not started.
    Idle,
    /// In progress.
    Running,
    /// The visitor paused it.
    Paused,
    /// Every review is rated.
    Done,
    /// It stopped with an error and can be resumed.
    Failed(ScriptError),
}

/// The work done by a run, and its speed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pace {
    /// Seconds of work.
    pub seconds: f64,
    /// Reviews rated in this time.
    pub samples: f64,
    /// Tokens of these reviews.
    pub tokens: f64,
    /// Number of ratings that are guesses, because their texts gave the model almost no
    /// information.
    pub guesses: usize,
}

impl Pace {
    /// Reviews per second.
    pub fn samples_per_second(self) -> f64 {
        if self.seconds > 0.0 {
            self.samples / self.seconds
        } else {
            0.0
        }
    }

    /// Tokens per second.
    pub fn tokens_per_second(self) -> f64 {
        if self.seconds > 0.0 {
            self.tokens / self.seconds
        } else {
            0.0
        }
    }
}

/// The properties that determine a model's ratings: its weights, its calibration temperature and
/// its decoding rule.
type Maker = (Option<String>, f64, String);

fn maker(info: &Info) -> Maker {
    (
        info.weights.clone(),
        info.temperature,
        info.decoding.clone(),
    )
}

/// The run over the table.
#[derive(Clone, Copy)]
pub struct Run {
    /// The run's state.
    pub phase: RwSignal<Phase>,
    /// The run's speed.
    pub pace: RwSignal<Pace>,
    sheet: Sheet,
    model: Model,
    /// The model that computed the ratings so far.
    rated_by: StoredValue<Option<Maker>>,
    stop: StoredValue<Option<AbortController>, LocalStorage>,
}

impl Run {
    /// A run that has not started.
    pub fn new(sheet: Sheet, model: Model) -> Run {
        let run = Run {
            phase: RwSignal::new(Phase::Idle),
            pace: RwSignal::default(),
            sheet,
            model,
            rated_by: StoredValue::new(None),
            stop: StoredValue::new_local(None),
        };
        Effect::new(move |_| model.is_busy.set(run.is_running()));
        run
    }

    /// Whether the run is in progress. Reactive.
    pub fn is_running(self) -> bool {
        self.phase.with(|phase| *phase == Phase::Running)
    }

    /// Whether the run has started and not finished. Reactive.
    pub fn is_open(self) -> bool {
        self.phase
            .with(|phase| matches!(phase, Phase::Running | Phase::Paused | Phase::Failed(_)))
    }

    /// Starts or resumes the run. `finished` is called when it stops for any reason.
    pub fn start(self, finished: impl Fn() + 'static) {
        let Ok(controller) = AbortController::new() else {
            return;
        };
        let maker = self.model.state.with_untracked(|state| match state {
            ModelState::Ready(info) => Some(maker(info)),
            _ => None,
        });
        // Ratings of different models must not be mixed. Reloading the same model is fine.
        let anew = self.rated_by.get_value() != maker
            || self
                .phase
                .with_untracked(|phase| matches!(phase, Phase::Idle | Phase::Done));
        self.rated_by.set_value(maker);
        if anew {
            self.pace.set(Pace::default());
        }
        self.phase.set(Phase::Running);
        self.stop.set_value(Some(controller.clone()));
        spawn_local(async move {
            let request = if anew {
                Request::Forget
            } else {
                Request::Rewind
            };
            let before = self.pace.get_untracked();
            let begun = Date::now();
            let outcome = match self.sheet.worker().ask::<()>(request).await {
                Ok(()) => {
                    self.rate_all(&controller, move || {
                        before.seconds + (Date::now() - begun) / 1000.0
                    })
                    .await
                }
                Err(error) => Err(error),
            };
            let is_current = self
                .stop
                .with_value(|stop| stop.as_ref() == Some(&controller));
            let looked = self.sheet.look().await;
            if !is_current {
                return;
            }
            let phase = match outcome.and(looked) {
                Ok(()) => Phase::Done,
                Err(error) if error.is_cancel() => Phase::Paused,
                Err(error) => Phase::Failed(error),
            };
            self.phase.set(phase);
            finished();
        });
    }

    /// Rates the remaining reviews, one portion at a time in each lane. `seconds` returns the
    /// working time.
    async fn rate_all(
        self,
        controller: &AbortController,
        seconds: impl Fn() -> f64 + Clone + 'static,
    ) -> Result<(), ScriptError> {
        let lane = async || {
            let outcome = self.rate_portions(controller, seconds.clone()).await;
            if outcome.is_err() {
                // The other lanes' work is useless then.
                controller.abort();
            }
            outcome
        };
        let outcomes = join_all((0..LANES).map(|_| lane())).await;
        // Report the error that made the other lanes stop.
        let (stopped, failed): (Vec<_>, Vec<_>) = outcomes
            .into_iter()
            .filter_map(Result::err)
            .partition(ScriptError::is_cancel);
        failed.into_iter().chain(stopped).next().map_or(Ok(()), Err)
    }

    async fn rate_portions(
        self,
        controller: &AbortController,
        seconds: impl Fn() -> f64 + Clone + 'static,
    ) -> Result<(), ScriptError> {
        let (worker, signal) = (self.sheet.worker(), controller.signal());
        while !signal.aborted()
            && let Some(portion) = worker.next().await?
        {
            let (rows, table) = (portion.rows, portion.table);
            let seconds = seconds.clone();
            let counted = Cell::new((0.0, 0.0));
            let on_progress = move |speed: Speed| {
                let now = (speed.rated().unwrap_or_default(), speed.tokens());
                let before = counted.replace(now);
                if now.0 > before.0 {
                    self.pace.update(|pace| {
                        pace.seconds = seconds();
                        pace.samples += now.0 - before.0;
                        pace.tokens += now.1 - before.1;
                    });
                }
            };
            let on_ratings = {
                let worker = worker.clone();
                move |ratings: &mut dyn Iterator<Item = (usize, Rating)>| {
                    let rated: Vec<_> = ratings
                        .map(|(place, rating)| (rows[place], rating))
                        .collect();
                    self.pace.update(|pace| {
                        pace.guesses += rated.iter().filter(|(_, rating)| rating.guess).count();
                    });
                    worker.rate(table, &rated);
                    self.sheet.look_soon();
                }
            };
            self.model
                .rate_many(&portion.texts, &signal, on_progress, on_ratings)
                .await?;
        }
        Ok(())
    }

    /// Pauses the run; [`Run::start`] resumes it.
    pub fn pause(self) {
        if let Some(controller) = self.stop.get_value() {
            controller.abort();
        }
    }

    /// Ends the run and discards its ratings.
    pub fn cancel(self) {
        self.pause();
        self.stop.set_value(None);
        self.phase.set(Phase::Idle);
        self.pace.set(Pace::default());
        spawn_local(async move {
            if self.sheet.worker().ask::<()>(Request::Forget).await.is_ok() {
                drop(self.sheet.look().await);
            }
        });
    }
}
