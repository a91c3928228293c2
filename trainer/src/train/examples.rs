//! The training examples of a run: token ids with labels and teachers' logits.

use std::collections::HashSet;

use anyhow::Result;
use sha2::{Digest, Sha256};
use starsight_model::bundle::hex;
use starsight_model::metrics::{Metrics, Scores};
use starsight_model::rating::Decoding;
use starsight_model::{Engine, LABELS};

use super::checkpoint::Checkpoints;
use super::loss::{Counts, one};
use super::repeats::{Learned, Repeats};
use super::teacher::{Teacher, TeacherLogits};
use super::training::Training;
use crate::data::tokens::Tokens;
use crate::data::{Corpus, Split, Texts};
use crate::evaluate::calibration::{Calibration, divide_by_temperature};
use crate::rate::rating;
use crate::system::progress::Progress;

/// Token ids and labels of every review. Reviews without stars have the row numbers after the
/// others.
pub(super) struct Examples<'a> {
    ids: Tokens,
    reviews: &'a Corpus,
    unlabelled: Option<Tokens>,
    /// The examples to learn from: the training split, and all reviews without stars.
    learned: Learned,
    /// The teachers' logits of the examples.
    teacher_logits: Option<TeacherLogits>,
}

impl<'a> Examples<'a> {
    /// Tokenises all reviews and unlabelled texts, before any teacher runs.
    ///
    /// # Errors
    /// When a text cannot be read.
    pub fn tokenised(training: &Training<'a>, parts: &Split) -> Result<Examples<'a>> {
        let Training {
            base,
            reviews,
            recipe,
            ..
        } = training;
        let more = training.unlabelled.map_or(0, Texts::count);
        let without = if more > 0 {
            format!("; and {more} unlabelled ones to train")
        } else {
            String::new()
        };
        say!(
            "{} reviews: {} to train, {} to validate, {} to test{without}",
            reviews.len(),
            parts.train.len(),
            parts.val.len(),
            parts.test.len()
        );
        let ids = Tokens::of(&base.tokenizer, *reviews)?;
        let unlabelled = training
            .unlabelled
            .map(|texts| Tokens::of(&base.tokenizer, texts))
            .transpose()?;
        let mut learned = Learned::each(&parts.train, reviews.len(), more);
        if recipe.repeats == Repeats::Counted || recipe.weight_column.is_some() {
            learned = learned.with_weights(
                recipe.repeats,
                |row| reviews.label(row),
                |row| reviews.weight(row),
                |row| ids.get(row),
            );
        }
        if recipe.repeats == Repeats::Counted {
            say!(
                "{} training reviews grouped into {} examples",
                parts.train.len(),
                learned.count() - more
            );
        }
        Ok(Examples {
            ids,
            reviews,
            unlabelled,
            learned,
            teacher_logits: None,
        })
    }

    /// Computes the teachers' logits, or reads those of an earlier run. Without teachers it does
    /// nothing.
    ///
    /// # Errors
    /// When a teacher cannot be read or computed, or the user interrupts.
    pub fn compute_teacher_logits(
        &mut self,
        training: &Training<'_>,
        parts: &Split,
        checkpoints: &Checkpoints,
    ) -> Result<()> {
        // With a share of 0 the teachers label only unlabelled texts.
        let asked = if training.recipe.distillation().share > 0.0 {
            &parts.train[..]
        } else {
            &[]
        };
        let teach = |(number, teacher): (usize, &Teacher)| {
            teacher.teach(
                training.reviews,
                asked,
                training.unlabelled,
                &training.place,
                &checkpoints.teacher_file(number),
            )
        };
        self.teacher_logits = TeacherLogits::mean(
            training
                .teachers
                .iter()
                .enumerate()
                .map(teach)
                .collect::<Result<_>>()?,
        );
        Ok(())
    }

    /// Number of examples.
    pub fn count(&self) -> usize {
        self.learned.count()
    }

    /// The row of example `i`.
    pub fn row(&self, i: usize) -> usize {
        self.learned.row(i)
    }

    /// The teachers' logits of `rows`; empty without a teacher.
    pub fn teacher_logits(&self, rows: &[usize]) -> Vec<Option<&[f32; LABELS]>> {
        self.teacher_logits
            .iter()
            .flat_map(|logits| rows.iter().map(|row| logits.of(*row)))
            .collect()
    }

    /// SHA-256 of the teachers' logits.
    pub fn teacher_fingerprint(&self) -> Option<String> {
        self.teacher_logits.as_ref().map(TeacherLogits::fingerprint)
    }

    pub fn ids(&self, row: usize) -> &[u32] {
        match &self.unlabelled {
            Some(ids) if row >= self.reviews.len() => ids.get(row - self.reviews.len()),
            _ => self.ids.get(row),
        }
    }

    /// The star counts of example `i`.
    pub fn counts(&self, i: usize) -> Option<Counts> {
        self.learned.counts(i, |row| self.reviews.label(row))
    }

    /// SHA-256 of the ids and labels of all examples, then of the rows `val`, in that order.
    pub fn fingerprint(&self, val: &[usize]) -> String {
        let mut hash = Sha256::new();
        let mut add = |row: usize, counts: Option<Counts>| {
            let ids = self.ids(row);
            hash.update((ids.len() as u64).to_le_bytes());
            match counts {
                None => hash.update(u64::MAX.to_le_bytes()),
                Some(counts) => match (0..LABELS).find(|label| counts == one(*label)) {
                    Some(label) => hash.update((label as u64).to_le_bytes()),
                    None => counts
                        .iter()
                        .for_each(|count| hash.update(count.to_le_bytes())),
                },
            }
            ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
        };
        (0..self.learned.count()).for_each(|i| add(self.learned.row(i), self.counts(i)));
        val.iter()
            .for_each(|row| add(*row, Some(one(self.reviews.label(*row)))));
        hex(&hash.finalize())
    }

    /// Indices into the test split of the reviews whose text does not occur in the training split;
    /// `None` if that holds for all or none of them.
    pub fn unseen(&self, parts: &Split) -> Option<Vec<usize>> {
        let learned: HashSet<&[u32]> = parts.train.iter().map(|row| self.ids(*row)).collect();
        let unseen: Vec<usize> = (0..parts.test.len())
            .filter(|i| !learned.contains(self.ids(parts.test[*i])))
            .collect();
        (!unseen.is_empty() && unseen.len() < parts.test.len()).then_some(unseen)
    }

    pub fn logits(
        &self,
        engine: &dyn Engine,
        rows: &[usize],
        label: &'static str,
    ) -> Result<Vec<[f32; LABELS]>> {
        let mut progress = Progress::new(label, "reviews", rows.len());
        let ids: Vec<&[u32]> = rows.iter().map(|row| self.ids.get(*row)).collect();
        let logits = rating::logits(engine, &ids, &mut progress)?;
        progress.finish();
        Ok(logits)
    }

    /// The metrics of `rows` by uncalibrated probabilities, and the temperature that calibrates
    /// them. The stars are derived from the calibrated probabilities.
    pub fn evaluate(
        &self,
        engine: &dyn Engine,
        rows: &[usize],
        decoding: Decoding,
        label: &'static str,
    ) -> Result<(Metrics, Calibration)> {
        let logits = self.logits(engine, rows, label)?;
        let labels: Vec<usize> = rows.iter().map(|row| self.reviews.label(*row)).collect();
        let calibration = Calibration::fit(&logits, &labels);
        let scores = |temperature| {
            let mut scores = Scores::of(decoding);
            logits.iter().zip(&labels).for_each(|(logits, label)| {
                scores.add(&divide_by_temperature(logits, temperature), *label);
            });
            scores.metrics()
        };
        let Metrics { loss, ece, .. } = scores(1.0);
        Ok((
            Metrics {
                loss,
                ece,
                ..scores(calibration.temperature)
            },
            calibration,
        ))
    }
}
