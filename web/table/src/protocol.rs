//! What the page and the worker that keeps its table say to each other. It travels as JSON; texts to rate, ratings and files travel beside it.

use serde::{Deserialize, Serialize};
pub use starsight_model::metrics::Metrics;

/// How a file is read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// The file's name, whose ending tells its kind.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Whether the first line names the columns; found out if not said.
    pub header: Option<bool>,
}

/// How characters are written as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// UTF-8, but for the rows of [`Fault::NotUtf8`].
    Utf8,
    /// UTF-16, with a byte order mark.
    Utf16,
    /// Windows-1252, of which Latin-1 is a part, throughout.
    Windows1252,
}

/// Something that is wrong with some rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// What.
    pub fault: Fault,
    /// With how many rows.
    pub count: usize,
    /// The first few of them, counted from 1: rows of the table, or lines of the file where the fault leaves no row.
    pub first: Vec<usize>,
}

/// What can be wrong with a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Fault {
    /// Fewer cells than the header names: the others are empty. How many the first such row has, and how many are wanted.
    TooFew(usize, usize),
    /// More cells than the header names: the surplus stands in a column of its own. How many the first such row has, and how many are wanted.
    TooMany(usize, usize),
    /// A cell of very many lines: a closing quotation mark is missing, likely.
    Endless,
    /// A quotation mark that no other one closes before the end of the file: the cell holds all that follows.
    Unclosed,
    /// Lines without anything on them: left out.
    EmptyLine,
    /// Lines that are no JSON object: left out. Why the first one is none.
    NotJson(String),
    /// Bytes that are not UTF-8 in a file that otherwise is: read as Windows-1252.
    NotUtf8,
}

/// What there is to know of a file that was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Described {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// How many rows.
    pub rows: usize,
    /// What the bytes were.
    pub encoding: Encoding,
    /// What separates cells, in a file of separated ones.
    pub separator: Option<char>,
    /// Whether the first line was taken for the names of the columns, where that is a question.
    pub header: Option<bool>,
    /// What is wrong with rows.
    pub problems: Vec<Problem>,
    /// The first rows, cut short.
    pub preview: Vec<Vec<String>>,
    /// The columns that will be used unless others are chosen.
    pub choice: ColumnChoice,
}

/// Which columns are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnChoice {
    /// That of the reviews, if any column looks like it.
    pub text: Option<usize>,
    /// That of the true stars, if there is one.
    pub label: Option<usize>,
}

/// What a choice of columns gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// Rows with a review.
    pub reviews: usize,
    /// Rows without: they get no rating.
    pub without_text: usize,
    /// Rows with a review and true stars, 1 to 5.
    pub labelled: usize,
}

/// The order of the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Key {
    /// As in the file.
    #[default]
    File,
    /// By the likeliest number of stars.
    Stars,
    /// By the mean of the distribution.
    Expected,
    /// By the probability of the likeliest number of stars.
    Confidence,
    /// By how far the rating is from the true stars.
    Error,
}

/// Which rows are shown, and in what order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrangement {
    /// Sorted by.
    pub key: Key,
    /// Whether the largest comes first. Rows without a rating come last either way.
    pub descending: bool,
    /// Only those rated so, 1 to 5; 0 for those that are not rated. All if there are none.
    pub stars: Vec<u8>,
    /// Only reviews in which this occurs, in capitals or not.
    pub query: String,
}

/// Rows as they are shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// How many rows the arrangement leaves.
    pub total: usize,
    /// The place of the first of `rows` among them.
    pub from: usize,
    /// The rows.
    pub rows: Vec<Row>,
}

/// A row as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its place in the file, from 0.
    pub row: usize,
    /// The review, cut short.
    pub text: String,
    /// Its rating, once there is one.
    pub rating: Option<Rated>,
    /// Its true stars, if it has any.
    pub label: Option<u8>,
}

/// A rating.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rated {
    /// The likeliest number of stars.
    pub stars: u8,
    /// The mean of the distribution, in stars.
    pub expected: f32,
    /// Of 1 to 5 stars.
    pub probabilities: [f32; 5],
}

/// A row with all that its file says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detail {
    /// The row, its review whole.
    pub row: Row,
    /// The name and the text of each cell.
    pub cells: Vec<(String, String)>,
}

/// What the ratings amount to so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Rows that are rated.
    pub rated: usize,
    /// How many got 1 to 5 stars.
    pub counts: [u64; 5],
    /// The mean number of stars, and half the width of its 95% interval, which takes two reviews at least.
    pub mean: Option<(f64, Option<f64>)>,
    /// The most negative reviews, by the mean of their distribution.
    pub lowest: Vec<Row>,
    /// The most positive ones.
    pub highest: Vec<Row>,
    /// How good the ratings are, where there are true stars.
    pub metrics: Option<Metrics>,
}

/// What the page asks of the worker. Each is answered by the type beside it, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Use these columns: [`Chosen`]. What was rated of another column is forgotten.
    Choose(ColumnChoice),
    /// Show rows so: their number.
    Arrange(Arrangement),
    /// So many rows from a place on: [`Window`].
    Rows {
        /// The first place.
        from: usize,
        /// How many.
        count: usize,
    },
    /// The place of a row, counted from 0 in the file, among those that are shown, if it is: `Option<usize>`.
    Place(usize),
    /// All of a row, counted from 0 in the file: [`Detail`].
    Detail(usize),
    /// What the ratings amount to: [`Summary`].
    Summary,
    /// Hand out again what was handed out and not rated; nothing else.
    Rewind,
    /// Forget all ratings, and hand out from the beginning.
    Forget,
}

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// Comma-separated values (RFC 4180).
    Csv,
    /// A JSON object a line.
    JsonLines,
}
