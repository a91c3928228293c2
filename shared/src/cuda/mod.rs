//! The encoder on a GPU: the same forward and backward pass as [`fused`](crate::fused), which is its reference, as kernels of our own between cuBLAS' products.
//!
//! Nothing of CUDA is needed to build it: driver, compiler and cuBLAS are found when the program runs, and the kernels, which travel as source, are compiled then, for the device
//! and the model at hand. A machine without a GPU hears what is missing. The tests run the same kernels without one, on an emulated device.
//!
//! - [`device`]: the narrow door behind which a GPU and the emulated device stand; [`driver`]: the GPU.
//! - `arguments`, `program`, `kernels/*.cu`: the kernels.
//! - `arena`: weights, gradients and moments as they lie on the device; `tape`: activations.
//! - `batch`: what of a batch goes to the device, in one copy.
//! - [`encoder`]: forward; `backward`; [`learner`]: steps of training, without the host waiting.

mod arena;
mod arguments;
mod backward;
mod batch;
pub mod device;
pub mod driver;
#[cfg(any(test, feature = "emulation"))]
pub mod emulated;
pub mod encoder;
pub mod learner;
pub mod peak;
mod program;
mod tape;
#[cfg(test)]
mod tests;

pub use self::device::Device;
pub use self::driver::Gpu;
pub use self::encoder::Encoder;
pub use self::learner::Learner;
pub use crate::fused::Precision;

/// On a GPU activations and the copy of the matrices that is multiplied are stored in it too. Sums, LayerNorm, softmax, the loss, gradients of weights, and the weights that the
/// optimiser moves are f32 in both.
impl Precision {
    /// Bytes of a number.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Precision::F32 => 4,
            Precision::Bf16 => 2,
        }
    }
}
