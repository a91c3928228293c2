//! The review with its words marked by how they change the rating: by underline, weight and sign,
//! so that the marks are readable without colour.

use leptos::prelude::*;

use crate::views::one::draft::Draft;
use crate::views::one::pull::{Pull, Pulls};
use crate::words::one as words;

/// The smallest pulls, in stars, that count as a pull, a strong pull and a very strong pull.
const LEVELS: [f32; 3] = [0.1, 0.35, 0.9];

/// The number of words listed in each direction.
const NAMED: usize = 5;

/// The text with its pulling words marked, and a list of the strongest ones.
#[component]
pub fn MarkedWords(draft: Draft) -> impl IntoView {
    let known = move || {
        draft.pulls.with(|pulls| {
            pulls
                .as_ref()
                .and_then(|pulls| pulls.as_ref().ok().cloned())
        })
    };
    let text = move || match known() {
        Some(pulls) => pulls.pieces.iter().map(marked).collect_view().into_any(),
        None => draft.text.get().into_any(),
    };
    let note = move || {
        draft
            .pulls
            .with(|pulls| note(pulls.as_ref(), draft.is_blank()))
    };
    let named = move |up: bool| known().map(|pulls| named(&pulls, up));
    view! {
        <section class="pulls" aria-labelledby="pulls-title" data-testid="pulls" data-known=move || known().is_some().to_string()>
            <h3 id="pulls-title">{words::PULLS}</h3>
            <p class="pulls__text" dir="auto" aria-hidden="true">{text}</p>
            <dl class="pulls__named">
                <div><dt>{words::UP}</dt><dd id="pulls-up">{move || named(true)}</dd></div>
                <div><dt>{words::DOWN}</dt><dd id="pulls-down">{move || named(false)}</dd></div>
            </dl>
            <p class="caption" id="pulls-note">{note}</p>
        </section>
    }
}

/// A piece of the text. White space around it is not marked.
fn marked(pull: &Pull) -> impl IntoView + use<> {
    let level = LEVELS
        .iter()
        .filter(|least| pull.by.abs() >= **least)
        .count();
    let core = pull.piece.trim();
    let (before, after) = pull.piece.split_once(core).unwrap_or_default();
    let class = match level {
        0 => String::new(),
        level => format!(
            "pull pull--{} pull--{level}",
            if pull.by > 0.0 { "up" } else { "down" }
        ),
    };
    view! { {before.to_string()}<span class=class>{core.to_string()}</span>{after.to_string()} }
}

/// The strongest pieces that pull up or down, with figures. Each word is isolated from its figure,
/// because its text direction may differ.
fn named(pulls: &Pulls, up: bool) -> impl IntoView + use<> {
    let mut strongest: Vec<&Pull> = pulls
        .pieces
        .iter()
        .filter(|pull| pull.by.abs() >= LEVELS[0] && (pull.by > 0.0) == up)
        .collect();
    strongest.sort_by(|one, other| other.by.abs().total_cmp(&one.by.abs()));
    if strongest.is_empty() {
        return words::NO_WORD.into_any();
    }
    let one = |(i, pull): (usize, &Pull)| {
        let between = if i > 0 { words::BETWEEN_WORDS } else { "" };
        view! { {between}<bdi>{pull.piece.trim().to_string()}</bdi>" "<bdi dir="ltr">{words::pull(pull.by)}</bdi> }
    };
    strongest
        .into_iter()
        .take(NAMED)
        .enumerate()
        .map(one)
        .collect_view()
        .into_any()
}

fn note(pulls: Option<&Result<Pulls, crate::starsight::ScriptError>>, blank: bool) -> String {
    match pulls {
        Some(Ok(pulls)) => words::weighed(pulls.words_a_piece),
        Some(Err(error)) => format!("{}: {}", words::NOT_WEIGHED, error.message),
        None if blank => words::WHAT_PULLS_ARE.into(),
        None => String::new(),
    }
}
