//! Tests with too little device memory.

use std::sync::Arc;

use super::super::device::Device;
use super::super::emulated::Emulated;
use super::super::learner::{Learner, LearnerSettings, TrainingStep};
use super::super::{Encoder, Precision};
use super::{distilbert, reviews, weights};
use crate::engine::Engine;
use crate::fused::Depth;
use crate::fused::layout::Layout;

fn learner(memory: usize, token_budget: usize) -> Result<Learner, crate::Error> {
    let config = distilbert(32, 4, 64);
    let device: Arc<dyn Device> = Arc::new(Emulated::new(memory));
    let trained = vec![true; Layout::of(&config).tensors().len()];
    let settings = LearnerSettings {
        precision: Precision::F32,
        depth: Depth::Embeddings,
        trained: &trained,
        token_budget,
        reviews: 8,
    };
    Learner::new(&device, &config, &weights(&config), &settings)
}

#[test]
fn the_token_budget_is_halved_until_it_fits() {
    assert_eq!(
        learner(usize::MAX, 4000).expect("a learner").token_budget(),
        4000
    );
    let small = learner(4 << 20, 4000).expect("a learner").token_budget();
    assert!([2000, 1000, 500, 250, 125, 80].contains(&small), "{small}");
    assert_eq!(
        learner(usize::MAX, 10).expect("a learner").token_budget(),
        80,
        "the longest review fits in any case"
    );
    let error = learner(1 << 10, 4000).err().expect("an error").to_string();
    assert!(error.starts_with("the GPU is out of memory"), "{error}");
}

#[test]
fn rating_takes_what_memory_there_is() {
    let config = distilbert(32, 4, 64);
    let device: Arc<dyn Device> = Arc::new(Emulated::new(4 << 20));
    let encoder = Encoder::new(
        &device,
        &config,
        &weights(&config),
        Precision::Bf16,
        1 << 16,
    )
    .expect("an encoder");
    assert!(encoder.token_budget() < 1 << 16);
}

#[test]
fn a_step_that_does_not_fit_the_learner_is_refused() {
    let mut learner = learner(usize::MAX, 1000).expect("a learner");
    let (token_ids, _) = reviews(&distilbert(32, 4, 64));
    let reviews: Vec<&[u32]> = token_ids
        .iter()
        .chain(&token_ids)
        .map(Vec::as_slice)
        .collect();
    let step = TrainingStep {
        reviews: &reviews,
        keys: &[0; 16],
        labels: &[0; 16],
        targets: Default::default(),
        updates: &[],
        max_norm: 1.0,
    };
    let error = learner.step(&step).expect_err("an error").to_string();
    assert_eq!(
        error,
        "a step has 16 reviews, but the learner was created for 8"
    );
}
