//! `starsight init`

use anyhow::Result;

use super::{hub, reviews};
use crate::cli::source::data_files;
use crate::cli::{Division, Init};
use crate::model::base::BaseModel;
use crate::model::fresh::{self, FreshTokenizer};
use crate::model::pieces::distinct;

pub(super) fn run(args: &Init) -> Result<()> {
    let weight = args.weight_column.as_deref();
    let reviews = reviews(
        &data_files(&args.data, || hub(&args.hub))?,
        &args.labelled,
        &Division::default(),
        Some(weight.as_slice()),
    )?;
    let texts = (0..reviews.len()).map(|i| reviews.text(i));
    let parent = match &args.pieces_of {
        Some(source) => Some(BaseModel::read(
            &source.model_folder(|| hub(&args.hub))?,
            None,
            args.seed,
        )?),
        None => None,
    };
    let size = args.shape.vocab_size;
    let tokenizer = match &parent {
        None => FreshTokenizer::learned(texts, size)?,
        Some(parent) => {
            let weights = weight
                .map(|column| reviews.table.weights(column))
                .transpose()?
                .unwrap_or_else(|| vec![1.0; reviews.len()]);
            FreshTokenizer::of_parent(
                parent,
                &distinct(texts.zip(weights.into_iter().map(f64::from))),
                size,
            )?
        }
    };
    let (weights, pieces) = fresh::write(
        tokenizer,
        &args.shape,
        args.max_length,
        args.seed,
        parent.as_ref(),
        &args.out,
    )?;
    out!(
        "{}: a new model of {weights} weights (seed {}), with a vocabulary of {pieces} pieces",
        args.out.display(),
        args.seed
    );
    Ok(())
}
