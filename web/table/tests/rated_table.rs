//! Tests of a file's way from its bytes to the download.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails the test")]

use starsight_table::protocol::{
    Arrangement, Chosen, ColumnChoice, Detail, Form, Key, Metrics, Opening, Request, Summary,
    Window,
};
use starsight_table::{RatedTable, Reader};

const CSV: &str = "id,review,stars\r\n1,\"good, very\",5\r\n2,\"two\nlines \"\"quoted\"\" 😍\",1\r\n3,,2\r\n4,fine,\r\n";

fn rated_table(name: &str, bytes: &str) -> RatedTable {
    let mut reader = Reader::open(&Opening {
        name: name.into(),
        ..Opening::default()
    })
    .unwrap();
    reader.push(bytes.as_bytes());
    RatedTable::new(reader.finish().unwrap())
}

fn ask<T: serde::de::DeserializeOwned>(rated_table: &mut RatedTable, request: Request) -> T {
    serde_json::from_str(&rated_table.answer(&request)).unwrap()
}

fn written(rated_table: &RatedTable, form: Form) -> String {
    let mut out = Vec::new();
    rated_table.write(form, |piece| out.extend_from_slice(piece));
    String::from_utf8(out).unwrap()
}

/// Rates rows with these stars, with probability 1.
fn rate(rated_table: &mut RatedTable, rows: &[u32], stars: &[u8]) {
    let probabilities: Vec<f32> = stars
        .iter()
        .flat_map(|stars| (1..=5).map(move |i| if i == *stars { 1.0 } else { 0.0 }))
        .collect();
    rated_table.rate(
        rows,
        stars,
        &stars
            .iter()
            .map(|stars| f32::from(*stars))
            .collect::<Vec<_>>(),
        &probabilities,
    );
}

#[test]
fn the_download_is_the_input_and_the_ratings() {
    let mut rated_table = rated_table("reviews.csv", CSV);
    let choice = rated_table.describe().choice;
    assert_eq!(
        choice,
        ColumnChoice {
            text: Some(1),
            label: Some(2)
        }
    );
    assert_eq!(
        ask::<Chosen>(&mut rated_table, Request::Choose(choice)),
        Chosen {
            reviews: 3,
            without_text: 1,
            labelled: 2
        }
    );
    let (rows, texts) = rated_table.portion().unwrap();
    assert_eq!(
        (rows.as_slice(), texts[1].as_str()),
        (&[0, 1, 3][..], "two\nlines \"quoted\" 😍")
    );
    assert_eq!(rated_table.portion(), None);
    rate(&mut rated_table, &[0, 1], &[5, 2]);
    assert_eq!(
        written(&rated_table, Form::Csv),
        "id,review,stars,rated_stars,expected,p1,p2,p3,p4,p5\r\n\
         1,\"good, very\",5,5,5.0000,0.000000,0.000000,0.000000,0.000000,1.000000\r\n\
         2,\"two\nlines \"\"quoted\"\" 😍\",1,2,2.0000,0.000000,1.000000,0.000000,0.000000,0.000000\r\n\
         3,,2,,,,,,,\r\n4,fine,,,,,,,,\r\n"
    );
    let json = written(&rated_table, Form::JsonLines);
    let lines: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (
            &lines[1]["review"],
            &lines[1]["rated_stars"],
            &lines[1]["p2"]
        ),
        (&"two\nlines \"quoted\" 😍".into(), &2.into(), &1.0.into())
    );
    assert_eq!(
        lines[3],
        serde_json::json!({ "id": "4", "review": "fine", "stars": "" })
    );
}

#[test]
fn json_stays_as_it_was() {
    let mut rated_table = rated_table(
        "a.jsonl",
        "{\"text\": \"caf\\u00e9\", \"n\": 1.50, \"deep\": {\"a\": [1, null]}}\n{\"n\": null}\n",
    );
    let choice = rated_table.describe().choice;
    ask::<Chosen>(&mut rated_table, Request::Choose(choice));
    rate(&mut rated_table, &[0], &[4]);
    let figures = "\"stars\":4,\"expected\":4.0000,\"p1\":0.000000,\"p2\":0.000000,\"p3\":0.000000,\"p4\":1.000000,\"p5\":0.000000";
    assert_eq!(
        written(&rated_table, Form::JsonLines),
        format!(
            "{{\"text\":\"caf\\u00e9\",\"n\":1.50,\"deep\":{{\"a\": [1, null]}},{figures}}}\n{{\"n\":null}}\n"
        )
    );
    assert!(written(&rated_table, Form::Csv).starts_with("text,n,deep,stars,expected,p1,p2,p3,p4,p5\r\ncafé,1.50,\"{\"\"a\"\": [1, null]}\",4,4.0000,"));
}

