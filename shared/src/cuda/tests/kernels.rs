//! Tests of single kernels against the CPU's kernels or simple sums.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::Precision;
use super::super::arguments::*;
use super::super::backward::PARTS;
use super::super::batch::{DeviceBatch, Sender, TrainingInputPlan};
use super::super::device::{Buffer, Device};
use super::super::encoder::Core;
use super::super::program::{COLUMNS, Program, tile, vector};
use super::super::tape::Capacity;
use super::{assert_close, bert, device, distilbert, reviews};
use crate::batch::PackedBatch;
use crate::kernels::attention::{self, Operands, Scratch};
use crate::kernels::dropout::{Dropout, token_stream};
use crate::kernels::norm::{self, Norm};
use crate::kernels::{activation, rows};
use crate::{EncoderConfig, Error, LABELS, rng};

const RATE: f32 = 0.3;
const SITE: u64 = 9;
const EPS: f32 = 1e-5;

/// A device with the kernels of a model, and a batch on it.
struct Rig {
    device: Arc<dyn Device>,
    program: Program,
    config: EncoderConfig,
    precision: Precision,
    batch: PackedBatch,
    keys: Vec<u64>,
    sent: DeviceBatch,
    /// Holds what `sent` points to.
    _sender: Sender,
}

/// Runs a test in both precisions, for shapes that together cover all code paths of the kernels.
fn each(test: impl Fn(&mut Rig)) {
    for config in [
        distilbert(32, 4, 64),
        bert(12, 3, 20, "relu"),
        distilbert(160, 2, 96),
        bert(264, 6, 40, "gelu"),
    ] {
        for precision in [Precision::F32, Precision::Bf16] {
            test(&mut Rig::new(&config, precision));
        }
    }
}

impl Rig {
    /// Launches a kernel on the buffers of a test.
    fn launch<K: Kernel>(&self, blocks: [usize; 3], arguments: K) -> Result<(), Error> {
        // SAFETY: each test makes its buffers for the reviews of the rig.
        unsafe { self.program.launch(blocks, arguments) }
    }

    fn new(config: &EncoderConfig, precision: Precision) -> Rig {
        let device = device();
        let (token_ids, labels) = reviews(config);
        let batch = PackedBatch::new(&token_ids.iter().map(Vec::as_slice).collect::<Vec<_>>())
            .expect("a batch");
        let keys: Vec<u64> = (0..batch.reviews() as u64)
            .map(|i| rng::stream(5, i))
            .collect();
        let labels: Vec<u32> = labels.iter().map(|label| *label as u32).collect();
        let mut sender = Sender::new(
            &device,
            Capacity {
                tokens: batch.tokens(),
                reviews: batch.reviews(),
            },
        )
        .expect("a sender");
        // One id has already occurred in the step.
        let mut seen = HashSet::from([batch.token_ids[0]]);
        let plan = TrainingInputPlan {
            keys: &keys,
            labels: &labels,
            seen: &mut seen,
        };
        let sent = sender.send(&batch, tile(config), Some(plan)).expect("sent");
        let program = Program::new(&device, config, precision).expect("a program");
        Rig {
            program,
            config: config.clone(),
            precision,
            batch,
            keys,
            sent,
            _sender: sender,
            device,
        }
    }

    fn width(&self) -> usize {
        self.config.hidden_size
    }

    fn tokens(&self) -> usize {
        self.batch.tokens()
    }

    /// The relative error bound of results, which are rounded once when they are stored.
    fn bound(&self) -> f64 {
        if self.precision == Precision::F32 {
            3e-6
        } else {
            5e-3
        }
    }

    fn wide(&self, values: &[f32]) -> Buffer<f32> {
        let buffer = Buffer::new(&self.device, values.len()).expect("memory");
        buffer.write(0, values).expect("written");
        buffer
    }

    fn read(buffer: &Buffer<f32>) -> Vec<f32> {
        let mut values = vec![0.0; buffer.len()];
        buffer.read(0, &mut values).expect("read");
        values
    }

