//! Rate many: files of every kind go through the page and are downloaded again.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use fantoccini::Locator;
use fantoccini::elements::Element;
use fantoccini::key::Key;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};
use starsight_model::metrics::Metrics;

use crate::common::{good, json as parsed, trained, words};
use crate::scene::{Browser, Process, serve};

pub const ROWS: usize = 100_000;

const COLUMNS_ADDED: [&str; 7] = ["stars", "expected", "p1", "p2", "p3", "p4", "p5"];

/// Returns review `i` and its stars. A model of `trained` knows these words; the forms are those
/// that break readers.
fn review(i: usize) -> (String, usize) {
    let star = [5, 1, 4, 2, 3][i % 5];
    let words = [
        "terrible, crashes all day",
        "bad and slow",
        "it is okay",
        "good but needs work 👍",
        "great app, love it 😍",
    ][star - 1];
    let text = match i % 11 {
        0 => format!("{words}, really"),
        1 => format!("\"{words}\""),
        2 => format!("{words}\r\nsecond line, with a comma"),
        3 => format!("{words}\n\nfourth \"line\""),
        4 => String::new(),
        5 => format!("تطبيق {words}"),
        6 => format!("{words} {}", "ab".repeat(60)),
        7 => format!("{words} à côté {i}"),
        _ => format!("{words} {i}"),
    };
    (text, star)
}

/// The text in a mixed encoding: characters of Latin-1 as Latin-1, all others as UTF-8.
fn mixed(text: &str) -> Vec<u8> {
    let letter = |letter: char| {
        u8::try_from(letter).map_or_else(|_| letter.to_string().into_bytes(), |byte| vec![byte])
    };
    text.chars().flat_map(letter).collect()
}

/// CSV with id, review, star and an empty column, CRLF line ends and a UTF-8 byte order mark;
/// returned as parsed rows and as bytes. Rows where [`is_mixed`] holds contain bytes of Latin-1.
pub fn csv(rows: usize) -> (Vec<Vec<String>>, Vec<u8>) {
    let mut table = vec![
        ["id", "review", "star", "note"]
            .map(str::to_string)
            .to_vec(),
    ];
    table.extend((0..rows).map(|i| {
        let (text, star) = review(i);
        vec![
            i.to_string(),
            text,
            if i % 7 == 0 {
                String::new()
            } else {
                star.to_string()
            },
            String::new(),
        ]
    }));
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer("\u{feff}".as_bytes().to_vec());
    table.iter().for_each(|row| {
        writer
            .write_record(row.iter().map(|cell| mixed(cell)))
            .expect("a row");
    });
    (table, writer.into_inner().expect("bytes"))
}

/// Whether a row of [`csv`] contains bytes of Latin-1.
fn is_mixed(i: usize) -> bool {
    i % 11 == 7
}

fn read_csv(bytes: &[u8]) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(bytes);
    reader
        .records()
        .map(|row| row.expect("a row").iter().map(str::to_string).collect())
        .collect()
}

/// The view in a browser, and the folder of its model and files.
pub struct Visit {
    pub browser: Browser,
    dir: tempfile::TempDir,
    _server: Process,
}

impl Visit {
    pub async fn start() -> Visit {
        let dir = trained();
        good(dir.path(), &words("site --model model --out site"));
        let (server, address) = serve(&dir.path().join("site"));
        let browser = Browser::open().await;
        browser
            .client
            .goto(&format!("{address}/?tab=many"))
            .await
            .expect("the page");
        browser.ready().await;
        Visit {
            browser,
            dir,
            _server: server,
        }
    }

    async fn element(&self, selector: &str) -> Element {
        self.browser
            .client
            .find(Locator::Css(selector))
            .await
            .unwrap_or_else(|e| panic!("{selector}: {e}"))
    }

    pub async fn click(&self, selector: &str) {
        self.element(selector)
            .await
            .click()
            .await
            .unwrap_or_else(|e| panic!("{selector}: {e}"));
    }

