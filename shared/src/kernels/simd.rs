//! Vector code from plain loops: one source, compiled for several instruction sets, of which one is
//! selected at run time. Also functions for such loops in a form that vectorises.

/// Defines a function whose body is compiled for AVX-512, AVX2 and the baseline. At run time the
/// best version that the processor supports is called. WebAssembly has one instruction set, fixed
/// at compile time. In the body, `FMA` says whether fused multiply-add is available.
macro_rules! multiversion {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments, reason = "a kernel takes its operands one by one")]
        $vis fn $name($($arg: $ty),*) {
            #[allow(clippy::too_many_arguments, reason = "as above")]
            #[allow(clippy::extra_unused_type_parameters, reason = "not every body has products")]
            #[inline(always)]
            fn body<const FMA: bool>($($arg: $ty),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[allow(clippy::too_many_arguments, reason = "as above")]
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512($($arg: $ty),*) { body::<true>($($arg),*) }
                #[allow(clippy::too_many_arguments, reason = "as above")]
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) { body::<true>($($arg),*) }
                match $crate::kernels::simd::level() {
                    // SAFETY: `level` has checked the processor's features.
                    $crate::kernels::simd::Level::Avx512 => unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::kernels::simd::Level::Avx2 => unsafe { avx2($($arg),*) },
                    $crate::kernels::simd::Level::Baseline => body::<false>($($arg),*),
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            body::<false>($($arg),*)
        }
    };
}

/// The instruction sets that loops are compiled for, ascending.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Baseline,
    Avx2,
    Avx512,
}

/// The best level that the processor supports.
#[cfg(target_arch = "x86_64")]
#[inline]
fn best() -> Level {
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
    {
        Level::Avx512
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        Level::Avx2
    } else {
        Level::Baseline
    }
}

/// The level that is used.
#[cfg(all(target_arch = "x86_64", not(test)))]
#[inline]
pub(crate) fn level() -> Level {
    best()
}

#[cfg(all(target_arch = "x86_64", test))]
thread_local! {
    /// The highest level that a test allows on its thread.
    pub(crate) static HIGHEST: std::cell::Cell<Level> = const { std::cell::Cell::new(Level::Avx512) };
}

/// The level that is used.
#[cfg(all(target_arch = "x86_64", test))]
pub(crate) fn level() -> Level {
    best().min(HIGHEST.get())
}

/// a b + c, fused if `FMA`. Without the instruction, `f32::mul_add` would be a function call.
#[cfg(feature = "native")]
#[inline(always)]
pub(crate) fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// The number of independent lanes of a sum, so that additions do not wait for each other.
pub(crate) const LANES: usize = 16;

/// Reduces all lanes to one value in a binary tree; the two halves are combined first, neighbours
/// last.
#[inline(always)]
fn across(mut lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = f(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// Σ f(x, y) over two slices of the same length, in lanes. The order of summation depends only on
/// the length.
#[inline(always)]
pub(crate) fn sum2(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (x_blocks, y_blocks) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let rest: f32 = x_blocks
        .remainder()
        .iter()
        .zip(y_blocks.remainder())
        .map(|(x, y)| f(*x, *y))
        .sum();
    for (x, y) in x_blocks.zip(y_blocks) {
        for i in 0..LANES {
            lanes[i] += f(x[i], y[i]);
        }
    }
    across(lanes, |x, y| x + y) + rest
}

/// Σ f(x), in the same order.
#[inline(always)]
pub(crate) fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    sum2(x, x, |x, _| f(x))
}

/// Clamps x to the range from `low` to `high`; a NaN stays a NaN.
#[inline(always)]
pub(crate) fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// e^x with an error of at most 2 units in the last place; for x below -87 the result is e^-87.
/// (Cephes' `expf`: x = n ln 2 + r, a polynomial in r, and n is put into the exponent's bits.)
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// 1.5 * 2^23: adding it to a small number rounds it to an integer, which is then in the low
    /// bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = clamp(x, -87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut p = 1.987_569_1e-4;
    for c in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        p = p * r + c;
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    (p * r * r + r + 1.0) * power
}

/// The error function with an error of at most 5e-7. (A rational approximation on [-4, 4], as in
/// Eigen and XLA; beyond, it is ±1 in f32.)
#[cfg(any(test, feature = "native"))]
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let x = clamp(x, -4.0, 4.0);
    let t = x * x;
    let mut p = -2.726_142_3e-10;
    for c in [
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_3e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_4e-2,
    ] {
        p = p * t + c;
    }
    let mut q = -1.456_607_2e-5;
    for c in [
        -2.133_740_6e-4,
        -1.682_827e-3,
        -7.373_329e-3,
        -1.426_473_9e-2,
    ] {
        q = q * t + c;
    }
    x * p / q
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_erf_are_those_of_libm() {
        for i in -400_000..=400_000 {
            let x = i as f32 * 2e-4;
            let (found, wanted) = (f64::from(exp(x)), libm::exp(f64::from(x)));
            assert!(
                (found - wanted).abs() <= 2.5e-7 * wanted,
                "exp({x}) is {found}, wanted {wanted}"
            );
            let x = x / 10.0;
            let (found, wanted) = (f64::from(erf(x)), libm::erf(f64::from(x)));
            assert!(
                (found - wanted).abs() <= 5e-7,
                "erf({x}) is {found}, wanted {wanted}"
            );
        }
        assert!(
            exp(f32::NAN).is_nan() && erf(f32::NAN).is_nan(),
            "a NaN must not be hidden"
        );
    }

    #[test]
    fn sums_take_every_element() {
        for n in [0, 1, 15, 16, 17, 100] {
            let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
            assert_eq!(sum(&x, |x| 2.0 * x), (n * n.max(1) - n) as f32, "{n}");
        }
    }
}