#[test]
fn a_mark_and_names_that_occur_twice_are_kept_apart() {
    let mut rated_table = rated_table("a.csv", "\u{feff}review,review\na,b\n");
    let choice = ColumnChoice {
        text: Some(0),
        label: None,
    };
    ask::<Chosen>(&mut rated_table, Request::Choose(choice));
    assert!(written(&rated_table, Form::Csv).starts_with("\u{feff}review,review,stars,"));
    assert_eq!(
        written(&rated_table, Form::JsonLines),
        "{\"review\":\"a\",\"review_2\":\"b\"}\n"
    );
}

#[test]
fn work_goes_on_where_it_stopped() {
    let lines: String = (0..20_000).map(|i| format!("review {i}\n")).collect();
    let mut rated_table = rated_table("a.txt", &lines);
    ask::<Chosen>(
        &mut rated_table,
        Request::Choose(ColumnChoice {
            text: Some(0),
            label: None,
        }),
    );
    let (first, _) = rated_table.portion().unwrap();
    let (second, _) = rated_table.portion().unwrap();
    assert!(first.len() + second.len() < 20_000 && second[0] == first.len() as u32);
    rate(&mut rated_table, &first, &vec![3; first.len()]);
    // Stopped while the second portion is being rated: it is handed out again.
    ask::<()>(&mut rated_table, Request::Rewind);
    assert_eq!(rated_table.portion().unwrap().0, second);
    ask::<()>(&mut rated_table, Request::Forget);
    assert_eq!(rated_table.portion().unwrap().0, first);
    assert_eq!(ask::<Summary>(&mut rated_table, Request::Summary).rated, 0);
}

#[test]
fn rows_are_shown_as_arranged() {
    let mut rated_table = rated_table("reviews.csv", CSV);
    ask::<Chosen>(
        &mut rated_table,
        Request::Choose(ColumnChoice {
            text: Some(1),
            label: Some(2),
        }),
    );
    let arrangement = Arrangement {
        key: Key::Stars,
        ..Arrangement::default()
    };
    assert_eq!(
        ask::<usize>(&mut rated_table, Request::Arrange(arrangement)),
        4
    );
    // Ratings that arrive later affect the order.
    rate(&mut rated_table, &[0, 1], &[5, 2]);
    let window: Window = ask(&mut rated_table, Request::Rows { from: 0, count: 3 });
    assert_eq!(
        (
            window.total,
            window.rows.iter().map(|row| row.row).collect::<Vec<_>>()
        ),
        (4, vec![1, 0, 2])
    );
    assert_eq!(
        ask::<Option<usize>>(&mut rated_table, Request::Place(0)),
        Some(1)
    );
    let detail: Option<Detail> = ask(&mut rated_table, Request::Detail(1));
    let detail = detail.unwrap();
    assert_eq!(
        (
            detail.cells[0].1.as_str(),
            detail.row.label,
            detail.row.rating.unwrap().stars
        ),
        ("2", Some(1), 2)
    );
    assert_eq!(
        ask::<Option<Detail>>(&mut rated_table, Request::Detail(9)),
        None
    );
    let window: Window = ask(&mut rated_table, Request::Rows { from: 90, count: 3 });
    assert!(window.rows.is_empty());
}

#[test]
fn the_metrics_are_those_of_the_model_crate() {
    let mut rated_table = rated_table("reviews.csv", CSV);
    ask::<Chosen>(
        &mut rated_table,
        Request::Choose(ColumnChoice {
            text: Some(1),
            label: Some(2),
        }),
    );
    rate(&mut rated_table, &[0, 1, 3], &[5, 2, 4]);
    let summary: Summary = ask(&mut rated_table, Request::Summary);
    let mut confusion = [[0; 5]; 5];
    (confusion[4][4], confusion[0][1]) = (1, 1);
    let wanted = serde_json::to_string(&Metrics::of(&confusion, 0.0, 0.0)).unwrap();
    assert_eq!(
        summary.metrics,
        Some(serde_json::from_str(&wanted).unwrap())
    );
    assert_eq!(
        (
            summary.counts,
            summary.lowest[0].row,
            summary.highest[0].row
        ),
        ([0, 1, 0, 1, 1], 1, 0)
    );
    // Another column of reviews is chosen, so the ratings are discarded.
    ask::<Chosen>(
        &mut rated_table,
        Request::Choose(ColumnChoice {
            text: Some(0),
            label: None,
        }),
    );
    let summary: Summary = ask(&mut rated_table, Request::Summary);
    assert_eq!((summary.rated, summary.metrics), (0, None));
}
