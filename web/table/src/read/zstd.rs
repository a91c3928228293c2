//! Reads Parquet pages that are compressed with Zstandard. The parquet crate uses a C library for
//! them, which cannot be compiled for the browser. Here the pages are read as if they were
//! uncompressed, and then decompressed in Rust.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::RowGroupReader;
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;

/// A row group whose pages may also be compressed with Zstandard.
pub struct RowGroup<'a> {
    pub file: Arc<Bytes>,
    pub metadata: &'a RowGroupMetaData,
}

impl RowGroupReader for RowGroup<'_> {
    fn metadata(&self) -> &RowGroupMetaData {
        self.metadata
    }

    fn num_columns(&self) -> usize {
        self.metadata.num_columns()
    }

    fn get_column_page_reader(&self, i: usize) -> Result<Box<dyn PageReader>> {
        let column = self.metadata.column(i);
        let rows = usize::try_from(self.metadata.num_rows())?;
        if !matches!(column.compression(), Compression::ZSTD(_)) {
            return Ok(Box::new(SerializedPageReader::new(
                self.file.clone(),
                column,
                rows,
                None,
            )?));
        }
        let plain = column
            .clone()
            .into_builder()
            .set_compression(Compression::UNCOMPRESSED)
            .build()?;
        Ok(Box::new(Pages(SerializedPageReader::new(
            self.file.clone(),
            &plain,
            rows,
            None,
        )?)))
    }

    fn get_column_bloom_filter(&self, _: usize) -> Option<&Sbbf> {
        None
    }

    fn get_row_iter(&self, projection: Option<Type>) -> Result<RowIter<'_>> {
        RowIter::from_row_group(projection, self)
    }
}

/// The pages of a column, decompressed as they are read.
struct Pages(SerializedPageReader<Bytes>);

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Result<Page>> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let Some(mut page) = self.0.get_next_page()? else {
            return Ok(None);
        };
        match &mut page {
            Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => {
                *buf = decompressed(buf, 0)?;
            }
            Page::DataPageV2 {
                buf,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed: true,
                ..
            } => {
                *buf = decompressed(buf, (*def_levels_byte_len + *rep_levels_byte_len) as usize)?;
            }
            Page::DataPageV2 { .. } => {}
        }
        Ok(Some(page))
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.0.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.0.skip_next_page()
    }
}

/// Decompresses a page whose first `plain` bytes are not compressed.
fn decompressed(page: &Bytes, plain: usize) -> Result<Bytes> {
    let wrong = |why: String| {
        ParquetError::General(format!("a page is not what Zstandard compressed: {why}"))
    };
    let (levels, values) = page
        .split_at_checked(plain)
        .ok_or_else(|| wrong("it is too short".into()))?;
    let mut out = levels.to_vec();
    if !values.is_empty() {
        let mut decoder =
            ruzstd::decoding::StreamingDecoder::new(values).map_err(|e| wrong(e.to_string()))?;
        decoder
            .read_to_end(&mut out)
            .map_err(|e| wrong(e.to_string()))?;
    }
    Ok(out.into())
}
