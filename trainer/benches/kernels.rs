//! The kernels of the processor's engines, on one thread and in the shapes of DistilBERT:
//! `cargo bench --bench kernels`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use starsight_model::bench;
use starsight_model::fused::{Precision, square};
use starsight_model::int8::{Int8Kernel, KernelBenchmark};
use starsight_model::rng;

const WIDTH: usize = 768;
const HEADS: usize = 12;
const ROWS: usize = 256;
const INTERMEDIATE: usize = 3072;

fn between_products(c: &mut Criterion) {
    for tokens in [16, 64, 128] {
        let mut group = c.benchmark_group(format!("attention of {tokens} tokens"));
        group.throughput(Throughput::Elements(tokens as u64));
        let size = WIDTH / HEADS;
        let mut forward = bench::attention_forward(tokens, HEADS, size);
        group.bench_function("forward", |b| b.iter(&mut forward));
        let mut backward = bench::attention_backward(tokens, HEADS, size);
        group.bench_function("backward", |b| b.iter(&mut backward));
        group.finish();
    }
    let mut group = c.benchmark_group("between products");
    group.throughput(Throughput::Elements((ROWS * WIDTH) as u64));
    let mut norm = bench::norm_forward(ROWS, WIDTH);
    group.bench_function("LayerNorm, forward", |b| b.iter(&mut norm));
    let mut norm = bench::norm_backward(ROWS, WIDTH);
    group.bench_function("LayerNorm, backward", |b| b.iter(&mut norm));
    if let Some(mut dropout) = bench::dropout(ROWS * WIDTH) {
        group.bench_function("dropout", |b| b.iter(&mut dropout));
    }
    group.throughput(Throughput::Elements((ROWS * INTERMEDIATE) as u64));
    let mut gelu = bench::gelu_forward(ROWS * INTERMEDIATE);
    group.bench_function("GELU, forward", |b| b.iter(&mut gelu));
    let mut gelu = bench::gelu_backward(ROWS * INTERMEDIATE);
    group.bench_function("GELU, backward", |b| b.iter(&mut gelu));
    group.finish();
}

/// Throughput counts multiply-adds.
fn products(c: &mut Criterion) {
    let mut group = c.benchmark_group("product of 768 x 768 matrices");
    group.throughput(Throughput::Elements((WIDTH * WIDTH * WIDTH) as u64));
    let [a, b] = [1, 2].map(|key| rng::normals(key, WIDTH * WIDTH, 1.0));
    let mut y = vec![0.0; WIDTH * WIDTH];
    for (name, precision) in [("f32", Precision::F32), ("bf16", Precision::Bf16)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| square(precision, WIDTH, black_box(&a), black_box(&b), &mut y));
        });
    }
    group.finish();
    let mut group = c.benchmark_group("int8 product");
    let mut benchmark = KernelBenchmark::default();
    for kernel in Int8Kernel::available() {
        group.bench_function(kernel.name(), |b| b.iter(|| benchmark.run(kernel)));
    }
    group.finish();
}

criterion_group!(benches, between_products, products);
criterion_main!(benches);
