//! The devices that compute a model: the processor, or a GPU.

use std::fmt;
#[cfg(feature = "cuda")]
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize, Serializer};
use starsight_model::fused::Fused;
pub use starsight_model::fused::Precision;
use starsight_model::int8::{self, Int8, Int8Kernel};
use starsight_model::model::Classifier;
use starsight_model::weights::Weights;
use starsight_model::{EncoderConfig, Engine, Error};
#[cfg(feature = "cuda")]
use {
    anyhow::Context,
    starsight_model::cuda::{self, Device, Encoder, Gpu},
};

use crate::rate::bench;

/// Side of the matrices that measure a core's peak: large enough to use it fully, small enough for
/// half a second.
const PROCESSOR_SIDE: usize = 1024;
/// The same for a GPU.
#[cfg(feature = "cuda")]
const GPU_SIDE: usize = 4096;

/// `--device`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceChoice {
    /// A GPU where one is found, else the processor
    Auto,
    /// The processor
    Cpu,
    /// An NVIDIA GPU
    Cuda,
}

/// `--precision`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PrecisionChoice {
    /// bf16 on a GPU, f32 on the processor
    Auto,
    /// 32 bits
    F32,
    /// 16 bits in products; sums, weights and the optimiser stay in f32
    Bf16,
}

/// How much there is to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// A few texts, which are rated before a GPU's kernels are compiled.
    Small,
    /// Files of reviews.
    Large,
}

/// Flags of device and precision.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Hardware {
    /// Device to compute on
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto, help_heading = "Hardware")]
    pub device: DeviceChoice,
    /// Precision of matrix products
    #[arg(long, value_enum, default_value_t = PrecisionChoice::Auto, help_heading = "Hardware")]
    pub precision: PrecisionChoice,
}

/// `--engine`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineChoice {
    /// Starsight's own kernels
    Own,
    /// candle, the independent reference: slower, in f32
    Candle,
}

/// Flags of device, precision and engine for rating.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct RatingHardware {
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Hardware")]
    pub hardware: Hardware,
    /// Compute in int8, as the browser does, with the bundle's web/ weights
    #[arg(long, conflicts_with_all = ["device", "precision"], help_heading = "Hardware")]
    pub int8: bool,
    /// Engine for BERT and DistilBERT; candle always computes DeBERTa-v2/v3, ModernBERT and
    /// XLM-RoBERTa
    #[arg(long, value_enum, default_value_t = EngineChoice::Own, conflicts_with_all = ["device", "precision", "int8"], help_heading = "Hardware")]
    pub engine: EngineChoice,
}

impl RatingHardware {
    /// As [`Hardware::open`].
    ///
    /// # Errors
    /// As [`Hardware::open`].
    pub fn open(self, workload: Workload) -> Result<Place> {
        match self.engine {
            EngineChoice::Candle => Ok(announced(Place::Candle)),
            EngineChoice::Own if self.int8 => Ok(announced(Place::Int8)),
            EngineChoice::Own => self.hardware.open(workload),
        }
    }
}

/// Prints the device to standard error, and returns it.
fn announced(place: Place) -> Place {
    say!("computing on {} in {}", place.name(), place.numbers());
    place
}

impl Hardware {
    /// Opens the chosen device and prints it to standard error. `auto` takes a GPU only if there is
    /// a large [`Workload`], because compiling a GPU's kernels takes seconds.
    ///
    /// # Errors
    /// When a requested GPU lacks something it needs, or the device does not support the precision.
    pub fn open(self, workload: Workload) -> Result<Place> {
        self.choose(workload).map(announced)
    }

    /// The same for work of which a part, named by `processor_only`, can be computed only on the
    /// processor. Call it before the work begins.
    ///
    /// # Errors
    /// As [`Hardware::open`], and when a GPU is requested for such work.
    pub fn open_for(self, processor_only: Option<&str>) -> Result<Place> {
        let device = device_for(self.device, processor_only)?;
        if let Some(processor_only) =
            processor_only.filter(|_| device != self.device && gpu_is_there())
        {
            say!("the GPU is not used: {processor_only} runs only on the processor");
        }
        Hardware { device, ..self }.open(Workload::Large)
    }

