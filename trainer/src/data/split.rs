//! Divides reviews into train, validation and test: `datasets.train_test_split(test_size=0.2,
//! seed=…, stratify_by_column="star")`, twice, row for row.

use std::cmp::Reverse;
use std::collections::HashMap;

use anyhow::{Result, ensure};
use starsight_model::LABELS;

use super::numpy::Generator;

/// The notebook's seed of the split.
pub const SPLIT_SEED: u64 = 42;

/// The notebook's share of test rows, and of validation rows in the rest.
const TEST_SHARE: f64 = 0.2;

/// Row numbers of each part, in the order the split draws them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// For training: 64%.
    pub train: Vec<usize>,
    /// For choosing the best checkpoint: 16%.
    pub val: Vec<usize>,
    /// For the final metrics: 20%.
    pub test: Vec<usize>,
}

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SplitName {
    /// The 64% for training.
    Train,
    /// The 16% for choosing the best checkpoint.
    Val,
    /// The 20% for the final metrics.
    Test,
    /// Every row, in the order of the file.
    All,
}

impl Split {
    /// The rows of one part, or of all parts in turn.
    pub fn part(self, name: SplitName) -> Vec<usize> {
        match name {
            SplitName::Train => self.train,
            SplitName::Val => self.val,
            SplitName::Test => self.test,
            SplitName::All => [self.train, self.val, self.test].concat(),
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

/// Divides rows so that each group stays in one part and each part has about its share of every
/// number of stars. Groups are assigned in order of size, the largest first, each to the part that
/// lacks most of what the group holds. `what` names the groups, for errors.
///
/// # Errors
/// When there are too few groups for every part to get one.
pub(super) fn split_groups(stars: &[u8], groups: &[u128], what: &str, seed: u64) -> Result<Split> {
    let mut members = HashMap::<u128, Vec<usize>>::new();
    for (row, group) in groups.iter().enumerate() {
        members.entry(*group).or_default().push(row);
    }
    let mut groups: Vec<Vec<usize>> = members.into_values().collect();
    // Sort by first row before shuffling, because a hash map has no fixed order.
    groups.sort_unstable_by_key(|rows| rows[0]);
    let mut rng = Generator::new(seed);
    let mut order = rng.permutation(groups.len());
    // The sort is stable: groups of equal size stay shuffled.
    order.sort_by_key(|i| Reverse(groups[*i].len()));

    let counts = |rows: &[usize]| {
        rows.iter().fold([0f64; LABELS], |mut counts, row| {
            counts[usize::from(stars[*row]) - 1] += 1.0;
            counts
        })
    };
    let all = counts(&(0..stars.len()).collect::<Vec<_>>());
    let rest = 1.0 - TEST_SHARE;
    let shares = [rest * rest, rest * TEST_SHARE, TEST_SHARE];
    let mut lacking = shares.map(|share| all.map(|n| n * share));
    let mut parts: [Vec<usize>; 3] = Default::default();
    for i in order {
        let held = counts(&groups[i]);
        // The share of the part's missing rows that the group would fill, relative to the total of
        // each number of stars, so that a rare one weighs as much as a frequent one.
        let fits = |lacking: &[f64; LABELS], share: f64| -> f64 {
            lacking
                .iter()
                .zip(&held)
                .zip(&all)
                .map(|((lacking, held), all)| {
                    if *all > 0.0 {
                        held * lacking / (all * all * share)
                    } else {
                        0.0
                    }
                })
                .sum()
        };
        let best = (1..parts.len()).fold(0, |best, part| {
            if fits(&lacking[part], shares[part]) > fits(&lacking[best], shares[best]) {
                part
            } else {
                best
            }
        });
        lacking[best]
            .iter_mut()
            .zip(&held)
            .for_each(|(lacking, held)| *lacking -= held);
        parts[best].append(&mut groups[i]);
    }
    for (part, name) in parts.iter_mut().zip(["training", "validation", "test"]) {
        ensure!(
            !part.is_empty(),
            "too few reviews to split: no {what} is left for the {name} split, because reviews with the same one stay together"
        );
        rng.shuffle(part);
    }
    let [train, val, test] = parts;
    Ok(Split { train, val, test })
}

/// Divides rows by the order of `dates`: the first 64% for training, the last 20% for testing. Rows
/// with equal dates stay in the order of the file.
///
/// # Errors
/// When there are too few rows, or a row has no date in the column `name`.
pub(super) fn split_by_date(dates: &[u128], name: &str) -> Result<Split> {
    let none = dates.iter().filter(|date| **date == 0).count();
    ensure!(
        none == 0,
        "{none} of {} rows have an empty `{name}`",
        dates.len()
    );
    let mut order: Vec<usize> = (0..dates.len()).collect();
    order.sort_by_key(|row| dates[*row]);
    let test_rows = (TEST_SHARE * order.len() as f64).ceil() as usize;
    let test = order.split_off(order.len() - test_rows);
    let val_rows = (TEST_SHARE * order.len() as f64).ceil() as usize;
    let val = order.split_off(order.len() - val_rows);
    ensure!(
        !order.is_empty(),
        "too few reviews: of {}, none would remain for training",
        dates.len()
    );
    Ok(Split {
        train: order,
        val,
        test,
    })
}

/// Divides rows as given by `parts`: 0 is training, 1 validation, 2 test. Each part is then
/// shuffled.
pub(super) fn split_as_given(parts: &[u128], seed: u64) -> Split {
    let mut rng = Generator::new(seed);
    let mut of = |part: u128| {
        let mut rows: Vec<usize> = (0..parts.len()).filter(|row| parts[*row] == part).collect();
        rng.shuffle(&mut rows);
        rows
    };
    Split {
        train: of(0),
        val: of(1),
        test: of(2),
    }
}

/// `datasets`' `train_test_split` of `rows`: (train, test), stratified by stars.
fn divide(rows: &[usize], stars: &[u8], seed: u64, part: &str) -> Result<(Vec<usize>, Vec<usize>)> {
    let test_rows = (TEST_SHARE * rows.len() as f64).ceil() as usize;
    let train_rows = rows.len() - test_rows;
    ensure!(
        train_rows > 0,
        "too few reviews: of {}, none would remain for training after the {part} split",
        rows.len()
    );
    // Positions in `rows` of each class that occurs, in order.
    let mut classes: Vec<(usize, Vec<usize>)> =
        (1..=LABELS).map(|star| (star, Vec::new())).collect();
    for (at, row) in rows.iter().enumerate() {
        classes[usize::from(stars[*row]) - 1].1.push(at);
    }
    classes.retain(|(_, positions)| !positions.is_empty());
    for (star, positions) in &classes {
        ensure!(
            positions.len() > 1,
            "too few reviews: class {star} has 1 review left for the {part} split; 2 are needed"
        );
    }
    ensure!(
        test_rows >= classes.len() && train_rows >= classes.len(),
        "too few reviews: the {part} split would have {test_rows} rows for {} classes of stars",
        classes.len()
    );

    let mut rng = Generator::new(seed);
    let counts: Vec<usize> = classes
        .iter()
        .map(|(_, positions)| positions.len())
        .collect();
    let train_counts = approximate_mode(&counts, train_rows, &mut rng);
    let remaining: Vec<usize> = counts
        .iter()
        .zip(&train_counts)
        .map(|(all, train)| all - train)
        .collect();
    let test_counts = approximate_mode(&remaining, test_rows, &mut rng);
    let (mut train, mut test) = (
        Vec::with_capacity(train_rows),
        Vec::with_capacity(test_rows),
    );
    for (((_, positions), train_count), test_count) in
        classes.iter().zip(train_counts).zip(test_counts)
    {
        let order: Vec<usize> = rng
            .permutation(positions.len())
            .into_iter()
            .map(|i| rows[positions[i]])
            .collect();
        train.extend_from_slice(&order[..train_count]);
        test.extend_from_slice(&order[train_count..train_count + test_count]);
    }
    rng.shuffle(&mut train);
    rng.shuffle(&mut test);
    Ok((train, test))
}

/// Number of `draws` for each class, as close to its share as whole numbers allow; ties between
/// remainders are broken at random. This is scikit-learn's `_approximate_mode`, which `datasets`
/// copies.
fn approximate_mode(counts: &[usize], draws: usize, rng: &mut Generator) -> Vec<usize> {
    let total: usize = counts.iter().sum();
    // The order of operations matters: the last bit decides what is a tie.
    let shares: Vec<f64> = counts
        .iter()
        .map(|count| (draws * count) as f64 / total as f64)
        .collect();
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
        let tied: Vec<usize> = (0..counts.len())
            .filter(|i| remainders[*i] == value)
            .collect();
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
        value
            .as_array()
            .expect("a list")
            .iter()
            .map(|v| v.as_u64().expect("a number") as usize)
            .collect()
    }

    /// The label column of a case: `counts` of 1 to 5 stars, shuffled by Knuth's generator as in
    /// tests/record/splits.py.
    fn column(case: &Value) -> Vec<u8> {
        let counts = usizes(&case["counts"]);
        let mut stars: Vec<u8> = (1u8..)
            .zip(&counts)
            .flat_map(|(star, n)| vec![star; *n])
            .collect();
        if let Some(seed) = case["shuffle"].as_u64() {
            let mut state = seed;
            for i in (1..stars.len()).rev() {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                stars.swap(i, ((state >> 33) % (i as u64 + 1)) as usize);
            }
        }
        stars
    }

    /// `wanted` is either the indices themselves, or their number, hash and first values.
    fn check(found: &[usize], wanted: &Value, what: &str) {
        if wanted.is_array() {
            assert_eq!(found, usizes(wanted), "{what}");
        } else {
            assert_eq!(
                found.len() as u64,
                wanted["len"].as_u64().expect("a length"),
                "{what}"
            );
            let head = usizes(&wanted["head"]);
            assert_eq!(found[..head.len()], head, "{what}");
            let bytes: Vec<u8> = found
                .iter()
                .flat_map(|i| (*i as u32).to_le_bytes())
                .collect();
            assert_eq!(
                sha256_hex(&bytes),
                wanted["sha256"].as_str().expect("a hash"),
                "{what}"
            );
        }
    }

    #[test]
    fn the_generator_is_numpys() {
        for case in recorded()["generators"].as_array().expect("a list") {
            let seed = case["seed"].as_u64().expect("a seed");
            let fresh = || Generator::new(seed);
            check(
                &fresh().permutation(10),
                &case["permutation_10"],
                "permutation(10)",
            );
            assert_eq!(
                fresh().permutation(1000)[..20],
                usizes(&case["permutation_1000"])
            );
            check(
                &fresh().permutation(100_000),
                &case["permutation_100000"],
                "permutation(100000)",
            );
            let mut rng = fresh();
            for want in case["choice_5_2"].as_array().expect("a list") {
                assert_eq!(
                    rng.choice(&[0, 1, 2, 3, 4], 2),
                    usizes(want),
                    "choice, seed {seed}"
                );
            }
            let mut rng = fresh();
            for call in case["sequence"].as_array().expect("a list") {
                let found = match call["permutation"].as_u64() {
                    Some(n) => rng.permutation(n as usize),
                    None => {
                        let [n, size] = usizes(&call["choice"])[..] else {
                            panic!("choice takes two numbers")
                        };
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
            assert_eq!(
                column(case)
                    .into_iter()
                    .map(usize::from)
                    .collect::<Vec<_>>(),
                usizes(&case["stars"])
            );
        }
    }

    #[test]
    fn splits_are_those_of_datasets_row_for_row() {
        let recorded = recorded();
        let cases = recorded["cases"].as_array().expect("a list");
        assert!(cases.len() >= 30);
        for case in cases {
            let found =
                split(&column(case), case["seed"].as_u64().expect("a seed")).expect("a split");
            for (part, rows) in [
                ("train", &found.train),
                ("val", &found.val),
                ("test", &found.test),
            ] {
                check(
                    rows,
                    &case[part],
                    &format!("{} seed {}: {part}", case["name"], case["seed"]),
                );
            }
        }
    }

    #[test]
    fn groups_stay_together_and_parts_keep_their_shares() {
        // 400 groups of 1 to 300 rows; five classes, the second one rare; all stars of a group are
        // equal.
        let (mut stars, mut groups) = (Vec::new(), Vec::new());
        for group in 0..400u128 {
            let size = if group == 0 { 300 } else { 1 + group * 7 % 11 };
            for i in 0..size {
                groups.push(group * group);
                stars.push(if group % 29 == 3 {
                    2
                } else {
                    [1, 5, 5, 4, 3, 5][((group + i / 4) % 6) as usize]
                });
            }
        }
        let found = split_groups(&stars, &groups, "text", 42).expect("a split");
        assert_eq!(
            found,
            split_groups(&stars, &groups, "text", 42).expect("a split")
        );
        assert_ne!(
            found,
            split_groups(&stars, &groups, "text", 43).expect("a split")
        );
        let mut all = [&found.train[..], &found.val, &found.test].concat();
        all.sort_unstable();
        assert_eq!(all, (0..stars.len()).collect::<Vec<_>>());
        let of = |rows: &[usize]| {
            rows.iter()
                .map(|row| groups[*row])
                .collect::<std::collections::HashSet<_>>()
        };
        let [train, val, test] = [&found.train, &found.val, &found.test].map(|rows| of(rows));
        assert!(train.is_disjoint(&val) && train.is_disjoint(&test) && val.is_disjoint(&test));
        for (rows, share) in [(&found.train, 0.64), (&found.val, 0.16), (&found.test, 0.2)] {
            for star in 1..=5 {
                let count = |rows: &mut dyn Iterator<Item = usize>| {
                    rows.filter(|row| stars[*row] == star).count() as f64
                };
                let part = count(&mut rows.iter().copied()) / count(&mut (0..stars.len()));
                assert!(
                    (part - share).abs() < 0.05,
                    "{star} stars: {part:.3}, wanted {share}"
                );
            }
        }
        let error = split_groups(&[1, 5, 5], &[7, 7, 7], "text", 42)
            .expect_err("an error")
            .to_string();
        assert!(error.contains("no text is left for the"), "{error}");
    }

    #[test]
    fn by_date_the_newest_are_tested_on() {
        let dates: Vec<u128> = (0..100).map(|i| 1 + i * 37 % 100).collect();
        let found = split_by_date(&dates, "date").expect("a split");
        assert_eq!(
            [found.train.len(), found.val.len(), found.test.len()],
            [64, 16, 20]
        );
        let of = |rows: &[usize]| rows.iter().map(|row| dates[*row]).collect::<Vec<_>>();
        assert_eq!(
            [of(&found.train), of(&found.val), of(&found.test)].concat(),
            (1..=100).collect::<Vec<_>>()
        );
        assert!(
            split_by_date(&[5, 0, 3], "date")
                .expect_err("an error")
                .to_string()
                .contains("1 of 3 rows have an empty `date`")
        );
        assert!(split_by_date(&[5], "date").is_err());
    }

    #[test]
    fn what_datasets_refuses_is_refused() {
        for case in recorded()["errors"].as_array().expect("a list") {
            let error = split(&column(case), 42).expect_err("an error").to_string();
            assert!(
                error.starts_with("too few reviews"),
                "{}: {error}",
                case["name"]
            );
        }
        let error = split(&[1, 5, 5, 5, 5, 5, 5, 5, 5, 5], 42)
            .expect_err("an error")
            .to_string();
        assert!(
            error.contains("class 1 has 1 review left for the test split; 2 are needed"),
            "{error}"
        );
    }
}
