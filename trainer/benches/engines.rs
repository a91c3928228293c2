//! The engines and a training step, on the starter and the sample reviews:
//! `cargo bench --bench engines`. Throughput is in reviews.

use std::path::PathBuf;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use starsight::train::groups::Grouping;
use starsight::train::loss::{Loss, one};
use starsight::train::optimizer::AdamW;
use starsight::train::step::{Step, Workspace, gradient};
use starsight_model::batch::PackedBatch;
use starsight_model::fused::{Depth, Fused, Precision};
use starsight_model::int8::{Int8, Int8Kernel};
use starsight_model::tokenizer::Tokenizer;
use starsight_model::{EncoderConfig, Engine, load};

/// Reviews of a batch.
const REVIEWS: usize = 64;

fn file(name: &str) -> Vec<u8> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    std::fs::read(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The first reviews of the samples, and their stars as labels.
fn reviews() -> (Vec<String>, Vec<usize>) {
    let csv = file("samples/reviews.csv");
    let mut reader = csv::Reader::from_reader(&csv[..]);
    reader
        .records()
        .take(REVIEWS)
        .map(|record| {
            let record = record.expect("a row of the samples");
            let stars: usize = record[3].parse().expect("stars");
            (record[1].to_owned(), stars - 1)
        })
        .unzip()
}

fn engines(c: &mut Criterion) {
    let config =
        EncoderConfig::from_json(&file("models/starter/config.json")).expect("a configuration");
    let json = file("models/starter/tokenizer.json");
    let tokenizer = Tokenizer::from_json(&json, None, config.max_positions).expect("a tokeniser");
    let (texts, labels) = reviews();
    let mut group = c.benchmark_group("64 sample reviews");
    group.throughput(Throughput::Elements(REVIEWS as u64));
    let encode = || -> Vec<Vec<u32>> {
        let encode = |text: &String| tokenizer.encode(text).expect("token ids");
        texts.iter().map(encode).collect()
    };
    group.bench_function("tokeniser", |b| b.iter(encode));

    let token_ids = encode();
    let slices: Vec<&[u32]> = token_ids.iter().map(Vec::as_slice).collect();
    let batch = PackedBatch::new(&slices).expect("a batch");
    let integers = file("models/starter/web/weights.safetensors");
    let int8 = Int8::new(&config, integers.clone(), Int8Kernel::best()).expect("an engine");
    group.bench_function("int8", |b| b.iter(|| int8.logits(&batch).expect("logits")));
    let weights = load::weights(&integers, &config).expect("weights");
    for (name, precision) in [("f32", Precision::F32), ("bf16", Precision::Bf16)] {
        let mut model = Fused::new(&config, &weights).expect("an engine");
        model.set_precision(precision);
        group.bench_function(name, |b| b.iter(|| model.logits(&batch).expect("logits")));
        train(&mut group, name, model, &slices, &labels);
    }
    group.finish();
}

/// A step of training: forward, backward and AdamW.
fn train(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: &str,
    mut model: Fused,
    token_ids: &[&[u32]],
    labels: &[usize],
) {
    let grouping = Grouping {
        layer_decay: 1.0,
        freeze_embeddings: false,
        freeze_layers: 0,
        head_first: 0,
    };
    let specs = model.layout().tensors().iter().map(|t| &t.spec);
    let groups = grouping.of(model.config(), specs).expect("groups");
    let mut optimizer = AdamW::new(model.layout(), groups, 0.01, 1.0);
    let mut workspace = Workspace::new(&model, Depth::Embeddings);
    let rows: Vec<usize> = (0..token_ids.len()).collect();
    let mut number = 0;
    group.bench_function(format!("training step, {name}"), |b| {
        b.iter(|| {
            let step = Step {
                rows: &rows,
                token_ids: token_ids.to_vec(),
                counts: labels.iter().map(|label| Some(one(*label))).collect(),
                teacher_logits: Vec::new(),
            };
            let ids = token_ids.iter().copied().flatten();
            optimizer.prepare(&mut model, ids);
            gradient(
                &model,
                &mut workspace,
                &step,
                &Loss::plain(),
                2048,
                42,
                number,
            )
            .expect("a gradient");
            optimizer
                .step(&mut model, &workspace.gradients, 1e-6)
                .expect("an update");
            number += 1;
        });
    });
}

criterion_group!(benches, engines);
criterion_main!(benches);
