//! `starsight init`

use anyhow::Result;

use super::{hub, reviews};
use crate::cli::{Division, Init};
use crate::fresh;
use crate::source::data_files;

pub(super) fn run(args: &Init) -> Result<()> {
    let reviews = reviews(&data_files(&args.data, || hub(&args.hub))?, &args.labelled, &Division::default(), Some(&[]))?;
    let texts = (0..reviews.len()).map(|i| reviews.text(i));
    let (weights, pieces) = fresh::write(texts, &args.shape, args.max_length, args.seed, None, &args.out)?;
    out!("{}: a fresh model of {weights} weights, drawn from seed {}, with a vocabulary of {pieces} pieces", args.out.display(), args.seed);
    Ok(())
}
