//! Charts: inline SVG for the marks, plain text for the axes.
//!
//! A plot stretches to the available space, on a phone as on paper. Text in the SVG would be
//! stretched too, so the axis labels are outside it.

use std::fmt::Write;

use maud::{Markup, Render, html};

/// Side of the plot's coordinate system: whole numbers are precise enough for any screen.
const SIDE: f64 = 1000.0;

/// Approximate number of ticks of an axis.
const TICKS: f64 = 5.0;

/// An axis of a plot.
pub struct Axis {
    low: f64,
    high: f64,
    /// Positions and labels of the ticks.
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From `low` to `high` exactly.
    pub fn exact(low: f64, high: f64, label: fn(f64) -> String) -> Axis {
        let high = if high > low { high } else { low + 1.0 };
        let step = step(high - low);
        let first = (low / step).ceil() as i64;
        let last = (high / step + 1e-9).floor() as i64;
        Axis {
            low,
            high,
            ticks: (first..=last)
                .map(|i| i as f64 * step)
                .map(|at| (at, label(at)))
                .collect(),
        }
    }

    /// An axis around `values`, between two round numbers.
    pub fn around(values: impl Iterator<Item = f64> + Clone, label: fn(f64) -> String) -> Axis {
        let finite = values.filter(|x| x.is_finite());
        let low = finite.clone().reduce(f64::min).unwrap_or(0.0);
        let high = finite.reduce(f64::max).unwrap_or(1.0);
        // A single value gets space on both sides.
        let (low, high) = if high > low {
            (low, high)
        } else {
            (
                low - 0.5 * low.abs().max(1.0),
                high + 0.5 * high.abs().max(1.0),
            )
        };
        let step = step(high - low);
        Axis::exact(
            (low / step).floor() * step,
            (high / step).ceil() * step,
            label,
        )
    }

    /// An axis with a tick for each of `names`, one unit wide, from 0.
    pub fn of_names<T: Into<String>>(names: impl IntoIterator<Item = T>) -> Axis {
        let ticks: Vec<(f64, String)> = names
            .into_iter()
            .enumerate()
            .map(|(i, name)| (i as f64 + 0.5, name.into()))
            .collect();
        Axis {
            low: 0.0,
            high: ticks.len() as f64,
            ticks,
        }
    }

    /// The position of `value` as a share of the axis.
    fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }
}

/// Distance of ticks over a span: 1, 2 or 5 times a power of ten.
fn step(span: f64) -> f64 {
    let rough = span / TICKS;
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| span / step <= TICKS + 1e-9)
        .unwrap_or(10.0 * power)
}

/// A chart of marks between two axes.
pub struct Plot {
    /// Unique in the page.
    id: &'static str,
    title: &'static str,
    /// Description for readers who cannot see the plot.
    description: String,
    x: Axis,
    y: Axis,
    marks: Vec<Markup>,
}

impl Plot {
    /// An empty plot. `id` is unique in the page; `description` describes it for readers who cannot
    /// see it.
    pub fn new(
        id: &'static str,
        title: &'static str,
        description: String,
        x: Axis,
        y: Axis,
    ) -> Plot {
        Plot {
            id,
            title,
            description,
            x,
            y,
            marks: Vec::new(),
        }
    }

    fn x(&self, value: f64) -> f64 {
        SIDE * self.x.share(value)
    }

    fn y(&self, value: f64) -> f64 {
        SIDE * (1.0 - self.y.share(value))
    }

    /// A line through `points`.
    pub fn line(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        let mut path = String::new();
        for (x, y) in points
            .into_iter()
            .filter(|(x, y)| x.is_finite() && y.is_finite())
        {
            let _ = write!(
                path,
                "{}{:.1} {:.1}",
                if path.is_empty() { 'M' } else { 'L' },
                self.x(x),
                self.y(y)
            );
        }
        self.marks
            .push(html! { path class={ "line " (class) } d=(path) {} });
    }

    /// A dot with a tooltip.
    pub fn dot(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        // A line of zero length with round ends stays round when the plot is stretched.
        let path = format!("M{:.1} {:.1}h0", self.x(x), self.y(y));
        self.marks
            .push(html! { path class={ "dot " (class) } d=(path) { title { (text) } } });
    }

    /// A column on the axis.
    pub fn column(&mut self, class: &str, from: f64, to: f64, height: f64, text: &str) {
        let (left, top) = (self.x(from), self.y(height));
        let (width, height) = (self.x(to) - left, (SIDE - top).max(0.0));
        self.marks.push(html! {
            rect class={ "column " (class) } x=(one_place(left)) y=(one_place(top)) width=(one_place(width)) height=(one_place(height)) { title { (text) } }
        });
    }
}

fn one_place(x: f64) -> String {
    format!("{x:.1}")
}

