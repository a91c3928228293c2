//! The integer product: activations of 7 bits with sign times weights of 7 bits without, added up in 32 bits. Every kernel gives the same integers.
//!
//! Weights come in panels of 16 outputs, (inputs / 4, 16, 4): four inputs of one output side by side, as the dot products of all instruction sets want them. With an
//! activation in -64..=63 and a weight in 0..=127, what the instructions leave to the processor never shows: WebAssembly's relaxed dot product is exact, AVX2's
//! `maddubs` does not saturate, and the sums of two of its pairs still fit in 16 bits (2 * 2 * 64 * 127 = 32,512), so that half of the additions are made there.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
mod relaxed;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::rng;

/// Outputs of a panel.
pub const PANEL: usize = 16;

/// The number of inputs is a multiple of this: rows are filled up with zeros.
pub const STEP: usize = 8;

/// Bytes of a panel for four inputs.
const QUAD: usize = 4 * PANEL;

/// The sums of a row over a panel.
pub type Sums = [i32; PANEL];

/// One way to compute the product.
#[derive(Clone, Copy)]
pub struct Kernel {
    name: &'static str,
    /// Called with x (rows, inputs), a panel for as many inputs, and room for the sums of each row.
    panel: unsafe fn(&[i8], &[u8], &mut [Sums]),
}

impl Kernel {
    /// What plain Rust computes: the reference.
    pub const PORTABLE: Kernel = Kernel { name: "portable", panel: portable };

    /// Those that this processor can run, likely the fastest first, the reference last.
    pub fn available() -> Vec<Kernel> {
        let mut kernels = Kernel::fast();
        kernels.push(Kernel::PORTABLE);
        kernels
    }

    #[cfg(target_arch = "x86_64")]
    fn fast() -> Vec<Kernel> {
        let vnni = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni");
        let kernels = [
            (vnni, Kernel { name: "AVX-512 VNNI", panel: avx512::panel }),
            (is_x86_feature_detected!("avx2"), Kernel { name: "AVX2", panel: avx2::panel }),
        ];
        kernels.into_iter().filter_map(|(runs, kernel)| runs.then_some(kernel)).collect()
    }

    #[cfg(target_arch = "wasm32")]
    fn fast() -> Vec<Kernel> {
        let kernels: &[Kernel] = &[
            #[cfg(feature = "relaxed-simd")]
            Kernel { name: "relaxed SIMD", panel: relaxed::quads },
            #[cfg(feature = "relaxed-simd")]
            Kernel { name: "relaxed SIMD in pairs", panel: relaxed::pairs },
            #[cfg(target_feature = "simd128")]
            Kernel { name: "SIMD", panel: simd128::panel },
        ];
        kernels.to_vec()
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "wasm32")))]
    fn fast() -> Vec<Kernel> {
        Vec::new()
    }

    /// The first of them.
    pub fn best() -> Kernel {
        Kernel::available()[0]
    }

    /// Whether it gives the sums of the reference: over odd shapes, with random operands and with the largest magnitudes of both signs, where a sum in 16 bits would overflow first.
    pub fn agrees(self) -> bool {
        [(1, 8), (2, 16), (3, 24), (4, 40), (7, 384), (13, 1536)].into_iter().all(|(rows, inputs)| {
            let bits = |i: usize| rng::bits(inputs as u64, i as u64);
            let x: Vec<i8> = (0..rows * inputs).map(|i| (bits(i) % 128) as i8 - 64).collect();
            let panel: Vec<u8> = (0..inputs * PANEL).map(|i| (bits(i) >> 32) as u8 & 127).collect();
            let (low, high) = (vec![-64; x.len()], vec![127; panel.len()]);
            [(&x, &panel), (&low, &high), (&low, &panel), (&x, &high)].into_iter().all(|(x, panel)| {
                let (mut wanted, mut found) = (vec![[0; PANEL]; rows], vec![[-1; PANEL]; rows]);
                Kernel::PORTABLE.run(x, panel, &mut wanted);
                self.run(x, panel, &mut found);
                found == wanted
            })
        })
    }

    /// What to call it.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// `sums` (rows, 16) = x (rows, inputs) times a panel, each row with each output.
    ///
    /// # Panics
    /// When the lengths do not belong together: the engine's own fault.
    pub fn run(self, x: &[i8], panel: &[u8], sums: &mut [Sums]) {
        let inputs = panel.len() / PANEL;
        assert!(panel.len() == inputs * PANEL && inputs.is_multiple_of(STEP) && x.len() == inputs * sums.len(), "operands of an integer product");
        // SAFETY: the lengths are those that a kernel counts on, and `available` gives away only kernels that the processor can run.
        unsafe { (self.panel)(x, panel, sums) }
    }
}

