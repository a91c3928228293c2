//! Reads Parquet files.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::record::reader::RowIter;

use super::MOST_CELLS;
use super::zstd::RowGroup;
use crate::error::Error;
use crate::protocol::Encoding;
use crate::table::{CellKind, Column, Table};

/// Reads a whole file. Nested values and numbers become JSON.
pub fn read(name: &str, bytes: Vec<u8>) -> Result<Table, Error> {
    // The parquet crate panics on files that contradict themselves. In WebAssembly a panic ends the
    // worker, and `desk.js` says so.
    catch_unwind(AssertUnwindSafe(|| parse(name, bytes))).unwrap_or_else(|_| {
        Err(Error::Parquet {
            name: name.into(),
            why: "its parts contradict each other".into(),
        })
    })
}

fn parse(name: &str, bytes: Vec<u8>) -> Result<Table, Error> {
    let wrong = |e: ParquetError| Error::Parquet {
        name: name.into(),
        why: e.to_string(),
    };
    let file = Arc::new(Bytes::from(bytes));
    let metadata = ParquetMetaDataReader::new()
        .parse_and_finish(file.as_ref())
        .map_err(wrong)?;
    if !has_valid_sizes(&metadata) {
        return Err(wrong(ParquetError::General("a size is negative".into())));
    }
    let cells = cells(&metadata);
    if cells > MOST_CELLS {
        return Err(Error::Cells {
            name: name.into(),
            cells,
            most: MOST_CELLS,
        });
    }
    let fields = metadata.file_metadata().schema().get_fields();
    let mut columns: Vec<Column> = fields
        .iter()
        .map(|field| Column::new(field.name(), CellKind::Json))
        .collect();
    let mut rows = 0;
    for group in metadata.row_groups() {
        for column in group.columns() {
            let codec = match column.compression() {
                Compression::BROTLI(_) => "Brotli",
                Compression::LZO => "LZO",
                _ => continue,
            };
            return Err(Error::Codec {
                name: name.into(),
                column: column.column_path().string(),
                codec,
            });
        }
        let group = RowGroup {
            file: file.clone(),
            metadata: group,
        };
        for row in RowIter::from_row_group(None, &group).map_err(wrong)? {
            let row = row.map_err(wrong)?;
            for (column, (_, field)) in columns.iter_mut().zip(row.get_column_iter()) {
                column.push(field.to_json_value().to_string().as_bytes());
            }
            rows += 1;
        }
    }
    Ok(Table {
        columns,
        rows,
        encoding: Encoding::Utf8,
        has_mark: false,
        separator: None,
        header: None,
        problems: Vec::new(),
        lines: Vec::new(),
    })
}

/// Whether no size or position in a Parquet file is negative. The parquet crate uses them unchecked,
/// and panics.
pub fn has_valid_sizes(metadata: &ParquetMetaData) -> bool {
    let mut columns = metadata
        .row_groups()
        .iter()
        .flat_map(RowGroupMetaData::columns);
    columns.all(|column| {
        column.compressed_size() >= 0
            && column.data_page_offset() >= 0
            && column.dictionary_page_offset().unwrap_or(0) >= 0
    })
}

/// The number of cells that the row groups announce.
fn cells(metadata: &ParquetMetaData) -> u64 {
    let columns = metadata.file_metadata().schema().get_fields().len().max(1);
    metadata
        .row_groups()
        .iter()
        .map(|group| u64::try_from(group.num_rows()).unwrap_or(0))
        .fold(0, u64::saturating_add)
        .saturating_mul(columns as u64)
}
