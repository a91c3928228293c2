//! What a screen reader says by itself.

use std::time::Duration;

use leptos::leptos_dom::helpers::TimeoutHandle;
use leptos::prelude::*;

/// Quiet that lets a reader finish typing before the rating is read out.
const QUIET: Duration = Duration::from_millis(1200);

/// Says short sentences, politely: the last of a burst, once there is quiet.
#[derive(Clone, Copy, Default)]
pub struct Announcer {
    words: RwSignal<String>,
    due: StoredValue<Option<TimeoutHandle>>,
}

impl Announcer {
    /// Says `words` soon, in place of what was not said yet.
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

/// Where the sentences appear: out of sight, but not out of hearing.
#[component]
pub fn Announcements() -> impl IntoView {
    let announcer = expect_context::<Announcer>();
    view! { <p class="unseen" role="status">{move || announcer.words.get()}</p> }
}
