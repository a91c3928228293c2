//! Packed batches: the token ids of many reviews end to end, without padding.
//!
//! Reviews are short and differ in length, so padding a batch to its longest review costs 6 to 8
//! times the real tokens. A packed batch needs no padding: attention runs sequence by sequence
//! between the boundaries of `cu_seqlens`, and everything else runs row by row. (Krell et al.,
//! "Efficient Sequence Packing without Cross-contamination", 2021; the layout is flash-attention's
//! "varlen".)

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::{Error, parallel};

/// The token ids of several reviews, concatenated.
///
/// ```
/// use starsight_model::batch::PackedBatch;
///
/// # fn main() -> Result<(), starsight_model::Error> {
/// let batch = PackedBatch::new(&[&[101, 2307, 102], &[101, 102]])?;
/// assert_eq!((batch.reviews(), batch.tokens()), (2, 5));
/// assert_eq!(*batch.cu_seqlens, [0, 3, 5]);
/// assert_eq!(batch.positions(), [0, 1, 2, 0, 1]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PackedBatch {
    /// Token ids of all reviews, (tokens).
    pub token_ids: Vec<u32>,
    /// Cumulative sequence lengths, (reviews + 1): review i is
    /// `token_ids[cu_seqlens[i]..cu_seqlens[i + 1]]`.
    pub cu_seqlens: Arc<[u32]>,
}

impl PackedBatch {
    /// Packs `reviews`: one slice of token ids per review, special tokens included.
    ///
    /// # Errors
    /// [`Error::Input`] when a review has no tokens. Even an empty text has its two special tokens.
    pub fn new(reviews: &[&[u32]]) -> Result<PackedBatch, Error> {
        let mut token_ids = Vec::with_capacity(reviews.iter().map(|r| r.len()).sum());
        let mut cu_seqlens = Vec::with_capacity(reviews.len() + 1);
        cu_seqlens.push(0);
        for (i, review) in reviews.iter().enumerate() {
            if review.is_empty() {
                return Err(Error::Input(format!(
                    "review {i} of the batch has no tokens, not even the special ones"
                )));
            }
            token_ids.extend_from_slice(review);
            cu_seqlens.push(token_ids.len() as u32);
        }
        Ok(PackedBatch {
            token_ids,
            cu_seqlens: cu_seqlens.into(),
        })
    }

    /// How many reviews the batch holds.
    pub fn reviews(&self) -> usize {
        self.cu_seqlens.len() - 1
    }

    /// How many tokens the batch holds.
    pub fn tokens(&self) -> usize {
        self.token_ids.len()
    }

    /// Each token's position in its own review, from 0, (tokens).
    pub fn positions(&self) -> Vec<u32> {
        self.lengths().flat_map(|n| 0..n as u32).collect()
    }

    /// The row of each review's first token, `[CLS]`, (reviews).
    pub fn first_rows(&self) -> Vec<u32> {
        self.cu_seqlens[..self.reviews()].to_vec()
    }

    /// Each review's number of tokens.
    pub fn lengths(&self) -> impl Iterator<Item = usize> + '_ {
        self.cu_seqlens.windows(2).map(|w| (w[1] - w[0]) as usize)
    }
}

/// The distinct reviews of a batch. Short reviews often repeat, and each needs to be rated only
/// once.
#[derive(Debug)]
pub struct Distinct {
    /// Indices of the reviews that are the first with their token ids, ascending.
    pub firsts: Vec<usize>,
    /// For each review, the index into `firsts` of the review with the same token ids.
    pub like: Vec<usize>,
}

impl Distinct {
    /// Treats each of `reviews` reviews as distinct.
    pub fn all(reviews: usize) -> Distinct {
        Distinct {
            firsts: (0..reviews).collect(),
            like: (0..reviews).collect(),
        }
    }

    /// Finds the distinct reviews among `reviews`, each given as its token ids.
    pub fn of<R: AsRef<[u32]>>(reviews: &[R]) -> Distinct {
        let mut known = HashMap::with_capacity(reviews.len());
        let mut distinct = Distinct {
            firsts: Vec::new(),
            like: Vec::with_capacity(reviews.len()),
        };
        for (i, review) in reviews.iter().enumerate() {
            let next = distinct.firsts.len();
            let first = *known.entry(review.as_ref()).or_insert(next);
            if first == next {
                distinct.firsts.push(i);
            }
            distinct.like.push(first);
        }
        distinct
    }
}

/// Divides reviews of the given lengths into packed batches of at most `token_budget` tokens.
/// Returns groups of indices, longest reviews first, so that the reviews of a batch have similar
/// lengths and the largest batch comes first. A review longer than the budget gets a batch of its
/// own.
pub fn plan(lengths: &[usize], token_budget: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(lengths[i]));
    pack_in_order(&order, lengths, token_budget)
}

/// Divides `order` (indices into `lengths`) into consecutive groups of at most `token_budget`
/// tokens each; a longer review gets a group of its own.
pub fn pack_in_order(order: &[usize], lengths: &[usize], token_budget: usize) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut tokens = 0;
    for &i in order {
        match groups.last_mut() {
            Some(group) if tokens + lengths[i] <= token_budget => {
                group.push(i);
                tokens += lengths[i];
            }
            _ => {
                groups.push(vec![i]);
                tokens = lengths[i];
            }
        }
    }
    groups
}

