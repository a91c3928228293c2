//! Parquet.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use starsight_table::has_valid_sizes;

use super::super::origins::Numbers;
use super::{PIECE, Pieces, text_field};

fn broken(path: &Path) -> String {
    format!("{}: not a complete Parquet file", path.display())
}

/// Returns what `read` returns. The parquet reader panics on files that contradict themselves; that
/// becomes an error.
fn guarded<T>(path: &Path, read: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read))
        .map_err(|_| anyhow!("{}: inconsistent metadata", broken(path)))
}

fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let builder = guarded(path, || ParquetRecordBatchReaderBuilder::try_new(file))?
        .with_context(|| broken(path))?;
    ensure!(
        has_valid_sizes(builder.metadata()),
        "{}: a size is negative",
        broken(path)
    );
    Ok(builder)
}

pub fn fields(path: &Path) -> Result<Vec<Field>> {
    let is_text = |kind: &DataType| {
        matches!(
            kind,
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8
        )
    };
    let field = |field: &Field| match field.data_type() {
        kind if is_text(kind) => text_field(field.name()),
        DataType::Dictionary(_, values) if is_text(values) => text_field(field.name()),
        _ => field.clone(),
    };
    Ok(open(path)?
        .schema()
        .fields()
        .iter()
        .map(|f| field(f))
        .collect())
}

pub fn pieces(path: &Path, schema: &Schema) -> Result<Pieces> {
    let builder = open(path)?;
    let wanted = |field: &Field| schema.field_with_name(field.name()).is_ok();
    let roots: Vec<usize> = builder
        .schema()
        .fields()
        .iter()
        .enumerate()
        .filter(|(_, field)| wanted(field))
        .map(|(i, _)| i)
        .collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let mut reader = guarded(path, || {
        builder.with_projection(mask).with_batch_size(PIECE).build()
    })?
    .with_context(|| broken(path))?;
    let path = path.to_path_buf();
    let (mut first, mut over) = (1, false);
    let mut next = move || -> Result<Option<_>> {
        let Some(batch) = guarded(&path, || reader.next())? else {
            return Ok(None);
        };
        let batch = batch.with_context(|| broken(&path))?;
        let numbers = Numbers::Rows(first);
        first += batch.num_rows() as u64;
        Ok(Some((batch, numbers)))
    };
    Ok(Box::new(std::iter::from_fn(move || {
        // After a panic, do not call the reader again.
        let piece = if over { None } else { next().transpose() };
        over = !matches!(piece, Some(Ok(_)));
        piece
    })))
}