    pub async fn text(&self, selector: &str) -> String {
        self.element(selector).await.text().await.expect("text")
    }

    /// Chooses a file, waits until it is read or refused, and returns what the page says about it.
    pub async fn open(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).expect("written");
        self.element("#file")
            .await
            .send_keys(path.to_str().expect("a path"))
            .await
            .expect("chosen");
        let script = format!(
            "const name = document.querySelector('.file__name').innerText, about = document.querySelector('#file-about').innerText;
            return name === {} && !about.startsWith('Reading') ? about : null",
            json!(name)
        );
        self.browser
            .until(name, &script)
            .await
            .as_str()
            .expect("words")
            .to_string()
    }

    /// Waits until the status begins with `words`.
    pub async fn status(&self, words: &str) -> String {
        let script = format!(
            "const s = document.querySelector('#many-status').innerText; return s.startsWith({}) ? s : null",
            json!(words)
        );
        self.browser
            .until(words, &script)
            .await
            .as_str()
            .expect("words")
            .to_string()
    }

    /// Clicks a download button and returns the file.
    async fn download(&self, button: &str, name: &str) -> Vec<u8> {
        let path = self.browser.downloads().join(name);
        drop(fs::remove_file(&path));
        self.click(button).await;
        for _ in 0..300 {
            if path.exists() {
                return fs::read(&path).expect("the download");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{name} was not downloaded")
    }

    /// Waits until the visible rows fulfil `condition`; there `rows` is an array of objects with
    /// row, stars, expected and text.
    async fn rows(&self, what: &str, condition: &str) -> Value {
        let script = format!(
            "const rows = [...document.querySelectorAll('#grid .grid__row')].sort((a, b) => a.ariaRowIndex - b.ariaRowIndex).map((row) => ({{
                row: +row.dataset.row, stars: +row.dataset.stars, text: row.querySelector('.grid__review').innerText, expected: +row.querySelector('.grid__figure').innerText }}));
            return rows.length > 0 && ({condition}) ? rows : null"
        );
        self.browser.until(what, &script).await
    }
}

