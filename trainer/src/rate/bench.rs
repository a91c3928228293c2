//! Measures how many reviews a second a model rates, from text to logits: the notebook's table of
//! batches of 64, 32 and 1, packed and padded side by side.
//!
//! It uses only the trait [`Engine`](starsight_model::Engine). Engines return logits in main
//! memory, so every device has finished when the clock is read.

use std::time::{Duration, Instant};

use anyhow::Result;
use rayon::prelude::*;
use serde::Serialize;
use starsight_model::batch::{PackedBatch, plan};
use starsight_model::config::Sizes;
use starsight_model::fused::{self, Precision};
use starsight_model::int8::{Int8Kernel, KernelBenchmark};
use starsight_model::{LABELS, Rater};

use crate::rate::device::Place;

/// How reviews are arranged in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// End to end, as Starsight rates them.
    Packed,
    /// Each as long as the longest in its batch. The engines do not pad, so shorter reviews are
    /// extended with the id of `[PAD]`: this costs the work of a padded batch, but the logits are
    /// not those of the reviews, and are not used.
    Padded,
}

/// The order of reviews.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The order of the file. Each batch is tokenised when it is rated.
    AsTheyCome,
    /// Longest first, as in `rate`. All reviews are tokenised before the first batch.
    ByLength,
}

/// Size of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// This many reviews.
    Reviews(usize),
    /// As many reviews as fit into this many tokens, as in `rate`.
    Tokens(usize),
}

/// A configuration to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BenchConfig {
    /// Reviews or tokens in a batch.
    pub batch: Size,
    /// Packed or padded.
    pub layout: Layout,
    /// In the order of the file, or sorted.
    pub order: Order,
}

/// The measurement of one configuration.
#[derive(Debug, Clone, Serialize)]
pub struct BenchResult {
    /// The configuration.
    #[serde(flatten)]
    pub config: BenchConfig,
    /// Reviews per second: the median of the repeats.
    pub samples_per_second: f64,
    /// Reviews per second in the slowest and the fastest repeat.
    pub spread: [f64; 2],
    /// Tokens of the reviews per second.
    pub tokens_per_second: f64,
    /// Computed tokens per token of the reviews: 1 without padding.
    pub padding: f64,
    /// Share of the device's peak that the linear layers' products reached, padding included.
    pub peak_share: f64,
    /// The simulated network delay, and the rate with it.
    pub lag: Option<Lag>,
}

/// The simulated network delay of the notebook.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Lag {
    /// Milliseconds per batch.
    pub milliseconds: u64,
    /// Reviews per second with the delay. The delay is added to the measured time instead of
    /// waiting, because a waiting machine does nothing else.
    pub samples_per_second: f64,
}

/// The result of a benchmark.
#[derive(Debug, Clone, Serialize)]
pub struct BenchReport {
    /// Reviews rated in each repeat.
    pub samples: usize,
    /// Number of their tokens.
    pub tokens: usize,
    /// Length of the longest review in tokens.
    pub longest: usize,
    /// Number of measurements of each configuration.
    pub repeats: usize,
    /// Peak of the device in 10^9 operations per second, with the engine's own product in the same
    /// precision.
    pub peak_gflops: f64,
    /// The figures.
    pub figures: Vec<BenchResult>,
}

/// The id used for padding: `[PAD]` in BERT's vocabularies. Every id costs the same.
const PAD: u32 = 0;

/// The configurations of a table with these batch sizes: each packed and padded, in file order and
/// sorted. The last one is that of `rate`, with batches of `token_budget` tokens.
pub fn configs(batch_sizes: &[usize], token_budget: usize) -> Vec<BenchConfig> {
    let mut configs = Vec::new();
    for size in batch_sizes {
        let batch = Size::Reviews(*size);
        // A single review is neither padded nor sorted.
        let choices: &[(Layout, Order)] = match size {
            1 => &[(Layout::Packed, Order::AsTheyCome)],
            _ => &[
                (Layout::Padded, Order::AsTheyCome),
                (Layout::Padded, Order::ByLength),
                (Layout::Packed, Order::AsTheyCome),
                (Layout::Packed, Order::ByLength),
            ],
        };
        configs.extend(choices.iter().map(|(layout, order)| BenchConfig {
            batch,
            layout: *layout,
            order: *order,
        }));
    }
    configs.push(BenchConfig {
        batch: Size::Tokens(token_budget),
        layout: Layout::Packed,
        order: Order::ByLength,
    });
    configs
}

