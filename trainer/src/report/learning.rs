//! Report of the training: loss and learning rate over the steps, and each evaluation.

use indicatif::HumanCount;
use maud::{Markup, html};
use starsight_model::metrics::Metrics;

use super::chart::{Axis, Plot, smoothed, thinned};
use crate::evaluate::history::{Evaluated, Line};

/// Columns of a curve: more than a screen can show.
const COLUMNS: usize = 800;

/// The history of a training run.
pub struct Learning<'a> {
    /// Each step.
    pub steps: &'a [Line],
    /// Each evaluation on the validation split.
    pub evaluations: &'a [Evaluated],
    /// The step whose weights were kept.
    pub best_step: usize,
    /// Metrics of these weights on the validation split.
    pub validation: &'a Metrics,
}

impl Learning<'_> {
    /// The charts and the table of evaluations.
    pub(super) fn section(&self) -> Markup {
        html! {
            section.card aria-labelledby="learning-heading" {
                h2 #learning-heading { "How it learned" }
                figure {
                    figcaption {
                        strong { "Loss" }
                        ul.legend {
                            li.key.key--raw { "training, each step" }
                            li.key.key--smooth { "training, smoothed" }
                            li.key.key--validation { "validation" }
                        }
                    }
                    (self.loss())
                }
                figure.figure--low {
                    figcaption { strong { "Learning rate" } }
                    (self.learning_rate())
                    p.axis { "step" }
                }
                @if !self.evaluations.is_empty() { (self.table()) }
            }
        }
    }

    fn axis_of_steps(&self) -> Axis {
        let last = |x: Option<usize>| x.unwrap_or(1) as f64;
        Axis::exact(
            0.0,
            last(self.steps.last().map(|s| s.step))
                .max(last(self.evaluations.last().map(|e| e.step))),
            |x| HumanCount(x as u64).to_string(),
        )
    }

    fn loss(&self) -> Plot {
        let raw: Vec<(f64, f64)> = self.steps.iter().map(|s| (s.step as f64, s.loss)).collect();
        let smooth = smoothed(&raw);
        let first_and_last = match (smooth.first(), smooth.last()) {
            (Some(first), Some(last)) => {
                format!(
                    "The training loss goes from {:.3} to {:.3} in {} steps.",
                    first.1,
                    last.1,
                    HumanCount(raw.len() as u64)
                )
            }
            _ => "No step was logged.".into(),
        };
        let evaluations: String = self
            .evaluations
            .iter()
            .map(|e| {
                format!(
                    " After step {} the validation loss is {:.3}.",
                    e.step, e.validation.loss
                )
            })
            .collect();
        let values = raw
            .iter()
            .map(|p| p.1)
            .chain(self.evaluations.iter().map(|e| e.validation.loss));
        let mut plot = Plot::new(
            "loss",
            "Loss over the steps",
            first_and_last + &evaluations,
            self.axis_of_steps(),
            Axis::around(values, short),
        );
        plot.line("line--raw", thinned(&raw, COLUMNS));
        plot.line("line--smooth", thinned(&smooth, COLUMNS));
        plot.line(
            "line--validation",
            self.evaluations
                .iter()
                .map(|e| (e.step as f64, e.validation.loss)),
        );
        for e in self.evaluations {
            let text = format!(
                "step {}: validation loss {:.4}, accuracy {:.2}%",
                HumanCount(e.step as u64),
                e.validation.loss,
                100.0 * e.validation.accuracy
            );
            plot.dot("dot--validation", (e.step as f64, e.validation.loss), &text);
        }
        plot
    }

    fn learning_rate(&self) -> Plot {
        let rates: Vec<(f64, f64)> = self
            .steps
            .iter()
            .map(|s| (s.step as f64, s.learning_rate))
            .collect();
        let highest = rates.iter().map(|r| r.1).fold(0.0, f64::max);
        let description = format!(
            "The highest rate is {}, the last one {}.",
            scientific(highest),
            scientific(rates.last().map_or(0.0, |r| r.1))
        );
        let y = Axis::around([0.0, highest].into_iter(), scientific);
        let mut plot = Plot::new(
            "learning-rate",
            "Learning rate over the steps",
            description,
            self.axis_of_steps(),
            y,
        );
        plot.line("line--smooth", thinned(&rates, COLUMNS));
        plot
    }

    fn table(&self) -> Markup {
        let percent = |x: f64| format!("{:.2}%", 100.0 * x);
        html! {
            div.scroll.scroll--tall tabindex="0" role="group" aria-labelledby="evaluations-caption" {
                table.table {
                    caption #evaluations-caption {
                        strong { "Validation" }
                        (HumanCount(self.validation.samples as u64)) " reviews that the model did not learn from. ★ marks the weights that were kept."
                    }
                    thead {
                        tr { @for name in ["Step", "Epoch", "Loss", "Accuracy", "At most one off", "Mean abs. error"] { th scope="col" { (name) } } }
                    }
                    tbody {
                        @for Evaluated { step, epoch, validation } in self.evaluations {
                            tr {
                                th scope="row" {
                                    (HumanCount(*step as u64))
                                    @if *step == self.best_step { " " span.kept title="kept" { "★" } }
                                }
                                td { (short((100.0 * epoch).round() / 100.0)) }
                                td { (format!("{:.4}", validation.loss)) }
                                td { (percent(validation.accuracy)) }
                                td { (percent(validation.off_by_one)) }
                                td { (format!("{:.4}", validation.mae)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The number with as few digits as needed to distinguish ticks.
pub(super) fn short(x: f64) -> String {
    ((x * 1e6).round() / 1e6).to_string()
}

fn scientific(x: f64) -> String {
    if x == 0.0 {
        "0".into()
    } else {
        format!("{x:.1e}").replace(".0e", "e")
    }
}
