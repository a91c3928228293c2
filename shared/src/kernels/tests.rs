//! Tests of every version that `multiversion!` compiles, not only of the one that this processor
//! selects. The tests of `ops` compare the selected version with candle's primitives. Here all
//! versions are compared with the baseline: bit for bit, except in attention, where the faster ones
//! use fused multiply-add.

use super::activation::{gelu, gelu_backward};
use super::attention::{self, Operands, Scratch};
use super::dropout::Dropout;
use super::norm::{self, Norm};
use super::simd::{HIGHEST, Level, level};
use crate::batch::PackedBatch;
use crate::fused::update::{self, Update};
use crate::fused::{Depth, Fused, Gradients, Precision, Tape};
use crate::int8::{self, Int8, Int8Kernel};
use crate::weights::Weights;
use crate::{EncoderConfig, Engine, rng};

/// Lengths that are no multiples of a vector, and some that are.
const LENGTHS: [usize; 5] = [1, 7, 16, 33, 200];

/// The result of `compute` in each version that this processor supports, the baseline first.
fn at_each_level(compute: impl Fn() -> Vec<f32> + Sync) -> Vec<(Level, Vec<f32>)> {
    let levels = [Level::Baseline, Level::Avx2, Level::Avx512].into_iter();
    let found = levels.filter_map(|wanted| {
        // A level is set per thread, so a single thread does all the work.
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .expect("a thread");
        pool.install(|| {
            HIGHEST.set(wanted);
            (level() == wanted).then(|| (wanted, compute()))
        })
    });
    found.collect()
}

fn assert_the_same_bits(what: &str, compute: impl Fn() -> Vec<f32> + Sync) {
    let found = at_each_level(compute);
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for (level, other) in &found[1..] {
        assert_eq!(bits(&found[0].1), bits(other), "{what}, {level:?}");
    }
}

#[test]
fn element_by_element_all_versions_give_the_same_bits() {
    for n in LENGTHS {
        let [x, y, z] = [1, 2, 3].map(|key| rng::normals(key, n, 2.0));
        assert_the_same_bits("gelu", || {
            let mut out = vec![0.0; n];
            gelu(&x, &mut out);
            out
        });
        assert_the_same_bits("the gradient of gelu", || {
            let (mut dy, mut again) = (y.clone(), vec![0.0; n]);
            gelu_backward(&x, &mut dy, &mut again);
            [dy, again].concat()
        });
        assert_the_same_bits("dropout", || {
            let mut out = x.clone();
            Dropout::new(0.3).expect("a rate").apply(&mut out, 5);
            out
        });
        assert_the_same_bits("AdamW", || {
            let updates: Vec<Update> = (1u8..4)
                .map(|t| Update {
                    clip: 0.7,
                    shrink: 0.999,
                    size: 1e-2,
                    root: 0.1 * f32::from(t),
                })
                .collect();
            let (mut p, mut m, mut v, mut idle) = (
                x.clone(),
                y.clone(),
                z.iter().map(|z| z * z).collect::<Vec<_>>(),
                z.clone(),
            );
            update::apply(&updates[0], &mut p, &z, &mut m, &mut v);
            update::apply_without_gradient(&updates, &mut p, &mut m, &mut v);
            update::apply_decay(&updates, &mut idle);
            [p, m, v, idle].concat()
        });
    }
}

#[test]
fn sums_have_one_order_in_all_versions() {
    for width in LENGTHS {
        let rows = 3;
        let [x, grad] = [1, 2].map(|key| rng::normals(key, rows * width, 2.0));
        let [scale, bias] = [3, 4].map(|key| rng::normals(key, width, 1.0));
        assert_the_same_bits("LayerNorm", || {
            let (mut y, mut kept, mut dx) =
                (vec![0.0; rows * width], vec![[0.0; 2]; rows], grad.clone());
            norm::forward(
                Norm {
                    scale: &scale,
                    bias: &bias,
                    eps: 1e-5,
                },
                &x,
                &mut y,
                &mut kept,
            );
            let (mut d_scale, mut d_bias) = (vec![0.0; width], vec![0.0; width]);
            norm::backward(&scale, &x, &kept, &mut dx, &mut d_scale, &mut d_bias);
            [y, kept.concat(), dx, d_scale, d_bias].concat()
        });
    }
}

