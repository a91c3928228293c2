//! `starsight train`

use anyhow::Result;

use super::{divided, hub, labels, print_metrics, tell_blank};
use crate::base::BaseModel;
use crate::cli::{Settings, Train};
use crate::data::Corpus;
use crate::interrupt;
use crate::source::{data_files, names};
use crate::train::{Training, train};

pub(super) fn run(args: Train) -> Result<()> {
    let data_name = names(&args.data);
    let made = format!("starsight train --model {} --data {data_name} --out {} --config recipe.toml", args.model, args.out.display());
    let recipe_toml = args.settings.to_toml(&made)?;
    let Settings { labelled, division, recipe } = args.settings.0;
    let reviews = Corpus::read(data_files(&args.data, || hub(&args.hub))?, divided(labels(&labelled), &division))?;
    tell_blank(reviews.blank(), reviews.len(), &labelled);
    let folder = args.model.model_folder(|| hub(&args.hub))?;
    let base = BaseModel::read(&folder, recipe.max_length, recipe.seed)?;
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
        eprintln!("the head starts fresh, drawn from seed {}: {}", recipe.seed, base.fresh.join(", "));
    }
    let place = args.hardware.open(true)?;
    interrupt::listen()?;
    let outcome = train(Training {
        base,
        base_name: args.model.to_string(),
        reviews: &reviews,
        data_name,
        recipe,
        recipe_toml,
        place,
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
