//! Fuzz targets for everything in Starsight that reads files or answers of a server. Each target is
//! a function of some bytes, shared by the fuzzers in `fuzz_targets/` and by `tests/corpus.rs`.
//!
//! A target fails by a panic, either in the code under test or in an assertion here. For any bytes,
//! a reader must return a value or an error. A value that is written and read again must stay the
//! same, an error must name the file, and the memory taken must be in proportion to the input.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Display;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;
use std::{fs, thread};

use candle_core::Tensor;
use serde_json::Value;
use starsight::data::{Table as Rows, Tables, write_table};
use starsight::hub::{Event, Hub, Publication, RepoId, RetryPolicy, Settings, Snapshot, Token};
use starsight::model::pieces::Pieces;
use starsight_model::batch::PackedBatch;
use starsight_model::bundle::{FileEntry, Manifest};
use starsight_model::candle::Candle;
use starsight_model::fused::Fused;
use starsight_model::int8::{Int8, Int8Kernel};
use starsight_model::tokenizer::Tokenizer;
use starsight_model::weights::Weights;
use starsight_model::{EncoderConfig, Engine, Rater, load};
use starsight_table::protocol::{Form, Opening};
use starsight_table::{RatedTable, Reader, Table};
use tempfile::TempDir;

/// Checks that an error names one of `files`.
fn names(error: &impl Display, files: &[&str]) {
    let words = format!("{error:#}");
    assert!(
        files.iter().any(|file| words.contains(file)),
        "{words:?} names none of {files:?}"
    );
}

// Models

/// A configuration so small that all weights fit into one input.
const SMALL: &str = r#"{"model_type": "bert", "vocab_size": 20, "hidden_size": 8,
    "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12,
    "max_position_embeddings": 10, "type_vocab_size": 2}"#;

/// Token ids of two reviews for this configuration.
const REVIEWS: [&[u32]; 2] = [&[2, 7, 5, 3], &[2, 3]];

/// `model.safetensors` and `web/weights.safetensors`.
pub fn safetensors(bytes: &[u8]) {
    let config = EncoderConfig::from_json(SMALL.as_bytes()).expect("a good configuration");
    let batch = PackedBatch::new(&REVIEWS).expect("reviews with tokens");
    match load::weights(bytes, &config) {
        Ok(weights) => {
            assert!(weights.parameters() <= config.parameters());
            let written = weights.to_safetensors().expect("weights can be written");
            let again = Weights::from_safetensors(&written, &config).expect("they are read again");
            let twice = again.to_safetensors().expect("weights can be written");
            assert_eq!(written, twice);
            match Fused::new(&config, &weights) {
                Ok(model) => assert_eq!(model.logits(&batch).expect("logits").len(), REVIEWS.len()),
                Err(error) => names(&error, &["model.safetensors"]),
            }
        }
        Err(error) => names(&error, &["model.safetensors", "web/weights.safetensors"]),
    }
    match Int8::new(&config, bytes.to_vec(), Int8Kernel::best()) {
        Ok(model) => assert_eq!(model.logits(&batch).expect("logits").len(), REVIEWS.len()),
        Err(error) => names(&error, &["web/weights.safetensors"]),
    }
}

/// `starsight.json`, the manifest of a bundle.
pub fn manifest(bytes: &[u8]) {
    let manifest = match Manifest::from_json(bytes) {
        Ok(manifest) => manifest,
        Err(error) => return names(&error, &["starsight.json"]),
    };
    assert!(manifest.temperature > 0.0 && manifest.temperature.is_finite());
    for file in &manifest.files {
        let path = Path::new("bundle").join(&file.path);
        let inside = |part| matches!(part, std::path::Component::Normal(_));
        assert!(
            path.components().all(inside),
            "{} leads out",
            path.display()
        );
    }
    let written = serde_json::to_vec(&manifest).expect("a manifest can be written");
    let again = Manifest::from_json(&written).expect("it is read again");
    let twice = serde_json::to_vec(&again).expect("a manifest can be written");
    assert_eq!(written, twice);
}

macro_rules! fixture {
    ($path:literal) => {
        include_bytes!(concat!("../tests/fixtures/", $path))
    };
}

