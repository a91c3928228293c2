//! Builds the trainee for a device.

#[cfg(feature = "cuda")]
use anyhow::ensure;
use anyhow::{Result, bail};

#[cfg(feature = "cuda")]
use super::gpu;
use super::processor::Processor;
use super::trainee::{Setup, Trainee};
use crate::rate::device::Place;

/// The trainee for `place`.
///
/// # Errors
/// When a tensor is missing or has another shape, or the device cannot take the model or train it
/// with these settings.
pub fn trainee(place: &Place, setup: &Setup<'_>) -> Result<Box<dyn Trainee>> {
    Ok(match place {
        Place::Processor(precision) => Box::new(Processor::new(*precision, setup)?),
        Place::Int8 => bail!("training in int8 is not supported"),
        Place::Candle => bail!("training with candle is not supported"),
        #[cfg(feature = "cuda")]
        Place::Gpu { device, precision } => {
            ensure!(
                setup.rounded_from.is_none(),
                "--int8 runs only on the processor: omit it, or use --device cpu"
            );
            Box::new(gpu::Gpu::new(device, *precision, setup)?)
        }
    })
}
