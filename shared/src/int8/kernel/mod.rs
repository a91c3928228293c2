//! The integer product: activations times weights, both of 7 bits with sign, added up in 32 bits. Every kernel gives the same integers.
//!
//! Weights come in panels of 16 outputs, (inputs / 4, 16, 4): four inputs of one output side by side, as the dot products of all instruction sets want them. Activations come
//! with 64 added, from 0 to 127, for one operand must have no sign; what that adds to the sums they begin with, see [`Start`]. With these operands what the instructions
//! leave to the processor never shows: WebAssembly's relaxed dot product is exact, and AVX2's `maddubs` does not saturate.
//!
//! Both add the products of two neighbours in 16 bits. To widen these sums takes as long as to form them, so they are added up there as far as they fit: three times at
//! least, but weights are mostly small, and of a trained encoder a dozen times.

/// Defines a kernel, the function of a [`Int8Kernel`], of a tile that computes the sums of R rows: so many at a time, their sums in registers, and what is left one by one. Not by calls of a
/// pointer, which take a tenth of the time.
#[cfg(any(target_arch = "x86_64", target_arch = "wasm32"))]
macro_rules! in_tiles {
    ($(#[$attribute:meta])* $name:ident: $tile:ident of $rows:expr) => {
        $(#[$attribute])*
        pub(super) unsafe fn $name(x: &[u8], panel: $crate::int8::kernel::Panel<'_>, sums: &mut [$crate::int8::kernel::Sums]) {
            let inputs = panel.inputs();
            let (whole, rest) = sums.split_at_mut(sums.len() / $rows * $rows);
            let (tiled, single) = x.split_at(whole.len() * inputs);
            for (x, sums) in tiled.chunks_exact($rows * inputs).zip(whole.chunks_exact_mut($rows)) {
                // SAFETY: a tile counts on what the kernel does, and on its number of rows.
                unsafe { $tile::<{ $rows }>(x, panel, sums) };
            }
            for (x, sums) in single.chunks_exact(inputs).zip(rest.chunks_exact_mut(1)) {
                // SAFETY: as above.
                unsafe { $tile::<1>(x, panel, sums) };
            }
        }
    };
}

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

/// What is added to activations.
pub const HALF: i32 = 64;

/// The sums of a row over a panel.
pub type Sums = [i32; PANEL];

/// The weights of 16 outputs.
#[derive(Clone, Copy)]
pub struct Panel<'a> {
    /// (inputs / 4, 16, 4), each byte a number with sign.
    pub weights: &'a [u8],
    pub start: &'a Start,
}

impl Panel<'_> {
    fn inputs(self) -> usize {
        self.weights.len() / PANEL
    }
}

/// What the sums over a panel begin with: minus 64 times the weights that they are of.
pub struct Start {
    /// Sums in 32 bits.
    whole: Sums,
    /// Sums in 16 bits.
    runs: Vec<Run>,
}

/// So many quads, four inputs of all outputs, that their products add up in 16 bits, whatever the activations are.
struct Run {
    quads: usize,
    /// A sum takes two neighbours of an output from every quad.
    #[allow(dead_code, reason = "not every instruction set adds up in 16 bits")]
    start: [i16; QUAD / 2],
}

impl Start {
    /// For a panel's weights.
    pub fn of(weights: &[u8]) -> Start {
        /// What magnitudes may add up to.
        const MOST: i16 = i16::MAX / HALF as i16;
        let (mut whole, mut runs) = ([0; PANEL], Vec::new());
        let (mut quads, mut sums, mut magnitudes) = (0, [0; QUAD / 2], [0; QUAD / 2]);
        let mut end = |quads, sums: [i16; QUAD / 2]| {
            let start = sums.map(|sum| -(HALF as i16) * sum);
            start
                .iter()
                .enumerate()
                .for_each(|(i, start)| whole[i / 2] += i32::from(*start));
            runs.push(Run { quads, start });
        };
        for quad in weights.as_chunks::<QUAD>().0 {
            let mut together = added(magnitudes, quad, |w| i16::from(w).abs());
            if together.iter().any(|magnitude| *magnitude > MOST) {
                end(quads, sums);
                (quads, sums) = (0, [0; QUAD / 2]);
                together = added(sums, quad, |w| i16::from(w).abs());
            }
            (quads, sums, magnitudes) = (quads + 1, added(sums, quad, i16::from), together);
        }
        end(quads, sums);
        Start { whole, runs }
    }
}

