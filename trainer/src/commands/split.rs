//! `starsight split`

use anyhow::{Context, Result};
use serde_json::json;

use super::{hub, reviews};
use crate::cli::SplitArgs;
use crate::data::{split, write_table};
use crate::source::data_files;

pub(super) fn run(args: &SplitArgs) -> Result<()> {
    let reviews = reviews(&data_files(&args.data, || hub(&args.hub))?, &args.labelled, None)?;
    let split = split(reviews.stars(), args.seed).with_context(|| reviews.table.name())?;
    let mut counts = serde_json::Map::new();
    for (name, mut rows) in [("train", split.train), ("val", split.val), ("test", split.test)] {
        if args.labelled.drop_empty {
            rows.retain(|row| !reviews.is_blank(*row));
        }
        let path = args.out.join(format!("{name}.parquet"));
        write_table(&path, &reviews.table.take(&rows)?)?;
        if !args.json {
            println!("{}: {} reviews", path.display(), rows.len());
        }
        counts.insert(name.into(), json!(rows.len()));
    }
    if args.json {
        println!("{}", json!({ "rows": counts, "seed": args.seed }));
    }
    Ok(())
}
