//! A teacher: a fine-tuned model whose logits another model learns (Hinton, Vinyals and Dean,
//! "Distilling the Knowledge in a Neural Network", 2015).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use starsight_model::LABELS;
use starsight_model::bundle::{self, hex};

use super::loss::log_softmax;
use crate::data::tokens::Tokens;
use crate::data::{Corpus, Texts, Unlabelled};
use crate::model::base;
use crate::rate::device::Place;
use crate::rate::rating;
use crate::system::files;
use crate::system::progress::Progress;

/// First bytes of a file of logits; the key and the logits follow.
const MAGIC: &[u8; 8] = b"logits 1";
/// Bytes of a SHA-256.
const KEY: usize = 32;

/// A fine-tuned model used as a teacher.
#[derive(Debug, Clone)]
pub struct Teacher {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
}

/// A teacher's logits of the training examples.
#[derive(Debug, PartialEq)]
pub struct TeacherLogits {
    /// Index into `logits` by row; `u32::MAX` for rows without logits.
    places: Vec<u32>,
    logits: Vec<[f32; LABELS]>,
}

impl TeacherLogits {
    /// The logits of these rows, of `all` rows.
    fn new(rows: &[usize], all: usize, logits: Vec<[f32; LABELS]>) -> TeacherLogits {
        let mut places = vec![u32::MAX; all];
        rows.iter()
            .zip(0..)
            .for_each(|(row, place)| places[*row] = place);
        TeacherLogits { places, logits }
    }

    /// Combines several teachers' logits of the same rows: the mean of their log-probabilities,
    /// which is the geometric mean of the probabilities; a single teacher's logits are unchanged.
    /// (Malinin, Mlodozeniec and Gales, "Ensemble Distribution Distillation", ICLR 2020, compare
    /// ways to learn from several.) `None` without teachers.
    pub fn mean(mut all: Vec<TeacherLogits>) -> Option<TeacherLogits> {
        let (mut mean, count) = (all.pop()?, all.len() as f64 + 1.0);
        if !all.is_empty() {
            for (i, logits) in mean.logits.iter_mut().enumerate() {
                let others = all.iter().map(|other| &other.logits[i]);
                let sum = others
                    .chain([&*logits])
                    .map(|logits| log_softmax(logits, 1.0))
                    .fold([0.0; LABELS], |sum, log_p| {
                        std::array::from_fn(|c| sum[c] + log_p[c])
                    });
                *logits = sum.map(|x| (x / count) as f32);
            }
        }
        Some(mean)
    }

    /// The logits of a row; `None` if they were not computed.
    pub fn of(&self, row: usize) -> Option<&[f32; LABELS]> {
        self.logits.get(self.places[row] as usize)
    }

    /// SHA-256 of the logits.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        self.logits
            .as_flattened()
            .iter()
            .for_each(|x| hash.update(x.to_le_bytes()));
        hex(&hash.finalize())
    }
}

