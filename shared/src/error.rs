//! Errors between a bundle and a rating.

/// An error of the model crate. Its text can be shown to a user: it names the cause and, if known,
/// what would be right.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This crate cannot compute the model that `config.json` describes.
    #[error("config.json: {0}")]
    Config(String),
    /// `tokenizer.json` does not hold a usable tokeniser, or a text cannot be tokenised.
    #[error("tokenizer.json: {0}")]
    Tokenizer(String),
    /// A weight file that cannot be read at all because it is truncated or has another format.
    #[error("model.safetensors: {0}")]
    Weights(String),
    /// A tensor that the model needs is not in the weight file.
    #[error("model.safetensors: no tensor `{name}`, wanted with shape {wanted:?}")]
    MissingTensor {
        /// The tensor's name as Hugging Face spells it.
        name: String,
        /// The shape that config.json requires.
        wanted: Vec<usize>,
    },
    /// A tensor's shape differs from the one that config.json requires.
    #[error(
        "model.safetensors: tensor `{name}` has shape {found:?}, but config.json asks for {wanted:?}"
    )]
    TensorShape {
        /// The tensor's name as Hugging Face spells it.
        name: String,
        /// The shape that config.json requires.
        wanted: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// The weights of the int8 engine cannot be read, or do not fit the model.
    #[error("{file}: {0}", file = crate::bundle::INT8_WEIGHTS)]
    Int8(String),
    /// The bundle's manifest is unreadable, or a file does not match it.
    #[error("{0}")]
    Bundle(String),
    /// The model's logits differ from those that the trainer computed for the bundle's probes.
    #[error(
        "this model computes {found:?} for the probe {text:?}, but its trainer computed {wanted:?}: the weights, the tokeniser or the engine differ"
    )]
    Probe {
        /// The probe's text.
        text: String,
        /// Logits in the manifest.
        wanted: [f32; 5],
        /// Logits computed here.
        found: [f32; 5],
    },
    /// A review that does not fit the model: a token id beyond the vocabulary, or more tokens than
    /// positions.
    #[error("{0}")]
    Input(String),
    /// A GPU, or a library that it needs, is missing or failed.
    #[error("{0}")]
    Device(String),
    /// A GPU has too little memory.
    #[error("the GPU is out of memory: {bytes} more bytes were needed")]
    DeviceMemory {
        /// The size of the allocation that failed.
        bytes: usize,
    },
    /// A tensor operation failed.
    #[cfg(feature = "native")]
    #[error("tensor operation: {0}")]
    Compute(#[from] candle_core::Error),
}
