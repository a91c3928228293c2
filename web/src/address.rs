//! What the page's address asks for: `?model=`, `?endpoint=` and `?workers=`.

use leptos::prelude::window;
use web_sys::UrlSearchParams;

/// The parameters of the page's address, as they stand there. `starsight.js` says what is wrong with one.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// A folder, or `owner/name@revision` on the Hub.
    pub model: Option<String>,
    /// The Hub's address.
    pub endpoint: Option<String>,
    /// How many workers.
    pub workers: Option<String>,
}

/// Reads the page's address. An empty parameter counts as none.
pub fn wanted() -> Wanted {
    let search = window().location().search().unwrap_or_default();
    let Ok(parameters) = UrlSearchParams::new_with_str(&search) else { return Wanted::default() };
    let get = |name| parameters.get(name).filter(|value| !value.is_empty());
    Wanted { model: get("model"), endpoint: get("endpoint"), workers: get("workers") }
}
