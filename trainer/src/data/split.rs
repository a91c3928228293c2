//! Dividing reviews into train, validation and test: `datasets.train_test_split(test_size=0.2, seed=…, stratify_by_column="star")`, twice, row for row.

use anyhow::{Result, ensure};
use starsight_model::LABELS;

use super::numpy::Generator;

/// The seed that the notebook divides its reviews with.
pub const SPLIT_SEED: u64 = 42;

/// The notebook's share of test rows, and of validation rows in what remains.
const TEST_SHARE: f64 = 0.2;

/// Row numbers of each part, in the order that the split draws them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// To learn from: 64%.
    pub train: Vec<usize>,
    /// To choose the best checkpoint by: 16%.
    pub val: Vec<usize>,
    /// To report on: 20%.
    pub test: Vec<usize>,
}

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SplitName {
    /// The 64% that a model learns from.
    Train,
    /// The 16% that the best checkpoint is chosen by.
    Val,
    /// The 20% that is reported on.
    Test,
    /// Every row.
    All,
}

impl Split {
    /// The rows of one part, of `rows` in all.
    pub fn part(&self, name: SplitName) -> Vec<usize> {
        match name {
            SplitName::Train => self.train.clone(),
            SplitName::Val => self.val.clone(),
            SplitName::Test => self.test.clone(),
            SplitName::All => (0..self.train.len() + self.val.len() + self.test.len()).collect(),
        }
    }
}

/// Divides rows of the given stars (1 to 5).
///
/// # Errors
/// When there are too few rows, or a class with so few that it cannot be in every part.
pub fn split(stars: &[u8], seed: u64) -> Result<Split> {
    let rows: Vec<usize> = (0..stars.len()).collect();
    let (rest, test) = divide(&rows, stars, seed, "test")?;
    let (train, val) = divide(&rest, stars, seed, "validation")?;
    Ok(Split { train, val, test })
}

/// `datasets`' `train_test_split` of `rows`: (train, test), stratified by stars.
fn divide(rows: &[usize], stars: &[u8], seed: u64, part: &str) -> Result<(Vec<usize>, Vec<usize>)> {
    let test_rows = (TEST_SHARE * rows.len() as f64).ceil() as usize;
    let train_rows = rows.len() - test_rows;
    ensure!(train_rows > 0, "too few reviews: {} to divide, and none would remain to train on once the {part} split is taken", rows.len());
    // Positions in `rows` of each class that occurs, in order.
    let mut classes: Vec<(usize, Vec<usize>)> = (1..=LABELS).map(|star| (star, Vec::new())).collect();
    for (at, row) in rows.iter().enumerate() {
        classes[usize::from(stars[*row]) - 1].1.push(at);
    }
    classes.retain(|(_, positions)| !positions.is_empty());
    for (star, positions) in &classes {
        ensure!(
            positions.len() > 1,
            "too few reviews with {star} stars: a single one is left to divide when the {part} split is taken, so it cannot be in both parts; add reviews, or leave those with {star} stars out"
        );
    }
    ensure!(
        test_rows >= classes.len() && train_rows >= classes.len(),
        "too few reviews: the {part} split would have {test_rows} rows for {} classes of stars",
        classes.len()
    );

    let mut rng = Generator::new(seed);
    let counts: Vec<usize> = classes.iter().map(|(_, positions)| positions.len()).collect();
    let train_counts = approximate_mode(&counts, train_rows, &mut rng);
    let remaining: Vec<usize> = counts.iter().zip(&train_counts).map(|(all, train)| all - train).collect();
    let test_counts = approximate_mode(&remaining, test_rows, &mut rng);
    let (mut train, mut test) = (Vec::with_capacity(train_rows), Vec::with_capacity(test_rows));
    for (((_, positions), train_count), test_count) in classes.iter().zip(train_counts).zip(test_counts) {
        let order: Vec<usize> = rng.permutation(positions.len()).into_iter().map(|i| rows[positions[i]]).collect();
        train.extend_from_slice(&order[..train_count]);
        test.extend_from_slice(&order[train_count..train_count + test_count]);
    }
    rng.shuffle(&mut train);
    rng.shuffle(&mut test);
    Ok((train, test))
}

