//! The integer product: activations times weights, both signed 7-bit integers, summed in 32 bits.
//! Every kernel gives the same integers.
//!
//! Weights are stored in panels of 16 outputs, (inputs / 4, 16, 4): four inputs of one output are
//! adjacent, as the dot products of all instruction sets require. Activations have 64 added, so
//! that they range from 0 to 127, because one operand must be unsigned. The sums' initial values
//! compensate for it, see [`InitialSums`]. With these ranges, behaviour that instructions leave to
//! the processor never occurs: WebAssembly's relaxed dot product is exact, and AVX2's `maddubs`
//! does not saturate.
//!
//! Both instructions add the products of two neighbours in 16 bits. Widening these sums takes as
//! long as computing them. So they are accumulated in 16 bits as long as they fit: at least three
//! times, and about a dozen times for the mostly small weights of a trained encoder.

/// Defines a kernel, the function of an [`Int8Kernel`], from a tile function that computes the sums
/// of R rows in registers. It computes `$rows` rows at a time and the remaining rows one by one. It
/// is a macro because calls through a function pointer would cost a tenth of the run time.
#[cfg(any(target_arch = "x86_64", target_arch = "wasm32"))]
macro_rules! in_tiles {
    ($(#[$attribute:meta])* $name:ident: $tile:ident of $rows:expr) => {
        $(#[$attribute])*
        pub(super) unsafe fn $name(x: &[u8], panel: $crate::int8::kernel::Panel<'_>, sums: &mut [$crate::int8::kernel::Sums]) {
            let inputs = panel.inputs();
            let (whole, rest) = sums.split_at_mut(sums.len() / $rows * $rows);
            let (tiled, single) = x.split_at(whole.len() * inputs);
            for (x, sums) in tiled.chunks_exact($rows * inputs).zip(whole.chunks_exact_mut($rows)) {
                // SAFETY: a tile has the kernel's requirements, and its number of rows is right.
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

/// The number of inputs is a multiple of this; rows are padded with zeros.
pub const STEP: usize = 8;

/// Bytes of a panel for four inputs.
const QUAD: usize = 4 * PANEL;

/// Added to activations to make them unsigned.
pub const ACTIVATION_OFFSET: i32 = 64;

/// The sums of a row over a panel.
pub type Sums = [i32; PANEL];

/// The weights of a panel of 16 outputs.
#[derive(Clone, Copy)]
pub struct Panel<'a> {
    /// (inputs / 4, 16, 4), each byte a signed integer.
    pub weights: &'a [u8],
    pub start: &'a InitialSums,
}

impl Panel<'_> {
    fn inputs(self) -> usize {
        self.weights.len() / PANEL
    }
}

/// The initial values of the sums over a panel: -64 times the sum of the weights. They compensate
/// for the 64 added to activations.
pub struct InitialSums {
    /// Initial values of the 32-bit sums.
    whole: Sums,
    /// Runs, each with the initial values of its 16-bit sums.
    runs: Vec<Run>,
}

/// A run of quads (four inputs of all outputs) whose products fit in a 16-bit sum, whatever the
/// activations are.
struct Run {
    quads: usize,
    /// The initial values. A sum adds two neighbouring products of an output from each quad.
    #[allow(dead_code, reason = "not every instruction set adds up in 16 bits")]
    start: [i16; QUAD / 2],
}

impl InitialSums {
    /// Computes the initial values for a panel's weights.
    pub fn of(weights: &[u8]) -> InitialSums {
        /// The largest sum of magnitudes that fits in 16 bits.
        const MOST: i16 = i16::MAX / ACTIVATION_OFFSET as i16;
        let (mut whole, mut runs) = ([0; PANEL], Vec::new());
        let (mut quads, mut sums, mut magnitudes) = (0, [0; QUAD / 2], [0; QUAD / 2]);
        let mut end = |quads, sums: [i16; QUAD / 2]| {
            let start = sums.map(|sum| -(ACTIVATION_OFFSET as i16) * sum);
            start
                .iter()
                .enumerate()
                .for_each(|(i, start)| whole[i / 2] += i32::from(*start));
            runs.push(Run { quads, start });
        };
        for quad in weights.as_chunks::<QUAD>().0 {
            let mut together = accumulate(magnitudes, quad, |w| i16::from(w).abs());
            if together.iter().any(|magnitude| *magnitude > MOST) {
                end(quads, sums);
                (quads, sums) = (0, [0; QUAD / 2]);
                together = accumulate(sums, quad, |w| i16::from(w).abs());
            }
            (quads, sums, magnitudes) = (quads + 1, accumulate(sums, quad, i16::from), together);
        }
        end(quads, sums);
        InitialSums { whole, runs }
    }
}

/// Adds `f` of the weights of a quad to the sums, two neighbours of an output per sum.
#[inline(always)]
fn accumulate(
    mut sums: [i16; QUAD / 2],
    quad: &[u8; QUAD],
    f: impl Fn(i8) -> i16,
) -> [i16; QUAD / 2] {
    for (sum, [a, b]) in sums.iter_mut().zip(quad.as_chunks::<2>().0) {
        *sum += f(*a as i8) + f(*b as i8);
    }
    sums
}

/// An implementation of the integer product.
#[derive(Clone, Copy)]
pub struct Int8Kernel {
    name: &'static str,
    /// Called with x (rows, inputs), a panel of as many inputs, and a slice for the sums of each
    /// row. The number of inputs must be a multiple of [`STEP`], and the panel's runs must cover
    /// its weights. The function is unsafe because it relies on these lengths and on the
    /// processor's instructions.
    panel: unsafe fn(&[u8], Panel<'_>, &mut [Sums]),
}

impl Int8Kernel {
    /// The reference, in portable Rust.
    pub const PORTABLE: Int8Kernel = Int8Kernel {
        name: "portable",
        panel: portable,
    };

    /// The kernels that this processor can run, probably the fastest first, the reference last.
    pub fn available() -> Vec<Int8Kernel> {
        let mut kernels = Int8Kernel::simd();
        kernels.push(Int8Kernel::PORTABLE);
        kernels
    }

    /// The kernels that are faster than the reference, probably the fastest first.
    #[cfg(target_arch = "x86_64")]
    fn simd() -> Vec<Int8Kernel> {
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

    /// The kernels that are faster than the reference, probably the fastest first.
    #[cfg(target_arch = "wasm32")]
    fn simd() -> Vec<Int8Kernel> {
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

    /// The kernels that are faster than the reference, probably the fastest first.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "wasm32")))]
    fn simd() -> Vec<Int8Kernel> {
        Vec::new()
    }

    /// The first available kernel.
    pub fn best() -> Int8Kernel {
        Int8Kernel::available()[0]
    }

    /// Whether the kernel's sums equal the reference's: for odd shapes, with random operands and
    /// with the largest magnitudes of both signs, for which a 16-bit sum would overflow first.
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
                            start: &InitialSums::of(weights),
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

    /// The kernel's display name.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// sums (rows, 16) = (x - 64) (rows, inputs) times the panel's weights.
    ///
    /// # Panics
    /// When the lengths do not match, which is a bug of the engine.
    pub(super) fn run(self, x: &[u8], panel: Panel<'_>, sums: &mut [Sums]) {
        let inputs = panel.weights.len() / PANEL;
        let quads: usize = panel.start.runs.iter().map(|run| run.quads).sum();
        assert!(
            panel.weights.len() == quads * QUAD
                && inputs.is_multiple_of(STEP)
                && x.len() == inputs * sums.len(),
            "operands of an integer product"
        );
        // SAFETY: the assertion checks the lengths, and `available` returns only kernels that the
        // processor can run.
        unsafe { (self.panel)(x, panel, sums) }
    }
}

/// A product for measuring kernels; its operands stay in a core's own cache.
pub struct KernelBenchmark {
    x: Vec<u8>,
    weights: Vec<u8>,
    start: InitialSums,
    sums: [Sums; KernelBenchmark::ROWS],
}

impl KernelBenchmark {
    const ROWS: usize = 16;
    const INPUTS: usize = 384;

    /// Additions and multiplications of one call of [`KernelBenchmark::run`].
    pub const OPERATIONS: usize = 2 * KernelBenchmark::ROWS * KernelBenchmark::INPUTS * PANEL;

    /// Computes the product once.
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

impl Default for KernelBenchmark {
    /// The weights have a typical magnitude, because it decides how many products fit in 16 bits.
    fn default() -> KernelBenchmark {
        let weights = vec![16; KernelBenchmark::INPUTS * PANEL];
        KernelBenchmark {
            x: vec![1; KernelBenchmark::ROWS * KernelBenchmark::INPUTS],
            start: InitialSums::of(&weights),
            weights,
            sums: [[0; PANEL]; KernelBenchmark::ROWS],
        }
    }
}

/// The kernel that an engine uses. Clones share the choice, so a holder of a clone can change the
/// kernel while the engine works: every kernel gives the same bits.
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

    /// Measures the kernels with the clock `now` (milliseconds) and chooses the fastest. This is
    /// needed on the web, where a page cannot query the processor.
    pub fn measure(&self, now: impl Fn() -> f64) {
        /// Kernels are measured in turns, because a browser recompiles code in the background after
        /// it has run for a while.
        const ROUNDS: usize = 6;
        /// Long enough for a browser's coarse clock.
        const MILLISECONDS: f64 = 1.5;
        let mut trial = KernelBenchmark::default();
        let mut speeds: Vec<(f64, Int8Kernel)> = Int8Kernel::available()
            .into_iter()
            .map(|kernel| (0.0, kernel))
            .collect();
        // The reference is a candidate only if nothing else runs.
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
                    // If the clock is too coarse, nothing was measured.
                    if elapsed > 0.0 {
                        *best = best.max(runs / elapsed);
                    }
                }
            }
        }
        // Among equals the first, which is probably the fastest.
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

/// The product by its definition.
fn portable(x: &[u8], panel: Panel<'_>, sums: &mut [Sums]) {
    for (row, sums) in x.chunks_exact(panel.inputs()).zip(sums) {
        *sums = [0; PANEL];
        for (x, quad) in row.chunks_exact(4).zip(panel.weights.chunks_exact(QUAD)) {
            for (sum, w) in sums.iter_mut().zip(quad.chunks_exact(4)) {
                *sum += x
                    .iter()
                    .zip(w)
                    .map(|(x, w)| (i32::from(*x) - ACTIVATION_OFFSET) * i32::from(*w as i8))
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
            InitialSums::of(weights)
                .runs
                .iter()
                .map(|run| run.quads)
                .collect::<Vec<_>>()
        };
        // With the largest magnitudes, only four quads (three for -64) fit in a run.
        for (weight, wanted) in [(63, vec![4, 1]), (-63, vec![4, 1]), (-64i8, vec![3, 2])] {
            assert_eq!(quads(&vec![weight as u8; 5 * QUAD]), wanted);
        }
        // Opposite signs do not cancel out, because activations have signs too.
        let alternating: Vec<u8> = (0..5 * QUAD)
            .map(|i| if i % 2 == 0 { 63 } else { -63i8 as u8 })
            .collect();
        assert_eq!(quads(&alternating), [4, 1]);
        // A single lane that is full ends the run of all lanes.
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
        // With a clock on which every run takes a millisecond, the first kernel measured wins.
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
        // A clock that stands still measures nothing.
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
                start: &InitialSums::of(&weights),
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
