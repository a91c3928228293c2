//! AdamW's update of a weight (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR
//! 2019), as PyTorch computes it.

use rayon::prelude::*;

/// Decay rate of the first moment.
pub const BETA1: f32 = 0.9;
/// Decay rate of the second moment.
pub const BETA2: f32 = 0.999;
const EPS: f32 = 1e-8;

/// The factors of one update, for the weights of one parameter group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Update {
    /// The factor by which the gradient is multiplied to clip its norm.
    pub clip: f32,
    /// 1 - learning rate * weight decay
    pub shrink: f32,
    /// Learning rate / (1 - beta1^t)
    pub size: f32,
    /// sqrt(1 - beta2^t)
    pub root: f32,
}

/// p <- shrink p - size m / (sqrt(v) / root + eps), with m <- beta1 m + (1 - beta1) g and v <-
/// beta2 v + (1 - beta2) g²
#[inline(always)]
fn step(update: &Update, p: &mut f32, g: f32, m: &mut f32, v: &mut f32) {
    let g = g * update.clip;
    *m = BETA1 * *m + (1.0 - BETA1) * g;
    *v = BETA2 * *v + (1.0 - BETA2) * (g * g);
    *p = *p * update.shrink - update.size * *m / (v.sqrt() / update.root + EPS);
}

multiversion! {
    /// Updates the weights p and their moments m and v with their gradients g. All slices have the
    /// same length.
    pub fn apply(update: &Update, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            step(update, p, *g, m, v);
        }
    }
}

/// Elements per parallel task when squares are summed.
const TASK: usize = 64 * 1024;

/// The sum of squares of each part, in f64, in an order that does not depend on the number of
/// cores. All parts are summed in one parallel call, because one call per part would take longer
/// than the sums.
pub fn sums_of_squares(parts: &[&[f32]]) -> Vec<f64> {
    let sum = |(part, task): (usize, &[f32])| {
        let mut lanes = [[0.0; LANES]; STREAMS];
        add_squares(task, &mut lanes);
        (part, lanes.as_flattened().iter().sum::<f64>())
    };
    let tasks: Vec<(usize, &[f32])> = parts
        .iter()
        .enumerate()
        .flat_map(|(i, part)| part.chunks(TASK).map(move |task| (i, task)))
        .collect();
    let mut sums = vec![0.0; parts.len()];
    for (part, squares) in tasks.into_par_iter().map(sum).collect::<Vec<_>>() {
        sums[part] += squares;
    }
    sums
}

/// Independent partial sums, so that additions do not wait for each other.
const LANES: usize = 16;
/// Streams that are read at the same time, because memory serves several streams faster than one.
const STREAMS: usize = 4;

multiversion! {
    fn add_squares(x: &[f32], lanes: &mut [[f64; LANES]; STREAMS]) {
        let (blocks, rest) = x.as_chunks::<LANES>();
        let (streams, more) = blocks.split_at(blocks.len() / STREAMS * STREAMS);
        let add = |lanes: &mut [f64; LANES], x: &[f32]| lanes.iter_mut().zip(x).for_each(|(lane, x)| *lane += f64::from(*x) * f64::from(*x));
        let length = streams.len() / STREAMS;
        for i in 0..length {
            for (stream, lanes) in lanes.iter_mut().enumerate() {
                add(lanes, &streams[stream * length + i]);
            }
        }
        more.iter().for_each(|block| add(&mut lanes[0], block));
        add(&mut lanes[0], rest);
    }
}

/// Elements to which all updates are applied before the next elements are read.
const BLOCK: usize = 32;

multiversion! {
    /// Applies several updates in a row to weights that had no gradient in them. The result equals
    /// [`apply`] with zero gradients bit for bit, but memory is read and written only once.
    pub fn apply_without_gradient(updates: &[Update], p: &mut [f32], m: &mut [f32], v: &mut [f32]) {
        for ((p, m), v) in p.chunks_mut(BLOCK).zip(m.chunks_mut(BLOCK)).zip(v.chunks_mut(BLOCK)) {
            for update in updates {
                for ((p, m), v) in p.iter_mut().zip(m.iter_mut()).zip(v.iter_mut()) {
                    step(update, p, 0.0, m, v);
                }
            }
        }
    }
}

multiversion! {
    /// Like [`apply_without_gradient`], for weights that never had a gradient, so that their
    /// moments are zero.
    pub fn apply_decay(updates: &[Update], p: &mut [f32]) {
        for p in p.chunks_mut(BLOCK) {
            for update in updates {
                p.iter_mut().for_each(|p| *p *= update.shrink);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn every_square_is_summed() {
        let parts: Vec<Vec<f32>> = [0, 1, 15, 16, 17, 100, TASK, TASK + 33]
            .iter()
            .map(|n| (0..*n).map(|i| (i % 7) as f32).collect())
            .collect();
        let wanted: Vec<f64> = parts
            .iter()
            .map(|x| (0..x.len()).map(|i| (i % 7) * (i % 7)).sum::<usize>() as f64)
            .collect();
        assert_eq!(
            sums_of_squares(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>()),
            wanted
        );
    }

    #[test]
    fn idle_weights_end_where_updates_by_zero_take_them() {
        let updates: Vec<Update> = (1..=20)
            .map(|t| Update {
                clip: 0.7,
                shrink: 1.0 - 1e-5 * t as f32,
                size: 1e-3 * t as f32,
                root: (1.0 - BETA2.powi(t)).sqrt(),
            })
            .collect();
        for n in [1, 32, 71] {
            let (p, g) = (rng::normals(1, n, 1.0), rng::normals(2, n, 1.0));
            for moved in [false, true] {
                let (mut one, mut m, mut v) = (p.clone(), vec![0.0; n], vec![0.0; n]);
                if moved {
                    apply(&updates[0], &mut one, &g, &mut m, &mut v);
                }
                let (mut other, mut other_m, mut other_v) = (one.clone(), m.clone(), v.clone());
                updates
                    .iter()
                    .for_each(|update| apply(update, &mut one, &vec![0.0; n], &mut m, &mut v));
                match moved {
                    true => {
                        apply_without_gradient(&updates, &mut other, &mut other_m, &mut other_v);
                    }
                    false => apply_decay(&updates, &mut other),
                }
                assert_eq!((one, m, v), (other, other_m, other_v));
            }
        }
    }
}
