//! Reads CSV, TSV and JSON lines with the page's own reader (`starsight_table`), so that program
//! and page read a file alike. The page counts bad rows; the program refuses those that could
//! change the training.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, LargeStringArray, RecordBatch,
    RecordBatchOptions,
};
use arrow::datatypes::{DataType, Field, Schema};
use serde_json::Value;
use starsight_table::protocol::{Fault, Problem};
use starsight_table::{CellKind, Column, Table, TextReader};

use super::super::origins::Numbers;
use super::{PIECE, Pieces, text_field};

/// Bytes read at once.
const CHUNK: usize = 1 << 18;

/// Number of lines that a note names.
const NAMED: usize = 5;

/// A text file, read in chunks of rows.
struct Text {
    path: PathBuf,
    file: File,
    reader: TextReader,
    chunk: Vec<u8>,
    is_over: bool,
    /// The first lines that are not UTF-8, and their total number.
    other: (Vec<u32>, usize),
}

impl Text {
    fn open(path: &Path, ending: &str) -> Result<Text> {
        let file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
        let reader = TextReader::open(ending, Some(true))
            .with_context(|| format!("{}: not a text file", path.display()))?;
        Ok(Text {
            path: path.into(),
            file,
            reader,
            chunk: vec![0; CHUNK],
            is_over: false,
            other: (Vec::new(), 0),
        })
    }

    /// The next rows, which may be none if the file has only a header; `None` at the end of the
    /// file.
    fn next(&mut self) -> Result<Option<Table>> {
        if self.is_over {
            return Ok(None);
        }
        while !self.is_over && self.reader.rows() < PIECE {
            match self
                .file
                .read(&mut self.chunk)
                .with_context(|| format!("reading {}", self.path.display()))?
            {
                0 => {
                    self.reader.end();
                    self.is_over = true;
                }
                read => self.reader.push(&self.chunk[..read]),
            }
        }
        let table = self.reader.take();
        self.check(&table)?;
        Ok(Some(table))
    }

    /// Refuses rows that do not match the header, and remembers those that are not UTF-8.
    fn check(&mut self, table: &Table) -> Result<()> {
        // Without rows, the problem is on line 1.
        let line = |problem: &Problem| table.lines.get(problem.first[0] - 1).copied().unwrap_or(1);
        let path = self.path.display();
        if let Some(problem) = table
            .problems
            .iter()
            .find(|problem| problem.fault == Fault::Unclosed)
        {
            bail!("{path}, line {}: unclosed quotation mark", line(problem));
        }
        let uneven =
            |problem: &&Problem| matches!(problem.fault, Fault::TooFew(..) | Fault::TooMany(..));
        if let Some(problem) = table
            .problems
            .iter()
            .filter(uneven)
            .min_by_key(|problem| problem.first[0])
            && let Fault::TooFew(found, wanted) | Fault::TooMany(found, wanted) = problem.fault
        {
            let line = line(problem);
            bail!(
                "{path}, line {line}: {found} fields, but the header names {wanted}; is a quotation mark or a separator missing?"
            );
        }
        for problem in &table.problems {
            match &problem.fault {
                Fault::NotJson(why) => bail!(
                    "{path}, line {}: not a JSON object: {why}",
                    problem.first[0]
                ),
                Fault::NotUtf8 => {
                    // For JSON the numbers are line numbers already.
                    let is_json = table.separator.is_none();
                    let place = |number: &usize| {
                        if is_json {
                            *number as u32
                        } else {
                            table.lines[number - 1]
                        }
                    };
                    let (known, count) = &mut self.other;
                    known.extend(problem.first.iter().map(place));
                    known.truncate(NAMED);
                    *count += problem.count;
                }
                Fault::TooFew(..)
                | Fault::TooMany(..)
                | Fault::Endless
                | Fault::Unclosed
                | Fault::EmptyLine => {}
            }
        }
        Ok(())
    }

    /// Prints which separator was found, if the file's ending does not say.
    fn print_separator(&self, separator: Option<char>) {
        let is_csv = self
            .path
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
        let name = match separator {
            Some('\t') if is_csv => "tabs".to_owned(),
            Some(separator @ (';' | '|')) => format!("`{separator}`"),
            _ => return,
        };
        say_once(format!(
            "{}: its fields are separated by {name}",
            self.path.display()
        ));
    }

    /// Prints which of the rows read are not UTF-8.
    fn print_encoding(&self) {
        let (lines, count) = &self.other;
        if *count > 0 {
            let more = if *count > lines.len() { ", …" } else { "" };
            let named = lines
                .iter()
                .map(u32::to_string)
                .collect::<Vec<_>>()
                .join(", ");
            let rows = if *count == 1 {
                "1 row is"
            } else {
                &format!("{count} rows are")
            };
            say_once(format!(
                "{}: {rows} not UTF-8 and read as Windows-1252 (line {named}{more})",
                self.path.display()
            ));
        }
    }
}

/// Prints a note once, though a file may be read several times in a run.
fn say_once(words: String) {
    static SAID: Mutex<Option<HashSet<String>>> = Mutex::new(None);
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.get_or_insert_default().insert(words.clone()) {
        say!("{words}");
    }
}