    /// Random activations, rounded to the stored precision, and a buffer that holds them.
    fn stored(&self, key: u64, n: usize) -> (Vec<f32>, Buffer<u8>) {
        let mut values = rng::normals(key, n, 1.0);
        let bytes: Vec<u8> = match self.precision {
            Precision::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Precision::Bf16 => {
                values
                    .iter_mut()
                    .for_each(|x| *x = f32::from_bits(x.to_bits() & 0xffff_0000));
                values
                    .iter()
                    .flat_map(|x| ((x.to_bits() >> 16) as u16).to_le_bytes())
                    .collect()
            }
        };
        let buffer = Buffer::new(&self.device, bytes.len()).expect("memory");
        buffer.write(0, &bytes).expect("written");
        (values, buffer)
    }

    fn room(&self, n: usize) -> Buffer<u8> {
        Buffer::new(&self.device, n * self.precision.bytes()).expect("memory")
    }

    fn wide_room(&self, n: usize) -> Buffer<f32> {
        Buffer::new(&self.device, n).expect("memory")
    }

    fn read_stored(&self, buffer: &Buffer<u8>) -> Vec<f32> {
        let mut bytes = vec![0; buffer.len()];
        buffer.read(0, &mut bytes).expect("read");
        match self.precision {
            Precision::F32 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|x| f32::from_le_bytes(*x))
                .collect(),
            Precision::Bf16 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|x| f32::from_bits(u32::from(u16::from_le_bytes(*x)) << 16))
                .collect(),
        }
    }

    fn drops() -> (Dropout, u32, f32) {
        let dropout = Dropout::new(RATE).expect("a rate above 0");
        let (threshold, scale) = dropout.threshold_and_scale();
        (dropout, threshold, scale)
    }

    /// Applies dropout to x, which has a row for each token or, if `first`, for each review's first
    /// token.
    fn drop(&self, x: &mut [f32], first: bool) {
        let (dropout, ..) = Rig::drops();
        let places = self
            .batch
            .lengths()
            .zip(&self.keys)
            .flat_map(|(n, key)| (0..if first { 1 } else { n }).map(move |i| (*key, i)));
        for (row, (key, i)) in x.chunks_exact_mut(self.width()).zip(places) {
            dropout.apply(row, token_stream(key, SITE, i));
        }
    }

    fn check(&self, what: &str, found: &[f32], wanted: &[f32]) {
        assert_close(
            &format!("{what}, {} wide, {:?}", self.width(), self.precision),
            found,
            wanted,
            0.0,
            self.bound(),
        );
    }

    /// Checks values that are summed in f32 over many rows.
    fn check_sums(&self, what: &str, found: &[f32], wanted: &[f32]) {
        assert_close(
            &format!("{what}, {} wide, {:?}", self.width(), self.precision),
            found,
            wanted,
            0.01,
            1e-5,
        );
    }
}

