//! Measures how fast this page rates, for the live figures of the speed view.

use std::collections::VecDeque;
use std::time::Duration;

use leptos::leptos_dom::helpers::IntervalHandle;
use leptos::prelude::*;

/// Seconds that the curve covers.
pub const SPAN: f64 = 30.0;

/// Seconds over which a speed is averaged: long enough to be steady, short enough to follow
/// changes.
const WINDOW: f64 = 2.0;

/// Time between two points of the curve.
const STEP: Duration = Duration::from_millis(250);

/// A point of the curve.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Point {
    /// Time in seconds of the meter's clock.
    pub at: f64,
    /// Reviews per second.
    pub samples: f64,
    /// Tokens per second.
    pub tokens: f64,
}

/// Reviews and tokens that were rated at one time.
#[derive(Debug, Clone, Copy)]
struct Rated {
    at: f64,
    samples: f64,
    tokens: f64,
}

/// Counts what the page rates.
#[derive(Clone, Copy)]
pub struct Meter {
    /// The latest points, oldest first; the last one is the current speed. No points are added
    /// while nothing is rated.
    pub points: RwSignal<Vec<Point>>,
    /// Reviews that the visitor had rated since the page was opened.
    pub total: RwSignal<f64>,
    asked: StoredValue<f64>,
    recent: StoredValue<VecDeque<Rated>>,
    /// Time when rating started after a pause.
    begun: StoredValue<f64>,
    ticking: StoredValue<Option<IntervalHandle>>,
}

impl Meter {
    /// A meter with no ratings.
    pub fn new() -> Meter {
        Meter {
            points: RwSignal::default(),
            total: RwSignal::new(0.0),
            asked: StoredValue::default(),
            recent: StoredValue::default(),
            begun: StoredValue::default(),
            ticking: StoredValue::new(None),
        }
    }

    /// Records `samples` reviews with `tokens` tokens that have just been rated.
    pub fn count(self, samples: f64, tokens: f64) {
        if samples == 0.0 {
            return;
        }
        let at = now();
        if self.ticking.with_value(Option::is_none) {
            self.begun.set_value(at);
            self.ticking
                .set_value(set_interval_with_handle(move || self.tick(), STEP).ok());
        }
        self.recent.update_value(|recent| {
            recent.push_back(Rated {
                at,
                samples,
                tokens,
            });
        });
    }

    /// Like [`Meter::count`], for reviews that the visitor asked for. It excludes variants that
    /// explain a rating, and benchmarks.
    pub fn count_asked(self, samples: f64, tokens: f64) {
        self.asked.update_value(|asked| *asked += samples);
        self.count(samples, tokens);
    }

    /// Adds a point to the curve. After a while without ratings, it stops until the next rating.
    fn tick(self) {
        let at = now();
        let (samples, tokens, rests) = self
            .recent
            .try_update_value(|recent| {
                while recent.front().is_some_and(|rated| at - rated.at > WINDOW) {
                    recent.pop_front();
                }
                let sum = recent.iter().fold((0.0, 0.0), |sum, rated| {
                    (sum.0 + rated.samples, sum.1 + rated.tokens)
                });
                (sum.0, sum.1, recent.is_empty())
            })
            .unwrap_or_default();
        // At the beginning the window is shorter.
        let window = (at - self.begun.get_value()).clamp(STEP.as_secs_f64(), WINDOW);
        self.points.update(|points| {
            points.push(Point {
                at,
                samples: samples / window,
                tokens: tokens / window,
            });
            points.retain(|point| at - point.at <= SPAN);
        });
        let asked = self.asked.get_value();
        self.total
            .maybe_update(|total| std::mem::replace(total, asked) != asked);
        if rests && let Some(handle) = self.ticking.try_update_value(Option::take).flatten() {
            handle.clear();
        }
    }
}

/// The current time in seconds, on a monotonic clock.
fn now() -> f64 {
    window()
        .performance()
        .map_or_else(js_sys::Date::now, |clock| clock.now())
        / 1000.0
}
