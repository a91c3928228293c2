//! The inputs of a training run, and the provenance of its weights.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use starsight_model::bundle;

use super::recipe::Recipe;
use super::teacher::Teacher;
use crate::data::{Corpus, Empty, Texts, Unlabelled};
use crate::model::base::BaseModel;
use crate::model::fresh::Shape;
use crate::rate::device::Place;
use crate::rate::rating;

/// Default time between checkpoints: the most work that a crash can cost.
pub const SAVE_AFTER: Duration = Duration::from_mins(5);

/// A training run.
pub struct Training<'a> {
    /// The base model.
    pub base: BaseModel,
    /// Name of the base model.
    pub base_name: String,
    /// The requested shape, if the base model is new.
    pub student: Option<Shape>,
    /// The teachers, whose mean it learns from besides the stars; may be empty.
    pub teachers: Vec<Teacher>,
    /// The reviews, not yet divided.
    pub reviews: &'a Corpus,
    /// Reviews without stars, labelled by the teachers.
    pub unlabelled: Option<&'a Unlabelled>,
    /// Name of the data.
    pub data_name: String,
    /// The hyperparameters.
    pub recipe: Recipe,
    /// Content of `recipe.toml`: the flags of this run, as `--config` reads them.
    pub recipe_toml: String,
    /// The device to train on.
    pub place: Place,
    /// The folder of the bundle.
    pub out: PathBuf,
    /// Save a checkpoint when this much time has passed since the last one, whatever the recipe
    /// says.
    pub save_after: Duration,
    /// Resume from the newest checkpoint in `out`.
    pub resume: bool,
    /// Replace an earlier run in `out`.
    pub overwrite: bool,
}

impl Training<'_> {
    /// The origins of the weights, for the manifest.
    pub(super) fn provenance(&self) -> Value {
        let labels = self.reviews.labels();
        let mut provenance = json!({
            "base_model": self.base_name,
            "fresh_tensors": self.base.fresh,
            "teacher": (!self.teachers.is_empty()).then(|| self.teachers.iter().map(|teacher| teacher.name.as_str()).collect::<Vec<_>>().join(", ")),
            "student": self.student,
            "data": self.data_name,
            "rows": labels.rows,
            "reviews": self.reviews.len(),
            "unlabelled": self.unlabelled.map_or(0, Texts::count),
            "split_seed": self.recipe.split_seed,
            "split_by": labels.split_by,
            "drop_empty": labels.empty == Empty::Drop,
            "dedup": labels.dedup,
            "recipe": self.recipe,
            "device": self.place.name(),
            "precision": self.place.numbers(),
            "code": concat!("starsight ", env!("CARGO_PKG_VERSION")),
        });
        if !self.teachers.is_empty() {
            let teacher = self
                .teachers
                .first()
                .and_then(|teacher| std::fs::read(teacher.folder.join(bundle::CONFIG)).ok());
            if self.student.is_some()
                && teacher.is_some_and(|config| rating::of_candle(&config).is_some())
            {
                provenance["fresh_embeddings"] = json!(true);
            }
            provenance["teacher_share"] = json!(self.recipe.distillation().share);
        }
        provenance
    }
}