#[test]
fn embeddings_are_summed_normalised_and_dropped() {
    each(|rig| {
        let (h, n) = (rig.width(), rig.tokens());
        let (words, positions) = (rng::normals(1, 50 * h, 1.0), rng::normals(2, 80 * h, 1.0));
        let [segment, scale, bias] = [3, 4, 5].map(|key| rng::normals(key, h, 1.0));
        let (sum, y, moments) = (rig.room(n * h), rig.room(n * h), rig.wide_room(2 * n));
        let [words_at, positions_at, segment_at, scale_at, bias_at] =
            [&words, &positions, &segment, &scale, &bias].map(|x| rig.wide(x));
        let (_, threshold, drop_scale) = Rig::drops();
        let arguments = Embed {
            ids: rig.sent.ids.into(),
            at: Core::rows(&rig.sent, false),
            words: words_at.start().into(),
            position_table: positions_at.start().into(),
            segment: segment_at.start().into(),
            scale: scale_at.start().into(),
            bias: bias_at.start().into(),
            sum: sum.start().into(),
            moments: moments.start().into(),
            y: y.start().into(),
            site: SITE,
            rows: n as u32,
            eps: EPS,
            threshold,
            drop_scale,
        };
        rig.launch(Core::row_blocks(n), arguments)
            .expect("launched");
        let places = rig.batch.token_ids.iter().zip(rig.batch.positions());
        let wanted_sum: Vec<f32> = places
            .flat_map(|(id, at)| {
                (0..h).map(move |c| (*id as usize * h + c, at as usize * h + c, c))
            })
            .map(|(w, p, s)| words[w] + positions[p] + segment[s])
            .collect();
        let (mut wanted, mut kept) = (vec![0.0; n * h], vec![[0.0; 2]; n]);
        norm::forward(
            Norm {
                scale: &scale,
                bias: &bias,
                eps: EPS,
            },
            &wanted_sum,
            &mut wanted,
            &mut kept,
        );
        rig.drop(&mut wanted, false);
        rig.check("sum", &rig.read_stored(&sum), &wanted_sum);
        rig.check("embedded", &rig.read_stored(&y), &wanted);
        rig.check("moments", &Rig::read(&moments), kept.as_flattened());
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "the operands of two kernels")]
fn residual_and_layer_norm_there_and_back() {
    each(|rig| {
        for first in [false, true] {
            let h = rig.width();
            let n = if first {
                rig.batch.reviews()
            } else {
                rig.tokens()
            };
            let ((x, x_at), (residual, residual_at)) = (rig.stored(1, n * h), rig.stored(2, n * h));
            let [x_bias, scale, bias] = [3, 4, 5].map(|key| rng::normals(key, h, 1.0));
            let [x_bias_at, scale_at, bias_at] = [&x_bias, &scale, &bias].map(|x| rig.wide(x));
            let (sum, y, moments) = (rig.room(n * h), rig.room(n * h), rig.wide_room(2 * n));
            let (_, threshold, drop_scale) = Rig::drops();
            let at = Core::rows(&rig.sent, first);
            let arguments = AddNorm {
                x: x_at.start().into(),
                x_bias: x_bias_at.start().into(),
                residual: residual_at.start().into(),
                at,
                scale: scale_at.start().into(),
                bias: bias_at.start().into(),
                sum: sum.start().into(),
                moments: moments.start().into(),
                y: y.start().into(),
                site: SITE,
                rows: n as u32,
                eps: EPS,
                threshold,
                drop_scale,
            };
            rig.launch(Core::row_blocks(n), arguments)
                .expect("launched");
            let mut wanted_sum = x.clone();
            rows::add_bias(&mut wanted_sum, &x_bias);
            rig.drop(&mut wanted_sum, first);
            rows::add(&mut wanted_sum, &residual);
            let (mut wanted, mut kept) = (vec![0.0; n * h], vec![[0.0; 2]; n]);
            norm::forward(
                Norm {
                    scale: &scale,
                    bias: &bias,
                    eps: EPS,
                },
                &wanted_sum,
                &mut wanted,
                &mut kept,
            );
            let found_sum = rig.read_stored(&sum);
            rig.check("sum", &found_sum, &wanted_sum);
            rig.check("y", &rig.read_stored(&y), &wanted);

            // The backward pass reads the sum as it was stored.
            for (before, after) in [(true, false), (false, true), (false, false)] {
                let dy = rng::normals(6, n * h, 1.0);
                let (dy_at, dropped) = (rig.wide(&dy), rig.room(n * h));
                let stride = 3 * h + 8;
                let parts = rig.wide(&vec![0.0; PARTS * stride]);
                let arguments = NormBackward {
                    dy: dy_at.start().into(),
                    sum: sum.start().into(),
                    moments: moments.start().into(),
                    scale: scale_at.start().into(),
                    dropped: dropped.start().into(),
                    at,
                    parts: parts.start().into(),
                    site: SITE,
                    part_stride: stride as u32,
                    scale_at: 8,
                    bias_at: 8 + h as u32,
                    added_at: 8 + 2 * h as u32,
                    rows: n as u32,
                    threshold_before: if before { threshold } else { 0 },
                    threshold_after: if after { threshold } else { 0 },
                    drop_scale,
                };
                rig.launch([PARTS, 1, 1], arguments).expect("launched");
                let mut wanted = dy;
                if before {
                    rig.drop(&mut wanted, first);
                }
                let (mut d_scale, mut d_bias, mut added) =
                    (vec![0.0; h], vec![0.0; h], vec![0.0; h]);
                norm::backward(
                    &scale,
                    &found_sum,
                    &kept,
                    &mut wanted,
                    &mut d_scale,
                    &mut d_bias,
                );
                let bound = if rig.precision == Precision::F32 {
                    1e-5
                } else {
                    5e-3
                };
                assert_close("d sum", &Rig::read(&dy_at), &wanted, 0.0, bound);
                if after {
                    rig.drop(&mut wanted, first);
                }
                rows::add_column_sums(&wanted, &mut added);
                assert_close("dropped", &rig.read_stored(&dropped), &wanted, 0.0, bound);
                let mut found = vec![0.0; stride];
                rows::add_column_sums(&Rig::read(&parts), &mut found);
                assert_close("d scale", &found[8..8 + h], &d_scale, 0.01, bound);
                assert_close("d bias", &found[8 + h..8 + 2 * h], &d_bias, 0.01, bound);
                assert_close("d added", &found[8 + 2 * h..], &added, 0.01, bound);
            }
        }
    });
}

#[test]
fn first_rows_are_gathered_and_scattered() {
    each(|rig| {
        let (h, n, reviews) = (rig.width(), rig.tokens(), rig.batch.reviews());
        let (x, x_at) = rig.stored(1, n * h);
        let first = rig.room(reviews * h);
        let arguments = GatherFirst {
            x: x_at.start().into(),
            starts: rig.sent.starts.into(),
            first: first.start().into(),
            rows: reviews as u32,
        };
        rig.launch(Core::row_blocks(reviews), arguments)
            .expect("launched");
        let wanted: Vec<f32> = rig
            .batch
            .first_rows()
            .iter()
            .flat_map(|row| &x[*row as usize * h..][..h])
            .copied()
            .collect();
        assert_eq!(rig.read_stored(&first), wanted);
        let rows = rng::normals(2, reviews * h, 1.0);
        let (rows_at, all) = (rig.wide(&rows), rig.wide_room(n * h));
        let arguments = ScatterFirst {
            first: rows_at.start().into(),
            positions: rig.sent.positions.into(),
            reviews: rig.sent.review_of.into(),
            x: all.start().into(),
            rows: n as u32,
        };
        rig.launch(Core::row_blocks(n), arguments)
            .expect("launched");
        let mut wanted = vec![0.0; n * h];
        for (row, at) in rows.chunks_exact(h).zip(rig.batch.first_rows()) {
            wanted[at as usize * h..][..h].copy_from_slice(row);
        }
        assert_eq!(Rig::read(&all), wanted);
    });
}

#[test]
fn activation_there_and_back_and_sums_over_rows() {
    each(|rig| {
        let (f, n) = (rig.config.intermediate_size, rig.tokens());
        let ((x, x_at), bias) = (rig.stored(1, n * f), rng::normals(2, f, 1.0));
        let (bias_at, y) = (rig.wide(&bias), rig.room(n * f));
        let columns = |columns: usize| columns.div_ceil(64 * vector(&rig.config));
        let arguments = Activate {
            x: x_at.start().into(),
            bias: bias_at.start().into(),
            y: y.start().into(),
            rows: n as u32,
        };
        rig.launch([columns(f), 7, 1], arguments).expect("launched");
        let mut sum = x;
        rows::add_bias(&mut sum, &bias);
        let mut wanted = vec![0.0; n * f];
        activation::forward(rig.config.activation, &sum, &mut wanted);
        rig.check("active", &rig.read_stored(&y), &wanted);

        let (mut dy, dy_at) = rig.stored(3, n * f);
        let stride = f + 3;
        let parts = rig.wide(&vec![0.0; PARTS * stride]);
        let again = rig.room(n * f);
        let arguments = ActivateBackward {
            x: x_at.start().into(),
            bias: bias_at.start().into(),
            y: again.start().into(),
            dy: dy_at.start().into(),
            parts: parts.start().into(),
            part_stride: stride as u32,
            bias_at: 3,
            rows: n as u32,
        };
        rig.launch([columns(f), PARTS, 1], arguments)
            .expect("launched");
        activation::backward(rig.config.activation, &sum, &mut dy, &mut wanted);
        rig.check("active again", &rig.read_stored(&again), &wanted);
        let found = rig.read_stored(&dy_at);
        rig.check("d inner", &found, &dy);
        let vectors = rig.wide_room(f);
        let sum_parts = |add: u32| SumParts {
            parts: parts.start().into(),
            gradient: vectors.start().into(),
            segment: NONE.into(),
            count: PARTS as u32,
            part_stride: stride as u32,
            vectors: f as u32,
            add,
        };
        // Columns 3.. of the parts are the sums; the columns before them are zero.
        rig.launch([stride.div_ceil(COLUMNS as usize), 1, 1], sum_parts(0))
            .expect("launched");
        rig.launch([stride.div_ceil(COLUMNS as usize), 1, 1], sum_parts(1))
            .expect("launched");
        let mut wanted = vec![0.0; f];
        rows::add_column_sums(&dy, &mut wanted);
        let doubled: Vec<f32> = wanted[..f - 3].iter().map(|x| 2.0 * x).collect();
        rig.check("sums", &Rig::read(&vectors)[3..], &doubled);

        let arguments = ColumnSums {
            x: dy_at.start().into(),
            parts: parts.start().into(),
            part_stride: stride as u32,
            bias_at: 0,
            rows: n as u32,
            columns: f as u32,
        };
        rig.launch([columns(f), PARTS, 1], arguments)
            .expect("launched");
        let (mut plain, mut sums) = (vec![0.0; f], vec![0.0; stride]);
        rows::add_column_sums(&found, &mut plain);
        rows::add_column_sums(&Rig::read(&parts), &mut sums);
        rig.check_sums("column sums", &sums[..f], &plain);
    });
}

#[test]
fn attention_there_and_back() {
    each(|rig| {
        for (first, drops) in [(false, true), (true, true), (false, false)] {
            check_attention(rig, first, drops);
        }
    });
}

#[expect(clippy::too_many_lines, reason = "the operands of three kernels")]
fn check_attention(rig: &Rig, first: bool, drops: bool) {
    let (h, n, heads, reviews) = (
        rig.width(),
        rig.tokens(),
        rig.config.heads,
        rig.batch.reviews(),
    );
    let queries = if first { reviews } else { n };
    let ((q, q_at), (kv, kv_at)) = (rig.stored(1, queries * h), rig.stored(2, n * 2 * h));
    let (q_bias, kv_bias) = (rng::normals(3, h, 1.0), rng::normals(4, 2 * h, 1.0));
    let (q_bias_at, kv_bias_at) = (rig.wide(&q_bias), rig.wide(&kv_bias));
    let (dropout, threshold, drop_scale) = Rig::drops();
    let of = AttentionOperands {
        q: q_at.start().into(),
        kv: kv_at.start().into(),
        q_bias: q_bias_at.start().into(),
        kv_bias: kv_bias_at.start().into(),
        starts: rig.sent.starts.into(),
        keys: rig.sent.keys.into(),
        tiles: rig.sent.tiles.into(),
        site: SITE,
        q_stride: h as u32,
        kv_stride: 2 * h as u32,
        scale: 1.0 / (rig.config.head_size() as f32).sqrt(),
        threshold: if drops { threshold } else { 0 },
        drop_scale,
        first_only: first.into(),
    };
    let (context, log_sums) = (rig.room(queries * h), rig.wide_room(queries * heads));
    let query_blocks = [if first { reviews } else { rig.sent.tile_count }, heads, 1];
    rig.launch(
        query_blocks,
        AttentionForward {
            of,
            context: context.start().into(),
            log_sums: log_sums.start().into(),
        },
    )
    .expect("launched");
    let (grad, grad_at) = rig.stored(5, queries * h);
    let (products, dq, dkv) = (
        rig.wide_room(queries * heads),
        rig.room(queries * h),
        rig.room(n * 2 * h),
    );
    let arguments = AttentionBackwardQueries {
        of,
        grad: grad_at.start().into(),
        context: context.start().into(),
        log_sums: log_sums.start().into(),
        products: products.start().into(),
        dq: dq.start().into(),
    };
    rig.launch(query_blocks, arguments).expect("launched");
    let arguments = AttentionBackwardKeys {
        of,
        grad: grad_at.start().into(),
        log_sums: log_sums.start().into(),
        products: products.start().into(),
        dkv: dkv.start().into(),
    };
    rig.launch([rig.sent.tile_count, heads, 1], arguments)
        .expect("launched");

    let (mut q, mut kv) = (q, kv);
    rows::add_bias(&mut q, &q_bias);
    rows::add_bias(&mut kv, &kv_bias);
    let (mut wanted, mut wanted_q, mut wanted_kv) = (
        vec![0.0; queries * h],
        vec![0.0; queries * h],
        vec![0.0; n * 2 * h],
    );
    let mut scratch = Scratch::default();
    for (review, span) in rig
        .batch
        .cu_seqlens
        .windows(2)
        .map(|w| w[0] as usize..w[1] as usize)
        .enumerate()
    {
        let query_rows = if first {
            review * h..(review + 1) * h
        } else {
            span.start * h..span.end * h
        };
        let span = span.start * 2 * h..span.end * 2 * h;
        let stream = rng::stream(rig.keys[review], SITE);
        let dropout = drops.then_some((dropout, stream));
        let operands = Operands {
            q: &q[query_rows.clone()],
            kv: &kv[span.clone()],
            heads,
            head_size: h / heads,
            dropout,
        };
        attention::forward(operands, &mut wanted[query_rows.clone()], &mut scratch);
        attention::backward(
            operands,
            &grad[query_rows.clone()],
            &mut wanted_q[query_rows],
            &mut wanted_kv[span],
            &mut scratch,
        );
    }
    let what = |part: &str| format!("{part}, first {first}, drops {drops}");
    rig.check(&what("context"), &rig.read_stored(&context), &wanted);
    // grad · context uses the stored, rounded context. Its difference from dp is small, so the
    // relative error is larger.
    let bound = if rig.precision == Precision::F32 {
        1e-5
    } else {
        3e-2
    };
    assert_close(&what("dq"), &rig.read_stored(&dq), &wanted_q, 0.0, bound);
    assert_close(&what("dkv"), &rig.read_stored(&dkv), &wanted_kv, 0.0, bound);
}

#[test]
fn the_heads_gradient_is_that_of_finite_differences() {
    each(|rig| {
        let (h, reviews) = (rig.width(), rig.batch.reviews());
        let (x, _) = rig.stored(1, reviews * h);
        let [bias, classifier_bias] = [rng::normals(2, h, 0.5), rng::normals(3, LABELS, 0.5)];
        let classifier = rng::normals(4, LABELS * h, 0.3);
        let targets: Vec<f32> = (0..LABELS * LABELS)
            .map(|i| 0.02 + 0.1 * (rng::bits(5, i as u64) % 8) as f32)
            .collect();
        let [bias_at, classifier_bias_at, classifier_at, targets_at] =
            [&bias, &classifier_bias, &classifier, &targets].map(|x| rig.wide(x));
        let (_, threshold, drop_scale) = Rig::drops();
        let run = |x: &[f32]| {
            let x_at = rig.room(x.len());
            let bytes: Vec<u8> = match rig.precision {
                Precision::F32 => x.iter().flat_map(|x| x.to_le_bytes()).collect(),
                Precision::Bf16 => x
                    .iter()
                    .flat_map(|x| ((x.to_bits() >> 16) as u16).to_le_bytes())
                    .collect(),
            };
            x_at.write(0, &bytes).expect("written");
            let [logits, d_logits] = [(); 2].map(|()| rig.wide_room(reviews * LABELS));
            let (losses, pooled) = (rig.wide_room(reviews), rig.wide_room(reviews * h));
            let arguments = Classify {
                x: x_at.start().into(),
                bias: bias_at.start().into(),
                classifier: classifier_at.start().into(),
                classifier_bias: classifier_bias_at.start().into(),
                logits: logits.start().into(),
                keys: rig.sent.keys.into(),
                labels: rig.sent.training.expect("a training").labels.into(),
                targets: targets_at.start().into(),
                losses: losses.start().into(),
                d_logits: d_logits.start().into(),
                pooled: pooled.start().into(),
                site: SITE,
                rows: reviews as u32,
                threshold,
                drop_scale,
            };
            rig.launch([reviews.div_ceil(4), 1, 1], arguments)
                .expect("launched");
            let losses = Rig::read(&losses);
            (losses, rig.read_stored(&x_at), pooled, d_logits)
        };
        let (losses, d_x, pooled, d_logits) = run(&x);
        // Vary one element of each review at a time. The reviews do not affect each other.
        for column in [0, h / 2, h - 1] {
            let step = 1.0 / 32.0;
            let moved = |by: f32| {
                let mut moved = x.clone();
                moved.chunks_exact_mut(h).for_each(|row| row[column] += by);
                if rig.precision == Precision::Bf16 {
                    moved
                        .iter_mut()
                        .for_each(|x| *x = f32::from_bits(x.to_bits() & 0xffff_0000));
                }
                moved
            };
            let (up, down) = (moved(step), moved(-step));
            let ((higher, ..), (lower, ..)) = (run(&up), run(&down));
            for review in 0..reviews {
                let at = review * h + column;
                let between = (x[at] + bias[column]).abs() > 0.05;
                let wanted = (higher[review] - lower[review]) / (up[at] - down[at]);
                // Finite differences are wrong for a step across the kink of ReLU.
                assert!(
                    !between || (d_x[at] - wanted).abs() < 3e-3 + 2e-2 * wanted.abs(),
                    "review {review}, column {column}: {} {wanted}",
                    d_x[at]
                );
            }
        }
        assert!(losses.iter().all(|loss| loss.is_finite() && *loss > 0.0));

        let (gradient, parts) = (rig.wide_room(LABELS * h), rig.wide(&[0.0; LABELS + 1]));
        let arguments = |add: u32| ClassifierGradient {
            pooled: pooled.start().into(),
            d_logits: d_logits.start().into(),
            gradient: gradient.start().into(),
            parts: parts.start().into(),
            bias_at: 1,
            rows: reviews as u32,
            add,
        };
        rig.launch([h.div_ceil(COLUMNS as usize), 1, 1], arguments(0))
            .expect("launched");
        rig.launch([h.div_ceil(COLUMNS as usize), 1, 1], arguments(1))
            .expect("launched");
        let (pooled, d_logits) = (Rig::read(&pooled), Rig::read(&d_logits));
        let (mut wanted, mut biases) = (vec![0.0; LABELS * h], vec![0.0; LABELS]);
        for (x, d) in pooled.chunks_exact(h).zip(d_logits.chunks_exact(LABELS)) {
            rows::add(&mut biases, d);
            for (row, d) in wanted.chunks_exact_mut(h).zip(d) {
                row.iter_mut().zip(x).for_each(|(w, x)| *w += 2.0 * d * x);
            }
        }
        rig.check_sums("classifier", &Rig::read(&gradient), &wanted);
        rig.check_sums("classifier's bias", &Rig::read(&parts)[1..], &biases);
    });
}

#[test]
fn embeddings_gradients_are_sums_over_the_tokens_that_looked_there() {
    each(|rig| {
        let (h, n) = (rig.width(), rig.tokens());
        let dx = rng::normals(1, n * h, 1.0);
        let before = rng::normals(2, 50 * h, 1.0);
        let (dx_at, words, positions) = (
            rig.wide(&dx),
            rig.wide(&before),
            rig.wide(&before[..20 * h]),
        );
        let marks: Buffer<u32> = Buffer::zeroed(&rig.device, 50).expect("memory");
        let training = rig.sent.training.expect("a training");
        let arguments = WordGradient {
            dx: dx_at.start().into(),
            order: training.word_order.into(),
            starts: training.word_starts.into(),
            ids: training.word_ids.into(),
            gradient: words.start().into(),
            marks: marks.start().into(),
            mark: 3,
        };
        rig.launch([training.words, h.div_ceil(COLUMNS as usize), 1], arguments)
            .expect("launched");
        // Rows that do not occur keep their earlier values. The row of the id that occurred earlier
        // in the step accumulates onto its earlier value.
        let mut wanted = before.clone();
        let mut seen = HashSet::from([rig.batch.token_ids[0]]);
        let mut wanted_marks = vec![0; 50];
        for (id, row) in rig.batch.token_ids.iter().zip(dx.chunks_exact(h)) {
            let at = *id as usize * h;
            if seen.insert(*id) {
                wanted[at..at + h].fill(0.0);
            }
            rows::add(&mut wanted[at..at + h], row);
            wanted_marks[*id as usize] = 3;
        }
        rig.check_sums("words", &Rig::read(&words), &wanted);
        let mut found_marks = vec![0; 50];
        marks.read(0, &mut found_marks).expect("read");
        assert_eq!(found_marks, wanted_marks);

        let positions_wanted = 20;
        let arguments = PositionGradient {
            dx: dx_at.start().into(),
            starts: rig.sent.starts.into(),
            gradient: positions.start().into(),
            reviews: rig.batch.reviews() as u32,
        };
        rig.launch(
            [positions_wanted, h.div_ceil(COLUMNS as usize), 1],
            arguments,
        )
        .expect("launched");
        let mut wanted = before[..positions_wanted * h].to_vec();
        for (at, row) in rig
            .batch
            .positions()
            .iter()
            .zip(dx.chunks_exact(h))
            .filter(|(at, _)| (**at as usize) < positions_wanted)
        {
            rows::add(&mut wanted[*at as usize * h..][..h], row);
        }
        rig.check_sums("positions", &Rig::read(&positions), &wanted);
    });
}

#[test]
fn numbers_are_rounded_to_the_nearest_bf16() {
    let rig = Rig::new(&distilbert(32, 4, 64), Precision::Bf16);
    let mut values = rng::normals(1, 5000, 1e3);
    values.extend([
        0.0,
        -0.0,
        1.0,
        1.003_906_3,
        1.011_718_8,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        1e-40,
    ]);
    let values_at = rig.wide(&values);
    let halves: Buffer<u16> = Buffer::new(&rig.device, values.len()).expect("memory");
    let arguments = RoundMatrices {
        values: values_at.start().into(),
        halves: halves.start().into(),
        count: values.len() as u32,
    };
    rig.launch([3, 1, 1], arguments).expect("launched");
    let mut found = vec![0; values.len()];
    halves.read(0, &mut found).expect("read");
    for (x, bits) in values.iter().zip(found) {
        // The nearer of the two neighbours; of two equally near ones, the even one.
        let cut = x.to_bits() >> 16;
        let [low, high] = [cut, cut + 1].map(|bits| f64::from(f32::from_bits(bits << 16)));
        let away = |to: f64| (f64::from(*x) - to).abs();
        let up =
            high.is_finite() && (away(high) < away(low) || away(high) == away(low) && cut % 2 == 1);
        // Above the largest finite number comes infinity, at the distance where the next number
        // would be.
        let up = up || *x == f32::MAX;
        assert_eq!(u32::from(bits), cut + u32::from(up), "{x}");
    }
}
