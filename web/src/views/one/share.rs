//! Sharing a review as a link.

use leptos::prelude::*;

use crate::address::{self, Address};
use crate::components::copy::CopyButton;
use crate::view::View;
use crate::views::one::draft::Draft;
use crate::words::one as words;

/// The longest review that can be shared, in bytes: mail and chat programs do not break links of
/// this length.
const LONGEST: usize = 1500;

/// A button that copies a link with the text in it, and an explanation.
#[component]
pub fn Share(draft: Draft) -> impl IntoView {
    let address = expect_context::<Address>();
    let too_long = move || draft.text.with(|text| text.len() > LONGEST);
    let link = move || {
        address::link_to_review(
            &untrack(|| address.href(View::One)),
            &draft.text.get_untracked(),
        )
    };
    view! {
        <div class="share">
            <CopyButton id="share" label=words::SHARE text=link disabled=Signal::derive(move || draft.is_blank() || too_long())/>
            <p class="caption">{move || if too_long() { words::TOO_LONG_TO_SHARE } else { words::WHAT_SHARING_MEANS }}</p>
        </div>
    }
}
