//! The ratings of a table's rows.

use crate::protocol::Rated;

/// Ratings, column by column; a row without one has 0 stars.
#[derive(Debug, Clone, Default)]
pub struct Ratings {
    stars: Vec<u8>,
    expected: Vec<f32>,
    probabilities: Vec<[f32; 5]>,
    /// How many rows have 1 to 5 stars.
    pub counts: [u64; 5],
}

impl Ratings {
    /// None, for so many rows.
    pub fn none(rows: usize) -> Ratings {
        Ratings {
            stars: vec![0; rows],
            expected: vec![0.0; rows],
            probabilities: vec![[0.0; 5]; rows],
            counts: [0; 5],
        }
    }

    /// Keeps the rating of a row, in place of one that it had; one that is none is passed over.
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

    /// The stars of a row, 0 if it is not rated.
    pub fn stars(&self, row: usize) -> u8 {
        self.stars[row]
    }

    /// The rating of a row.
    pub fn get(&self, row: usize) -> Option<Rated> {
        let stars = self.stars[row];
        (stars > 0).then(|| Rated {
            stars,
            expected: self.expected[row],
            probabilities: self.probabilities[row],
        })
    }

    /// How many rows are rated.
    pub fn len(&self) -> usize {
        self.counts.iter().sum::<u64>() as usize
    }
}

impl Rated {
    /// The probability of the likeliest number of stars.
    pub fn confidence(&self) -> f32 {
        self.stars
            .checked_sub(1)
            .map_or(0.0, |place| self.probabilities[usize::from(place)])
    }
}