/// Checks that the rating columns of `downloaded` equal native ratings of the same texts, and that
/// the other columns equal `input`.
fn check_download(dir: &Path, input: &[Vec<String>], downloaded: &[Vec<String>], text: usize) {
    let own = input[0].len();
    assert_eq!(downloaded.len(), input.len());
    let added = |name: &&str| {
        if input[0].iter().any(|own| own == name) {
            format!("rated_{name}")
        } else {
            name.to_string()
        }
    };
    assert_eq!(
        downloaded[0][own..],
        COLUMNS_ADDED.iter().map(added).collect::<Vec<_>>()
    );
    for (row, (before, after)) in input.iter().zip(downloaded).enumerate() {
        assert_eq!(after[..own], before[..], "row {row}");
    }
    // Rate each distinct text once with the native program.
    let mut texts: Vec<&str> = input[1..]
        .iter()
        .map(|row| row[text].as_str())
        .filter(|text| !text.trim().is_empty())
        .take(300)
        .collect();
    texts.sort_unstable();
    texts.dedup();
    let mut args = vec!["rate", "--model", "model", "--int8", "--json", "--"];
    args.extend(&texts);
    let native = parsed(&good(dir, &args));
    let native: HashMap<&str, &Value> = texts
        .iter()
        .copied()
        .zip(native["ratings"].as_array().expect("ratings"))
        .collect();
    for (row, cells) in downloaded[1..].iter().enumerate() {
        let figures = &cells[own..];
        if cells[text].trim().is_empty() {
            assert!(
                figures.iter().all(String::is_empty),
                "row {row} has no text and {figures:?}"
            );
        } else if let Some(wanted) = native.get(cells[text].as_str()) {
            assert_eq!(figures[0], wanted["stars"].to_string(), "row {row}");
            let wanted: Vec<f64> = [&wanted["expected"]]
                .into_iter()
                .chain(wanted["probabilities"].as_array().expect("five"))
                .map(|v| v.as_f64().expect("a number"))
                .collect();
            for (found, wanted) in figures[1..].iter().zip(wanted) {
                assert!(
                    (found.parse::<f64>().expect("a number") - wanted).abs() < 1e-4,
                    "row {row}: {figures:?}"
                );
            }
        } else {
            assert!(
                ["1", "2", "3", "4", "5"].contains(&figures[0].as_str()),
                "row {row}: {figures:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_rows_go_through_the_page_and_back() {
    let visit = Visit::start().await;
    let browser = &visit.browser;
    let (table, bytes) = csv(ROWS);
    let about = visit.open("reviews.csv", &bytes).await;
    assert!(
        about.contains("100,000 rows") && about.contains("UTF-8") && about.contains("commas"),
        "{about}"
    );
    let chosen = "return [...document.querySelectorAll('.columns select')].map((select) => select.selectedOptions[0].innerText)";
    assert_eq!(
        browser
            .client
            .execute(chosen, vec![])
            .await
            .expect("a script"),
        json!(["review", "star"])
    );
    let empty = (0..ROWS).filter(|i| review(*i).0.is_empty()).count();
    let labelled = (0..ROWS)
        .filter(|i| i % 7 != 0 && !review(*i).0.is_empty())
        .count();
    let commas = |n: usize| format!("{},{:03}", n / 1000, n % 1000);
    let wanted = format!(
        "{} reviews to rate; {} rows without text, which get no rating; {} with true stars.",
        commas(ROWS - empty),
        commas(empty),
        commas(labelled)
    );
    assert_eq!(visit.text("#counted").await, wanted);
    let other = commas((0..ROWS).filter(|i| is_mixed(*i)).count());
    let problems = visit.text("#problems").await;
    assert!(
        problems.starts_with(&format!(
            "{other} rows (8, 19, 30, 41, 52, …) with bytes that are not UTF-8"
        )),
        "{problems}"
    );
    assert_eq!(
        visit
            .element("[data-testid=preview] tbody tr:nth-child(4) td:nth-child(2)")
            .await
            .text()
            .await
            .expect("text"),
        review(3).0
    );

    visit.click("#run").await;
    let done = visit
        .status(&format!("Rated {} reviews in ", commas(ROWS - empty)))
        .await;
    eprintln!("{done}; {}", visit.text("#throughput").await);

    // The worker does the search.
    visit.browser.type_into("#search", "SECOND LINE").await;
    visit
        .rows(
            "a search",
            "rows.every((row) => row.text.includes('second line'))",
        )
        .await;
    visit.browser.type_into("#search", "").await;
    visit.click("[data-stars='1'].chip").await;
    visit
        .rows("a filter", "rows.every((row) => row.stars === 1)")
        .await;
    visit.click("[data-stars='1'].chip").await;
    let order = |value: &str| {
        format!(
            "const s = document.querySelector('#order'); s.value = '{value}'; s.dispatchEvent(new Event('change', {{ bubbles: true }}))"
        )
    };
    browser
        .client
        .execute(&order("3"), vec![])
        .await
        .expect("a script");
    let low =
        visit.rows("most negative first", "rows.every((row, i) => i === 0 || row.expected >= rows[i - 1].expected) && rows[0].expected < 2").await;
    browser
        .client
        .execute(&order("4"), vec![])
        .await
        .expect("a script");
    let high =
        visit.rows("most positive first", "rows.every((row, i) => i === 0 || row.expected <= rows[i - 1].expected) && rows[0].expected > 4").await;
    let figure =
        |id: &str| format!("return document.querySelector('#{id} .extreme__figure').innerText");
    for (id, rows) in [("lowest", &low), ("highest", &high)] {
        let shown = browser
            .client
            .execute(&figure(id), vec![])
            .await
            .expect("a script");
        assert_eq!(
            shown.as_str().and_then(|s| s.parse::<f64>().ok()),
            rows[0]["expected"].as_f64(),
            "{id}"
        );
    }
    browser
        .client
        .execute(&order("0"), vec![])
        .await
        .expect("a script");

    // All rows can be reached by scrolling, and by keys alone.
    browser
        .client
        .execute(
            "const grid = document.querySelector('#grid'); grid.scrollTop = grid.scrollHeight / 2",
            vec![],
        )
        .await
        .expect("a script");
    visit
        .rows(
            "the middle",
            &format!("rows[0].row > {} && rows.length < 60", ROWS / 2 - 100),
        )
        .await;
    let grid = visit.element("#grid").await;
    grid.send_keys(&Key::End.to_string()).await.expect("a key");
    visit
        .rows("the end", &format!("rows.at(-1).row === {}", ROWS - 1))
        .await;
    browser
        .until(
            "all of the last row",
            &format!(
                "return document.querySelector('#detail h4').innerText === 'Row {}' || null",
                commas(ROWS)
            ),
        )
        .await;
    assert_eq!(
        grid.attr("aria-rowcount").await.expect("an attribute"),
        Some((ROWS + 1).to_string())
    );

    let downloaded = read_csv(
        visit
            .download("#download-csv", "reviews.rated.csv")
            .await
            .strip_prefix("\u{feff}".as_bytes())
            .expect("a mark, as before"),
    );
    check_download(visit.dir.path(), &table, &downloaded, 1);

    // The metrics equal those of the model crate, over the rows that have stars and a rating.
    let mut confusion = [[0; 5]; 5];
    for row in &downloaded[1..] {
        if let (Ok(truth), Ok(rated)) = (row[2].parse::<usize>(), row[4].parse::<usize>()) {
            confusion[truth - 1][rated - 1] += 1;
        }
    }
    let metrics = Metrics::of(&confusion, 0.0, 0.0);
    assert_eq!(metrics.samples, labelled);
    let percent = |share: f64| format!("{:.1}%", share * 100.0);
    let wanted = [
        ("accuracy", percent(metrics.accuracy)),
        ("off-by-one", percent(metrics.off_by_one)),
        ("great", percent(metrics.binary_great)),
        ("five", percent(metrics.binary_five)),
        ("mae", format!("{:.3}", metrics.mae)),
        ("qwk", format!("{:.3}", metrics.qwk)),
    ];
    for (id, wanted) in wanted {
        assert_eq!(
            visit.text(&format!("[data-testid=metric-{id}]")).await,
            wanted,
            "{id}"
        );
    }
    let cells = "return [...document.querySelectorAll('[data-testid=confusion] tbody tr')].map((row) => [...row.querySelectorAll('td')].map((cell) => +cell.innerText.replaceAll(',', '')))";
    assert_eq!(
        browser
            .client
            .execute(cells, vec![])
            .await
            .expect("a script"),
        json!(confusion)
    );
    assert_eq!(browser.errors().await, Vec::<String>::new());
    visit.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_kind_are_read_rated_and_written() {
    let visit = Visit::start().await;
    let texts: Vec<(String, usize)> = (0..40).map(review).collect();
    let rate = async |text: usize| {
        visit.click("#run").await;
        visit.status("Rated ").await;
        visit
            .browser
            .until(
                "all of them",
                "return document.querySelector('#run').innerText === 'Rate again' || null",
            )
            .await;
        text
    };

    // Latin-1, with rows that are too short and too long, and a text column whose name does not
    // reveal it.
    let latin = "app;words;star\nx;\"très bon; great app, love it\";5\ny\nz;bad and slow — non;1;more;cells\n".replace('—', "-");
    let latin: Vec<u8> = latin
        .chars()
        .map(|c| u8::try_from(c).expect("Latin-1"))
        .collect();
    let about = visit.open("latin.csv", &latin).await;
    assert!(
        about.contains("Latin-1") && about.contains("semicolons"),
        "{about}"
    );
    let problems = visit.text("#problems").await;
    assert!(
        problems.contains("not UTF-8")
            && problems.contains("too few cells")
            && problems.contains("too many cells"),
        "{problems}"
    );
    rate(1).await;
    let downloaded = read_csv(&visit.download("#download-csv", "latin.rated.csv").await);
    let input = [
        ["app", "words", "star", "(surplus)"],
        ["x", "très bon; great app, love it", "5", ""],
        ["y", "", "", ""],
        ["z", "bad and slow - non", "1", "more;cells"],
    ];
    check_download(
        visit.dir.path(),
        &input.map(|row| row.map(str::to_string).to_vec()),
        &downloaded,
        1,
    );

    // JSON lines keep their other fields.
    let lines: Vec<Value> =
        texts.iter().enumerate().map(|(i, (text, star))| json!({ "id": i, "text": text, "stars": star, "deep": { "a": [i, null] } })).collect();
    let bytes: String = lines
        .iter()
        .map(|line| format!("{line}\n"))
        .collect::<String>()
        + "not JSON\n";
    visit.open("reviews.jsonl", bytes.as_bytes()).await;
    assert!(
        visit.text("#problems").await.contains("41"),
        "the line is named"
    );
    rate(1).await;
    let written = String::from_utf8(
        visit
            .download("#download-jsonl", "reviews.rated.jsonl")
            .await,
    )
    .expect("UTF-8");
    for (before, after) in lines.iter().zip(written.lines().map(parsed)) {
        for (name, value) in before.as_object().expect("an object") {
            assert_eq!(&after[name], value, "{after}");
        }
        let is_rated = !before["text"].as_str().expect("text").trim().is_empty();
        assert_eq!(
            after["rated_stars"].is_u64() && after["p5"].is_f64(),
            is_rated,
            "{after}"
        );
    }
    assert_eq!(written.lines().count(), lines.len());

    // Parquet, compressed as the Hub does it and as other programs do.
    for (name, compression) in [
        ("snappy.parquet", Compression::SNAPPY),
        ("zstd.parquet", Compression::ZSTD(ZstdLevel::default())),
    ] {
        let columns: [(&str, ArrayRef); 2] = [
            (
                "review",
                Arc::new(StringArray::from(
                    texts
                        .iter()
                        .map(|(text, _)| text.as_str())
                        .collect::<Vec<_>>(),
                )),
            ),
            (
                "star",
                Arc::new(Int64Array::from(
                    texts
                        .iter()
                        .map(|(_, star)| *star as i64)
                        .collect::<Vec<_>>(),
                )),
            ),
        ];
        let batch = RecordBatch::try_from_iter(columns).expect("a table");
        let mut bytes = Vec::new();
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .build();
        let mut writer =
            ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).expect("a writer");
        writer.write(&batch).expect("written");
        writer.close().expect("closed");
        let about = visit.open(name, &bytes).await;
        assert!(about.starts_with("40 rows"), "{about}");
        rate(0).await;
        let downloaded = read_csv(
            &visit
                .download("#download-csv", &name.replace(".parquet", ".rated.csv"))
                .await,
        );
        let mut input = vec![vec!["review".to_string(), "star".into()]];
        input.extend(
            texts
                .iter()
                .map(|(text, star)| vec![text.clone(), star.to_string()]),
        );
        check_download(visit.dir.path(), &input, &downloaded, 0);
    }

    // Tabs and UTF-16; the first line is a row, and the visitor says so.
    let tsv: Vec<u8> = "\u{feff}great app, love it 😍\t5\r\nbad and slow\t1\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let about = visit.open("excel.tsv", &tsv).await;
    assert!(
        about.contains("2 rows") && about.contains("UTF-16") && about.contains("tabs"),
        "{about}"
    );
    visit.click("#header").await;
    visit
        .browser
        .until(
            "the header",
            "return document.querySelector('#file-about').innerText.startsWith('1 row,') || null",
        )
        .await;

    // A file that cannot be used is refused with the reason and what would work.
    assert!(
        visit
            .open("numbers.csv", b"a,b\n1,2\n3,4\n")
            .await
            .starts_with("2 rows")
    );
    assert!(
        visit
            .text("#counted")
            .await
            .contains("No column looks like reviews")
    );
    assert_eq!(
        visit
            .element("#run")
            .await
            .attr("aria-disabled")
            .await
            .expect("an attribute")
            .as_deref(),
        Some("true")
    );
    for (name, bytes, says) in [
        ("empty.csv", &b""[..], "is empty"),
        ("no.parquet", b"PAR1 no", "cannot be read as Parquet"),
    ] {
        visit.open("good.csv", &csv(4).1).await;
        assert_eq!(
            visit
                .element("#run")
                .await
                .attr("aria-disabled")
                .await
                .expect("an attribute")
                .as_deref(),
            Some("false")
        );
        let about = visit.open(name, bytes).await;
        assert!(about.contains(says), "{about}");
        // The previous table is gone, and is not rated instead.
        assert_eq!(
            visit
                .element("#run")
                .await
                .attr("aria-disabled")
                .await
                .expect("an attribute")
                .as_deref(),
            Some("true")
        );
        visit.click("#run").await;
        assert!(
            visit
                .text("#many-status")
                .await
                .starts_with("The ratings appear below"),
            "{name}"
        );
    }

    // Dropped outside the drop zone: the page stays, and reads the file.
    let path = visit.dir.path().join("dropped.csv");
    fs::write(&path, csv(3).1).expect("written");
    visit
        .browser
        .client
        .execute("scrollTo(0, 0)", vec![])
        .await
        .expect("a script");
    for kind in ["dragEnter", "dragOver", "drop"] {
        let data =
            json!({ "items": [], "files": [path.display().to_string()], "dragOperationsMask": 1 });
        visit
            .browser
            .devtools(
                "Input.dispatchDragEvent",
                json!({ "type": kind, "x": 20, "y": 20, "data": data }),
            )
            .await;
    }
    visit
        .browser
        .until(
            "the dropped file",
            "return document.querySelector('#file-about')?.innerText.startsWith('3 rows') || null",
        )
        .await;
    // Closing a file moves the focus to the text box.
    visit.click(".file__close").await;
    visit
        .browser
        .until(
            "the focus",
            "return document.activeElement.id === 'many' || null",
        )
        .await;
    assert_eq!(visit.browser.errors().await, Vec::<String>::new());
    visit.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_can_use_it_with_a_file_and_with_ratings() {
    let visit = Visit::start().await;
    let browser = &visit.browser;
    let (_, bytes) = csv(40);
    let short = [&bytes[..], b"41,too short\r\n"].concat();
    let check = async |what: &str| {
        for (width, scheme) in [
            (360, "light"),
            (768, "dark"),
            (1440, "light"),
            (1440, "dark"),
        ] {
            browser.screen(width, scheme).await;
            browser.call("await Promise.all(document.getAnimations().map((animation) => animation.finished.catch(() => {})))", Value::Null).await;
            let hindrances = browser.hindrances().await;
            assert!(
                hindrances.is_empty(),
                "{what}, {width}, {scheme}: {hindrances:#?}"
            );
            let wider = browser
                .client
                .execute(
                    "return Math.max(0, document.documentElement.scrollWidth - innerWidth)",
                    vec![],
                )
                .await
                .expect("a script");
            assert_eq!(
                wider,
                json!(0),
                "{what}, {width}: nothing reaches over the edge"
            );
        }
    };
    visit.open("reviews.csv", &short).await;
    check("a preview").await;
    visit.click("#run").await;
    browser
        .until(
            "the end",
            "return document.querySelector('#run').innerText === 'Rate again' || null",
        )
        .await;
    visit
        .element("#grid")
        .await
        .send_keys(&Key::Down.to_string())
        .await
        .expect("a key");
    browser
        .until(
            "a row",
            "return document.querySelector('#detail h4').innerText === 'Row 1' || null",
        )
        .await;
    check("ratings").await;
    browser.type_into("#search", "nothing holds this").await;
    browser
        .until(
            "no rows",
            "return document.querySelector('#found').innerText.startsWith('0 of') || null",
        )
        .await;
    check("no rows").await;
    assert_eq!(browser.errors().await, Vec::<String>::new());
    visit.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_paused_and_goes_on_and_is_cancelled() {
    let visit = Visit::start().await;
    let browser = &visit.browser;
    let (table, bytes) = csv(60_000);
    visit.open("reviews.csv", &bytes).await;
    visit.click("#run").await;
    visit.status("Rated ").await;
    visit.click("#run").await;
    let paused = visit.status("Paused after ").await;
    let rated = |words: &str| {
        words
            .split(' ')
            .find_map(|word| word.replace(',', "").parse::<usize>().ok())
            .expect("a number")
    };
    let before = rated(&paused);
    assert!(before > 0 && before < 50_000, "{paused}");
    // While paused nothing is rated, and the finished ratings can be downloaded.
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(visit.text("#many-status").await, paused);
    // The metrics are updated with the ratings.
    assert!(
        visit
            .text("[data-testid=metric-accuracy]")
            .await
            .ends_with('%'),
        "{}",
        visit.text(".accuracy").await
    );
    let half = read_csv(
        visit
            .download("#download-csv", "reviews.rated.csv")
            .await
            .strip_prefix("\u{feff}".as_bytes())
            .expect("a mark"),
    );
    assert_eq!(
        half[1..].iter().filter(|row| !row[4].is_empty()).count(),
        before
    );

    // It continues where it paused, even after the model is loaded again: no text is rated twice.
    browser.show("model").await;
    visit.click("#update").await;
    browser.ready().await;
    browser.show("many").await;
    let sent = "const Post = Worker.prototype.postMessage; window.sent = 0; Worker.prototype.postMessage = function (message, ...rest) {
        if (message.type === 'rate' && message.texts) sent += message.texts.length; return Post.call(this, message, ...rest); }";
    browser
        .client
        .execute(sent, vec![])
        .await
        .expect("a script");
    assert_eq!(visit.text("#run").await, "Resume");
    visit.click("#run").await;
    let done = visit.status("Rated ").await;
    browser
        .until(
            "the end",
            "return document.querySelector('#run').innerText === 'Rate again' || null",
        )
        .await;
    let total = (0..60_000).filter(|i| !review(*i).0.is_empty()).count();
    assert_eq!(
        browser
            .client
            .execute("return sent", vec![])
            .await
            .expect("a script"),
        json!(total - before),
        "{done}"
    );
    let whole = read_csv(
        visit
            .download("#download-csv", "reviews.rated.csv")
            .await
            .strip_prefix("\u{feff}".as_bytes())
            .expect("a mark"),
    );
    check_download(visit.dir.path(), &table, &whole, 1);
    for (half, whole) in half
        .iter()
        .zip(&whole)
        .filter(|(half, _)| !half[4].is_empty())
    {
        assert_eq!(half, whole);
    }

    visit.click("#run").await;
    visit.status("Rated ").await;
    visit.click("#cancel").await;
    visit.status("The ratings appear below").await;
    browser
        .until(
            "nothing is left",
            "return document.querySelector('#results').hidden || null",
        )
        .await;
    browser
        .until(
            "the focus",
            "return document.activeElement.id === 'run' || null",
        )
        .await;

    // Lines are pasted, and rated with the keyboard alone.
    visit.click(".file__close").await;
    browser
        .type_into("#many", "great app, love it 😍\n\nbad and slow\n")
        .await;
    visit
        .element("#rate-many")
        .await
        .send_keys(&Key::Enter.to_string())
        .await
        .expect("a key");
    visit.status("Rated 2 reviews in ").await;
    let rows = visit
        .rows(
            "two rows",
            "rows.length === 2 && rows.every((row) => row.stars > 0)",
        )
        .await;
    assert_eq!(rows[1]["text"], "bad and slow");
    visit.browser.close().await;
}