/// Weights for each `model_type`. A mutated configuration may still fit them.
static WEIGHTS: LazyLock<HashMap<&str, &[u8]>> = LazyLock::new(|| {
    HashMap::from([
        ("bert", &fixture!("bert/model.safetensors")[..]),
        ("distilbert", fixture!("distilbert/model.safetensors")),
        ("deberta-v2", fixture!("deberta-v2/model.safetensors")),
        ("modernbert", fixture!("modernbert/model.safetensors")),
        ("xlm-roberta", fixture!("xlm-roberta/model.safetensors")),
    ])
});

/// The same weights as candle tensors.
static TENSORS: LazyLock<HashMap<&str, HashMap<String, Tensor>>> = LazyLock::new(|| {
    let load = |(kind, bytes): (&&'static str, &&[u8])| {
        let tensors = candle_core::safetensors::load_buffer(bytes, &candle_core::Device::Cpu);
        (*kind, tensors.expect("the fixture is read"))
    };
    WEIGHTS.iter().map(load).collect()
});

/// `config.json` of an encoder.
pub fn config(bytes: &[u8]) {
    let kind = serde_json::from_slice::<Value>(bytes)
        .map(|json| json["model_type"].as_str().unwrap_or_default().to_owned())
        .unwrap_or_default();
    match EncoderConfig::from_json(bytes) {
        Ok(config) => {
            assert!(config.layer_norm_eps.is_finite() && config.initializer_range.is_finite());
            let written = config.to_json();
            let again = EncoderConfig::from_json(written.as_bytes()).expect("it is read again");
            assert_eq!((again.sizes(), again.to_json()), (config.sizes(), written));
            let weights = WEIGHTS[kind.as_str()].to_vec();
            match Rater::from_bytes(bytes, fixture!("bert/tokenizer.json"), weights) {
                Ok(rater) => rated(&rater),
                Err(error) => names(&error, &["tokenizer.json", "model.safetensors"]),
            }
        }
        Err(error) => names(&error, &["config.json"]),
    }
    let tensors = TENSORS.get(kind.as_str()).cloned().unwrap_or_default();
    match Candle::new(bytes, tensors) {
        Ok(model) => {
            let batch = PackedBatch::new(&REVIEWS).expect("reviews with tokens");
            if let Ok(logits) = model.logits(&batch) {
                assert_eq!(logits.len(), REVIEWS.len());
            }
        }
        Err(error) => names(&error, &["config.json", "model.safetensors"]),
    }
}

/// Rates a review.
fn rated(rater: &Rater) {
    let ids = rater.encode("a good app").expect("token ids");
    match rater.rate(&[&ids]) {
        Ok(ratings) => assert!((1..=5).contains(&ratings[0].stars)),
        Err(error) => names(&error, &["tokenizer.json", "tokens"]),
    }
}

