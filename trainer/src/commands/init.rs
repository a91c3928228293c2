//! `starsight init`

use anyhow::Result;

use super::{hub, reviews};
use crate::cli::Init;
use crate::fresh;

pub(super) fn run(args: &Init) -> Result<()> {
    let reviews = reviews(&args.data.data_file(|| hub(&args.hub))?, &args.labelled)?;
    let (weights, pieces) = fresh::write(&reviews, &args.shape, &args.out)?;
    println!("{}: a fresh model of {weights} weights, drawn from seed {}, with a vocabulary of {pieces} pieces", args.out.display(), args.shape.seed);
    Ok(())
}
