//! The messages between the page and the table's worker. They are sent as JSON; texts to rate,
//! ratings and files are sent separately.

use serde::{Deserialize, Serialize};
pub use starsight_model::metrics::Metrics;

/// A file to open, and how to read it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// The file's name; its extension determines its format.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Whether the first line names the columns; detected if `None`.
    pub header: Option<bool>,
}

/// The character encoding of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// UTF-8, except for the rows of [`Fault::NotUtf8`].
    Utf8,
    /// UTF-16, with a byte order mark.
    Utf16,
    /// The whole file is Windows-1252, which includes Latin-1.
    Windows1252,
}

/// A problem with some rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// The kind of problem.
    pub fault: Fault,
    /// Number of affected rows.
    pub count: usize,
    /// The first few of them, counted from 1: rows of the table, or lines of the file if the fault
    /// leaves no row.
    pub first: Vec<usize>,
}

/// The kinds of problems with a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Fault {
    /// Fewer cells than the header; the missing ones are empty. Holds the number of cells of the
    /// first such row, and the expected number.
    TooFew(usize, usize),
    /// More cells than the header; the surplus is put in a separate column. Holds the number of
    /// cells of the first such row, and the expected number.
    TooMany(usize, usize),
    /// A cell with very many lines; a closing quotation mark is probably missing.
    Endless,
    /// A quotation mark that is not closed before the end of the file; the cell contains everything
    /// that follows.
    Unclosed,
    /// Empty lines; they are left out.
    EmptyLine,
    /// Lines that are not a JSON object; they are left out. Holds the error of the first one.
    NotJson(String),
    /// Bytes that are not UTF-8 in a file that is otherwise; they are read as Windows-1252.
    NotUtf8,
}

/// The description of a file that was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Described {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// Number of rows.
    pub rows: usize,
    /// The file's encoding.
    pub encoding: Encoding,
    /// The separator between cells, in a delimited file.
    pub separator: Option<char>,
    /// Whether the first line was used as the names of the columns; `None` if the format leaves no
    /// choice.
    pub header: Option<bool>,
    /// Problems with rows.
    pub problems: Vec<Problem>,
    /// The first rows, with long cells shortened.
    pub preview: Vec<Vec<String>>,
    /// The default choice of columns.
    pub choice: ColumnChoice,
}

/// The columns that are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnChoice {
    /// The column of reviews, if one was found or chosen.
    pub text: Option<usize>,
    /// The column of true stars, if there is one.
    pub label: Option<usize>,
}

/// What the chosen columns contain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// Rows with a review.
    pub reviews: usize,
    /// Rows without a review; they get no rating.
    pub without_text: usize,
    /// Rows with a review and true stars, 1 to 5.
    pub labelled: usize,
}

/// The sort key of the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Key {
    /// The order of the file.
    #[default]
    File,
    /// By the rated number of stars.
    Stars,
    /// By the mean of the distribution.
    Expected,
    /// By the probability of the rated number of stars.
    Confidence,
    /// By the distance between the expected value and the true stars.
    Error,
}

/// Which rows are shown, and in what order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrangement {
    /// The sort key.
    pub key: Key,
    /// Whether the largest key comes first. Rows without a rating come last in both directions.
    pub descending: bool,
    /// Only rows with these stars, 1 to 5; 0 for rows without a rating. Empty means all rows.
    pub stars: Vec<u8>,
    /// Only reviews that contain this text, ignoring case.
    pub query: String,
}

/// A range of the shown rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// The number of rows that match the arrangement.
    pub total: usize,
    /// The index of the first of `rows` among them.
    pub from: usize,
    /// The rows.
    pub rows: Vec<Row>,
}

/// A shown row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The row's index in the file, from 0.
    pub row: usize,
    /// The review, shortened.
    pub text: String,
    /// The row's rating, if it has been rated.
    pub rating: Option<Rated>,
    /// The row's true stars, if it has any.
    pub label: Option<u8>,
}

/// A rating.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rated {
    /// The rated number of stars.
    pub stars: u8,
    /// The mean of the distribution, in stars.
    pub expected: f32,
    /// The probabilities of 1 to 5 stars.
    pub probabilities: [f32; 5],
}

/// A row with all cells of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detail {
    /// The row, with its whole review.
    pub row: Row,
    /// The column name and the text of each cell.
    pub cells: Vec<(String, String)>,
}

/// The summary of the ratings so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Rows that are rated.
    pub rated: usize,
    /// Number of rows with 1 to 5 stars.
    pub counts: [u64; 5],
    /// The mean number of stars, and half the width of its 95% confidence interval, which needs at
    /// least two reviews.
    pub mean: Option<(f64, Option<f64>)>,
    /// The most negative reviews, by the mean of their distribution.
    pub lowest: Vec<Row>,
    /// The most positive ones.
    pub highest: Vec<Row>,
    /// Metrics of the ratings, if there are true stars.
    pub metrics: Option<Metrics>,
}

/// A request from the page to the worker. The answer is JSON of the type given with each request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Use these columns. Answer: [`Chosen`]. If the column of reviews changes, ratings are
    /// discarded.
    Choose(ColumnChoice),
    /// Arrange the rows. Answer: the number of matching rows.
    Arrange(Arrangement),
    /// Return `count` rows from index `from`. Answer: [`Window`].
    Rows {
        /// The index of the first row.
        from: usize,
        /// The number of rows.
        count: usize,
    },
    /// Find a row, given by its index in the file, among the shown rows. Answer: `Option<usize>`,
    /// its place.
    Place(usize),
    /// Return the details of a row, given by its index in the file. Answer: [`Detail`], or null if
    /// there is no such row.
    Detail(usize),
    /// Return the summary of the ratings. Answer: [`Summary`].
    Summary,
    /// Hand out again the rows that were handed out but not rated.
    Rewind,
    /// Discard all ratings, and hand out all rows again.
    Forget,
}

/// The format in which a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// Comma-separated values (RFC 4180).
    Csv,
    /// One JSON object per line.
    JsonLines,
}