/// Columns in the order of their first occurrence; for JSON each with the narrowest type that holds
/// all its values.
pub fn fields(path: &Path, ending: &str) -> Result<Vec<Field>> {
    let mut text = Text::open(path, ending)?;
    let mut fields: Vec<(String, Narrowest)> = Vec::new();
    while let Some(table) = text.next()? {
        text.print_separator(table.separator);
        for (i, column) in table.columns.iter().enumerate() {
            if i == fields.len() {
                fields.push((column.name.clone(), Narrowest::Nothing));
            }
            if column.kind() == CellKind::Json {
                fields[i].1 = (0..table.rows)
                    .map(|row| Narrowest::of(column, row))
                    .fold(fields[i].1, Narrowest::and);
            }
        }
        // In the other formats the header names all columns.
        if table.separator.is_some() {
            break;
        }
    }
    let wanted = if ending == "jsonl" {
        "one JSON object per line"
    } else {
        "a header line with the column names"
    };
    ensure!(
        !fields.is_empty(),
        "{}: empty file; expected {wanted}",
        path.display()
    );
    Ok(fields
        .into_iter()
        .map(|(name, narrowest)| narrowest.field(&name))
        .collect())
}

pub fn pieces(path: &Path, ending: &str, schema: &Schema) -> Result<Pieces> {
    let mut rows = Rows(Text::open(path, ending)?);
    let schema = Arc::new(schema.clone());
    let mut next = move || -> Result<Option<(RecordBatch, Numbers)>> {
        while let Some(table) = rows.0.next()? {
            if table.rows > 0 {
                let batch =
                    batch(&table, &schema).with_context(|| rows.0.path.display().to_string())?;
                return Ok(Some((batch, numbers(table))));
            }
        }
        Ok(None)
    };
    Ok(Box::new(std::iter::from_fn(move || next().transpose())))
}

/// The rows of a file, all or the first ones. When dropped, it prints which of them were not UTF-8.
struct Rows(Text);

impl Drop for Rows {
    fn drop(&mut self) {
        self.0.print_encoding();
    }
}

fn numbers(table: Table) -> Numbers {
    Numbers::Lines(table.lines.into_iter().map(u64::from).collect())
}

/// The columns of `schema` from `table`, in its types; null where a row has no value.
fn batch(table: &Table, schema: &Arc<Schema>) -> Result<RecordBatch> {
    let array = |field: &Arc<Field>| match table
        .columns
        .iter()
        .find(|column| column.name == *field.name())
    {
        Some(column) => array(column, field.data_type(), table.rows),
        None => arrow::array::new_null_array(field.data_type(), table.rows),
    };
    let arrays = schema.fields().iter().map(array).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(table.rows));
    Ok(RecordBatch::try_new_with_options(
        schema.clone(),
        arrays,
        &options,
    )?)
}

fn array(column: &Column, kind: &DataType, rows: usize) -> ArrayRef {
    let values = || (0..rows).map(|row| column.json(row));
    match kind {
        DataType::Int64 => Arc::new(
            values()
                .map(|value| value?.as_i64())
                .collect::<Int64Array>(),
        ),
        DataType::Float64 => Arc::new(
            values()
                .map(|value| value?.as_f64())
                .collect::<Float64Array>(),
        ),
        DataType::Boolean => Arc::new(
            values()
                .map(|value| value?.as_bool())
                .collect::<BooleanArray>(),
        ),
        _ if column.kind() == CellKind::Text => Arc::new(LargeStringArray::from_iter_values(
            (0..rows).map(|row| column.text(row)),
        )),
        _ => Arc::new(
            (0..rows)
                .map(|row| column.json(row).map(|_| column.text(row)))
                .collect::<LargeStringArray>(),
        ),
    }
}

/// The narrowest type that holds the values of a JSON column.
#[derive(Clone, Copy, PartialEq)]
enum Narrowest {
    Nothing,
    Whole,
    Number,
    Truth,
    Text,
}

impl Narrowest {
    fn of(column: &Column, row: usize) -> Narrowest {
        match column.json(row) {
            None => Narrowest::Nothing,
            Some(Value::Bool(_)) => Narrowest::Truth,
            Some(value) if value.is_i64() => Narrowest::Whole,
            // A whole number beyond 64 bits is kept as text: as a float it would lose digits.
            Some(Value::Number(_)) if !column.text(row).contains(['.', 'e', 'E']) => {
                Narrowest::Text
            }
            Some(Value::Number(_)) => Narrowest::Number,
            Some(_) => Narrowest::Text,
        }
    }

    fn and(self, other: Narrowest) -> Narrowest {
        match (self, other) {
            (Narrowest::Nothing, kind) | (kind, Narrowest::Nothing) => kind,
            (one, other) if one == other => one,
            (Narrowest::Whole, Narrowest::Number) | (Narrowest::Number, Narrowest::Whole) => {
                Narrowest::Number
            }
            _ => Narrowest::Text,
        }
    }

    fn field(self, name: &str) -> Field {
        match self {
            Narrowest::Whole => Field::new(name, DataType::Int64, true),
            Narrowest::Number => Field::new(name, DataType::Float64, true),
            Narrowest::Truth => Field::new(name, DataType::Boolean, true),
            Narrowest::Text | Narrowest::Nothing => text_field(name),
        }
    }
}
