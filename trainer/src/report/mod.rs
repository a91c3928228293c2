//! `report.html`: how training went and how good the model is, in one self-contained file.
//!
//! [`Report`] holds all data; it becomes a page without reading or writing files.

mod chart;
mod learning;
mod ratings;

use indicatif::HumanCount;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::{Map, Value};

use crate::evaluate::Evaluation;
pub use learning::Learning;
pub use ratings::{Mistake, WORST};

/// The palette of the web page.
const TOKENS: &str = include_str!("../../../web/style/tokens.css");
const STYLE: &str = include_str!("style.css");

/// The policy states that the file loads and runs nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The content of a report.
pub struct Report<'a> {
    /// The heading: the model's name.
    pub title: String,
    /// A sentence or two on the data and the task.
    pub lead: String,
    /// Reviews per second.
    pub speed: f64,
    /// The verb for the speed: `learned from` or `rated`.
    pub speed_of: &'static str,
    /// The evaluation of the ratings.
    pub evaluation: &'a Evaluation,
    /// The worst mistakes.
    pub mistakes: Vec<Mistake<'a>>,
    /// The training history; `None` if the model was only evaluated.
    pub learning: Option<Learning<'a>>,
    /// Tables of names and values, each with a heading: the recipe, the origins of model and data.
    pub facts: Vec<(&'static str, Map<String, Value>)>,
}

impl Report<'_> {
    /// The report as an HTML page.
    pub fn page(&self) -> String {
        let evaluation = self.evaluation;
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="referrer" content="no-referrer";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    title { (self.title) ": Starsight report" }
                    style { (PreEscaped(TOKENS)) (PreEscaped(STYLE)) }
                }
                body {
                    header.masthead {
                        p.masthead__name {
                            svg viewBox="0 0 24 24" aria-hidden="true" { path fill-rule="evenodd" d=(LOGO) {} }
                            "Starsight report"
                        }
                        h1 { (self.title) }
                        p.masthead__lead { (self.lead) }
                    }
                    main {
                        (self.figures())
                        @if let Some(learning) = &self.learning { (learning.section()) }
                        (ratings::section(evaluation))
                        (ratings::measures(evaluation, self.learning.as_ref().map(|l| l.validation)))
                        (ratings::mistakes(&self.mistakes))
                        (self.facts())
                    }
                    footer.footer { p { "Made by starsight " (env!("CARGO_PKG_VERSION")) ". This file is self-contained: it loads nothing and sends nothing." } }
                }
            }
        };
        // Control characters are not allowed in HTML; replace them.
        page.into_string()
            .replace(|c: char| c.is_control() && !c.is_whitespace(), "\u{fffd}")
    }

    /// The main figures, in large type.
    fn figures(&self) -> Markup {
        let metrics = &self.evaluation.metrics;
        let intervals = &self.evaluation.intervals;
        let share = |x: f64| format!("{:.1}%", 100.0 * x);
        let figures = [
            (
                "Accuracy",
                share(metrics.accuracy),
                between(intervals.accuracy, share),
            ),
            (
                "At most one star off",
                share(metrics.off_by_one),
                between(intervals.off_by_one, share),
            ),
            (
                "Loss",
                format!("{:.3}", metrics.loss),
                between(intervals.loss, |x| format!("{x:.3}")),
            ),
            (
                "Reviews a second",
                HumanCount(self.speed.round() as u64).to_string(),
                self.speed_of.to_string(),
            ),
        ];
        html! {
            section.card aria-labelledby="figures-heading" {
                h2.unseen #figures-heading { "In short" }
                dl.figures {
                    @for (name, value, note) in figures { div.figure { dt { (name) } dd.figure__value { (value) } dd.figure__note { (note) } } }
                }
            }
        }
    }

    fn facts(&self) -> Markup {
        html! {
            section.card.card--facts aria-labelledby="facts-heading" {
                h2 #facts-heading { "How it was made" }
                @for (heading, facts) in &self.facts {
                    table.facts {
                        caption { (heading) }
                        tbody { @for (name, value) in facts { tr { th scope="row" { (name.replace(['_', '-'], " ")) } td { (plain(value)) } } } }
                    }
                }
            }
        }
    }
}

/// A JSON value for readers.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "not set".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "none".into(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// A confidence interval, formatted by `show`.
fn between(
    [low, high]: crate::evaluate::bootstrap::Interval,
    show: impl Fn(f64) -> String,
) -> String {
    format!("{} to {} with 95% confidence", show(low), show(high))
}

/// Stars as text: `1 star`, `5 stars`.
fn stars(label: usize) -> String {
    if label == 0 {
        "1 star".into()
    } else {
        format!("{} stars", label + 1)
    }
}

/// The page's logo.
const LOGO: &str = "M12 1.6l3.2 6.55 7.1 1-5.15 5.05 1.25 7.15L12 17.95l-6.4 3.4 1.25-7.15L1.7 9.15l7.1-1zM12 8.9a3.6 3.6 0 100 7.2 3.6 3.6 0 000-7.2zm0 2a1.6 1.6 0 110 3.2 \
    1.6 1.6 0 010-3.2z";

#[cfg(test)]
mod tests;
