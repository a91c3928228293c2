//! The page is well formed, escapes the reviews' content, and describes its charts in words.

use std::collections::HashSet;

use serde_json::json;
use starsight_model::LABELS;
use starsight_model::rating::Decoding;

use super::*;
use crate::evaluate::history::{Evaluated, Line};

const NASTY: &str = "<script>alert('x')</script> & \"quotes\" </td></table>\u{0} שלום";

/// Logits that rate review `i` right two times out of three.
fn logits(i: usize) -> [f32; LABELS] {
    let rated = if i.is_multiple_of(3) {
        (i + 2) % LABELS
    } else {
        i % LABELS
    };
    std::array::from_fn(|label| {
        if label == rated {
            1.0 + (i % 7) as f32
        } else {
            0.0
        }
    })
}

fn page(reviews: usize, steps: usize) -> String {
    let logits: Vec<[f32; LABELS]> = (0..reviews).map(logits).collect();
    let labels: Vec<usize> = (0..reviews).map(|i| i % LABELS).collect();
    let evaluation = Evaluation::new(&logits, &labels, Decoding::Likeliest);
    let line = |i: usize| Line {
        step: i + 1,
        epoch: i as f64 / 10.0,
        loss: 1.0 / (1.0 + i as f64),
        learning_rate: 1e-4,
        grad_norm: 1.0,
        samples: 8,
        tokens: 80,
        seconds: i as f64,
    };
    let lines: Vec<Line> = (0..steps).map(line).collect();
    let evaluations: Vec<Evaluated> = lines
        .iter()
        .step_by(10)
        .map(|l| Evaluated {
            step: l.step,
            epoch: l.epoch,
            validation: evaluation.metrics.clone(),
        })
        .collect();
    let report = Report {
        title: format!("model {NASTY}"),
        lead: NASTY.into(),
        speed: 1234.5,
        speed_of: "learned from",
        evaluation: &evaluation,
        mistakes: evaluation
            .worst(WORST)
            .into_iter()
            .map(|i| Mistake {
                text: [NASTY, ""][i % 2],
                logits: logits[i],
                judged: evaluation.reviews[i],
            })
            .collect(),
        learning: (steps > 0).then(|| Learning {
            steps: &lines,
            evaluations: &evaluations,
            best_step: 1,
            validation: &evaluation.metrics,
        }),
        facts: vec![(
            "Recipe",
            json!({ "lr": 2e-5, "data": NASTY, "max_length": null })
                .as_object()
                .expect("an object")
                .clone(),
        )],
    };
    report.page()
}

/// The tags of a page: name (`/name` for a closing tag) and attributes. Fails on a tag that is not
/// closed, or closes another one.
fn tags(page: &str) -> Vec<(String, String)> {
    let body = page
        .strip_prefix("<!DOCTYPE html>")
        .expect("a document type");
    let (mut tags, mut open): (Vec<(String, String)>, Vec<String>) = (Vec::new(), Vec::new());
    let mut rest = body;
    while let Some(at) = rest.find('<') {
        assert!(
            !rest[..at].contains('>') || open.last().is_some_and(|tag| tag == "style"),
            "a stray > before {:?}",
            &rest[at..rest.len().min(at + 40)]
        );
        let end = at + rest[at..].find('>').expect("a tag ends");
        let tag = &rest[at + 1..end];
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        match name.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop().as_deref(), Some(closed)),
            None if name == "meta" => {}
            None => open.push(name.into()),
        }
        assert_eq!(attributes.matches('"').count() % 2, 0, "{tag}");
        tags.push((name.into(), attributes.into()));
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    tags
}

#[test]
fn the_page_is_well_formed_whatever_it_holds() {
    for (reviews, steps) in [(500, 300), (500, 1), (3, 0), (1, 12)] {
        let page = page(reviews, steps);
        let tags = tags(&page);
        let mut ids = HashSet::new();
        for (_, attributes) in &tags {
            for id in attributes
                .split(" id=\"")
                .skip(1)
                .chain(attributes.strip_prefix("id=\""))
            {
                assert!(
                    ids.insert(id.split('"').next().expect("an id").to_string()),
                    "twice: {id}"
                );
            }
        }
        for (name, attributes) in &tags {
            // Every referenced id exists.
            for reference in attributes.split("aria-labelledby=\"").skip(1) {
                let references = reference.split('"').next().expect("a value");
                assert!(
                    references.split_whitespace().all(|id| ids.contains(id)),
                    "{name}: {references}"
                );
            }
            assert!(
                !["script", "link", "img", "iframe"].contains(&name.as_str()),
                "{name}"
            );
            assert!(
                !attributes.contains("src=")
                    && !attributes.contains("href=")
                    && !attributes.contains("url("),
                "{name} {attributes}"
            );
        }
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;"));
        assert!(
            !page.contains('\u{0}') && !page.contains("NaN") && !page.contains("inf"),
            "{reviews} {steps}"
        );
    }
}

#[test]
fn tables_and_drawings_say_what_they_show() {
    let page = page(500, 300);
    for table in page.split("<table").skip(1) {
        let table = table.split("</table>").next().expect("a table");
        assert!(table.contains("<caption"), "{table}");
        let heads = table.matches("<th ").count() + table.matches("<th>").count();
        assert!(
            heads > 0 && heads == table.matches("scope=").count(),
            "{table}"
        );
    }
    let drawings: Vec<&str> = page.split("<svg").skip(1).collect();
    // The logo, loss, learning rate, stars, calibration, confidence.
    assert_eq!(drawings.len(), 6);
    for drawing in &drawings[1..] {
        assert!(
            drawing.contains("role=\"img\"")
                && drawing.contains("<title")
                && drawing.contains("<desc")
        );
    }
    assert!(page.contains("The training loss goes from") && page.contains("title=\"kept\""));
    assert!(page.contains("not set"), "what is not set is said");
}

#[test]
fn without_training_there_are_no_curves() {
    let page = page(20, 0);
    assert!(!page.contains("How it learned") && !page.contains("Validation"));
    assert!(page.contains("Confusion matrix") && page.contains("The worst mistakes"));
}
