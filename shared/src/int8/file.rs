//! The weight file `web/weights.safetensors`: the names of its tensors, and how they are read.
//!
//! The file stores integers in the order that the kernels read, so that the file is used in memory
//! without a copy. Only the f32 values (scales, biases, LayerNorms, the head; some hundred
//! kilobytes) are copied. Linear layers are stored as `[outputs / 16, inputs / 4, 16, 4]`, with
//! outputs and inputs rounded up to multiples of 16 and 8, in 7 bits with 64 added. Embeddings are
//! stored as rows of signed 8-bit integers. Each output, and each row of an embedding, has a scale.

use std::ops::Range;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata};

use super::kernel::{PANEL, STEP};
use crate::Error;

/// The file's metadata: the name of the format, and the version that is written and read. It is a
/// single entry, because several entries are written in random order, and the same weights would
/// give different files.
pub(super) const VERSION: (&str, &str) = ("starsight-int8", "1");

/// Added to the weights of linear layers so that none is negative.
pub(super) const OFFSET: u8 = 64;

/// Whether `bytes` are an int8 weight file of any version.
#[cfg(feature = "native")]
pub fn holds_integers(bytes: &[u8]) -> bool {
    let names_version = |metadata: &Metadata| {
        metadata
            .metadata()
            .as_ref()
            .is_some_and(|m| m.contains_key(VERSION.0))
    };
    SafeTensors::read_metadata(bytes).is_ok_and(|(_, metadata)| names_version(&metadata))
}

/// The shape of a linear layer's integers.
pub(super) fn panel_shape(outputs: usize, inputs: usize) -> [usize; 4] {
    [
        outputs.div_ceil(PANEL),
        inputs.next_multiple_of(STEP) / 4,
        PANEL,
        4,
    ]
}

/// The file in memory.
pub(super) struct File {
    bytes: Vec<u8>,
    /// The offset of the first tensor.
    start: usize,
    metadata: Metadata,
}

impl File {
    /// Reads the header of the file `bytes`.
    ///
    /// # Errors
    /// [`Error::Int8`] when `bytes` are truncated, another format, or another version.
    pub fn new(bytes: Vec<u8>) -> Result<File, Error> {
        let broken = |e| Error::Int8(format!("truncated, or not a safetensors file: {e}"));
        // `read_metadata` also checks that every tensor lies within the file.
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
        match metadata.metadata().as_ref().and_then(|m| m.get(VERSION.0)) {
            Some(version) if version == VERSION.1 => {}
            Some(version) => {
                let advice = "create the file again with `starsight quantize`, or use the starsight version that wrote it";
                return Err(Error::Int8(format!(
                    "version {version} of its format; this starsight reads version {}: {advice}",
                    VERSION.1
                )));
            }
            None => {
                return Err(Error::Int8(format!(
                    "not an int8 weight file: its metadata lack {}",
                    VERSION.0
                )));
            }
        }
        // The header is preceded by its length.
        Ok(File {
            start: header + size_of::<u64>(),
            bytes,
            metadata,
        })
    }

    /// The range in [`File::bytes`] of the integers of the tensor `name`.
    ///
    /// # Errors
    /// [`Error::Int8`] when the tensor is missing or has another type or shape.
    pub fn integers(
        &self,
        name: &str,
        dtype: Dtype,
        shape: &[usize],
    ) -> Result<Range<usize>, Error> {
        let info = self.metadata.info(name).ok_or_else(|| {
            Error::Int8(format!("no tensor `{name}`, wanted with shape {shape:?}"))
        })?;
        if info.dtype != dtype {
            return Err(Error::Int8(format!(
                "tensor `{name}` holds {:?}; wanted {dtype:?}",
                info.dtype
            )));
        }
        if info.shape != shape {
            return Err(Error::Int8(format!(
                "tensor `{name}` has shape {:?}, but config.json asks for {shape:?}",
                info.shape
            )));
        }
        Ok(self.start + info.data_offsets.0..self.start + info.data_offsets.1)
    }

    /// Copies the f32 values of the tensor `name`.
    ///
    /// # Errors
    /// As [`File::integers`], and for a number that is not finite.
    pub fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let bytes = &self.bytes[self.integers(name, Dtype::F32, shape)?];
        let floats: Vec<f32> = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect();
        match floats.iter().all(|x| x.is_finite()) {
            true => Ok(floats),
            false => Err(Error::Int8(format!(
                "tensor `{name}` holds a number that is not finite"
            ))),
        }
    }

    /// The bytes of the whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Subtracts [`OFFSET`] from every weight of a linear layer in place.
    ///
    /// # Errors
    /// [`Error::Int8`] for a weight of more than 7 bits, for which kernels would give different
    /// results.
    pub fn centre(&mut self) -> Result<(), Error> {
        for name in self.metadata.offset_keys() {
            let Some(info) = self
                .metadata
                .info(&name)
                .filter(|info| info.dtype == Dtype::U8)
            else {
                continue;
            };
            let weights =
                &mut self.bytes[self.start + info.data_offsets.0..self.start + info.data_offsets.1];
            if weights.iter().fold(0, |bits, w| bits | w) > 127 {
                return Err(Error::Int8(format!(
                    "tensor `{name}` holds a weight of more than 7 bits"
                )));
            }
            weights.iter_mut().for_each(|w| *w = w.wrapping_sub(OFFSET));
        }
        Ok(())
    }
}