/// Measures each of `configs` over `texts`, on a device with a peak of `peak_gflops`. `lag` gives
/// the delay of a batch in milliseconds; `done` is called after each pass over the texts.
///
/// # Errors
/// When the engine fails.
pub fn measure(
    rater: &Rater,
    texts: &[&str],
    configs: &[BenchConfig],
    repeats: usize,
    place: &Place,
    lag: impl Fn(Size) -> Option<u64>,
    mut done: impl FnMut(),
) -> Result<BenchReport> {
    let lengths: Vec<usize> = rater
        .tokenizer()
        .encode_all(texts)?
        .iter()
        .map(Vec::len)
        .collect();
    let tokens: usize = lengths.iter().sum();
    let peak_gflops = place.peak()?;
    let mut passes = vec![Vec::with_capacity(repeats); configs.len()];
    // The first round is a warm-up, which fills caches and starts threads. Each round measures all
    // configurations in turn, so that a machine that slows down affects them alike.
    for round in 0..=repeats {
        for (config, passes) in configs.iter().zip(&mut passes) {
            let pass = pass(rater, texts, &lengths, *config)?;
            if round > 0 {
                passes.push(pass);
            }
            done();
        }
    }
    let result = |(config, passes): (&BenchConfig, Vec<Pass>)| {
        let mut seconds: Vec<f64> = passes.iter().map(|p| p.seconds).collect();
        seconds.sort_unstable_by(f64::total_cmp);
        let (median, samples) = (median(&seconds), texts.len() as f64);
        let Pass {
            computed, batches, ..
        } = passes[0];
        let lag = lag(config.batch).map(|milliseconds| {
            let waited = Duration::from_millis(milliseconds).as_secs_f64() * batches as f64;
            Lag {
                milliseconds,
                samples_per_second: samples / (median + waited),
            }
        });
        BenchResult {
            config: *config,
            samples_per_second: samples / median,
            spread: [samples / seconds[seconds.len() - 1], samples / seconds[0]],
            tokens_per_second: tokens as f64 / median,
            padding: computed as f64 / tokens as f64,
            peak_share: operations(
                rater.sizes(),
                computed,
                place.asking(computed, texts.len()),
                texts.len(),
            ) / median
                / (1e9 * peak_gflops),
            lag,
        }
    };
    let figures = configs.iter().zip(passes).map(result).collect();
    Ok(BenchReport {
        samples: texts.len(),
        tokens,
        longest: lengths.iter().copied().max().unwrap_or(0),
        repeats,
        peak_gflops,
        figures,
    })
}

/// One pass over the reviews.
#[derive(Clone, Copy)]
struct Pass {
    seconds: f64,
    /// Tokens that the engine computed.
    computed: usize,
    batches: usize,
}

