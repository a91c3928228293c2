//! `report.html` of a run.

use anyhow::Result;
use indicatif::HumanCount;
use serde_json::{Map, Value};
use starsight_model::LABELS;

use super::log;
use super::training::Training;
use crate::bundle::package;
use crate::evaluate::Outcome;
use crate::report::{Learning, Mistake, Report, WORST};
use crate::system::files;

/// Writes the report to the run's folder. `rows` are the rows of the test split, `logits` their
/// ratings.
///
/// # Errors
/// When the log or the texts cannot be read, or the disk is full.
pub fn write(
    training: &Training<'_>,
    outcome: &Outcome,
    provenance: &Value,
    rows: &[usize],
    logits: &[[f32; LABELS]],
) -> Result<()> {
    let (steps, evaluations) = log::read(&training.out)?;
    let reviews = training.reviews;
    let worst = outcome.test.worst(WORST);
    let texts = reviews.texts(&worst.iter().map(|i| rows[*i]).collect::<Vec<_>>())?;
    let mistake = |i: usize, text| Mistake {
        text,
        logits: logits[i],
        judged: outcome.test.reviews[i],
    };
    let count = |n: usize| HumanCount(n as u64);
    let mut provenance = provenance.as_object().cloned().unwrap_or_default();
    let recipe = provenance
        .remove("recipe")
        .and_then(|recipe| recipe.as_object().cloned())
        .unwrap_or_default();
    provenance.extend(Map::from_iter([
        ("steps".into(), outcome.steps.into()),
        ("best_step".into(), outcome.best_step.into()),
        ("temperature".into(), outcome.temperature.into()),
        (
            "minutes_of_training".into(),
            format!("{:.1}", outcome.seconds / 60.0).into(),
        ),
    ]));
    let report = Report {
        title: package::name_of(&training.out),
        lead: format!(
            "Fine-tuned from {} on {} reviews of {}, and evaluated on {} test reviews.",
            training.base_name,
            count(outcome.train_samples),
            training.data_name,
            count(rows.len())
        ),
        speed: outcome.train_samples_per_second,
        speed_of: "trained on, validation included",
        evaluation: &outcome.test,
        mistakes: worst
            .into_iter()
            .zip(&texts)
            .map(|(i, text)| mistake(i, text))
            .collect(),
        learning: Some(Learning {
            steps: &steps,
            evaluations: &evaluations,
            best_step: outcome.best_step,
            validation: &outcome.validation,
        }),
        facts: vec![("Recipe", recipe), ("Provenance", provenance)],
    };
    files::write_bytes(&training.out.join("report.html"), report.page().as_bytes())
}