/// How many of `draws` fall to each class, as near to its share as whole numbers can be; ties of the remainders are broken at random. scikit-learn's `_approximate_mode`,
/// which `datasets` copies.
fn approximate_mode(counts: &[usize], draws: usize, rng: &mut Generator) -> Vec<usize> {
    let total: usize = counts.iter().sum();
    // In this order of operations, because the last bit decides what is a tie.
    let shares: Vec<f64> = counts.iter().map(|count| (draws * count) as f64 / total as f64).collect();
    let mut drawn: Vec<usize> = shares.iter().map(|share| share.floor() as usize).collect();
    let mut missing = draws - drawn.iter().sum::<usize>();
    let remainders: Vec<f64> = shares.iter().map(|share| share - share.floor()).collect();
    let mut values = remainders.clone();
    values.sort_by(|a, b| b.total_cmp(a));
    values.dedup();
    for value in values {
        if missing == 0 {
            break;
        }
        let tied: Vec<usize> = (0..counts.len()).filter(|i| remainders[*i] == value).collect();
        let add = tied.len().min(missing);
        for i in rng.choice(&tied, add) {
            drawn[i] += 1;
        }
        missing -= add;
    }
    drawn
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use starsight_model::bundle::sha256_hex;

    use super::*;

    /// Recorded from `datasets` 5.2 and numpy by tests/record/splits.py.
    fn recorded() -> Value {
        serde_json::from_str(include_str!("../../../tests/fixtures/splits.json")).expect("JSON")
    }

    fn usizes(value: &Value) -> Vec<usize> {
        value.as_array().expect("a list").iter().map(|v| v.as_u64().expect("a number") as usize).collect()
    }

    /// The label column of a case: `counts` of 1 to 5 stars, shuffled by Knuth's generator as tests/record/splits.py does.
    fn column(case: &Value) -> Vec<u8> {
        let counts = usizes(&case["counts"]);
        let mut stars: Vec<u8> = (1u8..).zip(&counts).flat_map(|(star, n)| vec![star; *n]).collect();
        if let Some(seed) = case["shuffle"].as_u64() {
            let mut state = seed;
            for i in (1..stars.len()).rev() {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                stars.swap(i, ((state >> 33) % (i as u64 + 1)) as usize);
            }
        }
        stars
    }

    /// Either the indices themselves, or their number, hash and first ones.
    fn check(found: &[usize], wanted: &Value, what: &str) {
        if wanted.is_array() {
            assert_eq!(found, usizes(wanted), "{what}");
        } else {
            assert_eq!(found.len() as u64, wanted["len"].as_u64().expect("a length"), "{what}");
            let head = usizes(&wanted["head"]);
            assert_eq!(found[..head.len()], head, "{what}");
            let bytes: Vec<u8> = found.iter().flat_map(|i| (*i as u32).to_le_bytes()).collect();
            assert_eq!(sha256_hex(&bytes), wanted["sha256"].as_str().expect("a hash"), "{what}");
        }
    }

    #[test]
    fn the_generator_is_numpys() {
        for case in recorded()["generators"].as_array().expect("a list") {
            let seed = case["seed"].as_u64().expect("a seed");
            let fresh = || Generator::new(seed);
            check(&fresh().permutation(10), &case["permutation_10"], "permutation(10)");
            assert_eq!(fresh().permutation(1000)[..20], usizes(&case["permutation_1000"]));
            check(&fresh().permutation(100_000), &case["permutation_100000"], "permutation(100000)");
            let mut rng = fresh();
            for want in case["choice_5_2"].as_array().expect("a list") {
                assert_eq!(rng.choice(&[0, 1, 2, 3, 4], 2), usizes(want), "choice, seed {seed}");
            }
            let mut rng = fresh();
            for call in case["sequence"].as_array().expect("a list") {
                let found = match call["permutation"].as_u64() {
                    Some(n) => rng.permutation(n as usize),
                    None => {
                        let [n, size] = usizes(&call["choice"])[..] else { panic!("choice takes two numbers") };
                        rng.choice(&(0..n).collect::<Vec<_>>(), size)
                    }
                };
                assert_eq!(found, usizes(&call["result"]), "{call}, seed {seed}");
            }
        }
    }

    #[test]
    fn columns_are_rebuilt_as_recorded() {
        for case in recorded()["columns"].as_array().expect("a list") {
            assert_eq!(column(case).into_iter().map(usize::from).collect::<Vec<_>>(), usizes(&case["stars"]));
        }
    }

    #[test]
    fn splits_are_those_of_datasets_row_for_row() {
        let recorded = recorded();
        let cases = recorded["cases"].as_array().expect("a list");
        assert!(cases.len() >= 30);
        for case in cases {
            let found = split(&column(case), case["seed"].as_u64().expect("a seed")).expect("a split");
            for (part, rows) in [("train", &found.train), ("val", &found.val), ("test", &found.test)] {
                check(rows, &case[part], &format!("{} seed {}: {part}", case["name"], case["seed"]));
            }
        }
    }

    #[test]
    fn what_datasets_refuses_is_refused() {
        for case in recorded()["errors"].as_array().expect("a list") {
            let error = split(&column(case), 42).expect_err("an error").to_string();
            assert!(error.starts_with("too few reviews"), "{}: {error}", case["name"]);
        }
        let error = split(&[1, 5, 5, 5, 5, 5, 5, 5, 5, 5], 42).expect_err("an error").to_string();
        assert!(error.contains("with 1 stars"), "{error}");
    }
}
