//! The calibration curve: whether the model's confidence matches how often it is right.

use leptos::prelude::*;

use crate::starsight::Bin;
use crate::words::model as words;

/// The drawing's coordinates: a square, and space for its labels.
const SIDE: f64 = 200.0;
const LEFT: f64 = 44.0;
const TOP: f64 = 10.0;

/// A dot for each bin of reviews, and the diagonal of perfect calibration.
#[component]
pub fn Calibration(bins: Vec<Bin>) -> impl IntoView {
    let body = if bins.is_empty() {
        view! { <p class="caption">{words::NO_CALIBRATION}</p> }.into_any()
    } else {
        view! { <Drawing bins/> }.into_any()
    };
    view! { <figure><h3>{words::CALIBRATION}</h3>{body}</figure> }
}

#[component]
fn Drawing(bins: Vec<Bin>) -> impl IntoView {
    let most = bins.iter().map(|bin| bin.samples).fold(1.0, f64::max);
    let at = |bin: &Bin| (LEFT + SIDE * bin.confidence, TOP + SIDE * (1.0 - bin.right));
    let path: Vec<String> = bins
        .iter()
        .map(|bin| {
            let (x, y) = at(bin);
            format!("{x:.1} {y:.1}")
        })
        .collect();
    let dots = bins.iter().map(|bin| {
        let (x, y) = at(bin);
        // The dot's area is roughly proportional to the number of reviews.
        let radius = 2.5 + 6.0 * (bin.samples / most).sqrt();
        view! {
            <circle class="plot__dot" cx=format!("{x:.1}") cy=format!("{y:.1}") r=format!("{radius:.1}")></circle>
        }
    });
    let marks = [0, 25, 50, 75, 100].map(|percent| {
        let share = f64::from(percent) / 100.0;
        let (x, y) = (LEFT + SIDE * share, TOP + SIDE * (1.0 - share));
        view! {
            <path class="plot__grid" d=format!("M{x} {TOP}V{}M{LEFT} {y}H{}", TOP + SIDE, LEFT + SIDE)/>
            <text class="plot__mark" x=x y=TOP + SIDE + 16.0 text-anchor="middle">{percent}"%"</text>
            <text class="plot__mark" x=LEFT - 6.0 y=y + 4.0 text-anchor="end">{percent}"%"</text>
        }
    });
    // The drawing's content as text for screen readers.
    let list = bins
        .iter()
        .map(|bin| view! { <li>{words::bin(bin.samples, bin.confidence, bin.right)}</li> })
        .collect_view();
    view! {
        <svg class="plot" id="calibration" viewBox="0 0 260 246" role="img" aria-label=words::CALIBRATION_DRAWING>
            {marks.collect_view()}
            <path class="plot__ideal" d=format!("M{LEFT} {}L{} {TOP}", TOP + SIDE, LEFT + SIDE)/>
            <path class="plot__line" d=format!("M{}", path.join("L"))/>
            {dots.collect_view()}
            <text class="plot__mark" x=LEFT + SIDE / 2.0 y=TOP + SIDE + 32.0 text-anchor="middle">{words::SURE}</text>
            <text class="plot__mark" transform=format!("translate(10 {}) rotate(-90)", TOP + SIDE / 2.0) text-anchor="middle">{words::RIGHT}</text>
        </svg>
        <ul class="unseen">{list}</ul>
        <figcaption class="caption">{words::CALIBRATION_NOTE}</figcaption>
    }
}
