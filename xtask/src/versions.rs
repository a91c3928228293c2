//! The versions of the tools.

/// Bundles the page. 0.22 needs a newer compiler than this workspace requires.
pub const TRUNK: &str = "0.21.14";

/// Writes the JavaScript glue for a wasm module. Must equal the `wasm-bindgen` of `Cargo.lock`
/// exactly.
pub const WASM_BINDGEN: &str = "0.2.130";

/// npm's `binaryen`, which contains `wasm-opt`. Debian's version (108) does not support relaxed
/// SIMD.
pub const BINARYEN: &str = "132.0.0";

/// npm's `esbuild`, which bundles the module's JavaScript into one file.
pub const ESBUILD: &str = "0.28.2";

/// npm's `axe-core`, with which the tests find accessibility violations.
pub const AXE: &str = "4.14.1";

/// The SHA-256 of its `axe.min.js`.
pub const AXE_SHA256: &str = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c";

/// The Python registry's `nvidia-cuda-nvrtc-cu12`, with which the tests compile the CUDA kernels.
pub const NVRTC: &str = "12.9.86";

/// The SHA-256 of its `libnvrtc.so.12` for x86-64.
pub const NVRTC_SHA256: &str = "7c67c6b51ea0e0279634cebd676ff7efda1674806444520c84430ad5c35fe625";

#[cfg(test)]
mod tests {
    #[test]
    fn wasm_bindgen_is_the_one_that_the_crates_are_built_with() {
        let lock =
            std::fs::read_to_string(crate::root().join("Cargo.lock")).expect("Cargo.lock is read");
        let (_, package) = lock
            .split_once("name = \"wasm-bindgen\"\n")
            .expect("Cargo.lock has wasm-bindgen");
        let version = package.lines().next().expect("a line follows the name");
        assert_eq!(version, format!("version = \"{}\"", super::WASM_BINDGEN));
    }
}
