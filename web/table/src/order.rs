//! Filters and sorts rows.

use crate::protocol::{Arrangement, Key};
use crate::ratings::Ratings;

/// The rows that match an arrangement, in its order. `text` returns a row's review; `labels` are
/// the true stars, 0 if a row has none.
pub fn arrange<'a, T: AsRef<str> + 'a>(
    wanted: &Arrangement,
    text: impl Fn(usize) -> T,
    labels: &[u8],
    ratings: &Ratings,
) -> Vec<u32> {
    let query = Query::new(&wanted.query);
    let has_stars =
        |row: usize| wanted.stars.is_empty() || wanted.stars.contains(&ratings.stars(row));
    let mut rows: Vec<u32> = (0..labels.len())
        .filter(|row| has_stars(*row) && query.is_in(|| text(*row)))
        .map(|row| row as u32)
        .collect();
    let key = |row: usize| -> Option<f32> {
        let rating = ratings.get(row)?;
        Some(match wanted.key {
            Key::File => return None,
            Key::Stars => f32::from(rating.stars),
            Key::Expected => rating.expected,
            Key::Confidence => rating.confidence(),
            Key::Error => labels[row]
                .checked_sub(1)
                .map(|label| (rating.expected - f32::from(label + 1)).abs())?,
        })
    };
    if wanted.key == Key::File {
        if wanted.descending {
            rows.reverse();
        }
        return rows;
    }
    // Rows without a key come last; rows with equal keys keep the file's order.
    let mut keyed: Vec<(f32, u32)> = rows
        .iter()
        .map(|row| {
            (
                key(*row as usize).map_or(f32::INFINITY, |key| {
                    if wanted.descending { -key } else { key }
                }),
                *row,
            )
        })
        .collect();
    keyed.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    keyed.into_iter().map(|(_, row)| row).collect()
}

/// A text that a review must contain, ignoring case.
struct Query(String);

impl Query {
    fn new(query: &str) -> Query {
        Query(query.trim().to_lowercase())
    }

    fn is_in<T: AsRef<str>>(&self, text: impl Fn() -> T) -> bool {
        self.0.is_empty() || text().as_ref().to_lowercase().contains(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Rated;

    #[test]
    fn rows_are_sorted_filtered_and_searched() {
        let texts = ["Good APP", "bad", "ÉCLAT good", "so so", "not rated"];
        let labels = [5, 1, 0, 4, 0];
        let mut ratings = Ratings::none(5);
        for (row, (stars, expected, sure)) in
            [(5, 4.8, 0.9), (1, 1.3, 0.95), (5, 4.1, 0.5), (3, 3.0, 0.5)]
                .into_iter()
                .enumerate()
        {
            let mut probabilities = [0.0; 5];
            probabilities[stars - 1] = sure;
            ratings.set(
                row,
                Rated {
                    stars: stars as u8,
                    expected,
                    probabilities,
                },
            );
        }
        let rows = |key, descending, stars: &[u8], query: &str| {
            arrange(
                &Arrangement {
                    key,
                    descending,
                    stars: stars.to_vec(),
                    query: query.into(),
                },
                |row| texts[row],
                &labels,
                &ratings,
            )
        };
        assert_eq!(rows(Key::File, false, &[], ""), [0, 1, 2, 3, 4]);
        assert_eq!(rows(Key::File, true, &[], " "), [4, 3, 2, 1, 0]);
        assert_eq!(rows(Key::Stars, true, &[], ""), [0, 2, 3, 1, 4]);
        assert_eq!(rows(Key::Expected, false, &[], ""), [1, 3, 2, 0, 4]);
        assert_eq!(rows(Key::Confidence, true, &[], ""), [1, 0, 2, 3, 4]);
        assert_eq!(
            rows(Key::Error, true, &[], ""),
            [3, 1, 0, 2, 4],
            "off by 1, 0.3, 0.2"
        );
        assert_eq!(rows(Key::File, false, &[5, 0], ""), [0, 2, 4]);
        assert_eq!(rows(Key::Expected, false, &[5], "good"), [2, 0]);
        assert_eq!(rows(Key::File, false, &[], "éclat"), [2]);
    }
}
