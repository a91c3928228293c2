//! The versions of the tools, said once, here.

/// Bundles the page. 0.22 wants a newer compiler than this workspace asks for.
pub const TRUNK: &str = "0.21.14";

/// Writes the JavaScript around a wasm module. Must equal the `wasm-bindgen` of `Cargo.lock`, to the last digit.
pub const WASM_BINDGEN: &str = "0.2.130";

/// npm's `binaryen`, which ships `wasm-opt`. Debian's (108) knows no relaxed SIMD.
pub const BINARYEN: &str = "132.0.0";

/// npm's `esbuild`, which makes one file of the module's JavaScript.
pub const ESBUILD: &str = "0.28.2";

/// npm's `axe-core`, with which the tests look for what keeps people from using the page.
pub const AXE: &str = "4.14.1";

/// The SHA-256 of its `axe.min.js`.
pub const AXE_SHA256: &str = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c";

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
