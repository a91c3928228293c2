//! A small random number generator, splitmix64, the same on every machine.

/// The state of the generator.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`, by the high half of a 128-bit product.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        ((self.next() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    /// One of the items, all equally likely.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// One of the items by weight; the weights add up to 100.
    pub fn weighted<T: Copy>(&mut self, items: &[(T, u32)]) -> T {
        debug_assert_eq!(items.iter().map(|(_, weight)| weight).sum::<u32>(), 100);
        let mut rest = self.below(100) as u32;
        for &(item, weight) in items {
            if rest < weight {
                return item;
            }
            rest -= weight;
        }
        items[items.len() - 1].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_splitmix64s() {
        // The first outputs of the reference implementation for the seed 1234567.
        let mut random = Random::new(1_234_567);
        assert_eq!(
            [random.next(), random.next()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]
        );
    }

    #[test]
    fn weights_are_kept() {
        let mut random = Random::new(0);
        let drawn = (0..10_000)
            .filter(|_| random.weighted(&[('a', 25), ('b', 75)]) == 'a')
            .count();
        assert!((2300..2700).contains(&drawn), "{drawn}");
    }
}