    fn choose(self, workload: Workload) -> Result<Place> {
        match self.device {
            DeviceChoice::Cuda => self.gpu(),
            DeviceChoice::Auto if workload == Workload::Large && gpu_is_there() => {
                self.gpu().or_else(|error| {
                    say!("the GPU is not used: {error:#}");
                    self.processor()
                })
            }
            DeviceChoice::Auto | DeviceChoice::Cpu => self.processor(),
        }
    }

    fn processor(self) -> Result<Place> {
        match self.precision {
            PrecisionChoice::Bf16 if !Fused::has_bf16() => {
                bail!(
                    "--precision bf16: this processor has no bf16 instructions (AVX512-BF16); use --precision f32, or omit it"
                )
            }
            PrecisionChoice::Bf16 => {
                // bf16 instructions may be slow: Intel's Emerald Rapids is half as fast with them
                // as in f32.
                let [bf16, f32] = [Precision::Bf16, Precision::F32]
                    .map(|precision| bench::peak(precision, PROCESSOR_SIDE));
                if bf16 < f32 {
                    say!(
                        "this processor takes {:.1} times as long for a product in bf16 as in f32",
                        f32 / bf16
                    );
                }
                Ok(Place::Processor(Precision::Bf16))
            }
            PrecisionChoice::Auto | PrecisionChoice::F32 => Ok(Place::Processor(Precision::F32)),
        }
    }

    #[cfg(feature = "cuda")]
    fn gpu(self) -> Result<Place> {
        let gpu = Gpu::open().context("no usable GPU; use --device cpu for the processor")?;
        let precision = if self.precision == PrecisionChoice::F32 {
            Precision::F32
        } else {
            Precision::Bf16
        };
        Ok(Place::Gpu {
            device: Arc::new(gpu),
            precision,
        })
    }

    #[cfg(not(feature = "cuda"))]
    fn gpu(self) -> Result<Place> {
        bail!(
            "this program was built without GPU support: build it with `cargo build --release -p starsight --features cuda`, or use --device cpu"
        )
    }
}

/// The device for work of which the part `processor_only` can be computed only on the processor.
fn device_for(choice: DeviceChoice, processor_only: Option<&str>) -> Result<DeviceChoice> {
    match (choice, processor_only) {
        (DeviceChoice::Cuda, Some(processor_only)) => {
            bail!(
                "--device cuda: {processor_only} runs only on the processor; use --device cpu, or omit it"
            )
        }
        (_, Some(_)) => Ok(DeviceChoice::Cpu),
        (choice, None) => Ok(choice),
    }
}

/// Whether there is a GPU that `auto` may take.
fn gpu_is_there() -> bool {
    #[cfg(feature = "cuda")]
    return Gpu::is_there();
    #[cfg(not(feature = "cuda"))]
    false
}

/// The number format of matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// Floating-point numbers.
    Float(Precision),
    /// 8-bit integers.
    Int8,
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Numbers::Float(precision) => precision.fmt(f),
            Numbers::Int8 => f.write_str("int8"),
        }
    }
}

impl Serialize for Numbers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The device and precision that compute a model.
#[derive(Clone)]
pub enum Place {
    /// All cores of the processor.
    Processor(Precision),
    /// The processor in int8, as browsers compute.
    Int8,
    /// The processor with candle, in f32: the reference for the other engines.
    Candle,
    /// A GPU.
    #[cfg(feature = "cuda")]
    Gpu {
        /// The GPU.
        device: Arc<dyn Device>,
        /// Precision of matrix products.
        precision: Precision,
    },
}

impl Place {
    /// Its name.
    pub fn name(&self) -> String {
        match self {
            Place::Processor(_) | Place::Int8 => {
                format!("the processor ({} threads)", rayon::current_num_threads())
            }
            Place::Candle => format!(
                "the processor ({} threads) by candle",
                rayon::current_num_threads()
            ),
            #[cfg(feature = "cuda")]
            Place::Gpu { device, .. } => device.name(),
        }
    }

    /// The number format of matrix products.
    pub fn numbers(&self) -> Numbers {
        match self {
            Place::Processor(precision) => Numbers::Float(*precision),
            Place::Int8 => Numbers::Int8,
            Place::Candle => Numbers::Float(Precision::F32),
            #[cfg(feature = "cuda")]
            Place::Gpu { precision, .. } => Numbers::Float(*precision),
        }
    }