/// Sums with what `f` makes of the weights of a quad, neighbours of an output together.
#[inline(always)]
fn added(mut sums: [i16; QUAD / 2], quad: &[u8; QUAD], f: impl Fn(i8) -> i16) -> [i16; QUAD / 2] {
    for (sum, [a, b]) in sums.iter_mut().zip(quad.as_chunks::<2>().0) {
        *sum += f(*a as i8) + f(*b as i8);
    }
    sums
}

/// One way to compute the product.
#[derive(Clone, Copy)]
pub struct Int8Kernel {
    name: &'static str,
    /// Called with x (rows, inputs), a panel for as many inputs, a multiple of [`STEP`], whose runs are as long as its weights, and room for the sums of each row. Unsafe, for it
    /// counts on that, and on the instructions that it is made of.
    panel: unsafe fn(&[u8], Panel<'_>, &mut [Sums]),
}

impl Int8Kernel {
    /// What plain Rust computes: the reference.
    pub const PORTABLE: Int8Kernel = Int8Kernel {
        name: "portable",
        panel: portable,
    };

    /// Those that this processor can run, likely the fastest first, the reference last.
    pub fn available() -> Vec<Int8Kernel> {
        let mut kernels = Int8Kernel::fast();
        kernels.push(Int8Kernel::PORTABLE);
        kernels
    }

    #[cfg(target_arch = "x86_64")]
    fn fast() -> Vec<Int8Kernel> {
        let vnni = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni");
        let kernels = [
            (
                vnni,
                Int8Kernel {
                    name: "AVX-512 VNNI",
                    panel: avx512::panel,
                },
            ),
            (
                is_x86_feature_detected!("avx2"),
                Int8Kernel {
                    name: "AVX2",
                    panel: avx2::panel,
                },
            ),
        ];
        kernels
            .into_iter()
            .filter_map(|(runs, kernel)| runs.then_some(kernel))
            .collect()
    }

    #[cfg(target_arch = "wasm32")]
    fn fast() -> Vec<Int8Kernel> {
        let kernels: &[Int8Kernel] = &[
            #[cfg(feature = "relaxed-simd")]
            Int8Kernel {
                name: "relaxed SIMD",
                panel: relaxed::quads,
            },
            #[cfg(feature = "relaxed-simd")]
            Int8Kernel {
                name: "relaxed SIMD in runs",
                panel: relaxed::runs,
            },
            #[cfg(target_feature = "simd128")]
            Int8Kernel {
                name: "SIMD",
                panel: simd128::panel,
            },
        ];
        kernels.to_vec()
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "wasm32")))]
    fn fast() -> Vec<Int8Kernel> {
        Vec::new()
    }

    /// The first of them.
    pub fn best() -> Int8Kernel {
        Int8Kernel::available()[0]
    }

    /// Whether it gives the sums of the reference: over odd shapes, with random operands and with the largest magnitudes of both signs, where a sum in 16 bits would overflow first.
    pub fn agrees(self) -> bool {
        [(1, 8), (2, 16), (3, 24), (4, 40), (7, 384), (13, 1536)]
            .into_iter()
            .all(|(rows, inputs)| {
                let bits = |i: usize| rng::bits(inputs as u64, i as u64);
                let random: Vec<u8> = (0..rows * inputs).map(|i| bits(i) as u8 & 127).collect();
                let weights = |bound: i64| -> Vec<u8> {
                    (0..inputs * PANEL)
                        .map(|i| ((bits(i) >> 32) as i64 % (2 * bound) - bound) as u8)
                        .collect()
                };
                let [lowest, highest] = [-64i8, 63].map(|w| vec![w as u8; inputs * PANEL]);
                [weights(64), weights(16), lowest, highest]
                    .iter()
                    .all(|weights| {
                        let panel = Panel {
                            weights,
                            start: &Start::of(weights),
                        };
                        [&random, &vec![0; random.len()], &vec![127; random.len()]]
                            .into_iter()
                            .all(|x| {
                                let (mut wanted, mut found) =
                                    (vec![[0; PANEL]; rows], vec![[-1; PANEL]; rows]);
                                Int8Kernel::PORTABLE.run(x, panel, &mut wanted);
                                self.run(x, panel, &mut found);
                                found == wanted
                            })
                    })
            })
    }

    /// What to call it.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// `sums` (rows, 16) = x - 64 (rows, inputs) times a panel, each row with each output.
    ///
    /// # Panics
    /// When the lengths do not belong together: the engine's own fault.
    pub(super) fn run(self, x: &[u8], panel: Panel<'_>, sums: &mut [Sums]) {
        let inputs = panel.weights.len() / PANEL;
        let quads: usize = panel.start.runs.iter().map(|run| run.quads).sum();
        assert!(
            panel.weights.len() == quads * QUAD
                && inputs.is_multiple_of(STEP)
                && x.len() == inputs * sums.len(),
            "operands of an integer product"
        );
        // SAFETY: the lengths are those that a kernel counts on, and `available` gives away only kernels that the processor can run.
        unsafe { (self.panel)(x, panel, sums) }
    }
}

