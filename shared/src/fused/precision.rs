//! The numbers that matrices are multiplied in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// In which numbers matrices are multiplied. Weights, sums and all else are f32 in either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// f32.
    F32,
    /// Operands rounded to bf16, of 8 significant bits.
    Bf16,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        })
    }
}