/// Texts to tokenise.
const TEXTS: [&str; 6] = [
    "",
    "a good app",
    "Très BON, naïve \u{1f44d}\u{1f3fd}",
    "  tabs\tand\nlines\u{0}\u{fffd} ",
    "これは良い 앱 😍😍😍",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// `tokenizer.json`.
pub fn tokenizer(bytes: &[u8]) {
    if let Ok(json) = std::str::from_utf8(bytes)
        && let Ok(pieces) = Pieces::read(json)
    {
        assert!(pieces.size() <= bytes.len());
    }
    let read = |json: &[u8]| Tokenizer::from_json(json, None, 64);
    let tokenizer = match read(bytes) {
        Ok(tokenizer) => tokenizer,
        Err(error) => return names(&error, &["tokenizer.json"]),
    };
    let written = tokenizer.to_json().expect("a tokeniser can be written");
    let again = read(written.as_bytes()).expect("it is read again");
    for text in TEXTS {
        let [one, two] = [&tokenizer, &again].map(|tokenizer| match tokenizer.encode(text) {
            Ok(ids) => {
                assert!(ids.len() <= tokenizer.max_length());
                Some(ids)
            }
            Err(error) => {
                names(&error, &["tokenizer.json"]);
                None
            }
        });
        assert_eq!(one, two, "{text:?}");
    }
}

// Tables

/// CSV and TSV.
pub fn csv(bytes: &[u8]) {
    table_of_text("reviews.csv", bytes);
    table_of_text("reviews.tsv", bytes);
}

/// JSON lines.
pub fn jsonl(bytes: &[u8]) {
    table_of_text("reviews.jsonl", bytes);
}

/// Parquet.
pub fn parquet(bytes: &[u8]) {
    match read("reviews.parquet", None, bytes, usize::MAX) {
        Ok(table) => written_by_the_page(table),
        Err(error) => names(&error, &["reviews.parquet"]),
    }
    written_by_the_trainer("reviews.parquet", bytes);
}

fn table_of_text(name: &str, bytes: &[u8]) {
    let table = read(name, None, bytes, usize::MAX);
    // The result must not depend on how the file is cut into pieces.
    assert_eq!(table, read(name, None, bytes, 7));
    match table {
        Ok(table) => {
            let text: usize = cells(&table).map(|cell| cell.len()).sum();
            // A byte of Windows-1252 takes up to three bytes in UTF-8.
            assert!(text <= 3 * bytes.len(), "{text} bytes of text");
            written_by_the_page(table);
        }
        Err(error) => names(&error, &[name]),
    }
    written_by_the_trainer(name, bytes);
}

/// The text of all cells, column by column.
fn cells(table: &Table) -> impl Iterator<Item = String> {
    let rows = 0..table.rows;
    let cell = move |column| rows.clone().map(move |row| text(column, row));
    table.columns.iter().flat_map(cell)
}

fn text(column: &starsight_table::Column, row: usize) -> String {
    column.text(row).into_owned()
}

/// Reads a file with the page's reader, `piece` bytes at a time.
fn read(
    name: &str,
    header: Option<bool>,
    bytes: &[u8],
    piece: usize,
) -> Result<Table, starsight_table::Error> {
    let mut reader = Reader::open(&Opening {
        name: name.into(),
        bytes: bytes.len() as u64,
        header,
    })?;
    for piece in bytes.chunks(piece.min(bytes.len()).max(1)) {
        reader.push(piece);
    }
    reader.finish()
}

/// Checks that the files that the page writes hold the cells of `table`.
fn written_by_the_page(table: Table) {
    let wanted: Vec<String> = cells(&table).collect();
    let own: Vec<String> = table.columns.iter().map(|c| c.name.clone()).collect();
    let (columns, rows) = (table.columns.len(), table.rows);
    let rated = RatedTable::new(table);
    let write = |form| {
        let mut out = Vec::new();
        rated.write(form, |piece| out.extend_from_slice(piece));
        out
    };
    let mut csv = read("a.csv", Some(true), &write(Form::Csv), usize::MAX).expect("it is read");
    assert_eq!((csv.columns.len(), csv.rows), (columns + 7, rows));
    csv.columns.truncate(columns);
    assert!(csv.columns.iter().map(|column| &column.name).eq(&own));
    assert!(cells(&csv).eq(wanted.iter().cloned()));

    let lines = write(Form::JsonLines);
    let Ok(json) = read("a.jsonl", None, &lines, usize::MAX) else {
        // A table without values becomes objects without members, which have no columns.
        return assert!(wanted.iter().all(String::is_empty));
    };
    assert_eq!((json.rows, &json.problems[..]), (rows, &[][..]));
    for (place, name) in own.iter().enumerate() {
        // The page renames the second of two columns with the same name.
        if own.iter().filter(|other| *other == name).count() > 1 {
            continue;
        }
        let column = json.columns.iter().find(|column| column.name == *name);
        let found = (0..rows).map(|row| column.map_or(String::new(), |column| text(column, row)));
        assert!(found.eq(wanted[place * rows..][..rows].iter().cloned()));
    }
}

thread_local! {
    /// A folder for files that are read by their path.
    static FOLDER: TempDir = tempfile::tempdir().expect("a temporary folder");
}

/// Reads a file with the trainer's reader, and checks that it is the same when written and read
/// again.
fn written_by_the_trainer(name: &str, bytes: &[u8]) {
    let folder = FOLDER.with(|folder| folder.path().to_path_buf());
    let path = folder.join(name);
    fs::write(&path, bytes).expect("a file is written");
    let read = |path: &PathBuf| {
        Tables::open(std::slice::from_ref(path), None, None).and_then(Tables::join)
    };
    let rows = match read(&path) {
        Ok(rows) => rows,
        Err(error) => return names(&error, &[name]),
    };
    // JSON lines hold the names of columns in their rows, so a file without rows has no columns.
    if rows.is_empty() || rows.batch().num_columns() == 0 {
        return;
    }
    let path = folder.join(format!("written-{name}"));
    if let Err(error) = write_table(&path, rows.batch()) {
        return names(&error, &[&format!("written-{name}")]);
    }
    let again = read(&path).expect("it is read again");
    assert_eq!(shown(&again), shown(&rows));
}

/// The columns as text by their names; `None` for a type that has no text.
fn shown(rows: &Rows) -> BTreeMap<String, Option<Vec<String>>> {
    let schema = rows.batch().schema();
    let column = |name: &String| (name.clone(), rows.shown(name).ok());
    schema
        .fields()
        .iter()
        .map(|field| column(field.name()))
        .collect()
}

// The Hub

/// A token. No message may show it.
const TOKEN: &str = "hf_hidden";

/// The repository.
const REPOSITORY: &str = "owner/name";

/// The mark before each answer in an input.
const ANSWER: &[u8] = b"\n--";

/// The placeholder for the Hub's own address in an answer.
const OWN: &str = "HUB/";

/// Answers of a Hub. The first line of the input names a request: `model`, `dataset`, `plan` or
/// `publish`. The answers follow in the order in which the Hub gives them, each after a line
/// `--STATUS`. Once they are used up, the Hub answers 404.
pub fn hub(bytes: &[u8]) {
    let mut parts = split(bytes, ANSWER);
    let wish = parts.pop_front().unwrap_or_default();
    let answers: VecDeque<Answer> = parts.into_iter().map(Answer::of).collect();
    // An answer names the address of an upload. The fuzzer must not send requests elsewhere.
    if wish == b"publish" && !answers.iter().all(Answer::stays_here) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let said = Arc::<Mutex<Vec<String>>>::default();
    let ears = said.clone();
    let hub = Hub::with(Settings {
        endpoint: Some(SERVER.address.clone()),
        token: Some(Token::new(TOKEN, "a test").expect("a token")),
        cache: Some(folder.path().join("cache")),
        offline: false,
        retry_policy: RetryPolicy {
            tries: 1,
            wait: Duration::ZERO,
            connect: Duration::from_secs(2),
            stall: Duration::from_secs(2),
        },
        report: Some(Arc::new(move |event| {
            if let Event::Note(words) = event {
                locked(&ears).push(words.to_owned());
            }
        })),
    })
    .expect("a Hub");
    let repo: RepoId = REPOSITORY.parse().expect("a name");
    let publication = Publication {
        bundle: BUNDLE.path(),
        repo: &repo,
        private: false,
        message: "Publish",
        pull_request: false,
    };
    // Refusals are shown without the token. A Hub that knows it may use it as a name.
    let echoes = |answer: &Answer| answer.status < 400 && answer.contains(TOKEN);
    let echoed = answers.iter().any(echoes);
    // One input at a time, because all share the server.
    let _alone = locked(&ALONE);
    *locked(&SERVER.answers) = answers;
    let outcome = match wish {
        b"plan" => hub.plan(&publication).map(|plan| {
            assert!(plan.bytes() <= 10_000);
        }),
        b"publish" => hub.publish(&publication).map(|published| {
            assert!(published.files <= 3);
        }),
        b"dataset" => hub.fetch_dataset(&repo).map(fetched),
        _ => hub.fetch_model(&repo).map(fetched),
    };
    if let Err(error) = outcome {
        names(&error, &[REPOSITORY]);
        locked(&said).push(format!("{error:#}"));
    }
    assert!(echoed || !locked(&said).concat().contains(TOKEN));
    let left = fs::read_dir(folder.path()).expect("the folder is there");
    for entry in left {
        assert_eq!(entry.expect("an entry").file_name(), "cache");
    }
}

/// Checks that the fetched files exist and lie in the snapshot's folder.
fn fetched(snapshot: Snapshot) {
    for file in &snapshot.files {
        assert!(file.starts_with(&snapshot.folder) && file.is_file());
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Splits `bytes` at each `mark`.
fn split<'a>(bytes: &'a [u8], mark: &[u8]) -> VecDeque<&'a [u8]> {
    let (mut parts, mut start) = (VecDeque::new(), 0);
    for place in 0..bytes.len() {
        if place >= start && bytes[place..].starts_with(mark) {
            parts.push_back(&bytes[start..place]);
            start = place + mark.len();
        }
    }
    parts.push_back(&bytes[start..]);
    parts
}

/// A bundle to publish.
static BUNDLE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = [("README.md", &b"A model.\n"[..]), ("weights", &[7; 2000])];
    for (name, content) in files {
        fs::write(folder.path().join(name), content).expect("a file is written");
    }
    let manifest = serde_json::json!({
        "format": 1, "name": "test", "probes": [], "metrics": null, "temperature": 1.0,
        "provenance": {},
        "files": files.map(|(name, content)| FileEntry::of(name, content)),
    });
    fs::write(folder.path().join("starsight.json"), manifest.to_string())
        .expect("a file is written");
    folder
});