impl Render for Plot {
    fn render(&self) -> Markup {
        let [title, description] =
            ["title", "description"].map(|part| format!("{}-{part}", self.id));
        let percent = |share: f64| format!("--at:{:.2}%", 100.0 * share);
        html! {
            div.plot id=(self.id) {
                div.plot__y aria-hidden="true" {
                    @for (at, label) in &self.y.ticks { span style=(percent(self.y.share(*at))) { (label) } }
                }
                svg viewBox={ "0 0 " (SIDE) " " (SIDE) } preserveAspectRatio="none" role="img" aria-labelledby={ (title) " " (description) } {
                    title id=(title) { (self.title) }
                    desc id=(description) { (self.description) }
                    @for (at, _) in &self.y.ticks { path.grid d={ "M0 " (one_place(self.y(*at))) "H" (SIDE) } {} }
                    @for mark in &self.marks { (mark) }
                }
                div.plot__x aria-hidden="true" {
                    @for (at, label) in &self.x.ticks { span style=(percent(self.x.share(*at))) { (label) } }
                }
            }
        }
    }
}

/// Smooths y by the mean over a symmetric window, 1/40 of all points on each side (fewer at the
/// ends), so that the curve does not lag.
pub fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let half = points.len().div_ceil(40);
    let mut sums = vec![0.0];
    sums.extend(points.iter().scan(0.0, |sum, (_, y)| {
        *sum += y;
        Some(*sum)
    }));
    let mean = |i: usize| {
        let (first, end) = (i.saturating_sub(half), (i + half + 1).min(points.len()));
        (sums[end] - sums[first]) / (end - first) as f64
    };
    points
        .iter()
        .enumerate()
        .map(|(i, (x, _))| (*x, mean(i)))
        .collect()
}

/// Reduces the points to about `2 * columns` without changing the look: of each column the lowest
/// and the highest.
pub fn thinned(points: &[(f64, f64)], columns: usize) -> Vec<(f64, f64)> {
    if points.len() <= 2 * columns {
        return points.to_vec();
    }
    let ends = |chunk: &[(f64, f64)]| {
        let by_height = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let mut ends: Vec<(f64, f64)> = [
            chunk.iter().min_by(by_height),
            chunk.iter().max_by(by_height),
        ]
        .into_iter()
        .flatten()
        .copied()
        .collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        ends
    };
    points
        .chunks(points.len().div_ceil(columns))
        .flat_map(ends)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|(_, label)| label.clone()).collect()
    }

    #[test]
    fn axes_end_at_round_numbers() {
        let axis = Axis::around([0.83, 1.57].into_iter(), |x| format!("{x:.1}"));
        assert_eq!(labels(&axis), ["0.8", "1.0", "1.2", "1.4", "1.6"]);
        assert!((axis.share(1.2) - 0.5).abs() < 1e-9);
        let axis = Axis::exact(1.0, 1441.0, |x| format!("{x}"));
        assert_eq!(labels(&axis), ["500", "1000"]);
        assert_eq!((axis.share(1.0), axis.share(1441.0)), (0.0, 1.0));
        for axis in [
            Axis::around([2.0].into_iter(), |x| format!("{x}")),
            Axis::around([f64::NAN].into_iter(), |x| format!("{x}")),
        ] {
            assert!(axis.ticks.len() > 1 && axis.high > axis.low);
        }
    }

    #[test]
    fn a_plot_holds_its_marks() {
        let mut plot = Plot::new(
            "p",
            "Loss & rate",
            "falls".into(),
            Axis::exact(0.0, 10.0, |x| format!("{x}")),
            Axis::exact(0.0, 2.0, |x| format!("{x}")),
        );
        plot.line("a", [(0.0, 2.0), (f64::NAN, 1.0), (10.0, 0.0)]);
        plot.column("b", 0.0, 5.0, 1.0, "half");
        let page = plot.render().into_string();
        assert!(page.contains(r#"d="M0.0 0.0L1000.0 1000.0""#), "{page}");
        assert!(
            page.contains(r#"x="0.0" y="500.0" width="500.0" height="500.0""#),
            "{page}"
        );
        assert!(
            page.contains("Loss &amp; rate") && page.contains("<title>half</title>"),
            "{page}"
        );
    }

    #[test]
    fn smoothing_keeps_a_straight_line() {
        let line: Vec<(f64, f64)> = (0..100)
            .map(|i| (f64::from(i), 3.0 * f64::from(i)))
            .collect();
        assert!(
            smoothed(&line)[3..97]
                .iter()
                .zip(&line[3..97])
                .all(|(a, b)| (a.1 - b.1).abs() < 1e-9)
        );
        assert_eq!(smoothed(&line)[0].1, 4.5, "the mean of the first four");
        assert!(smoothed(&[]).is_empty());
        assert_eq!(smoothed(&[(1.0, 2.0)]), [(1.0, 2.0)]);
    }

    #[test]
    fn thinning_keeps_the_peaks() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|i| (f64::from(i), 1.0)).collect();
        points[54_321].1 = 9.0;
        let thin = thinned(&points, 500);
        assert!(thin.len() <= 1000 && thin.contains(&(54_321.0, 9.0)));
        assert!(thin.is_sorted_by(|a, b| a.0 <= b.0));
    }
}
