//! The ratings of a table's rows.

use crate::protocol::Rated;

/// Ratings, stored by columns; a row without a rating has 0 stars.
#[derive(Debug, Clone, Default)]
pub struct Ratings {
    stars: Vec<u8>,
    expected: Vec<f32>,
    probabilities: Vec<[f32; 5]>,
    /// Number of rows with 1 to 5 stars.
    pub counts: [u64; 5],
}

impl Ratings {
    /// Empty ratings for `rows` rows.
    pub fn none(rows: usize) -> Ratings {
        Ratings {
            stars: vec![0; rows],
            expected: vec![0.0; rows],
            probabilities: vec![[0.0; 5]; rows],
            counts: [0; 5],
        }
    }

    /// Stores the rating of a row, replacing an earlier one. Invalid ratings are ignored.
    pub fn set(&mut self, row: usize, rating: Rated) {
        let (Some(stars), Some(count)) = (
            self.stars.get_mut(row),
            usize::from(rating.stars).checked_sub(1),
        ) else {
            return;
        };
        if count >= self.counts.len() {
            return;
        }
        if let Some(before) = usize::from(*stars).checked_sub(1) {
            self.counts[before] -= 1;
        }
        self.counts[count] += 1;
        *stars = rating.stars;
        self.expected[row] = rating.expected;
        self.probabilities[row] = rating.probabilities;
    }

    /// The stars of a row; 0 if it is not rated.
    pub fn stars(&self, row: usize) -> u8 {
        self.stars[row]
    }

    /// The rating of a row, if it has one.
    pub fn get(&self, row: usize) -> Option<Rated> {
        let stars = self.stars[row];
        (stars > 0).then(|| Rated {
            stars,
            expected: self.expected[row],
            probabilities: self.probabilities[row],
        })
    }

    /// Number of rated rows.
    pub fn len(&self) -> usize {
        self.counts.iter().sum::<u64>() as usize
    }
}

impl Rated {
    /// The probability of the rated number of stars.
    pub fn confidence(&self) -> f32 {
        self.stars
            .checked_sub(1)
            .map_or(0.0, |place| self.probabilities[usize::from(place)])
    }
}
