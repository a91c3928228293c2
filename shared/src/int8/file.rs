//! The file of the weights, `web/weights.safetensors`: what its tensors are called, and how they are read.
//!
//! The integers lie in the file in the order in which the kernels want them, so that the file, once in memory, is the memory: only what is not integer (scales, biases,
//! LayerNorms, the head, some hundred kilobytes) is copied out of it. Linear layers are held as `[outputs / 16, inputs / 4, 16, 4]`, outputs and inputs rounded up to multiples
//! of 16 and 8, in 7 bits with 64 added; embeddings as rows of 8 bits with sign. Each output, and each row of an embedding, has a scale.

use std::ops::Range;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata};

use super::kernel::{PANEL, STEP};
use crate::Error;

/// What the file's metadata hold: the name of the format, and the version that is written and read. One entry, for several would come in any order, and the same weights
/// would not always be the same file.
pub(super) const VERSION: (&str, &str) = ("starsight-int8", "1");

/// What is added to the weights of linear layers, so that none is negative.
pub(super) const OFFSET: u8 = 64;

/// Whether these are the bytes of such a file, of whatever version.
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
    /// Where the tensors begin.
    start: usize,
    metadata: Metadata,
}

impl File {
    /// Reads the head of the file `bytes`.
    ///
    /// # Errors
    /// [`Error::Int8`] when they are no such file, cut off, or of another version.
    pub fn new(bytes: Vec<u8>) -> Result<File, Error> {
        let broken = |e| Error::Int8(format!("cut off, or no safetensors file: {e}"));
        // Which also sees to it that every tensor lies within the file.
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
        match metadata.metadata().as_ref().and_then(|m| m.get(VERSION.0)) {
            Some(version) if version == VERSION.1 => {}
            Some(version) => {
                let advice = "make the file anew with `starsight quantize`, or use the starsight that made it";
                return Err(Error::Int8(format!(
                    "version {version} of its format; this starsight reads version {}: {advice}",
                    VERSION.1
                )));
            }
            None => {
                return Err(Error::Int8(format!(
                    "holds no weights for the int8 engine: its metadata name no version of {}",
                    VERSION.0
                )));
            }
        }
        // The length of the header stands before it.
        Ok(File {
            start: header + size_of::<u64>(),
            bytes,
            metadata,
        })
    }

    /// Where the integers of the tensor `name` lie among [`File::bytes`].
    ///
    /// # Errors
    /// [`Error::Int8`] when there is no such tensor, or it holds other numbers or has another shape.
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

    /// A copy of the numbers of the tensor `name`.
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

    /// The file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes [`OFFSET`] from every weight of a linear layer, where it lies.
    ///
    /// # Errors
    /// [`Error::Int8`] for a weight of more than 7 bits, with which kernels would differ.
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