/// Relative cost of a review of `tokens` tokens in a model of this width, without a unit. Per
/// layer, a token needs 12 width² multiplications in linear layers, and 2 width in attention for
/// each token of its review. A multiplication in attention takes about five times as long as one in
/// a linear layer.
fn cost(tokens: usize, width: usize) -> usize {
    tokens * (6 * width / 5 + tokens)
}

/// Cuts a batch into ranges of consecutive reviews of about equal cost. The ranges average about
/// `tokens` tokens or fewer, and their number is a multiple of the number of threads as far as
/// there are enough reviews.
pub(crate) fn divide(batch: &PackedBatch, tokens: usize, width: usize) -> Vec<Range<usize>> {
    let count = (batch.tokens() / tokens)
        .max(1)
        .next_multiple_of(parallel::cores())
        .min(batch.reviews());
    // Cumulative cost up to and including each review.
    let costs: Vec<usize> = batch
        .lengths()
        .scan(0, |sum, tokens| {
            *sum += cost(tokens, width);
            Some(*sum)
        })
        .collect();
    let total = costs.last().copied().unwrap_or(0);
    let mut ranges = Vec::with_capacity(count);
    let mut start = 0;
    for shard in 1..=count {
        // The shard ends after the last review whose midpoint lies within this share of the cost.
        // No shard is empty, and enough reviews remain for the shards that follow.
        let share = total * shard / count;
        let reached = costs
            .windows(2)
            .skip(start)
            .take_while(|w| w[0] + w[1] <= 2 * share)
            .count()
            + start
            + 1;
        let end = reached.clamp(start + 1, batch.reviews() - (count - shard));
        ranges.push(start..end);
        start = end;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_boundaries() {
        let batch = PackedBatch::new(&[&[1, 2, 3], &[4, 5], &[6]]).expect("no review is empty");
        assert_eq!(batch.token_ids, [1, 2, 3, 4, 5, 6]);
        assert_eq!(*batch.cu_seqlens, [0, 3, 5, 6]);
        assert_eq!(batch.positions(), [0, 1, 2, 0, 1, 0]);
        assert_eq!(batch.first_rows(), [0, 3, 5]);
        assert!(PackedBatch::new(&[&[1], &[]]).is_err());
        assert_eq!(
            PackedBatch::new(&[])
                .expect("an empty batch is a batch")
                .reviews(),
            0
        );
    }

    #[test]
    fn of_the_same_reviews_the_first_stands_for_all() {
        let reviews: [&[u32]; 6] = [
            &[2, 3],
            &[2, 5, 3],
            &[2, 3],
            &[2, 3, 5],
            &[2, 5, 3],
            &[2, 3],
        ];
        let distinct = Distinct::of(&reviews);
        assert_eq!(
            (distinct.firsts, distinct.like),
            (vec![0, 1, 3], vec![0, 1, 0, 2, 1, 0])
        );
        assert!(Distinct::of::<&[u32]>(&[]).firsts.is_empty());
        let all = Distinct::all(3);
        assert_eq!((all.firsts, all.like), (vec![0, 1, 2], vec![0, 1, 2]));
    }

    #[test]
    fn a_plan_holds_every_review_once_within_the_budget() {
        let lengths: Vec<usize> = (0..500).map(|i| 2 + (i * 7919) % 97).collect();
        let groups = plan(&lengths, 256);
        let mut seen: Vec<usize> = groups.concat();
        seen.sort_unstable();
        assert_eq!(seen, (0..500).collect::<Vec<_>>());
        assert!(
            groups
                .iter()
                .all(|g| g.iter().map(|&i| lengths[i]).sum::<usize>() <= 256)
        );
        assert_eq!(plan(&[3, 900, 4], 100), vec![vec![1], vec![2, 0]]);
        assert!(plan(&[], 100).is_empty());
    }

    #[test]
    fn shards_hold_every_review_once_and_cost_about_the_same() {
        for (reviews, tokens) in [(1, 512), (2, 512), (7, 4), (300, 512), (2000, 256)] {
            let texts: Vec<Vec<u32>> = (0..reviews).map(|i| vec![1; 2 + (i * 7919) % 41]).collect();
            let batch = PackedBatch::new(&texts.iter().map(Vec::as_slice).collect::<Vec<_>>())
                .expect("a batch");
            let ranges = divide(&batch, tokens, 64);
            assert_eq!(
                ranges.iter().flat_map(Clone::clone).collect::<Vec<_>>(),
                (0..reviews).collect::<Vec<_>>()
            );
            assert!(ranges.iter().all(|r| !r.is_empty()), "{ranges:?}");
            if reviews > 100 {
                let lengths: Vec<usize> = batch.lengths().collect();
                let costs = ranges.iter().map(|r| {
                    lengths[r.clone()]
                        .iter()
                        .map(|n| cost(*n, 64))
                        .sum::<usize>()
                });
                let (low, high) = (
                    costs.clone().min().expect("a shard"),
                    costs.max().expect("a shard"),
                );
                // Shards consist of whole reviews, so their costs may differ by that of the most
                // expensive one.
                assert!(high - low <= 2 * cost(42, 64), "{low} to {high}");
            }
        }
    }
}
