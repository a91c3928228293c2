//! Reviews for training: stars in memory, texts in their files.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::division::Rows;
use super::texts::Fingerprint;
use super::{Labels, Origins, Reviews, Split, Tables, Texts};

/// The reviews of files of any size. Stars, origins and what the division needs stay in memory;
/// texts are read again when they are needed.
pub struct Corpus {
    files: Vec<PathBuf>,
    labels: Labels,
    origins: Origins,
    rows: Rows,
    fingerprint: String,
}

impl Corpus {
    /// Reads all reviews once.
    ///
    /// # Errors
    /// As [`Reviews::read`].
    pub fn read(files: Vec<PathBuf>, labels: Labels) -> Result<Corpus> {
        let (mut origins, mut read, mut rows) = (Origins::default(), 0, Rows::default());
        let mut fingerprint = Fingerprint::default();
        for table in Tables::open(&files, Some(&labels.columns()), labels.rows)? {
            let table = table?;
            read += table.len();
            let reviews = Reviews::of(table, &labels)?;
            fingerprint.add(&all_texts(&reviews));
            origins.append(reviews.table.origins().clone());
            rows.append(reviews.rows);
        }
        labels.check(
            &files
                .iter()
                .map(|file| file.display().to_string())
                .collect::<Vec<_>>()
                .join(", "),
            read,
            rows.stars.len(),
        )?;
        Ok(Corpus {
            files,
            labels,
            origins,
            rows,
            fingerprint: fingerprint.finish(),
        })
    }

    /// The number of reviews.
    pub fn len(&self) -> usize {
        self.rows.stars.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.stars.is_empty()
    }

    /// The files they come from.
    pub fn origins(&self) -> &Origins {
        &self.origins
    }

    /// The stars of all reviews.
    pub fn stars(&self) -> &[u8] {
        &self.rows.stars
    }

    /// The label of review `i`: stars - 1.
    pub fn label(&self, i: usize) -> usize {
        usize::from(self.rows.stars[i]) - 1
    }

    /// Weight of review `i` in training.
    pub fn weight(&self, i: usize) -> f64 {
        self.rows
            .weights
            .get(i)
            .map_or(1.0, |weight| f64::from(*weight))
    }

    /// The columns that are read, and how reviews are divided.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Divides the reviews with `seed`, as their labels say.
    ///
    /// # Errors
    /// When there are too few.
    pub fn split(&self, seed: u64) -> Result<Split> {
        self.labels
            .split(&self.rows, seed)
            .with_context(|| self.origins.name())
    }

    /// Number of reviews whose text is empty or only white space.
    pub fn blank(&self) -> usize {
        self.rows.blank.iter().filter(|blank| **blank).count()
    }

    /// Reads the texts of the reviews `rows` again, in that order.
    ///
    /// # Errors
    /// When a file cannot be read any more or has become shorter.
    pub fn texts(&self, rows: &[usize]) -> Result<Vec<String>> {
        let mut wanted: Vec<(usize, usize)> = rows.iter().copied().zip(0..).collect();
        wanted.sort_unstable();
        let mut wanted = wanted.into_iter().peekable();
        let mut texts = vec![String::new(); rows.len()];
        self.pieces(|first, reviews| {
            while let Some((row, at)) = wanted.next_if(|(row, _)| *row < first + reviews.len()) {
                texts[at] = reviews.text(row - first).to_string();
            }
            Ok(wanted.peek().is_some())
        })?;
        ensure!(
            wanted.peek().is_none(),
            "{} was changed while it was read; start again",
            self.origins.name()
        );
        Ok(texts)
    }

    /// Calls `take` with each chunk of reviews and the index of its first one, until it returns
    /// false.
    fn pieces(&self, mut take: impl FnMut(usize, &Reviews) -> Result<bool>) -> Result<()> {
        let mut first = 0;
        for table in Tables::open(&self.files, Some(&self.labels.columns()), self.labels.rows)? {
            let reviews = Reviews::of(table?, &self.labels).context("reading the texts again")?;
            if !take(first, &reviews)? {
                break;
            }
            first += reviews.len();
        }
        Ok(())
    }
}

impl Texts for Corpus {
    fn count(&self) -> usize {
        self.len()
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn for_each_text(&self, take: &mut dyn FnMut(&[&str]) -> Result<()>) -> Result<()> {
        let mut fingerprint = Fingerprint::default();
        self.pieces(|_, reviews| {
            let texts = all_texts(reviews);
            fingerprint.add(&texts);
            take(&texts)?;
            Ok(true)
        })?;
        fingerprint.check(&self.fingerprint, &self.origins.name())
    }
}

fn all_texts(reviews: &Reviews) -> Vec<&str> {
    (0..reviews.len()).map(|i| reviews.text(i)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Empty;

    #[test]
    fn texts_come_back_in_the_order_asked_and_a_change_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("many.csv");
        let write = |word: &str| {
            let rows: String = (0..20_000)
                .map(|i| {
                    if i % 100 == 7 {
                        ",\n".into()
                    } else {
                        format!("{word} {i},{}\n", 1 + i % 5)
                    }
                })
                .collect();
            std::fs::write(&path, format!("review,star\n{rows}")).expect("written");
        };
        write("text");
        let labels = Labels {
            empty: Empty::Drop,
            ..Labels::usual()
        };
        let corpus = Corpus::read(vec![path.clone()], labels.clone()).expect("a corpus");
        let whole =
            Reviews::read(std::slice::from_ref(&path), &labels, Some(&[])).expect("reviews");
        assert_eq!(
            (corpus.len(), corpus.stars(), corpus.blank()),
            (19_800, whole.stars(), 0)
        );
        let rows = [19_799, 0, 17_000, 7];
        assert_eq!(
            corpus.texts(&rows).expect("texts"),
            rows.map(|row| whole.text(row))
        );
        assert_eq!(
            corpus.origins().place(19_799),
            whole.table.origins().place(19_799)
        );
        let mut all = Vec::new();
        let mut collect = |corpus: &Corpus| {
            corpus.for_each_text(&mut |texts| {
                all.extend(texts.iter().map(std::string::ToString::to_string));
                Ok(())
            })
        };
        collect(&corpus).expect("texts");
        write("other");
        let error = collect(&corpus).expect_err("an error").to_string();
        assert!(
            error.contains("many.csv was changed while it was read"),
            "{error}"
        );
        assert!(
            all[..19_800]
                .iter()
                .enumerate()
                .all(|(i, text)| text == whole.text(i))
        );
    }
}
