//! The page's address: `?tab=` names the view; `?model=`, `?endpoint=` and `?workers=` name the
//! model.

use leptos::prelude::*;
use wasm_bindgen::JsValue;
use web_sys::UrlSearchParams;

use crate::starsight::ModelRequest;
use crate::view::View;
use crate::words::shell as words;

const TAB: &str = "tab";
const MODEL: &str = "model";
const ENDPOINT: &str = "endpoint";
const WORKERS: &str = "workers";

/// The prefix of a shared review in the fragment.
const FRAGMENT: &str = "#review=";

/// The page's address, as a context for all components.
#[derive(Clone, Copy)]
pub struct Address {
    /// The view that the address names.
    pub view: RwSignal<View>,
    /// The model that the address names.
    pub request: RwSignal<ModelRequest>,
    /// Whether the page may contact only its own host. If it was opened for a model of the site,
    /// trainer/src/site/start.js has narrowed its content security policy, and that lasts until the
    /// page is reloaded.
    pub is_narrowed: bool,
}

impl Address {
    /// Reads the address, and follows it when the reader navigates back or forward.
    pub fn read() -> Address {
        let (view, request) = current();
        let is_narrowed = !request.is_elsewhere();
        let address = Address {
            view: RwSignal::new(view),
            request: RwSignal::new(request),
            is_narrowed,
        };
        window_event_listener(leptos::ev::popstate, move |_| address.follow());
        Effect::new(move |_| document().set_title(&words::title(address.view.get())));
        address
    }

    /// The URL of another view with the current model. Reactive.
    pub fn href(self, view: View) -> String {
        self.request.with(|request| link(view, request))
    }

    /// Shows another view.
    pub fn go(self, view: View) {
        if view != self.view.get_untracked() {
            self.enter(&untrack(|| self.href(view)));
        }
    }

    /// Switches to another model.
    pub fn ask_for(self, request: &ModelRequest) {
        self.enter(&link(self.view.get_untracked(), request));
    }

    fn enter(self, href: &str) {
        let entered = window()
            .history()
            .and_then(|history| history.push_state_with_url(&JsValue::NULL, "", Some(href)));
        drop(entered);
        self.follow();
    }

    fn follow(self) {
        let (view, request) = current();
        if self.is_narrowed && request.is_elsewhere() {
            // Only a reloaded page may contact other hosts.
            return drop(window().location().reload());
        }
        self.view
            .maybe_update(|now| std::mem::replace(now, view) != view);
        self.request.maybe_update(|now| {
            let changed = *now != request;
            *now = request;
            changed
        });
    }
}

/// The shared review in the address's fragment, if there is one.
pub fn review() -> Option<String> {
    let fragment = window().location().hash().ok()?;
    let text = fragment.strip_prefix(FRAGMENT)?;
    js_sys::decode_uri_component(text)
        .ok()
        .map(String::from)
        .filter(|text| !text.trim().is_empty())
}

/// Removes the review from the address.
pub fn drop_review() {
    let location = window().location();
    let without = format!(
        "{}{}",
        location.pathname().unwrap_or_default(),
        location.search().unwrap_or_default()
    );
    let replaced = window()
        .history()
        .and_then(|history| history.replace_state_with_url(&JsValue::NULL, "", Some(&without)));
    drop(replaced);
}

/// The absolute URL of the page at `href` with this review in its fragment.
pub fn link_to_review(href: &str, review: &str) -> String {
    let base = document().base_uri().ok().flatten().unwrap_or_default();
    let page = web_sys::Url::new_with_base(href, &base)
        .map(|url| url.href())
        .unwrap_or_default();
    format!("{page}{FRAGMENT}{}", js_sys::encode_uri_component(review))
}

/// The view and model in the current address. An empty parameter counts as absent.
fn current() -> (View, ModelRequest) {
    let search = window().location().search().unwrap_or_default();
    let Ok(parameters) = UrlSearchParams::new_with_str(&search) else {
        return (View::One, ModelRequest::default());
    };
    let get = |name| parameters.get(name).filter(|value| !value.is_empty());
    let tab = get(TAB);
    let view = View::ALL
        .into_iter()
        .find(|view| tab.as_deref() == Some(view.name()))
        .unwrap_or(View::One);
    (
        view,
        ModelRequest {
            model: get(MODEL),
            endpoint: get(ENDPOINT),
            workers: get(WORKERS),
        },
    )
}

fn link(view: View, request: &ModelRequest) -> String {
    let Ok(parameters) = UrlSearchParams::new() else {
        return "./".into();
    };
    if view != View::ALL[0] {
        parameters.set(TAB, view.name());
    }
    for (name, value) in [
        (MODEL, &request.model),
        (ENDPOINT, &request.endpoint),
        (WORKERS, &request.workers),
    ] {
        if let Some(value) = value {
            parameters.set(name, value);
        }
    }
    // Characters that need no escaping in a query are kept readable.
    let query = String::from(parameters.to_string())
        .replace("%2F", "/")
        .replace("%40", "@")
        .replace("%3A", ":");
    if query.is_empty() {
        "./".into()
    } else {
        format!("./?{query}")
    }
}
