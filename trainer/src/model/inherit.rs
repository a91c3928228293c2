//! Initialises a student's embeddings from its teacher: each piece of the new vocabulary starts as
//! the mean of the embeddings of the teacher's pieces for it (Gee, Zugarini, Rigutini and Torroni,
//! "Fast Vocabulary Transfer for Language Model Compression", EMNLP 2022). A narrower student takes
//! the principal components, the directions of largest variance.

use anyhow::Result;
use rayon::prelude::*;
use starsight_model::weights::word_table;

use crate::model::base::BaseModel;

/// Steps of the orthogonal iteration: enough for components whose variances differ by a few per
/// cent. Components that are closer may be rotated into each other, which loses nothing.
const STEPS: usize = 30;

/// Embeddings of width `width` for the pieces of `vocabulary`, from the model `parent`; at most as
/// wide as the parent's own. `None` for pieces that the parent does not know.
///
/// # Errors
/// When the parent's table cannot be read, or its tokeniser fails.
pub fn words(
    parent: &BaseModel,
    vocabulary: &[String],
    width: usize,
) -> Result<Vec<Option<Vec<f32>>>> {
    let own = parent.config.hidden_size;
    let table = parent
        .weights
        .get(
            &word_table(parent.config.architecture),
            &[parent.config.vocab_size, own],
        )?
        .to_vec2::<f32>()?;
    let tokenizer = &parent.tokenizer;
    let id = |names: [&str; 2]| names.into_iter().find_map(|name| tokenizer.id(name));
    let [unknown, first, last] = [["[UNK]", "<unk>"], ["[CLS]", "<s>"], ["[SEP]", "</s>"]].map(id);
    let mut means = Vec::with_capacity(vocabulary.len());
    for piece in vocabulary {
        let ids = match tokenizer.id(piece) {
            Some(id) => vec![id],
            None if is_byte(piece) => Vec::new(),
            None => {
                let mut ids = tokenizer.encode(piece.trim_start_matches("##"))?;
                ids.retain(|id| Some(*id) != first && Some(*id) != last);
                ids
            }
        };
        let rows = ids
            .iter()
            .map(|id| table.get(*id as usize).filter(|_| Some(*id) != unknown));
        let rows: Option<Vec<_>> = rows.collect();
        means.push(rows.filter(|rows| !rows.is_empty()).map(|rows| {
            let mut mean = vec![0f64; own];
            rows.iter().for_each(|row| {
                mean.iter_mut()
                    .zip(*row)
                    .for_each(|(sum, x)| *sum += f64::from(*x));
            });
            mean.iter_mut().for_each(|x| *x /= rows.len() as f64);
            mean
        }));
    }
    centre(&mut means, own);
    let components = components(
        &means.iter().flatten().collect::<Vec<_>>(),
        own,
        width.min(own),
    );
    Ok(means
        .into_iter()
        .map(|row| {
            row.map(|row| {
                components
                    .iter()
                    .map(|axis| dot(axis, &row) as f32)
                    .collect()
            })
        })
        .collect())
}

/// Whether a piece stands for a byte, as `<0x0A>` does.
fn is_byte(piece: &str) -> bool {
    piece
        .strip_prefix("<0x")
        .and_then(|rest| rest.strip_suffix('>'))
        .is_some_and(|digits| digits.len() == 2)
}

/// Subtracts the mean from the rows.
fn centre(rows: &mut [Option<Vec<f64>>], own: usize) {
    let count = rows.iter().flatten().count().max(1) as f64;
    let mut mean = vec![0f64; own];
    rows.iter().flatten().for_each(|row| {
        mean.iter_mut()
            .zip(row)
            .for_each(|(sum, x)| *sum += x / count);
    });
    rows.iter_mut()
        .flatten()
        .for_each(|row| row.iter_mut().zip(&mean).for_each(|(x, mean)| *x -= mean));
}

/// The first `count` principal components of centred `rows`: unit vectors, orthogonal to each
/// other, with zero vectors at the end if the rows have fewer. Computed by orthogonal iteration on
/// the covariance (Golub and Van Loan, "Matrix Computations", 8.2.4).
fn components(rows: &[&Vec<f64>], own: usize, count: usize) -> Vec<Vec<f64>> {
    let mut covariance = vec![vec![0f64; own]; own];
    covariance.par_iter_mut().enumerate().for_each(|(i, sums)| {
        rows.iter().for_each(|row| {
            sums.iter_mut()
                .zip(*row)
                .for_each(|(sum, y)| *sum += row[i] * y);
        });
    });
    let turned = |axis: &Vec<f64>| covariance.iter().map(|row| dot(row, axis)).collect();
    let turn = |axes: &[Vec<f64>]| orthonormal(axes.par_iter().map(turned).collect());
    let every: Vec<Vec<f64>> = (0..own)
        .map(|i| (0..own).map(|j| f64::from(u8::from(i == j))).collect())
        .collect();
    let mut axes = turn(&every);
    axes.truncate(count);
    for _ in 1..STEPS {
        axes = turn(&axes);
    }
    axes.resize(count, vec![0.0; own]);
    axes
}

