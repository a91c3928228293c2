//! `starsight split`

use anyhow::Result;
use serde_json::json;

use super::{hub, reviews};
use crate::cli::SplitArgs;
use crate::data::write_table;
use crate::source::data_files;

pub(super) fn run(args: &SplitArgs) -> Result<()> {
    let reviews = reviews(&data_files(&args.data, || hub(&args.hub))?, &args.labelled, &args.division, None)?;
    let split = reviews.split(args.seed)?;
    let mut counts = serde_json::Map::new();
    for (name, rows) in [("train", split.train), ("val", split.val), ("test", split.test)] {
        let path = args.out.join(format!("{name}.parquet"));
        write_table(&path, &reviews.table.take(&rows)?)?;
        if !args.json {
            println!("{}: {} reviews", path.display(), rows.len());
        }
        counts.insert(name.into(), json!(rows.len()));
    }
    if args.json {
        println!("{}", json!({ "rows": counts, "seed": args.seed, "by": args.division.split_by, "dedup": args.division.dedup }));
    }
    Ok(())
}
