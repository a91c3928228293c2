//! Star icons, filled to a fraction.

use leptos::prelude::*;

use crate::words;

/// The SVG symbols that the page's drawings use.
#[component]
pub fn StarShapes() -> impl IntoView {
    view! {
        <svg class="shapes" aria-hidden="true">
            <symbol id="star" viewBox="0 0 24 24">
                <path d="M12 2.6l2.95 6.05 6.6.95-4.8 4.65 1.15 6.6L12 17.7l-5.9 3.15 1.15-6.6L2.45 9.6l6.6-.95z"/>
            </symbol>
            <symbol id="sight" viewBox="0 0 24 24">
                <path fill-rule="evenodd" d="M12 1.6l3.2 6.55 7.1 1-5.15 5.05 1.25 7.15L12 17.95l-6.4 3.4 1.25-7.15L1.7 9.15l7.1-1zM12 8.9a3.6 3.6 0 100 7.2 3.6 3.6 0 000-7.2zm0 2a1.6 1.6 0 110 3.2 1.6 1.6 0 010-3.2z"/>
            </symbol>
            <symbol id="five-stars" viewBox="0 0 120 24">
                <use href="#star" width="24" height="24"/>
                <use href="#star" x="24" width="24" height="24"/>
                <use href="#star" x="48" width="24" height="24"/>
                <use href="#star" x="72" width="24" height="24"/>
                <use href="#star" x="96" width="24" height="24"/>
            </symbol>
        </svg>
    }
}

/// Five stars, of which `value` are filled; none while there is no value.
#[component]
pub fn Stars(#[prop(into)] value: Signal<Option<f32>>) -> impl IntoView {
    let label = move || value.get().map(words::of_five).unwrap_or_default();
    let hidden = move || value.get().is_none().then_some("true");
    let fill = move || format!("{:.2}%", filled(value.get().unwrap_or(0.0)));
    view! {
        <span class="stars" role="img" aria-label=label aria-hidden=hidden style=("--fill", fill)>
            <svg class="stars__empty" viewBox="0 0 120 24" aria-hidden="true"><use href="#five-stars"/></svg>
            <svg class="stars__full" viewBox="0 0 120 24" aria-hidden="true"><use href="#five-stars"/></svg>
        </span>
    }
}

/// The width of the fill in percent of the five stars' width. Gaps between stars are skipped.
fn filled(value: f32) -> f32 {
    const CELL: f32 = 24.0;
    const LEFT: f32 = 2.45;
    const WIDTH: f32 = CELL - 2.0 * LEFT;
    let value = value.clamp(0.0, 5.0);
    let part = value.fract();
    let reach = value.floor() * CELL + if part > 0.0 { LEFT + part * WIDTH } else { 0.0 };
    reach / (5.0 * CELL) * 100.0
}

#[cfg(test)]
mod tests {
    use super::filled;

    #[test]
    fn a_fraction_fills_that_much_of_its_star() {
        assert_eq!(filled(0.0), 0.0);
        assert_eq!(filled(5.0), 100.0);
        assert_eq!(filled(4.0), 80.0);
        assert!((filled(2.5) - 50.0).abs() < 1e-4);
        assert_eq!(filled(f32::INFINITY), 100.0);
    }
}