/// A product to measure kernels with, whose operands stay in a core's own cache.
pub struct Trial {
    x: Vec<u8>,
    weights: Vec<u8>,
    start: Start,
    sums: [Sums; Trial::ROWS],
}

impl Trial {
    const ROWS: usize = 16;
    const INPUTS: usize = 384;

    /// Additions and multiplications of a run.
    pub const OPERATIONS: usize = 2 * Trial::ROWS * Trial::INPUTS * PANEL;

    /// Computes it once.
    pub fn run(&mut self, kernel: Int8Kernel) {
        kernel.run(
            &self.x,
            Panel {
                weights: &self.weights,
                start: &self.start,
            },
            &mut self.sums,
        );
    }
}

impl Default for Trial {
    /// Weights are of a size that is usual: how many fit in 16 bits is theirs to say.
    fn default() -> Trial {
        let weights = vec![16; Trial::INPUTS * PANEL];
        Trial {
            x: vec![1; Trial::ROWS * Trial::INPUTS],
            start: Start::of(&weights),
            weights,
            sums: [[0; PANEL]; Trial::ROWS],
        }
    }
}

/// Which kernel an engine computes with. Clones share it: whoever keeps one may choose anew while the engine works, for every kernel gives the same bits.
#[derive(Debug, Clone)]
pub struct KernelChoice(Arc<AtomicUsize>);

impl KernelChoice {
    /// The kernel in use.
    pub fn kernel(&self) -> Int8Kernel {
        Int8Kernel::available()
            .get(self.0.load(Ordering::Relaxed))
            .copied()
            .unwrap_or(Int8Kernel::PORTABLE)
    }

