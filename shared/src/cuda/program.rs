//! The kernels' source for one model, compiled for one device.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::sync::Arc;

use super::Precision;
use super::arguments::{self, KERNELS, Kernel};
use super::device::{Device, Function};
use crate::config::{Activation, Architecture};
use crate::{EncoderConfig, Error, LABELS};

/// Threads of a warp, which run in lockstep and can exchange registers.
pub(super) const WARP: u32 = 32;
/// Rows of a block, one warp per row.
pub(super) const ROW_WARPS: u32 = 8;
pub(super) const ROW_THREADS: u32 = ROW_WARPS * WARP;
/// Threads of a block in a column kernel, side by side along a row.
pub(super) const COLUMN_THREADS: u32 = 64;
/// Columns of a block that sums over rows, and the number of threads per column.
pub(super) const COLUMNS: u32 = 32;
pub(super) const GROUPS: u32 = 8;
pub(super) const GROUP_THREADS: u32 = COLUMNS * GROUPS;
pub(super) const ATTENTION_WARPS: u32 = 8;
pub(super) const ATTENTION_THREADS: u32 = ATTENTION_WARPS * WARP;
/// Reviews of a block in the head, one warp per review.
pub(super) const HEAD_WARPS: u32 = 4;
pub(super) const HEAD_THREADS: u32 = HEAD_WARPS * WARP;
pub(super) const UPDATE_THREADS: u32 = 256;
pub(super) const CLIP_WARPS: u32 = 8;
pub(super) const CLIP_THREADS: u32 = CLIP_WARPS * WARP;

/// The widest attention head whose tiles fit the shared memory that every block may use.
const WIDEST_HEAD: usize = 128;

/// Tokens of a tile, which one attention block computes for one head.
pub(super) fn tile(config: &EncoderConfig) -> usize {
    if config.head_size() > 64 { 16 } else { 32 }
}

/// Elements that a thread of a column kernel processes at once.
pub(super) fn vector(config: &EncoderConfig) -> usize {
    if config.hidden_size.is_multiple_of(8) && config.intermediate_size.is_multiple_of(8) {
        8
    } else {
        1
    }
}

/// The kernels' source for a model: its constants, the argument structs and the kernels.
///
/// # Errors
/// [`Error::Device`] for a model that the kernels do not support.
pub(super) fn source(config: &EncoderConfig, precision: Precision) -> Result<String, Error> {
    let head = config.head_size();
    if head > WIDEST_HEAD {
        return Err(Error::Device(format!(
            "attention heads have a width of {head}; the GPU engine supports at most {WIDEST_HEAD}: use the processor"
        )));
    }
    let flag = usize::from;
    let constants = [
        ("WARP", WARP as usize),
        ("ROW_WARPS", ROW_WARPS as usize),
        ("COLUMN_THREADS", COLUMN_THREADS as usize),
        ("COLUMNS", COLUMNS as usize),
        ("GROUPS", GROUPS as usize),
        ("ATTENTION_WARPS", ATTENTION_WARPS as usize),
        ("TILE", tile(config)),
        ("HEAD_WARPS", HEAD_WARPS as usize),
        ("UPDATE_THREADS", UPDATE_THREADS as usize),
        ("CLIP_WARPS", CLIP_WARPS as usize),
        ("WIDTH", config.hidden_size),
        ("HEAD", head),
        ("INTERMEDIATE", config.intermediate_size),
        ("LABELS", LABELS),
        ("RELU", flag(config.activation == Activation::Relu)),
        ("TANH", flag(config.architecture == Architecture::Bert)),
        ("BF16", flag(precision == Precision::Bf16)),
    ];
    let mut out: String = constants
        .iter()
        .map(|(name, value)| format!("#define {name} {value}\n"))
        .collect();
    out += match precision {
        Precision::Bf16 => "typedef unsigned short stored;\n",
        Precision::F32 => "typedef float stored;\n",
    };
    out += &arguments::declarations();
    for part in [
        include_str!("kernels/prelude.cu"),
        include_str!("kernels/rows.cu"),
        include_str!("kernels/columns.cu"),
        include_str!("kernels/attention.cu"),
        include_str!("kernels/head.cu"),
        include_str!("kernels/embedding.cu"),
        include_str!("kernels/update.cu"),
    ] {
        out += part;
    }
    Ok(out)
}

/// Compiled kernels.
pub(super) struct Program {
    device: Arc<dyn Device>,
    functions: HashMap<&'static str, Function>,
}

impl Program {
    /// Compiles the kernels for a model.
    ///
    /// # Errors
    /// As [`source`]; [`Error::Device`] also when the device's compiler fails.
    pub fn new(
        device: &Arc<dyn Device>,
        config: &EncoderConfig,
        precision: Precision,
    ) -> Result<Program, Error> {
        let functions = device.load(&source(config, precision)?, KERNELS)?;
        Ok(Program {
            device: device.clone(),
            functions: KERNELS.iter().copied().zip(functions).collect(),
        })
    }

    /// Launches a kernel on a grid of `blocks`; does nothing if the grid is empty.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    ///
    /// # Safety
    /// The arguments' addresses must be those of buffers in this device's memory, of the sizes that
    /// the kernel's documentation states for this grid.
    pub unsafe fn launch<K: Kernel>(&self, blocks: [usize; 3], arguments: K) -> Result<(), Error> {
        if blocks.contains(&0) {
            return Ok(());
        }
        // SAFETY: `K` is plain data. Its bytes, including padding, are read as the struct that the
        // kernel was compiled with.
        let bytes = unsafe {
            std::slice::from_raw_parts(
                (&raw const arguments).cast::<MaybeUninit<u8>>(),
                size_of::<K>(),
            )
        };
        let blocks = blocks.map(|n| n as u32);
        let function = self
            .functions
            .get(K::NAME)
            .ok_or_else(|| Error::Device(format!("no kernel {}", K::NAME)))?;
        // SAFETY: the caller guarantees it.
        unsafe { self.device.launch(*function, blocks, K::THREADS, bytes) }
    }
}
