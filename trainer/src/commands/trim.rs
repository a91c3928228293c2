//! `starsight trim`

use anyhow::Result;

use super::{hub, reviews};
use crate::cli::source::data_files;
use crate::cli::{Division, Trim};
use crate::model::pieces::distinct;
use crate::model::trim::{self, Trimmed};

pub(super) fn run(args: &Trim) -> Result<()> {
    let reviews = reviews(
        &data_files(&args.data, || hub(&args.hub))?,
        &args.labelled,
        &Division::default(),
        Some(&[]),
    )?;
    let texts = distinct((0..reviews.len()).map(|i| (reviews.text(i), 1.0)));
    let model = args.model.model_folder(|| hub(&args.hub))?;
    let Trimmed { before, after } = trim::write(&model, &texts, args.least, &args.out)?;
    out!("{}: kept {after} of {before} pieces", args.out.display());
    Ok(())
}
