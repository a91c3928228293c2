//! `starsight quantize`

use anyhow::Result;
use serde_json::json;
use starsight_model::bundle::INT8_WEIGHTS;

use crate::bundle::package;
use crate::cli::Quantize;

pub(super) fn run(args: &Quantize) -> Result<()> {
    let entry = package::quantize(&args.model)?;
    match args.json {
        true => out!(
            "{}",
            json!({ "file": entry.path, "bytes": entry.size, "sha256": entry.sha256 })
        ),
        false => out!(
            "{}: {INT8_WEIGHTS} of {} bytes",
            args.model.display(),
            entry.size
        ),
    }
    Ok(())
}
