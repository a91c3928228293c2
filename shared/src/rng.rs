//! Counter-based random numbers. A draw is a pure function of a key and a counter, so nothing is
//! stored, and a resumed run draws the same numbers. A review draws the same numbers anywhere in a
//! batch.
//!
//! The mixing function is SplitMix64's (Steele, Lea, Flood: "Fast splittable pseudorandom number
//! generators", OOPSLA 2014).

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The `counter`-th 64 random bits of the stream `key`.
#[inline(always)]
pub fn bits(key: u64, counter: u64) -> u64 {
    let mut z = key.wrapping_add(counter.wrapping_add(1).wrapping_mul(GOLDEN));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The key of a separate stream, derived from `key` and `name`.
#[inline(always)]
pub fn stream(key: u64, name: u64) -> u64 {
    bits(bits(key, name), name)
}

/// `n` draws of N(0, `std`²) from the stream `key`, by Box and Muller's transform.
pub fn normals(key: u64, n: usize, std: f32) -> Vec<f32> {
    let unit = |c: u64| (bits(key, c) >> 11) as f64 / (1u64 << 53) as f64;
    (0..n as u64)
        .map(|i| {
            let radius = (-2.0 * libm::log(1.0 - unit(2 * i))).sqrt();
            let angle = std::f64::consts::TAU * unit(2 * i + 1);
            (radius * libm::cos(angle)) as f32 * std
        })
        .collect()
}

/// A random order of `0..n` from the stream `key` (Fisher and Yates).
pub fn permutation(key: u64, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        // The high half of a 64 x 64 bit product is uniform to within 2^-64 x n: no rejection is
        // needed at any size that fits memory.
        let j = ((u128::from(bits(key, i as u64)) * (i as u128 + 1)) >> 64) as usize;
        order.swap(i, j);
    }
    order
}

/// The dropout keys for the reviews of a training step. `rows` are the reviews' indices in the data
/// set, so that each review draws the same numbers however the step is packed.
pub fn dropout_keys(
    seed: u64,
    step: u64,
    rows: impl Iterator<Item = usize>,
) -> std::sync::Arc<[u64]> {
    let step = stream(seed, step);
    rows.map(|row| stream(step, row as u64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix_matches_its_published_sequence() {
        // The reference implementation's first outputs for the seed 1234567.
        let want = [
            6457827717110365317,
            3203168211198807973,
            9817491932198370423,
        ];
        assert_eq!([bits(1234567, 0), bits(1234567, 1), bits(1234567, 2)], want);
    }

    #[test]
    fn normals_have_their_moments() {
        let x = normals(7, 100_000, 0.02);
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        let var = x.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / x.len() as f32;
        assert!(
            mean.abs() < 2e-4 && (var.sqrt() - 0.02).abs() < 2e-4,
            "{mean} {var}"
        );
    }

    #[test]
    fn a_permutation_holds_each_index_once() {
        let mut order = permutation(3, 1000);
        assert_ne!(order, (0..1000).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<_>>());
    }
}
