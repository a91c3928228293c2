//! numpy's `default_rng`: the same draws for the same seed, so that splits equal those of the
//! `datasets` library, row for row.
//!
//! PCG64 is O'Neill's PCG XSL RR 128/64 ("PCG: A Family of Simple Fast Space-Efficient
//! Statistically Good Algorithms for Random Number Generation", 2014). The seeding is numpy's
//! `SeedSequence` (after O'Neill's `seed_seq`). numpy bounds 32-bit draws in two ways:
//! `permutation` by masking and rejecting, `choice` by Lemire's multiplication ("Fast Random
//! Integer Generation in an Interval", 2019).

/// `numpy.random.default_rng(seed)`.
pub(super) struct Generator {
    state: u128,
    increment: u128,
    /// The upper half of the last 64-bit output, if only the lower half was used.
    half: Option<u32>,
}

const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;

impl Generator {
    pub(super) fn new(seed: u64) -> Generator {
        let words = seed_sequence(seed);
        let join = |high: u64, low: u64| (u128::from(high) << 64) | u128::from(low);
        let increment = (join(words[2], words[3]) << 1) | 1;
        let mut rng = Generator {
            state: 0,
            increment,
            half: None,
        };
        rng.step();
        rng.state = rng.state.wrapping_add(join(words[0], words[1]));
        rng.step();
        rng
    }

    fn step(&mut self) {
        self.state = self
            .state
            .wrapping_mul(MULTIPLIER)
            .wrapping_add(self.increment);
    }

    fn next_u64(&mut self) -> u64 {
        self.step();
        let folded = (self.state >> 64) as u64 ^ self.state as u64;
        folded.rotate_right((self.state >> 122) as u32)
    }

    fn next_u32(&mut self) -> u32 {
        if let Some(half) = self.half.take() {
            return half;
        }
        let bits = self.next_u64();
        self.half = Some((bits >> 32) as u32);
        bits as u32
    }

    /// A number from 0 to `max`, both included, by masking and rejecting.
    fn interval(&mut self, max: u32) -> u32 {
        let mask = u32::MAX.checked_shr(max.leading_zeros()).unwrap_or(0);
        loop {
            let value = self.next_u32() & mask;
            if value <= max {
                return value;
            }
        }
    }

    /// A number from 0 to `max`, both included and below 2^32 - 1, by multiplication.
    fn bounded(&mut self, max: u32) -> u32 {
        if max == 0 {
            return 0;
        }
        let range = max + 1;
        let mut product = u64::from(self.next_u32()) * u64::from(range);
        let mut low = product as u32;
        if low < range {
            let threshold = (u32::MAX - max) % range;
            while low < threshold {
                product = u64::from(self.next_u32()) * u64::from(range);
                low = product as u32;
            }
        }
        (product >> 32) as u32
    }

    /// `shuffle`, in place, of fewer than 2^32 values.
    pub(super) fn shuffle(&mut self, values: &mut [usize]) {
        for i in (1..values.len()).rev() {
            values.swap(i, self.interval(i as u32) as usize);
        }
    }

    /// `permutation(n)`.
    pub(super) fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut values: Vec<usize> = (0..n).collect();
        self.shuffle(&mut values);
        values
    }

    /// `choice(values, size, replace=False)` for few values (above 10,000 numpy uses another
    /// method): Floyd's algorithm, then a shuffle.
    pub(super) fn choice(&mut self, values: &[usize], size: usize) -> Vec<usize> {
        let mut chosen: Vec<usize> = Vec::with_capacity(size);
        for j in values.len() - size..values.len() {
            let drawn = self.bounded(j as u32) as usize;
            chosen.push(if chosen.contains(&drawn) { j } else { drawn });
        }
        for i in (1..size).rev() {
            chosen.swap(i, self.bounded(i as u32) as usize);
        }
        chosen.into_iter().map(|i| values[i]).collect()
    }
}

/// Four 64-bit words of `SeedSequence(seed).generate_state(4, uint64)`.
fn seed_sequence(seed: u64) -> [u64; 4] {
    const POOL: usize = 4;
    const MIX_LEFT: u32 = 0xca01_f9dd;
    const MIX_RIGHT: u32 = 0x4973_f715;
    let mut constant = 0x43b0_d7e5_u32;
    let mut hash = |value: u32| {
        let value = (value ^ constant).wrapping_mul({
            constant = constant.wrapping_mul(0x931e_8875);
            constant
        });
        value ^ (value >> 16)
    };
    let mix = |x: u32, y: u32| {
        let value = x
            .wrapping_mul(MIX_LEFT)
            .wrapping_sub(y.wrapping_mul(MIX_RIGHT));
        value ^ (value >> 16)
    };
    let entropy = [seed as u32, (seed >> 32) as u32, 0, 0];
    let mut pool = entropy.map(&mut hash);
    for source in 0..POOL {
        for target in 0..POOL {
            if source != target {
                pool[target] = mix(pool[target], hash(pool[source]));
            }
        }
    }
    let mut constant = 0x8b51_f9dd_u32;
    let words: [u32; 8] = std::array::from_fn(|i| {
        let mut value = pool[i % POOL] ^ constant;
        constant = constant.wrapping_mul(0x58f3_8ded);
        value = value.wrapping_mul(constant);
        value ^ (value >> 16)
    });
    std::array::from_fn(|i| u64::from(words[2 * i]) | (u64::from(words[2 * i + 1]) << 32))
}