    /// Measures its peak in 10^9 operations per second, with products like the engine's in the same
    /// precision.
    ///
    /// # Errors
    /// When a GPU fails.
    pub fn peak(&self) -> Result<f64> {
        match self {
            Place::Processor(precision) => Ok(bench::peak(*precision, PROCESSOR_SIDE)),
            Place::Int8 => Ok(bench::int8_peak(Int8Kernel::best())),
            Place::Candle => Ok(bench::peak(Precision::F32, PROCESSOR_SIDE)),
            #[cfg(feature = "cuda")]
            Place::Gpu { device, precision } => Ok(cuda::peak::peak(device, *precision, GPU_SIDE)?),
        }
    }

    /// Of `tokens` tokens in `reviews` reviews, the number for which the last layer computes
    /// everything: our own engines do so only for the first token of each review.
    pub fn asking(&self, tokens: usize, reviews: usize) -> usize {
        if matches!(self, Place::Candle) {
            tokens
        } else {
            reviews
        }
    }

    /// The engine for these weights.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape, or the device cannot take the model.
    pub fn engine(
        &self,
        config: &EncoderConfig,
        weights: &Weights,
    ) -> Result<Box<dyn Engine + Send + Sync>, Error> {
        Ok(match self {
            Place::Processor(precision) => {
                let mut model = Fused::new(config, weights)?;
                model.set_precision(*precision);
                Box::new(model)
            }
            Place::Candle => Box::new(Classifier::new(config, weights)?),
            Place::Int8 => Box::new(Int8::new(
                config,
                int8::quantize(config, weights)?,
                Int8Kernel::best(),
            )?),
            #[cfg(feature = "cuda")]
            Place::Gpu { device, precision } => Box::new(Encoder::new(
                device,
                config,
                weights,
                *precision,
                cuda::encoder::TOKEN_BUDGET,
            )?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(device: DeviceChoice, precision: PrecisionChoice) -> Result<Place, String> {
        Hardware { device, precision }
            .choose(Workload::Large)
            .map_err(|e| format!("{e:#}"))
    }

    #[test]
    fn the_processor_is_there_and_computes_in_f32_unless_told_otherwise() {
        let place = choose(DeviceChoice::Cpu, PrecisionChoice::Auto).expect("a processor");
        assert_eq!(place.numbers(), Numbers::Float(Precision::F32));
        assert!(
            place.name().starts_with("the processor ("),
            "{}",
            place.name()
        );
        match choose(DeviceChoice::Cpu, PrecisionChoice::Bf16) {
            Ok(place) => {
                assert!(Fused::has_bf16() && place.numbers() == Numbers::Float(Precision::Bf16));
            }
            Err(error) => assert!(error.contains("(AVX512-BF16)"), "{error}"),
        }
    }

    #[test]
    fn what_only_the_processor_computes_is_settled_before_a_gpu_is_looked_for() {
        let may = |choice| device_for(choice, Some("--int8")).map_err(|e| e.to_string());
        assert_eq!(
            [may(DeviceChoice::Auto), may(DeviceChoice::Cpu)],
            [Ok(DeviceChoice::Cpu), Ok(DeviceChoice::Cpu)]
        );
        let error = may(DeviceChoice::Cuda).expect_err("a GPU cannot");
        assert_eq!(
            error,
            "--device cuda: --int8 runs only on the processor; use --device cpu, or omit it"
        );
        for choice in [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Cuda] {
            assert_eq!(device_for(choice, None).ok(), Some(choice));
        }
        let place = Hardware {
            device: DeviceChoice::Auto,
            precision: PrecisionChoice::F32,
        }
        .open_for(Some("--int8"))
        .expect("the processor");
        assert!(
            place.name().starts_with("the processor ("),
            "{}",
            place.name()
        );
    }

    #[test]
    fn a_gpu_that_cannot_be_used_is_an_error_that_says_what_helps() {
        // On a machine with a GPU there is no error to check.
        if let Err(error) = choose(DeviceChoice::Cuda, PrecisionChoice::Auto) {
            assert!(error.contains("--device cpu"), "{error}");
        }
    }
}
