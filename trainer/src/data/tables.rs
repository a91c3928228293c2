//! Reads several files of rows in turn, as tables of some thousand rows or as one table.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;

use anyhow::{Context, Result, ensure};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, Field, Schema};

use super::Table;
use super::origins::{Numbers, Origins};
use super::read::{self, Pieces};
use crate::system::interrupt;

/// The rows of several files. A column that some files lack is null there. A column whose type
/// differs is a float if all types are numeric, and text otherwise.
pub struct Tables {
    files: vec::IntoIter<(PathBuf, Schema)>,
    /// The file being read, and its remaining chunks.
    current: Option<(PathBuf, Pieces)>,
    schema: Arc<Schema>,
    columns: Vec<String>,
    /// Number of rows still wanted.
    left: usize,
    /// Origins of a table without rows.
    empty: Origins,
}

impl Tables {
    /// Opens the files at `paths`, each in the format of its ending. Reads the columns `names`, or
    /// all if that is `None`, and the first `rows` rows, or all.
    ///
    /// # Errors
    /// When a file is missing, of another format, or broken. Errors in single rows are found while
    /// reading.
    pub fn open(paths: &[PathBuf], names: Option<&[&str]>, rows: Option<usize>) -> Result<Tables> {
        ensure!(!paths.is_empty(), "no data file given");
        let (mut files, mut joint, mut columns) =
            (Vec::new(), Vec::<Field>::new(), Vec::<String>::new());
        for path in paths {
            let all = read::schema(path)?;
            let wanted = |field: &&Arc<Field>| {
                names.is_none_or(|names| names.contains(&field.name().as_str()))
            };
            let schema = Schema::new(
                all.fields()
                    .iter()
                    .filter(wanted)
                    .cloned()
                    .collect::<Vec<_>>(),
            );
            for field in schema.fields() {
                match joint.iter_mut().find(|known| known.name() == field.name()) {
                    Some(known) => {
                        known.set_data_type(common(known.data_type(), field.data_type()));
                    }
                    None => joint.push(field.as_ref().clone().with_nullable(true)),
                }
            }
            columns.extend(all.fields().iter().map(|f| f.name().clone()));
            files.push((path.clone(), schema));
        }
        let mut seen = Vec::new();
        columns.retain(|name| {
            !seen.contains(name) && {
                seen.push(name.clone());
                true
            }
        });
        let schema = Arc::new(Schema::new(joint));
        let empty = Origins::of(&paths[0], 0, Numbers::Rows(1));
        Ok(Tables {
            files: files.into_iter(),
            current: None,
            schema,
            columns,
            left: rows.unwrap_or(usize::MAX),
            empty,
        })
    }

    /// All rows in one table.
    ///
    /// # Errors
    /// When a row is broken or a column cannot be cast. The error names the file, and the line
    /// where there is one.
    pub fn join(mut self) -> Result<Table> {
        let (mut origins, mut batches) = (Origins::default(), Vec::new());
        for table in &mut self {
            let table = table?;
            origins.append(table.origins);
            batches.push(table.batch);
        }
        if batches.is_empty() {
            origins = self.empty;
        }
        let batch = concat_batches(&self.schema, &batches).with_context(|| origins.name())?;
        Ok(Table {
            origins,
            batch,
            columns: self.columns,
        })
    }

    fn next_table(&mut self) -> Result<Option<Table>> {
        while self.left > 0 {
            let Some((path, pieces)) = &mut self.current else {
                let Some((path, schema)) = self.files.next() else {
                    return Ok(None);
                };
                let pieces = read::pieces(&path, &schema)?;
                self.current = Some((path, pieces));
                continue;
            };
            let Some(piece) = pieces.next() else {
                self.current = None;
                continue;
            };
            interrupt::check()?;
            let (batch, numbers) = piece?;
            let batch = cast_to_schema(&batch, &self.schema, path)?;
            let batch = batch.slice(0, batch.num_rows().min(self.left));
            self.left -= batch.num_rows();
            let origins = Origins::of(path, batch.num_rows(), numbers);
            return Ok(Some(Table {
                origins,
                batch,
                columns: self.columns.clone(),
            }));
        }
        Ok(None)
    }
}

impl Iterator for Tables {
    type Item = Result<Table>;

    fn next(&mut self) -> Option<Result<Table>> {
        self.next_table().transpose()
    }
}

