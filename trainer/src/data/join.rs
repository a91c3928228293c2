//! Several files as one table.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{Field, Schema};

use super::read::read;
use super::{Part, Table};

/// Reads the files at `paths`, each by the ending of its name, one after another. A column that some of them lack is null there; one that differs in type is cast to that of
/// the first file that has it.
///
/// # Errors
/// When a file is missing, of another kind, broken, not UTF-8, its rows do not fit its header, or a column cannot be cast. The error names the file, and the line where there is
/// one.
pub fn read_all(paths: &[PathBuf]) -> Result<Table> {
    ensure!(!paths.is_empty(), "no file of reviews was named");
    let (mut files, mut batches) = (Vec::new(), Vec::new());
    for path in paths {
        let (batch, rows) = read(path)?;
        files.push(Part { path: path.clone(), rows, len: batch.num_rows() });
        batches.push(batch);
    }
    let batch = match batches.len() {
        1 => batches.remove(0),
        _ => join(&files, &batches)?,
    };
    Ok(Table { files, batch, places: None })
}

fn join(files: &[Part], batches: &[RecordBatch]) -> Result<RecordBatch> {
    let mut fields: Vec<Field> = Vec::new();
    for field in batches.iter().flat_map(|batch| batch.schema().fields().to_vec()) {
        if fields.iter().all(|known| known.name() != field.name()) {
            fields.push(field.as_ref().clone().with_nullable(true));
        }
    }
    let schema = Arc::new(Schema::new(fields));
    let mut alike = Vec::with_capacity(batches.len());
    for (file, batch) in files.iter().zip(batches) {
        let column = |field: &Arc<Field>| -> Result<ArrayRef> {
            match batch.column_by_name(field.name()) {
                None => Ok(new_null_array(field.data_type(), batch.num_rows())),
                Some(column) => cast(column, field.data_type()).with_context(|| {
                    let (path, name) = (file.path.display(), field.name());
                    format!("{path}: column `{name}` holds {}, in {} it holds {}", column.data_type(), files[0].path.display(), field.data_type())
                }),
            }
        };
        let columns = schema.fields().iter().map(column).collect::<Result<_>>()?;
        alike.push(RecordBatch::try_new(schema.clone(), columns).with_context(|| file.path.display().to_string())?);
    }
    concat_batches(&schema, &alike).context("joining the files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_follow_each_other_and_errors_name_the_right_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let paths = [write("a.csv", "review,star\ngood,5\nbad,1\n"), write("b.jsonl", "{\"star\":4,\"review\":\"fine\",\"date\":\"today\"}\n")];
        let table = read_all(&paths).expect("a table");
        assert_eq!(table.stars("star").expect("stars"), [Some(5), Some(1), Some(4)]);
        assert_eq!(table.texts("review").expect("texts").iter().collect::<Vec<_>>(), [Some("good"), Some("bad"), Some("fine")]);
        assert_eq!(table.texts("date").expect("texts").iter().collect::<Vec<_>>(), [None, None, Some("today")]);
        assert!(table.place(1).ends_with("a.csv, line 3") && table.place(2).ends_with("b.jsonl, line 1"), "{} {}", table.place(1), table.place(2));
        assert!(table.name().ends_with("a.csv and 1 more"));
        let wrong = read_all(&[paths[0].clone(), write("c.csv", "review,star\nodd,seven\n")]).expect("a table");
        let error = wrong.stars("star").expect_err("no stars").to_string();
        assert!(error.contains("c.csv, line 2") && error.contains("seven"), "{error}");
    }
}
