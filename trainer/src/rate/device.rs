//! Where a model is computed: on the processor, or on a GPU.

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

/// Side of the matrices that show what a core can do: large enough to keep it at work, small enough for half a second.
const PROCESSOR_SIDE: usize = 1024;
/// The same of a GPU.
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
    /// A GPU of NVIDIA's
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

/// The flags that choose.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Hardware {
    /// What to compute on
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto, help_heading = "Hardware")]
    pub device: DeviceChoice,
    /// What to compute products in
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

/// The flags that choose where and in what a model rates.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct RatingHardware {
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Hardware")]
    pub hardware: Hardware,
    /// Compute in int8, as the browser does, with the bundle's web/ weights
    #[arg(long, conflicts_with_all = ["device", "precision"], help_heading = "Hardware")]
    pub int8: bool,
    /// What computes BERT and DistilBERT; DeBERTa-v2/v3, ModernBERT and XLM-RoBERTa are always computed by candle
    #[arg(long, value_enum, default_value_t = EngineChoice::Own, conflicts_with_all = ["device", "precision", "int8"], help_heading = "Hardware")]
    pub engine: EngineChoice,
}

impl RatingHardware {
    /// As [`Hardware::open`].
    ///
    /// # Errors
    /// Likewise.
    pub fn open(self, much: bool) -> Result<Place> {
        match self.engine {
            EngineChoice::Candle => Ok(told(Place::Candle)),
            EngineChoice::Own if self.int8 => Ok(told(Place::Int8)),
            EngineChoice::Own => self.hardware.open(much),
        }
    }
}

/// `place`, once standard error says what it is.
fn told(place: Place) -> Place {
    say!("computing on {} in {}", place.name(), place.numbers());
    place
}

impl Hardware {
    /// Opens what was chosen, and says on standard error what it is. Left to itself it takes a GPU only when there is `much` to compute: the first thing on a GPU is to compile
    /// its kernels, which takes seconds.
    ///
    /// # Errors
    /// When a GPU was asked for and something that it needs is missing, or when the precision is not one of the device's.
    pub fn open(self, much: bool) -> Result<Place> {
        self.choose(much).map(told)
    }

    /// The same for work of which `tied`, in words, is computed on the processor only: nothing unless given. To be called before the work begins.
    ///
    /// # Errors
    /// As [`Hardware::open`]; and when a GPU was asked for all the same.
    pub fn open_for(self, tied: Option<&str>) -> Result<Place> {
        let device = untied(self.device, tied)?;
        if let Some(tied) = tied.filter(|_| device != self.device && gpu_is_there()) {
            say!("the GPU stays unused: {tied} is computed on the processor only");
        }
        Hardware { device, ..self }.open(true)
    }

    fn choose(self, much: bool) -> Result<Place> {
        match self.device {
            DeviceChoice::Cuda => self.gpu(),
            DeviceChoice::Auto if much && gpu_is_there() => self.gpu().or_else(|error| {
                say!("the GPU stays unused: {error:#}");
                self.processor()
            }),
            DeviceChoice::Auto | DeviceChoice::Cpu => self.processor(),
        }
    }

    fn processor(self) -> Result<Place> {
        match self.precision {
            PrecisionChoice::Bf16 if !Fused::has_bf16() => {
                bail!(
                    "--precision bf16: this processor has no instruction for products in bf16 (AVX512-BF16); say --precision f32, or leave that out"
                )
            }
            PrecisionChoice::Bf16 => {
                // The instruction may be slow: Intel's Emerald Rapids does half as much by it as in f32.
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
        let gpu =
            Gpu::open().context("no GPU can be used; --device cpu computes on the processor")?;
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
            "this program was built without its part for GPUs: build it with `cargo build --release -p starsight --features cuda`, or say --device cpu"
        )
    }
}

/// The device that may be taken for work of which `tied` is computed on the processor only.
fn untied(wish: DeviceChoice, tied: Option<&str>) -> Result<DeviceChoice> {
    match (wish, tied) {
        (DeviceChoice::Cuda, Some(tied)) => bail!(
            "--device cuda: {tied} is computed on the processor only; say --device cpu, or leave that out"
        ),
        (_, Some(_)) => Ok(DeviceChoice::Cpu),
        (wish, None) => Ok(wish),
    }
}

/// Whether there is a GPU that may be taken unasked.
fn gpu_is_there() -> bool {
    #[cfg(feature = "cuda")]
    return Gpu::is_there();
    #[cfg(not(feature = "cuda"))]
    false
}

/// What products are computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// Floating-point numbers.
    Float(Precision),
    /// Integers of 8 bits.
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

/// What models are computed on.
#[derive(Clone)]
pub enum Place {
    /// All cores of the processor.
    Processor(Precision),
    /// The same in integers, as the browser computes.
    Int8,
    /// The same by candle, in f32: the reference for the other engines.
    Candle,
    /// A GPU.
    #[cfg(feature = "cuda")]
    Gpu {
        /// The GPU.
        device: Arc<dyn Device>,
        /// What products are computed in.
        precision: Precision,
    },
}

impl Place {
    /// What it is called.
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

    /// What products are computed in.
    pub fn numbers(&self) -> Numbers {
        match self {
            Place::Processor(precision) => Numbers::Float(*precision),
            Place::Int8 => Numbers::Int8,
            Place::Candle => Numbers::Float(Precision::F32),
            #[cfg(feature = "cuda")]
            Place::Gpu { precision, .. } => Numbers::Float(*precision),
        }
    }

    /// Its peak in 10^9 operations a second, in products such as its engine's, in the same numbers.
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

    /// How many of `tokens` tokens the last layer computes for `reviews` reviews: our own engines compute the first one of each review.
    pub fn asking(&self, tokens: usize, reviews: usize) -> usize {
        if matches!(self, Place::Candle) {
            tokens
        } else {
            reviews
        }
    }

    /// What rates with these weights.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape, or the device cannot take the model.
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
            .choose(true)
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
                assert!(Fused::has_bf16() && place.numbers() == Numbers::Float(Precision::Bf16))
            }
            Err(error) => assert!(error.contains("(AVX512-BF16)"), "{error}"),
        }
    }

    #[test]
    fn what_only_the_processor_computes_is_settled_before_a_gpu_is_looked_for() {
        let may = |wish| untied(wish, Some("--int8")).map_err(|e| e.to_string());
        assert_eq!(
            [may(DeviceChoice::Auto), may(DeviceChoice::Cpu)],
            [Ok(DeviceChoice::Cpu), Ok(DeviceChoice::Cpu)]
        );
        let error = may(DeviceChoice::Cuda).expect_err("a GPU cannot");
        assert_eq!(
            error,
            "--device cuda: --int8 is computed on the processor only; say --device cpu, or leave that out"
        );
        for wish in [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Cuda] {
            assert_eq!(untied(wish, None).ok(), Some(wish));
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
        // On a machine with a GPU there is nothing to complain of.
        if let Err(error) = choose(DeviceChoice::Cuda, PrecisionChoice::Auto) {
            assert!(error.contains("--device cpu"), "{error}");
        }
    }
}