/// A type that can hold values of both types.
fn common(one: &DataType, other: &DataType) -> DataType {
    match (one, other) {
        _ if one == other => one.clone(),
        (DataType::Null, kind) | (kind, DataType::Null) => kind.clone(),
        _ if one.is_numeric() && other.is_numeric() => DataType::Float64,
        _ => DataType::LargeUtf8,
    }
}

/// Converts `batch` to the columns of `schema`.
fn cast_to_schema(batch: &RecordBatch, schema: &Arc<Schema>, path: &Path) -> Result<RecordBatch> {
    // A value that the new type cannot hold is an error, not null.
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let column = |field: &Arc<Field>| -> Result<ArrayRef> {
        let Some(column) = batch.column_by_name(field.name()) else {
            return Ok(new_null_array(field.data_type(), batch.num_rows()));
        };
        cast_with_options(column, field.data_type(), &options).with_context(|| {
            format!(
                "{}: column `{}` has type {}; expected {}",
                path.display(),
                field.name(),
                column.data_type(),
                field.data_type()
            )
        })
    };
    let columns = schema.fields().iter().map(column).collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;
    use crate::data::Table;

    fn read(paths: &[PathBuf]) -> Table {
        Tables::open(paths, None, None)
            .and_then(Tables::join)
            .expect("a table")
    }

    fn column(table: &Table, name: &str) -> Vec<Option<String>> {
        table
            .texts(name)
            .expect("texts")
            .iter()
            .map(|text| text.map(str::to_string))
            .collect()
    }

    #[test]
    fn files_follow_each_other_and_errors_name_the_right_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let paths = [
            write("a.csv", "review,star\ngood,5\nbad,1\n"),
            write(
                "b.jsonl",
                "{\"star\":4,\"review\":\"fine\",\"date\":\"today\"}\n",
            ),
        ];
        let table = read(&paths);
        assert_eq!(
            table.stars("star").expect("stars"),
            [Some(5), Some(1), Some(4)]
        );
        assert_eq!(
            column(&table, "review"),
            ["good", "bad", "fine"].map(|x| Some(x.into()))
        );
        assert_eq!(column(&table, "date"), [None, None, Some("today".into())]);
        let place = |i| table.origins().place(i);
        assert!(
            place(1).ends_with("a.csv, line 3") && place(2).ends_with("b.jsonl, line 1"),
            "{} {}",
            place(1),
            place(2)
        );
        assert!(table.name().ends_with("a.csv and 1 more"));
        let wrong = read(&[paths[1].clone(), write("c.csv", "review,star\nodd,seven\n")]);
        let error = wrong.stars("star").expect_err("no stars").to_string();
        assert!(
            error.contains("c.csv, line 2") && error.contains("seven"),
            "{error}"
        );
    }

    #[test]
    fn a_byte_order_mark_is_none_of_the_text_and_a_quotation_mark_may_end_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let paths = [
            write("a.jsonl", "\u{feff}{\"review\":\"fine\"}\n"),
            write(
                "b.csv",
                "\u{feff}star,review\r\n5,\"two\nlines\"\r\n\r\n4,\"the \"\"end\"\"\"",
            ),
            write("c.tsv", "review\n\"a mark \"\" in it\"\n\n"),
        ];
        assert_eq!(
            column(&read(&paths), "review"),
            ["fine", "two\nlines", "the \"end\"", "a mark \" in it"].map(|x| Some(x.into()))
        );
        let endless = write(
            "d.csv",
            "\u{feff}star,review\r\n5,\"two\nlines\"\r\n\r\n4,\"the \"\"end\"\"\n3,more\n",
        );
        let error = Tables::open(&[endless], None, None)
            .and_then(Tables::join)
            .err()
            .expect("an error")
            .to_string();
        assert!(
            error.contains("d.csv, line 5: unclosed quotation mark"),
            "{error}"
        );
    }

    #[test]
    fn separators_and_encodings_are_those_that_the_page_reads() {
        let folder = tempfile::tempdir().expect("a folder");
        let plain = "review,star\n\"good, très\",5\nbad,1\n";
        let utf16: Vec<u8> = format!("\u{feff}{plain}")
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let latin: Vec<u8> = plain.chars().map(|c| c as u8).collect();
        let other = |separator: &str| {
            format!("review{separator}star\n\"good, très\"{separator}5\nbad{separator}1\n")
                .into_bytes()
        };
        for (i, bytes) in [utf16, latin, other(";"), other("\t"), other("|")]
            .into_iter()
            .enumerate()
        {
            let path = folder.path().join(format!("{i}.csv"));
            std::fs::write(&path, bytes).expect("written");
            let table = read(&[path]);
            assert_eq!(
                column(&table, "review"),
                ["good, très", "bad"].map(|x| Some(x.into())),
                "{i}"
            );
            assert_eq!(
                table.stars("star").expect("stars"),
                [Some(5), Some(1)],
                "{i}"
            );
        }
    }

    #[test]
    fn json_keeps_values_as_they_are_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.jsonl");
        let lines = [
            r#"{"id":98765432109876543210,"review":"fine","tags":["a","b"],"ok":true,"n":1}"#,
            r#"{"id":9007199254740993,"review":"no","review":"twice","tags":[],"ok":false,"n":2.5,"late":null}"#,
            r#"{"review":"last","late":7}"#,
        ];
        std::fs::write(&path, lines.join("\n")).expect("written");
        let table = read(&[path]);
        let all = |name: &str| table.shown(name).expect("a column");
        assert_eq!(all("id"), ["98765432109876543210", "9007199254740993", ""]);
        assert_eq!(all("review"), ["fine", "twice", "last"]);
        assert_eq!(all("tags"), [r#"["a","b"]"#, "[]", ""]);
        assert_eq!(
            (all("ok"), all("n"), all("late")),
            (
                vec!["true".into(), "false".into(), String::new()],
                vec!["1.0".into(), "2.5".into(), String::new()],
                vec![String::new(), String::new(), "7".into()]
            )
        );
    }

    #[test]
    fn a_damaged_parquet_file_is_an_error_or_another_text() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("damaged.parquet");
        let text: String = (0..60)
            .map(|i| format!("text {i} {},{}\n", "word ".repeat(i % 7), 1 + i % 5))
            .collect();
        std::fs::write(
            folder.path().join("whole.csv"),
            format!("review,star\n{text}"),
        )
        .expect("written");
        crate::data::write_table(&path, read(&[folder.path().join("whole.csv")]).batch())
            .expect("written");
        let whole = std::fs::read(&path).expect("read");
        let open = || {
            Tables::open(std::slice::from_ref(&path), None, None)
                .and_then(Tables::join)
                .map(|table| table.len())
        };
        let mut file = std::fs::File::options()
            .write(true)
            .open(&path)
            .expect("a file");
        let mut put = |at: usize, byte: u8| {
            file.seek(SeekFrom::Start(at as u64))
                .and_then(|_| file.write_all(&[byte]))
                .expect("written");
        };
        // In the numbers of the file's metadata the lowest bit is the sign.
        for (at, byte) in whole.iter().enumerate() {
            put(at, byte ^ 1);
            if let Err(error) = open() {
                assert!(
                    format!("{error:#}").contains("damaged.parquet"),
                    "byte {at}: {error:#}"
                );
            }
            put(at, *byte);
        }
        assert_eq!(open().expect("whole again"), 60);
        for length in (0..whole.len()).rev().step_by(67) {
            file.set_len(length as u64).expect("cut");
            assert!(open().is_err(), "{length} bytes of {}", whole.len());
        }
    }

    #[test]
    fn a_stream_is_the_table_in_pieces() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("many.csv");
        let rows = 40_000;
        let text: String = (0..rows)
            .map(|i| format!("text {i},{},x\n", 1 + i % 5))
            .collect();
        std::fs::write(&path, format!("review,star,more\n{text}")).expect("written");
        let paths = [path.clone(), path];
        for (wanted, count) in [(None, 2 * rows), (Some(17_000), 17_000), (Some(0), 0)] {
            let open = || Tables::open(&paths, Some(&["star", "review"]), wanted).expect("open");
            let whole = open().join().expect("a table");
            assert_eq!(
                (whole.len(), whole.batch().num_columns(), whole.columns()),
                (count, 2, "review, star, more".into())
            );
            let mut at = 0;
            for piece in open() {
                let piece = piece.expect("a piece");
                assert_eq!(piece.batch(), &whole.batch().slice(at, piece.len()));
                assert_eq!(
                    piece.origins().place(piece.len() - 1),
                    whole.origins().place(at + piece.len() - 1)
                );
                at += piece.len();
            }
            assert_eq!(at, count);
        }
    }
}
