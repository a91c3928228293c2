//! What decides a run: the notebook's recipe, unless told otherwise.

use serde::{Deserialize, Serialize};

/// Hyperparameters of a run. The same recipe on the same data and base model gives the same weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct Recipe {
    /// Passes over the training split
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: u32,
    /// Reviews in a batch
    #[arg(long, default_value_t = 64, value_parser = positive)]
    pub batch: usize,
    /// Batches whose gradients make one step
    #[arg(long, default_value_t = 2, value_parser = positive)]
    pub accum: usize,
    /// Highest learning rate
    #[arg(long, default_value_t = 2e-5, value_parser = above_zero)]
    pub lr: f64,
    /// Share of the steps over which the learning rate rises
    #[arg(long, default_value_t = 0.1, value_parser = share)]
    pub warmup: f64,
    /// Weight decay, of matrices and embeddings only
    #[arg(long, default_value_t = 0.01, value_parser = share)]
    pub weight_decay: f64,
    /// Gradients are clipped to this norm
    #[arg(long, default_value_t = 1.0, value_parser = above_zero)]
    pub max_grad_norm: f64,
    /// Seed of the split, of the order of reviews, of dropout and of a fresh head
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Longest review in tokens; the base model's maximum unless given
    #[arg(long, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(3..))]
    pub max_length: Option<usize>,
    /// Every dropout rate; the base model's own unless given
    #[arg(long, value_parser = rate)]
    pub dropout: Option<f32>,
    /// Tokens computed at once; bounds the memory, and does not change the result but for rounding
    #[arg(long, default_value_t = 2048, value_parser = positive)]
    pub token_budget: usize,
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n @ 1..) => Ok(n),
        _ => Err("wanted a whole number above 0".into()),
    }
}

fn number(text: &str, fits: impl Fn(f64) -> bool, wanted: &str) -> Result<f64, String> {
    text.parse().ok().filter(|x: &f64| x.is_finite() && fits(*x)).ok_or_else(|| format!("wanted {wanted}"))
}

fn above_zero(text: &str) -> Result<f64, String> {
    number(text, |x| x > 0.0, "a number above 0")
}

fn share(text: &str) -> Result<f64, String> {
    number(text, |x| (0.0..=1.0).contains(&x), "a number from 0 to 1")
}

fn rate(text: &str) -> Result<f32, String> {
    Ok(number(text, |x| (0.0..1.0).contains(&x), "a rate from 0 to below 1")? as f32)
}
