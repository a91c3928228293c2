//! The model that the address requests.

/// The parameters of the page's address that identify the model, unparsed. `starsight.js` reports
/// invalid values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelRequest {
    /// A folder, or `owner/name@revision` on the Hub.
    pub model: Option<String>,
    /// The Hub's URL.
    pub endpoint: Option<String>,
    /// The number of workers.
    pub workers: Option<String>,
}

impl ModelRequest {
    /// Whether the model may be on another host.
    pub fn is_elsewhere(&self) -> bool {
        self.model.as_deref().is_some_and(|model| !is_folder(model))
    }
}

/// Whether a model's name is the path of a folder of this site, such as `./model/`.
pub fn is_folder(model: &str) -> bool {
    ["/", "./", "../"]
        .iter()
        .any(|start| model.starts_with(start))
}
