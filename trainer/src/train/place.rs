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
        Place::Int8 => bail!("a model rates in int8, but is not trained in it"),
        Place::Candle => bail!("a model rates by candle, but is not trained by it"),
        #[cfg(feature = "cuda")]
        Place::Gpu { device, precision } => {
            ensure!(
                setup.rounded_from.is_none(),
                "--int8 is for the processor: on a GPU, leave it out, or say --device cpu"
            );
            Box::new(gpu::Gpu::new(device, *precision, setup)?)
        }
    })
}