/// Which kernel an engine computes with. Clones share it: whoever keeps one may choose anew while the engine works, for every kernel gives the same bits.
#[derive(Debug, Clone)]
pub struct Choice(Arc<AtomicUsize>);

impl Choice {
    /// The kernel in use.
    pub fn kernel(&self) -> Kernel {
        Kernel::available().get(self.0.load(Ordering::Relaxed)).copied().unwrap_or(Kernel::PORTABLE)
    }

    /// Chooses the fastest one, as `now` (milliseconds) measures it: on the web one cannot ask for the processor.
    pub fn measure(&self, now: impl Fn() -> f64) {
        /// A browser compiles code better after it has run for a while, and does so behind its back: kernels take turns.
        const ROUNDS: usize = 6;
        /// Long enough for a browser's coarse clock.
        const MILLISECONDS: f64 = 1.5;
        let (x, panel, mut sums) = ([1; 16 * 384], [1; 384 * PANEL], [[0; PANEL]; 16]);
        let mut speeds: Vec<(f64, Kernel)> = Kernel::available().into_iter().map(|kernel| (0.0, kernel)).collect();
        // The reference is for processors that can run nothing else.
        speeds.truncate(speeds.len().max(2) - 1);
        if speeds.len() > 1 {
            for _ in 0..ROUNDS {
                for (best, kernel) in &mut speeds {
                    let start = now();
                    let mut runs = 0.0;
                    let elapsed = loop {
                        kernel.run(&x, &panel, &mut sums);
                        runs += 1.0;
                        let elapsed = now() - start;
                        if elapsed >= MILLISECONDS || runs >= 2e3 {
                            break elapsed;
                        }
                    };
                    // On a clock too coarse to see it, nothing was measured.
                    if elapsed > 0.0 {
                        *best = best.max(runs / elapsed);
                    }
                }
            }
        }
        // The first of equals, which is likely the fastest.
        let fastest = speeds.iter().enumerate().rev().max_by(|(_, a), (_, b)| a.0.total_cmp(&b.0)).map_or(0, |(place, _)| place);
        self.0.store(fastest, Ordering::Relaxed);
    }
}

impl From<Kernel> for Choice {
    fn from(kernel: Kernel) -> Choice {
        let place = Kernel::available().iter().position(|other| other.name == kernel.name);
        Choice(Arc::new(AtomicUsize::new(place.unwrap_or_default())))
    }
}

/// The product as it is defined.
fn portable(x: &[i8], panel: &[u8], sums: &mut [Sums]) {
    for (row, sums) in x.chunks_exact(panel.len() / PANEL).zip(sums) {
        *sums = [0; PANEL];
        for (x, quad) in row.chunks_exact(4).zip(panel.chunks_exact(QUAD)) {
            for (sum, w) in sums.iter_mut().zip(quad.chunks_exact(4)) {
                *sum += x.iter().zip(w).map(|(x, w)| i32::from(*x) * i32::from(*w)).sum::<i32>();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_gives_the_sums_of_the_reference() {
        for kernel in Kernel::available() {
            assert!(kernel.agrees(), "{}", kernel.name());
        }
        let drops_a_bit = |x: &[i8], panel: &[u8], sums: &mut [Sums]| portable(x, &panel.iter().map(|w| w & 63).collect::<Vec<_>>(), sums);
        assert!(!Kernel { name: "wrong", panel: drops_a_bit }.agrees());
    }

    #[test]
    fn a_choice_is_shared_and_made_by_the_clock() {
        let choice = Choice::from(Kernel::PORTABLE);
        assert_eq!(choice.clone().kernel().name(), "portable");
        let engines = choice.clone();
        // A clock on which every run takes a millisecond: what is measured first stays.
        let time = std::cell::Cell::new(0.0);
        choice.measure(|| {
            time.set(time.get() + 1.0);
            time.get()
        });
        assert_eq!(engines.kernel().name(), Kernel::best().name(), "the reference is only for processors that can run nothing else");
        // One that stands still measures nothing.
        let choice = Choice::from(Kernel::PORTABLE);
        choice.measure(|| 0.0);
        assert_eq!(choice.kernel().name(), Kernel::best().name());
    }

    #[test]
    fn the_reference_is_the_sum_of_products() {
        let x: Vec<i8> = (0..16).map(|i| i - 8).collect();
        let panel: Vec<u8> = (0..16 * 8).collect();
        let mut sums = [[0; PANEL]; 2];
        Kernel::PORTABLE.run(&x, &panel, &mut sums);
        for (row, sums) in sums.iter().enumerate() {
            for (output, sum) in sums.iter().enumerate() {
                let wanted: i32 = (0..8).map(|k| i32::from(x[8 * row + k]) * i32::from(panel[k / 4 * QUAD + 4 * output + k % 4])).sum();
                assert_eq!(*sum, wanted);
            }
        }
    }
}