impl Teacher {
    /// Rates the `rows` of `reviews`, and all `unlabelled` reviews, whose rows follow. The teacher
    /// uses its own tokeniser. The logits are cached in the file `kept`, and read from there if the
    /// same teacher is given the same reviews again.
    ///
    /// # Errors
    /// When the teacher cannot be loaded or fails, the reviews have changed since they were read,
    /// or the disk is full.
    pub fn teach(
        &self,
        reviews: &Corpus,
        rows: &[usize],
        unlabelled: Option<&Unlabelled>,
        place: &Place,
        kept: &Path,
    ) -> Result<TeacherLogits> {
        let more = unlabelled.map_or(0, Texts::count);
        let all = reviews.len() + more;
        let rated: Vec<usize> = rows.iter().copied().chain(reviews.len()..all).collect();

        let pickled = self.folder.join(base::PICKLED);
        let weights = match self.folder.join(bundle::WEIGHTS).is_file() || !pickled.is_file() {
            true => base::read_weights(&self.folder),
            false => files::read(&pickled),
        };
        let weights = weights.with_context(|| format!("the teacher {}", self.name))?;
        let mut key = Sha256::new();
        key.update(Sha256::digest(&weights));
        key.update(reviews.fingerprint());
        rows.iter()
            .for_each(|row| key.update((*row as u64).to_le_bytes()));
        unlabelled.inspect(|texts| key.update(texts.fingerprint()));
        let key = key.finalize();
        drop(weights);
        if let Some(logits) = read(kept, &key, rated.len()) {
            say!(
                "read the teacher's logits of {} reviews from {}",
                rated.len(),
                kept.display()
            );
            return Ok(TeacherLogits::new(&rated, all, logits));
        }

        let (rater, _) = rating::load(&self.folder, place)
            .with_context(|| format!("the teacher {}", self.name))?;
        let sizes = rater.sizes();
        say!(
            "the teacher {}: {} of {} layers, {} wide",
            self.name,
            sizes.model_type,
            sizes.layers,
            sizes.hidden_size
        );
        let own = (!rows.is_empty())
            .then(|| Tokens::of(rater.tokenizer(), reviews))
            .transpose()?;
        let others = unlabelled
            .map(|texts| Tokens::of(rater.tokenizer(), texts))
            .transpose()?;
        let ids: Vec<&[u32]> = own
            .iter()
            .flat_map(|own| rows.iter().map(|row| own.get(*row)))
            .chain(others.iter().flat_map(|ids| (0..more).map(|i| ids.get(i))))
            .collect();
        let mut progress = Progress::new("teacher", "reviews", ids.len());
        let logits = rating::logits(rater.engine(), &ids, &mut progress)?;
        progress.finish();
        let mut bytes = [&MAGIC[..], &key].concat();
        logits
            .as_flattened()
            .iter()
            .for_each(|x| bytes.extend(x.to_le_bytes()));
        files::write_bytes(kept, &bytes)?;
        Ok(TeacherLogits::new(&rated, all, logits))
    }
}

/// The logits of `count` reviews in the file at `path`, if it has this `key`.
fn read(path: &Path, key: &[u8], count: usize) -> Option<Vec<[f32; LABELS]>> {
    let bytes = std::fs::read(path).ok()?;
    let numbers = bytes.strip_prefix(MAGIC)?.strip_prefix(key)?;
    let numbers: Vec<f32> = numbers
        .as_chunks()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    let (logits, rest) = numbers.as_chunks();
    (logits.len() == count
        && rest.is_empty()
        && bytes.len() == MAGIC.len() + KEY + 4 * LABELS * count)
        .then(|| logits.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_logits_come_back_for_the_same_key_only() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("logits");
        let logits = [[1.0, 2.0, 3.0, 4.0, 5.0f32], [0.5; LABELS]];
        let mut bytes = [&MAGIC[..], &[7; KEY]].concat();
        logits
            .as_flattened()
            .iter()
            .for_each(|x| bytes.extend(x.to_le_bytes()));
        std::fs::write(&path, &bytes).expect("written");
        assert_eq!(read(&path, &[7; KEY], 2).as_deref(), Some(&logits[..]));
        for (key, count) in [([8; KEY], 2), ([7; KEY], 1), ([7; KEY], 3)] {
            assert_eq!(read(&path, &key, count), None);
        }
        std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("written");
        assert_eq!(read(&path, &[7; KEY], 2), None, "cut off");
        let teacher = TeacherLogits::new(&[4, 1], 6, logits.to_vec());
        assert_eq!(
            (teacher.of(4), teacher.of(1), teacher.of(0)),
            (Some(&logits[0]), Some(&logits[1]), None)
        );
    }

    #[test]
    fn several_teachers_are_the_geometric_mean_of_their_probabilities() {
        use starsight_model::rating::softmax;
        let one = || TeacherLogits::new(&[2], 3, vec![[1.0, 2.0, 3.0, 4.0, 5.0f32]]);
        assert_eq!(TeacherLogits::mean(vec![one()]), Some(one()));
        assert_eq!(TeacherLogits::mean(Vec::new()), None);
        let other = TeacherLogits::new(&[2], 3, vec![[7.0, 0.5, -1.0, 2.0, 7.5]]);
        let [p, q] = [&one(), &other].map(|teacher| softmax(teacher.of(2).expect("logits")));
        let found = softmax(
            TeacherLogits::mean(vec![one(), other])
                .expect("a mean")
                .of(2)
                .expect("logits"),
        );
        let roots: [f32; LABELS] = std::array::from_fn(|c| (p[c] * q[c]).sqrt());
        for c in 0..LABELS {
            assert!(
                (found[c] - roots[c] / roots.iter().sum::<f32>()).abs() < 1e-6,
                "{found:?}"
            );
        }
    }
}