/// Gram-Schmidt orthonormalisation: each axis minus its projections on the axes before it, scaled
/// to length one. Axes with nothing left are dropped.
fn orthonormal(axes: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let mut done: Vec<Vec<f64>> = Vec::new();
    for mut axis in axes {
        let whole = dot(&axis, &axis).sqrt();
        // Twice, because rounding leaves a component of nearly parallel axes.
        for _ in 0..2 {
            for other in &done {
                let along = dot(other, &axis);
                axis.iter_mut()
                    .zip(other)
                    .for_each(|(x, y)| *x -= along * y);
            }
        }
        let length = dot(&axis, &axis).sqrt();
        if length > 1e-12 * whole {
            let scale = length.recip();
            axis.iter_mut().for_each(|x| *x *= scale);
            done.push(axis);
        }
    }
    done
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fresh::{self, FreshTokenizer, Shape};

    #[test]
    fn components_are_orthonormal_and_keep_what_varies_most() {
        // Up to 10 along (3, 4, 0) / 5, up to 1 along (0, 0, 1), and nothing along the third
        // direction.
        let rows: Vec<Vec<f64>> = (0..100)
            .map(|i| {
                let (long, short) = (f64::from(i % 10) * 2.0 - 9.0, f64::from(i / 10) * 0.2 - 0.9);
                vec![0.6 * long, 0.8 * long, short]
            })
            .collect();
        let rows: Vec<&Vec<f64>> = rows.iter().collect();
        let found = components(&rows, 3, 3);
        assert_eq!(components(&rows, 3, 2)[..], found[..2]);
        for (axis, wanted) in found
            .iter()
            .zip([[0.6, 0.8, 0.0], [0.0, 0.0, 1.0], [0.0; 3]])
        {
            let sign = dot(axis, &wanted).signum();
            axis.iter()
                .zip(wanted)
                .for_each(|(x, y)| assert!((sign * x - y).abs() < 1e-9, "{found:?}"));
        }
    }

    #[test]
    fn distances_between_words_are_those_of_the_parent() {
        let dir = tempfile::tempdir().expect("a folder");
        let texts = ["good app", "bad app", "good and apps, badly good"].repeat(20);
        let shape = Shape {
            layers: 1,
            hidden: 16,
            heads: 2,
            vocab_size: 120,
        };
        let learned = |texts: &[&str]| {
            FreshTokenizer::learned(texts.iter().copied(), shape.vocab_size).expect("a tokeniser")
        };
        fresh::write(learned(&texts), &shape, 16, 5, None, dir.path()).expect("a model");
        let parent = BaseModel::read(dir.path(), None, 5).expect("a model");
        let table = parent
            .weights
            .get(
                &word_table(parent.config.architecture),
                &[parent.config.vocab_size, 16],
            )
            .expect("a table")
            .to_vec2::<f32>()
            .expect("f32");
        let pieces = parent.tokenizer.vocabulary();
        let row = |piece: &str| {
            table[pieces
                .iter()
                .position(|known| known == piece)
                .unwrap_or_else(|| panic!("{piece} in {pieces:?}"))]
            .clone()
        };
        // Two pieces of the parent make one of the child. A piece that the parent does not know has
        // no embedding.
        let mean: Vec<f32> = row("good")
            .iter()
            .zip(row("##s"))
            .map(|(x, y)| (x + y) / 2.0)
            .collect();
        assert!(!pieces.contains(&"goods".to_owned()), "{pieces:?}");
        let wanted = [row("good"), row("bad"), row("##s"), mean];
        let vocabulary = ["good", "bad", "##s", "goods", "漢"].map(str::to_owned);
        let distance = |a: &[f32], b: &[f32]| {
            a.iter()
                .zip(b)
                .map(|(x, y)| (x - y).powi(2))
                .sum::<f32>()
                .sqrt()
        };
        // Four centred points span at most three dimensions: nothing is lost.
        for (width, kept) in [(64, 16), (3, 3)] {
            let found = words(&parent, &vocabulary, width).expect("words");
            assert_eq!(
                found
                    .iter()
                    .map(|row| row.as_ref().map(Vec::len))
                    .collect::<Vec<_>>(),
                [Some(kept), Some(kept), Some(kept), Some(kept), None]
            );
            let found: Vec<Vec<f32>> = found.into_iter().flatten().collect();
            for i in 0..4 {
                for j in 0..i {
                    let (child, own) = (
                        distance(&found[i], &found[j]),
                        distance(&wanted[i], &wanted[j]),
                    );
                    assert!(
                        (child - own).abs() < 1e-5 && own > 0.01,
                        "{i} {j}: {child}, the parent's {own}"
                    );
                }
            }
        }

        // A model written with a parent has its embeddings; one without does not.
        let child = |name: &str, parent: Option<&BaseModel>| {
            let texts = ["goods and app", "bad bad"].repeat(20);
            let out = dir.path().join(name);
            fresh::write(learned(&texts), &shape, 16, 6, parent, &out).expect("a model");
            let child = BaseModel::read(&out, None, 6).expect("a model");
            let table = child
                .weights
                .get(
                    &word_table(child.config.architecture),
                    &[child.config.vocab_size, 16],
                )
                .expect("a table");
            let table = table.to_vec2::<f32>().expect("f32");
            let [goods, bad] = ["goods", "bad"]
                .map(|piece| table[child.tokenizer.id(piece).expect("a piece") as usize].clone());
            (distance(&goods, &bad) - distance(&wanted[3], &wanted[1])).abs()
        };
        assert!(child("child", Some(&parent)) < 1e-5);
        assert!(child("orphan", None) > 1e-4);
    }
}
