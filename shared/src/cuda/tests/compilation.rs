//! The kernels compiled for GPUs, where NVRTC is found: no GPU is needed.

use std::io::Write;

use super::super::Precision;
use super::super::driver::compile_for;
use super::super::program::source;
use super::{bert, distilbert};

/// The architectures of A100, Ada and H100.
const ARCHITECTURES: [&str; 3] = ["sm_80", "sm_89", "sm_90"];

#[test]
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
            // The first shape for all of them, the others for the last.
            for architecture in &ARCHITECTURES[if i == 0 { 0 } else { ARCHITECTURES.len() - 1 }..] {
                match compile_for(&source, architecture) {
                    Ok(code) => assert!(code.starts_with(b"\x7fELF"), "machine code"),
                    // Past the harness, which shows nothing of what a test prints that passes.
                    Err(error) if error.to_string().contains("is not there") => {
                        writeln!(
                            std::io::stderr(),
                            "SKIPPED, no kernel was compiled for a GPU: {error}"
                        )
                        .ok();
                        return;
                    }
                    Err(error) => panic!("{architecture}: {error}"),
                }
            }
        }
    }
}
