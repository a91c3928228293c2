//! Report of the ratings against the reviewers' stars, as metrics and as single reviews.

use indicatif::HumanCount;
use maud::{Markup, html};
use starsight_model::LABELS;
use starsight_model::metrics::{Bin, CALIBRATION_BINS, Metrics};
use starsight_model::rating::softmax;

use super::chart::{Axis, Plot};
use super::learning::short;
use super::stars;
use crate::evaluate::Evaluation;
use starsight_model::metrics::ReviewScore;

/// Number of mistakes shown.
pub const WORST: usize = 30;

/// Number of characters of a review that are shown.
const EXCERPT: usize = 700;

/// A review with a wrong rating.
pub struct Mistake<'a> {
    /// Its text.
    pub text: &'a str,
    /// Its logits, divided by the calibration temperature.
    pub logits: [f32; LABELS],
    /// Its stars and rating.
    pub judged: ReviewScore,
}

/// Confusion matrix, histogram of stars, calibration.
pub fn section(evaluation: &Evaluation) -> Markup {
    let metrics = &evaluation.metrics;
    html! {
        section.card aria-labelledby="ratings-heading" {
            h2 #ratings-heading { "How it rates" }
            div.pair {
                (confusion(metrics))
                figure {
                    figcaption {
                        strong { "Stars" }
                        ul.legend { li.key.key--given { "given" } li.key.key--rated { "rated" } }
                    }
                    (histogram(metrics))
                }
            }
            div.pair {
                figure {
                    figcaption {
                        strong { "Calibration" }
                        p { "Of the reviews that the model is 80% sure of, 80% should be right: the dotted line." }
                    }
                    (calibration(&evaluation.calibration))
                    p.axis { "how sure the model is" }
                }
                figure {
                    figcaption {
                        strong { "Distribution of confidence" }
                        p { "The expected calibration error is " strong { (format!("{:.4}", metrics.ece)) } ": how far the curve lies from the line, on average over all reviews." }
                    }
                    (confidence(&evaluation.calibration))
                    p.axis { "how sure the model is" }
                }
            }
        }
    }
}

fn confusion(metrics: &Metrics) -> Markup {
    let total = metrics.samples.max(1) as f64;
    let count = |n: u64| HumanCount(n).to_string();
    html! {
        table.confusion {
            caption { strong { "Confusion matrix" } " Rows: the stars that the reviewer gave. Columns: the stars that the model gives. The share is that of the row." }
            thead {
                tr {
                    td {}
                    @for label in 0..LABELS { th scope="col" { span.unseen { "rated " (stars(label)) } span aria-hidden="true" { (label + 1) " ★" } } }
                    th.confusion__sum scope="col" { "given" }
                }
            }
            tbody {
                @for (label, row) in metrics.confusion.iter().enumerate() {
                    @let sum: u64 = row.iter().sum();
                    tr {
                        th scope="row" { span.unseen { "given " (stars(label)) } span aria-hidden="true" { (label + 1) " ★" } }
                        @for (rated, n) in row.iter().enumerate() {
                            @let share = *n as f64 / sum.max(1) as f64;
                            td.confusion__cell.confusion__cell--right[rated == label] style={ "--share:" (format!("{share:.3}")) } {
                                (count(*n)) small { (format!("{:.0}%", 100.0 * share)) }
                            }
                        }
                        td.confusion__sum { (count(sum)) small { (format!("{:.0}%", 100.0 * sum as f64 / total)) } }
                    }
                }
            }
            tfoot {
                tr {
                    th scope="row" { "rated" }
                    @for rated in 0..LABELS {
                        @let sum: u64 = metrics.confusion.iter().map(|row| row[rated]).sum();
                        td.confusion__sum { (count(sum)) small { (format!("{:.0}%", 100.0 * sum as f64 / total)) } }
                    }
                    td.confusion__sum { (HumanCount(metrics.samples as u64)) }
                }
            }
        }
    }
}