static ALONE: Mutex<()> = Mutex::new(());
static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

/// An answer of the server: a status and a body.
struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Answer {
    fn of(part: &[u8]) -> Answer {
        let (status, body) = part.split_at(part.len().min(3));
        let status = std::str::from_utf8(status)
            .ok()
            .and_then(|text| text.parse().ok());
        Answer {
            // A status below 200 would announce another answer.
            status: status
                .filter(|status| (200..600).contains(status))
                .unwrap_or(200),
            body: body.strip_prefix(b"\n").unwrap_or(body).to_vec(),
        }
    }

    fn contains(&self, text: &str) -> bool {
        split(&self.body, text.as_bytes()).len() > 1
    }

    /// Whether it names no address but the Hub's own, and no Xet store.
    fn stays_here(&self) -> bool {
        serde_json::from_slice(&self.body).is_ok_and(|json| is_own(&json))
    }

    fn write(&self, out: &mut TcpStream, address: &str) -> std::io::Result<()> {
        // Binary content is sent unchanged.
        let body = match std::str::from_utf8(&self.body) {
            Ok(text) => text.replace(OWN, &format!("{address}/")).into_bytes(),
            Err(_) => self.body.clone(),
        };
        let (status, length) = (self.status, body.len());
        write!(
            out,
            "HTTP/1.1 {status} Answer\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\netag: \"tag\"\r\nconnection: close\r\n\r\n"
        )?;
        out.write_all(&body)?;
        out.flush()
    }
}

fn is_own(json: &Value) -> bool {
    match json {
        Value::String(text) => {
            !text
                .trim_start_matches(OWN)
                .contains([':', '\\', '\t', '\n', '\r'])
                && text != "xet"
        }
        Value::Array(values) => values.iter().all(is_own),
        Value::Object(members) => members.values().all(is_own),
        _ => true,
    }
}

/// A server on loopback that answers each request with the next answer.
struct Server {
    address: String,
    answers: Arc<Mutex<VecDeque<Answer>>>,
}

impl Server {
    fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let port = listener.local_addr().expect("an address").port();
        let server = Server {
            address: format!("http://127.0.0.1:{port}"),
            answers: Arc::default(),
        };
        let (address, answers) = (server.address.clone(), server.answers.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // An error means that the client has closed the connection.
                let _ = serve(stream, &address, &answers);
            }
        });
        server
    }
}

/// Answers one request.
fn serve(
    mut stream: TcpStream,
    address: &str,
    answers: &Mutex<VecDeque<Answer>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    // Otherwise the body waits up to 40 ms for the receipt of the head.
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        let header = line.to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    let answer = locked(answers)
        .pop_front()
        .unwrap_or_else(|| Answer::of(b"404{}"));
    answer.write(&mut stream, address)
}
