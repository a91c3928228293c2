//! Five bars, for 5 stars down to 1.

use leptos::prelude::*;

use crate::words;

/// A bar's share of the whole, 0 to 1, and the figure beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// The bar's length.
    pub share: f64,
    /// The figure beside it.
    pub figure: String,
}

impl Default for Bar {
    fn default() -> Bar {
        Bar {
            share: 0.0,
            figure: words::NO_VALUE.into(),
        }
    }
}

/// A list of five bars. `bars` are in the order of the stars, 1 to 5; the one for `leading` stars
/// is highlighted.
#[component]
pub fn Bars(
    id: &'static str,
    label: &'static str,
    #[prop(into)] bars: Signal<[Bar; 5]>,
    #[prop(into)] leading: Signal<Option<u8>>,
) -> impl IntoView {
    let rows = (1..=5u8)
        .rev()
        .map(|stars| {
            let bar = Memo::new(move |_| bars.with(|bars| bars[usize::from(stars) - 1].clone()));
            view! {
                <li class="bar" class:bar--leading=move || leading.get() == Some(stars) data-stars=stars data-value=move || bar.with(|bar| bar.share)>
                    <span class="bar__name"><span aria-hidden="true">{stars}<svg viewBox="0 0 24 24"><use href="#star"/></svg></span><span class="unseen">{words::stars(stars)}": "</span></span>
                    <span class="bar__track" aria-hidden="true"><span class="bar__fill" style=("--share", move || format!("{:.4}", bar.with(|bar| bar.share)))></span></span>
                    <span class="bar__figure">{move || bar.with(|bar| bar.figure.clone())}</span>
                </li>
            }
        })
        .collect_view();
    view! { <ul class="bars" id=id data-testid=id aria-label=label role="list">{rows}</ul> }
}
