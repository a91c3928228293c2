//! What can go wrong between a bundle and a rating.

/// An error of the model crate. Its text is fit for a user: it names the cause and, where one can say it, what would be right.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `config.json` is not one that this crate can compute.
    #[error("config.json: {0}")]
    Config(String),
    /// `tokenizer.json` does not hold a usable tokeniser, or a text cannot be tokenised.
    #[error("tokenizer.json: {0}")]
    Tokenizer(String),
    /// A weight file that cannot be read at all: cut off, or of another format.
    #[error("model.safetensors: {0}")]
    Weights(String),
    /// A tensor that the model needs is not in the weight file.
    #[error("model.safetensors: no tensor `{name}`, wanted with shape {wanted:?}")]
    MissingTensor {
        /// The tensor's name as Hugging Face spells it.
        name: String,
        /// The shape that config.json asks for.
        wanted: Vec<usize>,
    },
    /// A tensor has another shape than config.json asks for.
    #[error(
        "model.safetensors: tensor `{name}` has shape {found:?}, but config.json asks for {wanted:?}"
    )]
    TensorShape {
        /// The tensor's name as Hugging Face spells it.
        name: String,
        /// The shape that config.json asks for.
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
    /// The model does not compute what the trainer computed for the bundle's probes.
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
    /// A review that does not fit the model: a token id beyond the vocabulary, or more tokens than positions.
    #[error("{0}")]
    Input(String),
    /// A GPU, or a library that it needs, is missing or failed.
    #[error("{0}")]
    Device(String),
    /// A GPU has too little memory.
    #[error("the GPU's memory does not suffice: {bytes} bytes more were wanted")]
    DeviceMemory {
        /// What was asked for.
        bytes: usize,
    },
    /// A tensor operation failed.
    #[cfg(feature = "native")]
    #[error("tensor operation: {0}")]
    Compute(#[from] candle_core::Error),
}
