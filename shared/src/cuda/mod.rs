//! The encoder on a GPU. It computes the same forward and backward pass as [`fused`](crate::fused),
//! its reference, with our own kernels between cuBLAS products.
//!
//! CUDA is not needed at build time. The driver, NVRTC and cuBLAS are loaded at run time. The
//! kernels are embedded as source and compiled at run time for the device and the model. Without a
//! GPU an error says what is missing. The tests run the same kernels without a GPU, on an emulated
//! device.
//!
//! - [`device`]: the interface that the GPU and the emulated device implement; [`driver`]: the GPU.
//! - `arguments`, `program`, `kernels/*.cu`: the kernels.
//! - `arena`: weights, gradients and moments on the device; `tape`: activations.
//! - `batch`: uploads a batch in one copy.
//! - [`encoder`]: the forward pass; `backward`: the backward pass; [`learner`]: training steps that
//!   the host does not wait for.

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

/// On a GPU, activations and the copy of the matrices that products read are stored in this
/// precision too. Sums, LayerNorm, softmax, the loss, gradients of weights and the master weights
/// are always f32.
impl Precision {
    /// Bytes of a number.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Precision::F32 => 4,
            Precision::Bf16 => 2,
        }
    }
}
