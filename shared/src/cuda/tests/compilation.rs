//! The kernels compiled by NVRTC for every architecture: no GPU is needed.

use super::super::Precision;
use super::super::driver::compile_for;
use super::super::program::source;
use super::{bert, distilbert};

/// The compute capabilities of A100, RTX 30, RTX 40, H100, B200 and RTX 50.
const ARCHITECTURES: [&str; 6] = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"];

#[test]
#[ignore = "needs NVRTC: `cargo xtask test` gets it and runs this"]
fn every_kernel_compiles_for_every_architecture() {
    let shapes = [
        distilbert(768, 12, 3072),
        bert(384, 12, 1536, "gelu"),
        bert(12, 3, 20, "relu"),
        distilbert(160, 2, 96),
    ];
    for (i, config) in shapes.iter().enumerate() {
        for precision in [Precision::F32, Precision::Bf16] {
            let source = source(config, precision).expect("a source");
            // The first shape is compiled for all architectures, the others only for the last.
            for architecture in &ARCHITECTURES[if i == 0 { 0 } else { ARCHITECTURES.len() - 1 }..] {
                let code = compile_for(&source, architecture)
                    .unwrap_or_else(|error| panic!("{architecture}: {error}"));
                assert!(code.starts_with(b"\x7fELF"), "machine code");
            }
        }
    }
}