fn histogram(metrics: &Metrics) -> Plot {
    let total = metrics.samples.max(1) as f64;
    let given: [f64; LABELS] =
        std::array::from_fn(|t| metrics.confusion[t].iter().sum::<u64>() as f64 / total);
    let rated: [f64; LABELS] = std::array::from_fn(|p| {
        metrics.confusion.iter().map(|row| row[p]).sum::<u64>() as f64 / total
    });
    let text = |label: usize| {
        format!(
            "{}: given to {:.1}% of the reviews, rated for {:.1}%",
            stars(label),
            100.0 * given[label],
            100.0 * rated[label]
        )
    };
    let description = (0..LABELS).map(text).collect::<Vec<_>>().join("; ");
    let y = Axis::around(given.into_iter().chain(rated).chain([0.0]), percent);
    let mut plot = Plot::new(
        "stars",
        "Stars given and stars rated",
        description,
        Axis::of_names((1..=LABELS).map(|star| format!("{star} ★"))),
        y,
    );
    for label in 0..LABELS {
        let left = label as f64;
        plot.column(
            "column--given",
            left + 0.14,
            left + 0.49,
            given[label],
            &text(label),
        );
        plot.column(
            "column--rated",
            left + 0.51,
            left + 0.86,
            rated[label],
            &text(label),
        );
    }
    plot
}

fn calibration(bins: &[Bin; CALIBRATION_BINS]) -> Plot {
    let points: Vec<(f64, f64, u64)> = bins
        .iter()
        .filter(|b| b.samples > 0)
        .map(|b| {
            (
                b.confidence / b.samples as f64,
                b.right as f64 / b.samples as f64,
                b.samples,
            )
        })
        .collect();
    let text = |(sure, right, n): &(f64, f64, u64)| {
        format!(
            "{:.1}% sure: {:.1}% of {} reviews are right",
            100.0 * sure,
            100.0 * right,
            HumanCount(*n)
        )
    };
    let description = points.iter().map(text).collect::<Vec<_>>().join("; ");
    let axis = || Axis::exact(0.0, 1.0, percent);
    let mut plot = Plot::new(
        "calibration",
        "Share of right ratings by confidence",
        description,
        axis(),
        axis(),
    );
    plot.line("line--ideal", [(0.0, 0.0), (1.0, 1.0)]);
    plot.line("line--smooth", points.iter().map(|p| (p.0, p.1)));
    for point in &points {
        let (low, high) = wilson(point.1, point.2 as f64);
        plot.line("line--whisker", [(point.0, low), (point.0, high)]);
        plot.dot("dot--curve", (point.0, point.1), &text(point));
    }
    plot
}

/// The 95% confidence interval of a share of `n` (Wilson 1927): wide for bins with few reviews.
fn wilson(share: f64, n: f64) -> (f64, f64) {
    const Z: f64 = 1.96;
    let middle = share + Z * Z / (2.0 * n);
    let reach = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    (
        (middle - reach) / (1.0 + Z * Z / n),
        (middle + reach) / (1.0 + Z * Z / n),
    )
}

fn confidence(bins: &[Bin; CALIBRATION_BINS]) -> Plot {
    let total = bins.iter().map(|b| b.samples).sum::<u64>().max(1) as f64;
    let width = 1.0 / CALIBRATION_BINS as f64;
    let text = |(i, bin): (usize, &Bin)| {
        format!(
            "{:.0} to {:.0}% sure: {} reviews",
            100.0 * width * i as f64,
            100.0 * width * (i + 1) as f64,
            HumanCount(bin.samples)
        )
    };
    let description = bins
        .iter()
        .enumerate()
        .map(text)
        .collect::<Vec<_>>()
        .join("; ");
    let y = Axis::around(
        bins.iter().map(|b| b.samples as f64 / total).chain([0.0]),
        percent,
    );
    let mut plot = Plot::new(
        "confidence",
        "Share of reviews by confidence",
        description,
        Axis::exact(0.0, 1.0, percent),
        y,
    );
    for (i, bin) in bins.iter().enumerate() {
        let left = width * i as f64;
        plot.column(
            "column--given",
            left + 0.06 * width,
            left + 0.94 * width,
            bin.samples as f64 / total,
            &text((i, bin)),
        );
    }
    plot
}