    /// Chooses the fastest one, as `now` (milliseconds) measures it: on the web one cannot ask for the processor.
    pub fn measure(&self, now: impl Fn() -> f64) {
        /// A browser compiles code better after it has run for a while, and does so behind its back: kernels take turns.
        const ROUNDS: usize = 6;
        /// Long enough for a browser's coarse clock.
        const MILLISECONDS: f64 = 1.5;
        let mut trial = Trial::default();
        let mut speeds: Vec<(f64, Int8Kernel)> = Int8Kernel::available()
            .into_iter()
            .map(|kernel| (0.0, kernel))
            .collect();
        // The reference is for processors that can run nothing else.
        speeds.truncate(speeds.len().max(2) - 1);
        if speeds.len() > 1 {
            for _ in 0..ROUNDS {
                for (best, kernel) in &mut speeds {
                    let start = now();
                    let mut runs = 0.0;
                    let elapsed = loop {
                        trial.run(*kernel);
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
        let fastest = speeds
            .iter()
            .enumerate()
            .rev()
            .max_by(|(_, a), (_, b)| a.0.total_cmp(&b.0))
            .map_or(0, |(place, _)| place);
        self.0.store(fastest, Ordering::Relaxed);
    }
}

impl From<Int8Kernel> for KernelChoice {
    fn from(kernel: Int8Kernel) -> KernelChoice {
        let place = Int8Kernel::available()
            .iter()
            .position(|other| other.name == kernel.name);
        KernelChoice(Arc::new(AtomicUsize::new(place.unwrap_or_default())))
    }
}

/// The product as it is defined.
fn portable(x: &[u8], panel: Panel<'_>, sums: &mut [Sums]) {
    for (row, sums) in x.chunks_exact(panel.inputs()).zip(sums) {
        *sums = [0; PANEL];
        for (x, quad) in row.chunks_exact(4).zip(panel.weights.chunks_exact(QUAD)) {
            for (sum, w) in sums.iter_mut().zip(quad.chunks_exact(4)) {
                *sum += x
                    .iter()
                    .zip(w)
                    .map(|(x, w)| (i32::from(*x) - HALF) * i32::from(*w as i8))
                    .sum::<i32>();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_gives_the_sums_of_the_reference() {
        for kernel in Int8Kernel::available() {
            assert!(kernel.agrees(), "{}", kernel.name());
        }
        let drops_a_bit = |x: &[u8], panel: Panel<'_>, sums: &mut [Sums]| {
            let weights: Vec<u8> = panel.weights.iter().map(|w| w & !1).collect();
            portable(
                x,
                Panel {
                    weights: &weights,
                    ..panel
                },
                sums,
            );
        };
        assert!(
            !Int8Kernel {
                name: "wrong",
                panel: drops_a_bit
            }
            .agrees()
        );
    }

    #[test]
    fn a_run_ends_where_16_bits_do() {
        let quads = |weights: &[u8]| {
            Start::of(weights)
                .runs
                .iter()
                .map(|run| run.quads)
                .collect::<Vec<_>>()
        };
        // Of the largest magnitude, twice two products hardly fit.
        for (weight, wanted) in [(63, vec![4, 1]), (-63, vec![4, 1]), (-64i8, vec![3, 2])] {
            assert_eq!(quads(&vec![weight as u8; 5 * QUAD]), wanted);
        }
        // Signs do not make up for each other: activations have them too.
        let alternating: Vec<u8> = (0..5 * QUAD)
            .map(|i| if i % 2 == 0 { 63 } else { -63i8 as u8 })
            .collect();
        assert_eq!(quads(&alternating), [4, 1]);
        // One lane alone ends the run of all.
        let mut weights = vec![1; 6 * QUAD];
        weights[3 * QUAD + 10..][..2].fill(127);
        weights[4 * QUAD + 10..][..2].fill(126);
        assert_eq!(quads(&weights), [4, 2]);
        assert_eq!(quads(&vec![0; 600 * QUAD]), [600]);
    }

    #[test]
    fn a_choice_is_shared_and_made_by_the_clock() {
        let choice = KernelChoice::from(Int8Kernel::PORTABLE);
        assert_eq!(choice.clone().kernel().name(), "portable");
        let engines = choice.clone();
        // A clock on which every run takes a millisecond: what is measured first stays.
        let time = std::cell::Cell::new(0.0);
        choice.measure(|| {
            time.set(time.get() + 1.0);
            time.get()
        });
        assert_eq!(
            engines.kernel().name(),
            Int8Kernel::best().name(),
            "the reference is only for processors that can run nothing else"
        );
        // One that stands still measures nothing.
        let choice = KernelChoice::from(Int8Kernel::PORTABLE);
        choice.measure(|| 0.0);
        assert_eq!(choice.kernel().name(), Int8Kernel::best().name());
    }

    #[test]
    fn the_reference_is_the_sum_of_products() {
        let x: Vec<u8> = (0..16).map(|i| 7 * i).collect();
        let weights: Vec<u8> = (0..16 * 8).map(|i| (i as u8).wrapping_sub(64)).collect();
        let mut sums = [[0; PANEL]; 2];
        Int8Kernel::PORTABLE.run(
            &x,
            Panel {
                weights: &weights,
                start: &Start::of(&weights),
            },
            &mut sums,
        );
        for (row, sums) in sums.iter().enumerate() {
            for (output, sum) in sums.iter().enumerate() {
                let weight = |k: usize| weights[k / 4 * QUAD + 4 * output + k % 4] as i8;
                let wanted: i32 = (0..8)
                    .map(|k| (i32::from(x[8 * row + k]) - 64) * i32::from(weight(k)))
                    .sum();
                assert_eq!(*sum, wanted);
            }
        }
    }
}
