//! A plot of the speed over the last half minute.

use leptos::prelude::*;

use crate::figures::speed;
use crate::meter::{Point, SPAN};
use crate::words::speed as words;

/// The drawing's coordinates.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 60.0;

/// Reviews per second, the newest at the right. The scale goes from 0 to the highest visible
/// figure, which is shown beside it.
#[component]
pub fn Curve(points: RwSignal<Vec<Point>>) -> impl IntoView {
    let most = Memo::new(move |_| {
        points.with(|points| points.iter().map(|point| point.samples).fold(0.0, f64::max))
    });
    let line = move || points.with(|points| line(points, most.get()));
    let area = move || points.with(|points| area(points, most.get()));
    let top = move || {
        if most.get() > 0.0 {
            speed(most.get())
        } else {
            String::new()
        }
    };
    view! {
        <figure class="curve">
            <svg viewBox="0 0 300 60" preserveAspectRatio="none" role="img" aria-label=words::CURVE>
                <path class="curve__grid" d="M0 .5H300M0 30H300M0 59.5H300"/>
                <path class="curve__area" d=area/>
                <path class="curve__line" id="curve-line" d=line/>
            </svg>
            <figcaption class="curve__scale" aria-hidden="true"><span>{top}</span><span>"0"</span></figcaption>
        </figure>
    }
}

fn place(point: &Point, now: f64, most: f64) -> (f64, f64) {
    (
        WIDTH * (1.0 - (now - point.at) / SPAN),
        (HEIGHT - 1.0) * (1.0 - point.samples / most.max(1e-9)) + 0.5,
    )
}

fn line(points: &[Point], most: f64) -> String {
    let Some(last) = points.last() else {
        return String::new();
    };
    let mut out = String::new();
    for (i, point) in points.iter().enumerate() {
        let (x, y) = place(point, last.at, most);
        out += &format!("{}{x:.1} {y:.1}", if i == 0 { "M" } else { "L" });
    }
    out
}

fn area(points: &[Point], most: f64) -> String {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return String::new();
    };
    let left = place(first, last.at, most).0;
    format!(
        "{}L{WIDTH} {HEIGHT}L{left:.1} {HEIGHT}Z",
        line(points, most)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_at_the_right_and_the_fastest_at_the_top() {
        let points = [
            Point {
                at: 0.0,
                samples: 0.0,
                tokens: 0.0,
            },
            Point {
                at: 15.0,
                samples: 100.0,
                tokens: 0.0,
            },
        ];
        assert_eq!(line(&points, 100.0), "M150.0 59.5L300.0 0.5");
        assert_eq!(
            area(&points, 100.0),
            "M150.0 59.5L300.0 0.5L300 60L150.0 60Z"
        );
        assert_eq!(line(&[], 0.0), "");
    }
}