fn pass(rater: &Rater, texts: &[&str], lengths: &[usize], config: BenchConfig) -> Result<Pass> {
    let mut pass = Pass {
        seconds: 0.0,
        computed: 0,
        batches: 0,
    };
    let mut rate = |reviews: Vec<Vec<u32>>| -> Result<()> {
        let reviews = if config.layout == Layout::Padded {
            padded(reviews)
        } else {
            reviews
        };
        let batch = PackedBatch::new(&reviews.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
        rater.engine().logits(&batch)?;
        pass.computed += batch.tokens();
        pass.batches += 1;
        Ok(())
    };
    let clock = Instant::now();
    match (config.order, config.batch) {
        (Order::AsTheyCome, Size::Reviews(size)) => {
            for texts in texts.chunks(size) {
                rate(rater.tokenizer().encode_all(texts)?)?;
            }
        }
        (Order::AsTheyCome, Size::Tokens(budget)) => {
            let order: Vec<usize> = (0..texts.len()).collect();
            for group in starsight_model::batch::pack_in_order(&order, lengths, budget) {
                rate(
                    rater
                        .tokenizer()
                        .encode_all(&group.iter().map(|i| texts[*i]).collect::<Vec<_>>())?,
                )?;
            }
        }
        (Order::ByLength, size) => {
            let ids = rater.tokenizer().encode_all(texts)?;
            let groups = match size {
                Size::Reviews(size) => plan(lengths, usize::MAX)
                    .concat()
                    .chunks(size)
                    .map(<[usize]>::to_vec)
                    .collect(),
                Size::Tokens(budget) => plan(lengths, budget),
            };
            for group in groups {
                rate(group.iter().map(|i| ids[*i].clone()).collect())?;
            }
        }
    }
    pass.seconds = clock.elapsed().as_secs_f64();
    Ok(pass)
}

/// Extends each review to the length of the longest.
fn padded(mut reviews: Vec<Vec<u32>>) -> Vec<Vec<u32>> {
    let longest = reviews.iter().map(Vec::len).max().unwrap_or(0);
    reviews.iter_mut().for_each(|ids| ids.resize(longest, PAD));
    reviews
}

/// The median of ascending values: for an even number, the mean of the middle two.
fn median(ascending: &[f64]) -> f64 {
    let middle = ascending.len() / 2;
    if ascending.len() % 2 == 1 {
        ascending[middle]
    } else {
        f64::midpoint(ascending[middle - 1], ascending[middle])
    }
}

/// Operations of the linear layers for this many tokens and reviews, counting an addition and a
/// multiplication per weight. Every layer computes query, key, value and output (h x h each) and
/// two feed-forward layers (h x f each) for every token. The last layer is an exception: only the
/// first token of each review goes on to the head, so it computes key and value for every token and
/// the rest for the `asking` ones. Attention itself, which depends on the lengths, is not counted.
fn operations(sizes: &Sizes, tokens: usize, asking: usize, reviews: usize) -> f64 {
    let (h, f) = (sizes.hidden_size as f64, sizes.intermediate_size as f64);
    let [asks, answers] = [2.0 * h * h + 2.0 * h * f, 2.0 * h * h];
    let lower = sizes.layers.saturating_sub(1) as f64;
    let (tokens, asking, reviews) = (tokens as f64, asking as f64, reviews as f64);
    2.0 * (tokens * (lower * asks + sizes.layers as f64 * answers)
        + asking * asks
        + reviews * (h * h + LABELS as f64 * h))
}

/// Measures the processor's peak in 10^9 operations per second: products of `side` x `side`
/// matrices in `precision`, computed as the encoder does, one on each core.
pub fn peak(precision: Precision, side: usize) -> f64 {
    let [a, b] = [0.5f32, 0.25].map(|value| vec![value; side * side]);
    let results = vec![vec![0f32; side * side]; rayon::current_num_threads()];
    at_best(results, 2 * side.pow(3), |y| {
        fused::square(precision, side, &a, &b, y);
    })
}

/// The same for the int8 engine's product with `kernel`.
pub fn int8_peak(kernel: Int8Kernel) -> f64 {
    /// Large enough that starting the threads does not matter.
    const TIMES: usize = 10_000;
    let trials = (0..rayon::current_num_threads())
        .map(|_| KernelBenchmark::default())
        .collect();
    at_best(trials, TIMES * KernelBenchmark::OPERATIONS, |trial| {
        (0..TIMES).for_each(|_| trial.run(kernel));
    })
}

/// Operations per second, in 10^9, when each core does `work` of `operations` operations on its own
/// result: the best of several rounds.
fn at_best<T: Send>(mut results: Vec<T>, operations: usize, work: impl Fn(&mut T) + Sync) -> f64 {
    const ROUNDS: usize = 10;
    let round = |results: &mut Vec<T>| {
        let clock = Instant::now();
        results.par_iter_mut().with_max_len(1).for_each(&work);
        clock.elapsed().as_secs_f64()
    };
    let best = (0..ROUNDS)
        .map(|_| round(&mut results))
        .fold(f64::INFINITY, f64::min);
    (operations * results.len()) as f64 / best / 1e9
}

#[cfg(test)]
mod tests {
    use starsight_model::EncoderConfig;

    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(
            [
                median(&[1.0]),
                median(&[1.0, 3.0]),
                median(&[1.0, 2.0, 9.0])
            ],
            [1.0, 2.0, 2.0]
        );
    }

    #[test]
    fn padding_makes_all_as_long_as_the_longest() {
        assert_eq!(
            padded(vec![vec![5, 6, 7], vec![8]]),
            [[5, 6, 7], [8, PAD, PAD]]
        );
    }

    #[test]
    fn single_reviews_are_neither_padded_nor_sorted() {
        let configs = configs(&[2, 1], 2048);
        assert_eq!(configs.len(), 6);
        assert_eq!(
            configs
                .iter()
                .filter(|w| w.batch == Size::Reviews(1))
                .count(),
            1
        );
        assert_eq!(configs[5].batch, Size::Tokens(2048));
    }

    #[test]
    fn a_peak_is_a_number() {
        for peak in [peak(Precision::F32, 64), int8_peak(Int8Kernel::best())] {
            assert!(peak.is_finite() && peak > 0.1, "{peak}");
        }
    }

    #[test]
    fn operations_are_those_that_are_computed() {
        let json = r#"{"model_type":"distilbert","vocab_size":50,"dim":4,"n_layers":3,"n_heads":2,"hidden_dim":16,"max_position_embeddings":40}"#;
        let sizes = EncoderConfig::from_json(json.as_bytes())
            .expect("a good config")
            .sizes();
        // Two whole layers of 4 x 16 + 2 x 64 weights per token, and key and value of the third.
        // Then 2 x 16 + 2 x 64 weights per review, and the head's 16 + 20.
        let multiplications =
            10 * (2 * (4 * 16 + 2 * 64) + 2 * 16) + 3 * (2 * 16 + 2 * 64 + 16 + 20);
        assert_eq!(operations(&sizes, 10, 3, 3), f64::from(2 * multiplications));
    }
}
