//! `starsight train`

use anyhow::Result;

use super::{hub, print_metrics, reviews};
use crate::base::BaseModel;
use crate::cli::Train;
use crate::interrupt;
use crate::source::{data_files, names};
use crate::train::{Training, train};

pub(super) fn run(args: Train) -> Result<()> {
    let data = data_files(&args.data, || hub(&args.hub))?;
    let reviews = reviews(&data, &args.labelled)?;
    let folder = args.model.model_folder(|| hub(&args.hub))?;
    let base = BaseModel::read(&folder, args.recipe.max_length, args.recipe.seed)?;
    eprintln!(
        "{}: {} of {} layers, {} wide, {} weights, texts up to {} tokens",
        args.model,
        base.config.model_type(),
        base.config.layers,
        base.config.hidden_size,
        base.weights.parameters(),
        base.tokenizer.max_length()
    );
    if !base.fresh.is_empty() {
        eprintln!("the head starts fresh, drawn from seed {}: {}", args.recipe.seed, base.fresh.join(", "));
    }
    interrupt::listen()?;
    let outcome = train(Training {
        base,
        base_name: args.model.to_string(),
        reviews: &reviews,
        data_name: names(&args.data),
        drop_empty: args.labelled.drop_empty,
        recipe: args.recipe,
        out: args.out.clone(),
        resume: args.resume,
        overwrite: args.overwrite,
    })?;
    if args.json {
        println!("{}", serde_json::to_string(&outcome)?);
    } else {
        print_metrics("test", &outcome.test);
        println!("trained in {:.1} s: {:.1} reviews/s, {:.0} tokens/s", outcome.seconds, outcome.train_samples_per_second, outcome.tokens_per_second);
        println!("the bundle is in {}", args.out.display());
    }
    Ok(())
}
