//! Kernels on fixed inputs, for the benchmarks in `trainer/benches`. Each function allocates its
//! inputs and returns a closure that runs the kernel once. What a kernel changes in place is copied
//! anew for each run, so that its values neither vanish nor grow.

use crate::config::Activation;
use crate::kernels::activation;
use crate::kernels::aligned::Aligned;
use crate::kernels::attention::{self, Operands, Scratch};
use crate::kernels::dropout::Dropout;
use crate::kernels::norm::{self, Norm};
use crate::rng;

/// `n` normal numbers on cache lines, as the engines hold them.
fn aligned(key: u64, n: usize) -> Aligned<f32> {
    let mut x = Aligned::zeros(n);
    x.copy_from_slice(&rng::normals(key, n, 1.0));
    x
}

/// Attention of one review of `tokens` tokens, forward.
pub fn attention_forward(tokens: usize, heads: usize, size: usize) -> impl FnMut() {
    let width = heads * size;
    let (q, kv) = (aligned(1, tokens * width), aligned(2, tokens * 2 * width));
    let (mut out, mut scratch) = (aligned(3, tokens * width), Scratch::default());
    move || {
        let operands = Operands {
            q: &q,
            kv: &kv,
            heads,
            head_size: size,
            dropout: None,
        };
        attention::forward(operands, &mut out, &mut scratch);
    }
}

/// Attention of one review of `tokens` tokens with dropout, backward.
pub fn attention_backward(tokens: usize, heads: usize, size: usize) -> impl FnMut() {
    let width = heads * size;
    let (q, kv) = (aligned(1, tokens * width), aligned(2, tokens * 2 * width));
    let (grad, mut dq) = (aligned(3, tokens * width), aligned(4, tokens * width));
    let (mut dkv, mut scratch) = (aligned(5, tokens * 2 * width), Scratch::default());
    let dropout = Dropout::new(0.1).map(|dropout| (dropout, 6));
    move || {
        let operands = Operands {
            q: &q,
            kv: &kv,
            heads,
            head_size: size,
            dropout,
        };
        attention::backward(operands, &grad, &mut dq, &mut dkv, &mut scratch);
    }
}

/// LayerNorm of (rows, width), forward.
pub fn norm_forward(rows: usize, width: usize) -> impl FnMut() {
    let (x, scale, bias) = (
        aligned(1, rows * width),
        aligned(2, width),
        aligned(3, width),
    );
    let (mut y, mut moments) = (aligned(4, rows * width), vec![[0.0; 2]; rows]);
    move || {
        let norm = Norm {
            scale: &scale,
            bias: &bias,
            eps: 1e-12,
        };
        norm::forward(norm, &x, &mut y, &mut moments);
    }
}

/// LayerNorm of (rows, width), backward.
pub fn norm_backward(rows: usize, width: usize) -> impl FnMut() {
    let (x, scale, moments) = (
        aligned(1, rows * width),
        aligned(2, width),
        vec![[0.0, 1.0]; rows],
    );
    let grad = aligned(7, rows * width);
    let (mut dy, mut d_scale, mut d_bias) = (
        aligned(4, rows * width),
        aligned(5, width),
        aligned(6, width),
    );
    move || {
        dy.copy_from_slice(&grad);
        norm::backward(&scale, &x, &moments, &mut dy, &mut d_scale, &mut d_bias);
    }
}

/// GELU of `n` numbers, forward.
pub fn gelu_forward(n: usize) -> impl FnMut() {
    let (x, mut y) = (aligned(1, n), aligned(2, n));
    move || activation::forward(Activation::Gelu, &x, &mut y)
}

/// GELU of `n` numbers, backward.
pub fn gelu_backward(n: usize) -> impl FnMut() {
    let (x, grad) = (aligned(1, n), aligned(2, n));
    let (mut dy, mut y) = (aligned(3, n), aligned(4, n));
    move || {
        dy.copy_from_slice(&grad);
        activation::backward(Activation::Gelu, &x, &mut dy, &mut y);
    }
}

/// Dropout of a row of `n` numbers.
pub fn dropout(n: usize) -> Option<impl FnMut()> {
    let (values, mut x, dropout) = (aligned(1, n), aligned(2, n), Dropout::new(0.1)?);
    Some(move || {
        x.copy_from_slice(&values);
        dropout.apply(&mut x, 7);
    })
}
