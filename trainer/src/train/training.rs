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

/// Time after which a checkpoint is saved besides, unless told otherwise: what a crash may cost.
pub const SAVE_AFTER: Duration = Duration::from_secs(5 * 60);

/// A run of training.
pub struct Training<'a> {
    /// The base model.
    pub base: BaseModel,
    /// What the base model is called.
    pub base_name: String,
    /// The shape that was asked for, if the base model is a fresh one.
    pub student: Option<Shape>,
    /// Whom it learns from besides the stars: nobody, or the mean of these.
    pub teachers: Vec<Teacher>,
    /// The reviews, to be divided.
    pub reviews: &'a Corpus,
    /// Reviews of which the teachers alone say what they are worth.
    pub unlabelled: Option<&'a Unlabelled>,
    /// What the data are called.
    pub data_name: String,
    /// The hyperparameters.
    pub recipe: Recipe,
    /// What `recipe.toml` will hold: the flags of this run, as `--config` reads them.
    pub recipe_toml: String,
    /// What the model is computed on.
    pub place: Place,
    /// Where the bundle goes.
    pub out: PathBuf,
    /// Save a checkpoint when this time has gone by since the last, whatever the recipe says.
    pub save_after: Duration,
    /// Go on from the newest checkpoint in `out`.
    pub resume: bool,
    /// Replace what `out` holds of an earlier run.
    pub overwrite: bool,
}

impl Training<'_> {
    /// Where the weights of the run come from, for the manifest.
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
            provenance["teacher_share"] = json!(self.recipe.lessons().share);
        }
        provenance
    }
}
