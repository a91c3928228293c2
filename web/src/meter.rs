//! How fast this page rates, whatever asks for it: the live figures of the speed view.

use std::collections::VecDeque;

use leptos::prelude::*;
use web_sys::Performance;

/// Seconds that the meter looks back for its curve.
pub const SPAN: f64 = 30.0;

/// Seconds over which a speed is taken: long enough to be steady, short enough to follow.
const WINDOW: f64 = 1.0;

/// Seconds between two points of the curve.
const STEP: f64 = 0.25;

/// A point of the curve.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Point {
    /// Seconds since the page was opened.
    pub at: f64,
    /// Reviews a second.
    pub samples: f64,
    /// Tokens a second.
    pub tokens: f64,
}

/// Counts what the page rates.
#[derive(Clone, Copy)]
pub struct Meter {
    /// The latest points, oldest first; the last one is now.
    pub points: RwSignal<Vec<Point>>,
    clock: StoredValue<Option<Performance>, LocalStorage>,
    /// (seconds, reviews, tokens): what was rated when.
    heard: StoredValue<VecDeque<(f64, f64, f64)>>,
}

impl Meter {
    /// Nothing rated yet.
    pub fn new() -> Meter {
        Meter { points: RwSignal::default(), clock: StoredValue::new_local(window().performance()), heard: StoredValue::default() }
    }

    /// Takes note of `samples` reviews of `tokens` tokens that have just been rated.
    pub fn count(self, samples: f64, tokens: f64) {
        let now = self.now();
        self.heard.update_value(|heard| {
            heard.push_back((now, samples, tokens));
            while heard.front().is_some_and(|(at, ..)| now - at > WINDOW) {
                heard.pop_front();
            }
        });
        self.draw(now);
    }

    /// Adds a point to the curve, unless there is one for this moment.
    fn draw(self, now: f64) {
        if self.points.with_untracked(|points| points.last().is_some_and(|last| now - last.at < STEP)) {
            return;
        }
        let sum = self.heard.with_value(|heard| heard.iter().fold((0.0, 0.0), |sum, (_, samples, tokens)| (sum.0 + samples, sum.1 + tokens)));
        self.points.update(|points| {
            points.push(Point { at: now, samples: sum.0 / WINDOW, tokens: sum.1 / WINDOW });
            points.retain(|point| now - point.at <= SPAN);
        });
    }

    fn now(self) -> f64 {
        self.clock.with_value(|clock| clock.as_ref().map_or_else(js_sys::Date::now, Performance::now)) / 1000.0
    }
}
