//! The model that is asked for.

/// The parameters of the page's address that say which model, as they stand there. `starsight.js` says what is wrong with one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// A folder, or `owner/name@revision` on the Hub.
    pub model: Option<String>,
    /// The Hub's address.
    pub endpoint: Option<String>,
    /// How many workers.
    pub workers: Option<String>,
}

impl Wanted {
    /// Whether the model may lie on another host.
    pub fn is_elsewhere(&self) -> bool {
        self.model.as_deref().is_some_and(|model| !is_folder(model))
    }
}

/// Whether a model's name is the address of a folder of this site, such as `./model/`.
pub fn is_folder(model: &str) -> bool {
    ["/", "./", "../"]
        .iter()
        .any(|start| model.starts_with(start))
}
