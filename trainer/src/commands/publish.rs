//! `starsight publish`

use anyhow::{Context, Result};
use serde_json::json;

use super::hub;
use crate::cli::Publish;
use crate::verify;

pub(super) fn run(args: &Publish) -> Result<()> {
    if let Some(out) = &args.out {
        let files = verify::copy_bundle(&args.model, out)?;
        match args.json {
            true => println!("{}", json!({ "folder": out, "files": files })),
            false => println!("{}: {files} files, each as its hash says", out.display()),
        }
        return Ok(());
    }
    let repo = args.to.as_ref().context("clap asks for --to or --out")?;
    let published = hub(&args.hub)?.publish(&args.model, repo, args.private, &args.message)?;
    match args.json {
        true => println!("{}", json!({ "commit": published.commit, "url": published.url })),
        false => println!("{} (commit {})", published.url, published.commit),
    }
    Ok(())
}