fn percent(x: f64) -> String {
    format!("{}%", short(100.0 * x))
}

/// All metrics with their intervals, beside those on the validation split.
pub fn measures(evaluation: &Evaluation, validation: Option<&Metrics>) -> Markup {
    html! {
        section.card aria-labelledby="measures-heading" {
            h2 #measures-heading { "All measures" }
            div.scroll tabindex="0" role="group" aria-labelledby="measures-caption" {
                table.table.table--measures {
                    caption #measures-caption { (HumanCount(evaluation.metrics.samples as u64)) " reviews; the intervals come from 1,000 bootstrap resamples" }
                    thead {
                        tr {
                            th scope="col" { "Measure" }
                            th scope="col" { @if validation.is_some() { "Test" } @else { "Value" } }
                            th scope="col" { "95% confidence" }
                            @if validation.is_some() { th scope="col" { "Validation" } }
                        }
                    }
                    tbody {
                        @for measure in evaluation.measures() {
                            tr {
                                th scope="row" { (measure.name) }
                                td { strong { (measure.show((measure.of)(&evaluation.metrics))) } }
                                td { (measure.show_interval()) }
                                @if let Some(validation) = validation { td { (measure.show((measure.of)(validation))) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The worst mistakes, as a table that becomes a row of cards on a phone.
pub fn mistakes(mistakes: &[Mistake]) -> Markup {
    html! {
        section.card aria-labelledby="mistakes-heading" {
            h2 #mistakes-heading { "The worst mistakes" }
            @if mistakes.is_empty() {
                p { "There are none: every review got the stars that its reviewer gave." }
            } @else {
                table.table.mistakes {
                    caption { "The wrong ratings with the highest loss. Where a text does not fit its stars, the reviewer may be the one who erred." }
                    thead {
                        tr {
                            th scope="col" { "Review" }
                            th scope="col" { "Given" }
                            th scope="col" { "Rated" }
                            th scope="col" { "Loss" }
                            th scope="col" { "Chances of 1 to 5 ★, %" }
                        }
                    }
                    tbody { @for mistake in mistakes { (mistake.row()) } }
                }
            }
        }
    }
}

impl Mistake<'_> {
    fn row(&self) -> Markup {
        let probabilities = softmax(&self.logits);
        let ReviewScore {
            label, rated, loss, ..
        } = self.judged;
        let (excerpt, cut) = excerpt(self.text);
        html! {
            tr {
                td.mistakes__text dir="auto" {
                    @if excerpt.is_empty() { em { "no text" } } @else { (excerpt) }
                    @if cut { span.mistakes__cut { " … cut here" } }
                }
                td data-label="given" { (label + 1) " ★" }
                td data-label="rated" { (rated + 1) " ★" }
                td.mistakes__loss data-label="loss" { (format!("{loss:.2}")) }
                td.mistakes__chances {
                    ol.chances {
                        @for (label, p) in probabilities.iter().enumerate() {
                            li.chance.chance--rated[label == usize::from(rated)] style={ "--share:" (format!("{p:.3}")) } {
                                span.unseen { (stars(label)) ": " } (format!("{:.0}", 100.0 * p))
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The beginning of a text, and whether it was cut.
fn excerpt(text: &str) -> (String, bool) {
    let text = text.trim();
    (
        text.chars().take(EXCERPT).collect(),
        text.chars().nth(EXCERPT).is_some(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_ends_where_it_says() {
        assert_eq!(excerpt(" short\n"), ("short".into(), false));
        let (shown, cut) = excerpt(&"é".repeat(EXCERPT + 1));
        assert!(cut && shown.chars().count() == EXCERPT);
    }

    #[test]
    fn wilson_stays_within_0_and_1() {
        let (low, high) = wilson(1.0, 4.0);
        assert!(
            (low - 0.5101).abs() < 1e-3 && (high - 1.0).abs() < 1e-9,
            "{low} {high}"
        );
    }
}
