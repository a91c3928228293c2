//! Announcements for screen readers.

use std::time::Duration;

use leptos::leptos_dom::helpers::TimeoutHandle;
use leptos::prelude::*;

/// The pause before an announcement, so that the reader can finish typing first.
const QUIET: Duration = Duration::from_millis(1200);

/// Announces short sentences politely: only the last of a burst, after a pause.
#[derive(Clone, Copy, Default)]
pub struct Announcer {
    words: RwSignal<String>,
    due: StoredValue<Option<TimeoutHandle>>,
}

impl Announcer {
    /// Announces `words` after the pause, replacing an announcement that is still waiting.
    pub fn say(self, words: impl Into<String>) {
        let words = words.into();
        let due = set_timeout_with_handle(move || self.words.set(words), QUIET).ok();
        if let Some(late) = self
            .due
            .try_update_value(|handle| std::mem::replace(handle, due))
            .flatten()
        {
            late.clear();
        }
    }
}

/// The live region of the announcements: invisible, but read by screen readers.
#[component]
pub fn Announcements() -> impl IntoView {
    let announcer = expect_context::<Announcer>();
    view! { <p class="unseen" role="status">{move || announcer.words.get()}</p> }
}
