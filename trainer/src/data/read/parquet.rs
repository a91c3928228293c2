//! Parquet.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};

use super::super::origins::Numbers;
use super::{PIECE, Pieces, text_field};

fn broken(path: &Path) -> String {
    format!("{}: not a whole parquet file", path.display())
}

fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).with_context(|| broken(path))?;
    // The reader takes these as they stand in the file, and panics where one is negative.
    let sound = |column: &ColumnChunkMetaData| {
        [column.compressed_size(), column.data_page_offset(), column.dictionary_page_offset().unwrap_or(0)].into_iter().all(|number| number >= 0)
    };
    ensure!(builder.metadata().row_groups().iter().flat_map(RowGroupMetaData::columns).all(sound), "{}: a size is negative", broken(path));
    Ok(builder)
}

pub fn fields(path: &Path) -> Result<Vec<Field>> {
    let is_text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
    let field = |field: &Field| match field.data_type() {
        kind if is_text(kind) => text_field(field.name()),
        DataType::Dictionary(_, values) if is_text(values) => text_field(field.name()),
        _ => field.clone(),
    };
    Ok(open(path)?.schema().fields().iter().map(|f| field(f)).collect())
}

pub fn pieces(path: &Path, schema: &Schema) -> Result<Pieces> {
    let builder = open(path)?;
    let wanted = |field: &Field| schema.field_with_name(field.name()).is_ok();
    let roots: Vec<usize> = builder.schema().fields().iter().enumerate().filter(|(_, field)| wanted(field)).map(|(i, _)| i).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let reader = builder.with_projection(mask).with_batch_size(PIECE).build().with_context(|| broken(path))?;
    let path = path.to_path_buf();
    let mut first = 1;
    Ok(Box::new(reader.map(move |batch| {
        let batch = batch.with_context(|| broken(&path))?;
        let numbers = Numbers::Rows(first);
        first += batch.num_rows() as u64;
        Ok((batch, numbers))
    })))
}
