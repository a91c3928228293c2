//! The precision of matrix products.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number format in which matrices are multiplied. Weights, sums and everything else are f32 in
/// both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// f32.
    F32,
    /// Operands are rounded to bf16, which has 8 significant bits.
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
