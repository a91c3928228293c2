//! `starsight split`

use anyhow::Result;
use serde_json::{Map, json};

use super::{hub, reviews};
use crate::cli::SplitArgs;
use crate::cli::source::data_files;
use crate::data::write_pending_table;
use crate::system::files::PendingFile;

pub(super) fn run(args: &SplitArgs) -> Result<()> {
    let reviews = reviews(
        &data_files(&args.data, || hub(&args.hub))?,
        &args.labelled,
        &args.division,
        None,
    )?;
    let split = reviews.split(args.seed)?;
    let parts = [
        ("train", split.train),
        ("val", split.val),
        ("test", split.test),
    ];
    let path = |name: &str| args.out.join(format!("{name}.parquet"));
    // Rename none before all are written: parts of two different divisions would share reviews.
    let files: Vec<_> = parts
        .iter()
        .map(|(name, rows)| write_pending_table(&path(name), &reviews.table.take(rows)?))
        .collect::<Result<_>>()?;
    files.into_iter().try_for_each(PendingFile::commit)?;
    if args.json {
        let counts: Map<_, _> = parts
            .iter()
            .map(|(name, rows)| (name.to_string(), json!(rows.len())))
            .collect();
        out!(
            "{}",
            json!({ "rows": counts, "seed": args.seed, "by": args.division.split_by, "dedup": args.division.dedup })
        );
    } else {
        parts
            .iter()
            .for_each(|(name, rows)| out!("{}: {} reviews", path(name).display(), rows.len()));
    }
    Ok(())
}