#[test]
fn attention_is_the_same_but_for_rounding() {
    for (tokens, heads, size) in [(1, 1, 8), (5, 2, 12), (33, 3, 32), (20, 2, 7)] {
        let width = heads * size;
        let [q, grad] = [1, 2].map(|key| rng::normals(key, tokens * width, 1.0));
        let kv = rng::normals(3, 2 * tokens * width, 1.0);
        let found = at_each_level(|| {
            let operands = Operands {
                q: &q,
                kv: &kv,
                heads,
                head_size: size,
                dropout: Dropout::new(0.2).map(|dropout| (dropout, 9)),
            };
            let (mut out, mut dq, mut dkv) = (
                vec![0.0; tokens * width],
                vec![0.0; tokens * width],
                vec![0.0; 2 * tokens * width],
            );
            attention::forward(operands, &mut out, &mut Scratch::default());
            attention::backward(operands, &grad, &mut dq, &mut dkv, &mut Scratch::default());
            [out, dq, dkv].concat()
        });
        for (level, other) in &found[1..] {
            for (wanted, x) in found[0].1.iter().zip(other) {
                assert!(
                    (x - wanted).abs() <= 1e-5 * (1.0 + wanted.abs()),
                    "{level:?}: {x}, wanted {wanted}"
                );
            }
        }
    }
}

/// Whole engines also cover the kernels that the tests above leave out.
#[test]
fn engines_rate_and_learn_the_same_in_all_versions() {
    let json = r#"{"model_type":"bert","vocab_size":50,"hidden_size":48,"num_hidden_layers":2,"num_attention_heads":4,"intermediate_size":100,
        "max_position_embeddings":40,"type_vocab_size":2,"initializer_range":0.2}"#;
    let config = EncoderConfig::from_json(json.as_bytes()).expect("a good config");
    let weights = Weights::fresh(&config, 1).expect("weights");
    let reviews: Vec<Vec<u32>> = [3usize, 40, 17]
        .iter()
        .map(|n| {
            (0..*n)
                .map(|i| (rng::bits(7, i as u64) % 50) as u32)
                .collect()
        })
        .collect();
    let batch =
        PackedBatch::new(&reviews.iter().map(Vec::as_slice).collect::<Vec<_>>()).expect("a batch");

    let integers = int8::quantize(&config, &weights).expect("integers");
    let rater = Int8::new(&config, integers, Int8Kernel::best()).expect("a model");
    assert_the_same_bits("int8", || rater.logits(&batch).expect("logits").concat());

    for precision in [Precision::F32, Precision::Bf16] {
        let mut model = Fused::new(&config, &weights).expect("a model");
        model.set_precision(precision);
        let learned = || {
            let (mut tape, mut gradients) = (
                Tape::default(),
                Gradients::new(model.layout(), Depth::Embeddings),
            );
            let logits = model
                .forward(&batch, &[1, 2, 3], &mut tape)
                .expect("logits");
            model.backward(&logits, &mut tape, &mut gradients);
            [logits.concat(), gradients.to_dense()].concat()
        };
        let found = at_each_level(learned);
        // In bf16, values that differ in the last place before a product may round to different
        // numbers.
        let bound = if precision == Precision::F32 {
            1e-5
        } else {
            1e-2
        };
        for (level, other) in &found[1..] {
            let distance = found[0]
                .1
                .iter()
                .zip(other)
                .map(|(a, b)| (a - b).powi(2))
                .sum::<f32>()
                .sqrt();
            let length = found[0].1.iter().map(|x| x * x).sum::<f32>().sqrt();
            assert!(
                distance <= bound * length,
                "{precision}, {level:?}: {distance} from what is {length} long"
            );
        }
    }
}
