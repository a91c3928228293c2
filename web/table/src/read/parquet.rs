//! Reads Parquet files.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::record::reader::RowIter;

use super::zstd::RowGroup;
use crate::error::Error;
use crate::protocol::Encoding;
use crate::table::{CellKind, Column, Table};

/// Reads a whole file. Nested values and numbers become JSON.
pub fn read(name: &str, bytes: Vec<u8>) -> Result<Table, Error> {
    let wrong = |e: ParquetError| Error::Parquet {
        name: name.into(),
        why: e.to_string(),
    };
    let file = Arc::new(Bytes::from(bytes));
    let metadata = ParquetMetaDataReader::new()
        .parse_and_finish(file.as_ref())
        .map_err(wrong)?;
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
