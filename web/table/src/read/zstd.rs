//! Reads Parquet pages that are compressed with Zstandard. The parquet crate uses a C library for
//! them, which cannot be compiled for the browser. Here the pages are read as if they were
//! uncompressed, and then decompressed in Rust. The values of all pages are counted.

use std::borrow::Cow;
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

use super::MOST_CELLS;

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
        let mut column = Cow::Borrowed(self.metadata.column(i));
        let is_zstd = matches!(column.compression(), Compression::ZSTD(_));
        if is_zstd {
            let plain = column.into_owned().into_builder();
            column = Cow::Owned(plain.set_compression(Compression::UNCOMPRESSED).build()?);
        }
        let rows = usize::try_from(self.metadata.num_rows())?;
        Ok(Box::new(Pages {
            pages: SerializedPageReader::new(self.file.clone(), &column, rows, None)?,
            is_zstd,
            left: MOST_CELLS,
        }))
    }

    fn get_column_bloom_filter(&self, _: usize) -> Option<&Sbbf> {
        None
    }

    fn get_row_iter(&self, projection: Option<Type>) -> Result<RowIter<'_>> {
        RowIter::from_row_group(projection, self)
    }
}

/// The pages of a column.
struct Pages {
    pages: SerializedPageReader<Bytes>,
    /// Whether they are decompressed here.
    is_zstd: bool,
    /// How many more values they may hold: a few bytes can stand for billions of equal values.
    left: u64,
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Result<Page>> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let Some(mut page) = self.pages.get_next_page()? else {
            return Ok(None);
        };
        self.left = self
            .left
            .checked_sub(page.num_values().into())
            .ok_or_else(|| {
                ParquetError::General(format!("a column holds more than {MOST_CELLS} values"))
            })?;
        if !self.is_zstd {
            return Ok(Some(page));
        }
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
                *buf = decompressed(
                    buf,
                    *def_levels_byte_len as usize + *rep_levels_byte_len as usize,
                )?;
            }
            Page::DataPageV2 { .. } => {}
        }
        Ok(Some(page))
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }
}

/// Decompresses a page whose first `plain` bytes are not compressed.
fn decompressed(page: &Bytes, plain: usize) -> Result<Bytes> {
    let wrong =
        |why: String| ParquetError::General(format!("a page is not valid Zstandard data: {why}"));
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
