//! `starsight train` and `starsight distill`

use std::path::Path;

use anyhow::{Context, Result, ensure};
use starsight_model::bundle;

use super::{divided, hub, labels, print_metrics, tell_blank};
use crate::base::BaseModel;
use crate::cli::{Distill, Settings, Train, TrainingRun};
use crate::data::{Corpus, Texts, Unlabelled};
use crate::fresh::{self, MAX_LENGTH, Shape};
use crate::interrupt;
use crate::source::{Source, data_files, names, titles};
use crate::train::teacher::Teacher;
use crate::train::{Outcome, Recipe, Training, train};

/// Where the fresh student of a run lies, below its folder.
const STUDENT: &str = "student";

/// What a run starts from.
enum Start<'a> {
    Model(&'a Source),
    Fresh(&'a Shape),
}

pub(super) fn run(args: Train) -> Result<()> {
    let (json, out) = (args.run.json, args.run.out.clone());
    tell(&tuned(args)?, json, &out)
}

/// Does what `starsight train` does, without a word of what came of it.
pub(super) fn tuned(args: Train) -> Result<Outcome> {
    let Train { model, teacher, run } = args;
    let named = teacher.as_ref().map(|teacher| format!(" --teacher {teacher}")).unwrap_or_default();
    start(&Start::Model(&model), teacher.as_ref(), run, &format!("starsight train --model {model}{named}"))
}

pub(super) fn distill(args: Distill) -> Result<()> {
    let Distill { teacher, student, run } = args;
    let Shape { layers, hidden, heads, vocab_size } = student;
    let shape = format!("--layers {layers} --hidden {hidden} --heads {heads} --vocab-size {vocab_size}");
    let (json, out) = (run.json, run.out.clone());
    tell(&start(&Start::Fresh(&student), Some(&teacher), run, &format!("starsight distill --teacher {teacher} {shape}"))?, json, &out)
}

fn start(from: &Start<'_>, teacher: Option<&Source>, args: TrainingRun, command: &str) -> Result<Outcome> {
    let more = if args.unlabelled.is_empty() { String::new() } else { format!(" --unlabelled {}", names(&args.unlabelled)) };
    let made = format!("{command} --data {}{more} --out {} --config recipe.toml", names(&args.data), args.out.display());
    let recipe_toml = args.settings.to_toml(&made)?;
    let Settings { labelled, division, recipe } = args.settings.0;
    for (flag, given) in [("--teacher-share", recipe.teacher_share), ("--teacher-temperature", recipe.teacher_temperature)] {
        ensure!(
            teacher.is_some() || given.is_none(),
            "{flag} says how a teacher is followed, and there is none: name one with --teacher, or leave it out"
        );
    }
    let reviews = Corpus::read(data_files(&args.data, || hub(&args.hub))?, divided(labels(&labelled), &division))?;
    tell_blank(reviews.blank(), reviews.len(), &labelled);
    ensure!(
        teacher.is_some() || args.unlabelled.is_empty(),
        "of --unlabelled reviews a teacher says what they are worth, and there is none: name one with --teacher"
    );
    let unlabelled = match args.unlabelled.is_empty() {
        true => None,
        false => Some(Unlabelled::read(data_files(&args.unlabelled, || hub(&args.hub))?, &labelled.columns.text_column)?),
    };
    let teacher = teacher
        .map(|source| Ok::<_, anyhow::Error>(Teacher { name: source.title(), folder: source.model_folder(|| hub(&args.hub))? }))
        .transpose()?;
    let (base_name, folder) = match from {
        Start::Model(source) => (source.title(), source.model_folder(|| hub(&args.hub))?),
        Start::Fresh(shape) => {
            let folder = args.out.join(STUDENT);
            // That of a run that goes on, or that is not to be touched.
            let stays = args.resume || !args.overwrite && args.out.join(bundle::MANIFEST).exists();
            if !(stays && folder.join(bundle::CONFIG).is_file()) {
                if folder.exists() {
                    std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
                }
                fresh_student(&reviews, unlabelled.as_ref(), shape, &recipe, &folder)?;
            }
            ("a fresh model".to_owned(), folder)
        }
    };
    let base = BaseModel::read(&folder, recipe.max_length, recipe.seed)?;
    eprintln!(
        "{base_name}: {} of {} layers, {} wide, {} weights, texts up to {} tokens",
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
    train(Training {
        base,
        base_name,
        teacher,
        reviews: &reviews,
        unlabelled: unlabelled.as_ref(),
        data_name: titles(&args.data),
        recipe,
        recipe_toml,
        place,
        out: args.out,
        resume: args.resume,
        overwrite: args.overwrite,
    })
}

fn tell(outcome: &Outcome, json: bool, out: &Path) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(outcome)?);
    } else {
        print_metrics("test", &outcome.test);
        println!("trained in {:.1} s: {:.1} reviews/s, {:.0} tokens/s", outcome.seconds, outcome.train_samples_per_second, outcome.tokens_per_second);
        println!("the bundle is in {}", out.display());
    }
    Ok(())
}

/// A fresh model in `folder`, its vocabulary learned from the reviews that it will be trained on, and no others.
fn fresh_student(reviews: &Corpus, unlabelled: Option<&Unlabelled>, shape: &Shape, recipe: &Recipe, folder: &Path) -> Result<()> {
    let mut texts = reviews.texts(&recipe.parts(reviews)?.train)?;
    if let Some(unlabelled) = unlabelled {
        unlabelled.for_each_text(&mut |more| {
            texts.extend(more.iter().map(|text| text.to_string()));
            Ok(())
        })?;
    }
    let (weights, pieces) = fresh::write(texts.iter().map(String::as_str), shape, recipe.max_length.unwrap_or(MAX_LENGTH), recipe.seed, folder)?;
    eprintln!("a fresh model of {weights} weights, drawn from seed {}, with a vocabulary of {pieces} pieces", recipe.seed);
    Ok(())
}
