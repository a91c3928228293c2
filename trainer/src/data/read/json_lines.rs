//! A JSON object a line: .jsonl and .ndjson.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, LargeStringArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};
use serde_json::{Map, Value};

use super::super::origins::Numbers;
use super::{PIECE, Pieces, open_text, text_field};

/// The objects of a file, one after another; lines without any are passed over.
struct Objects {
    path: PathBuf,
    file: BufReader<File>,
    line: u64,
    bytes: Vec<u8>,
}

impl Objects {
    fn open(path: &Path) -> Result<Objects> {
        Ok(Objects { path: path.into(), file: open_text(path)?, line: 0, bytes: Vec::new() })
    }

    /// The next object and its line.
    fn next(&mut self) -> Result<Option<(Map<String, Value>, u64)>> {
        loop {
            self.bytes.clear();
            if self.file.read_until(b'\n', &mut self.bytes).with_context(|| format!("reading {}", self.path.display()))? == 0 {
                return Ok(None);
            }
            self.line += 1;
            if !self.bytes.trim_ascii().is_empty() {
                let object = serde_json::from_slice(&self.bytes);
                return Ok(Some((object.with_context(|| format!("{}, line {}: not a JSON object", self.path.display(), self.line))?, self.line)));
            }
        }
    }
}

/// The narrowest type that holds all values seen so far.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Nothing,
    Whole,
    Number,
    Truth,
    Text,
}

impl Kind {
    fn of(value: &Value) -> Kind {
        match value {
            Value::Null => Kind::Nothing,
            Value::Bool(_) => Kind::Truth,
            Value::Number(_) if value.is_i64() => Kind::Whole,
            Value::Number(_) => Kind::Number,
            _ => Kind::Text,
        }
    }

    fn and(self, other: Kind) -> Kind {
        match (self, other) {
            (Kind::Nothing, kind) | (kind, Kind::Nothing) => kind,
            (one, other) if one == other => one,
            (Kind::Whole, Kind::Number) | (Kind::Number, Kind::Whole) => Kind::Number,
            _ => Kind::Text,
        }
    }

    fn field(self, name: &str) -> Field {
        match self {
            Kind::Whole => Field::new(name, DataType::Int64, true),
            Kind::Number => Field::new(name, DataType::Float64, true),
            Kind::Truth => Field::new(name, DataType::Boolean, true),
            Kind::Text | Kind::Nothing => text_field(name),
        }
    }
}

/// The columns, in the order in which they first occur, each of the narrowest type that holds all its values.
pub fn fields(path: &Path) -> Result<Vec<Field>> {
    let mut objects = Objects::open(path)?;
    let mut kinds: Vec<(String, Kind)> = Vec::new();
    while let Some((object, _)) = objects.next()? {
        for (name, value) in &object {
            match kinds.iter_mut().find(|(known, _)| known == name) {
                Some((_, kind)) => *kind = kind.and(Kind::of(value)),
                None => kinds.push((name.clone(), Kind::of(value))),
            }
        }
    }
    ensure!(objects.line > 0 && !kinds.is_empty(), "{}: empty file; wanted a JSON object a line", path.display());
    Ok(kinds.into_iter().map(|(name, kind)| kind.field(&name)).collect())
}

pub fn pieces(path: &Path, schema: &Schema) -> Result<Pieces> {
    let mut objects = Objects::open(path)?;
    let schema = Arc::new(schema.clone());
    Ok(Box::new(std::iter::from_fn(move || piece(&mut objects, &schema).transpose())))
}

fn piece(objects: &mut Objects, schema: &Arc<Schema>) -> Result<Option<(RecordBatch, Numbers)>> {
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    while rows.len() < PIECE
        && let Some((object, line)) = objects.next()?
    {
        rows.push(object);
        lines.push(line);
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let values = |field: &Field| column(field.data_type(), rows.iter().map(|row| row.get(field.name()).filter(|v| !v.is_null())));
    let arrays: Vec<ArrayRef> = schema.fields().iter().map(|field| values(field)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let batch = RecordBatch::try_new_with_options(schema.clone(), arrays, &options).with_context(|| objects.path.display().to_string())?;
    Ok(Some((batch, Numbers::Lines(lines))))
}

fn column<'a>(kind: &DataType, values: impl Iterator<Item = Option<&'a Value>>) -> ArrayRef {
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_string);
    match kind {
        DataType::Int64 => Arc::new(values.map(|v| v.and_then(Value::as_i64)).collect::<Int64Array>()),
        DataType::Float64 => Arc::new(values.map(|v| v.and_then(Value::as_f64)).collect::<Float64Array>()),
        DataType::Boolean => Arc::new(values.map(|v| v.and_then(Value::as_bool)).collect::<BooleanArray>()),
        _ => Arc::new(values.map(|v| v.map(text)).collect::<LargeStringArray>()),
    }
}
