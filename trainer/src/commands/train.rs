//! `starsight train` and `starsight distill`

use std::path::Path;

use anyhow::{Context, Result, ensure};
use starsight_model::bundle;

use super::{divided, hub, labels, print_metrics, tell_blank};
use crate::cli::source::{Source, data_files, names, titles};
use crate::cli::{Distill, Settings, Train, TrainingRun};
use crate::data::{Corpus, Labels, Texts, Unlabelled};
use crate::evaluate::Outcome;
use crate::model::base::BaseModel;
use crate::model::fresh::{self, FreshTokenizer, MAX_LENGTH, Shape};
use crate::rate::rating;
use crate::system::files;
use crate::system::interrupt;
use crate::train::teacher::Teacher;
use crate::train::{Recipe, SAVE_AFTER, Training, goes_on, train};

/// Folder of a fresh student, inside the run's folder.
const STUDENT: &str = "student";

/// The model whose embeddings initialise a fresh student: the teacher. `None` if candle computes
/// the teacher, whose weights then have other names.
fn parent(teacher: &Teacher, seed: u64) -> Result<Option<BaseModel>> {
    if let Some(model_type) = rating::of_candle(&files::read(&teacher.folder.join(bundle::CONFIG))?)
    {
        say!("the student's embeddings start at random: the teacher is a {model_type}");
        return Ok(None);
    }
    BaseModel::read(&teacher.folder, None, seed).map(Some)
}

/// What a run starts from.
enum Start<'a> {
    Model(&'a Source),
    Fresh(&'a Shape),
}

pub(super) fn run(args: Train) -> Result<()> {
    let (json, out) = (args.run.json, args.run.out.clone());
    tell(&tuned(args)?, json, &out)
}

/// Does what `starsight train` does, without printing the results.
pub(super) fn tuned(args: Train) -> Result<Outcome> {
    let Train {
        model,
        teacher,
        run,
    } = args;
    start(
        &Start::Model(&model),
        &teacher,
        run,
        &format!("starsight train --model {model}{}", named(&teacher)),
    )
}

pub(super) fn distill(args: Distill) -> Result<()> {
    let Distill {
        teacher,
        student,
        run,
    } = args;
    let Shape {
        layers,
        hidden,
        heads,
        vocab_size,
    } = student;
    let shape =
        format!("--layers {layers} --hidden {hidden} --heads {heads} --vocab-size {vocab_size}");
    let (json, out) = (run.json, run.out.clone());
    tell(
        &start(
            &Start::Fresh(&student),
            &teacher,
            run,
            &format!("starsight distill{} {shape}", named(&teacher)),
        )?,
        json,
        &out,
    )
}

fn named(teachers: &[Source]) -> String {
    teachers
        .iter()
        .map(|teacher| format!(" --teacher {teacher}"))
        .collect()
}

fn start(
    from: &Start<'_>,
    teachers: &[Source],
    args: TrainingRun,
    command: &str,
) -> Result<Outcome> {
    let more = if args.unlabelled.is_empty() {
        String::new()
    } else {
        format!(" --unlabelled {}", names(&args.unlabelled))
    };
    let made = format!(
        "{command} --data {}{more} --out {} --config recipe.toml",
        names(&args.data),
        args.out.display()
    );
    let recipe_toml = args.settings.to_toml(&made)?;
    let Settings {
        labelled,
        division,
        recipe,
    } = args.settings.0;
    for (flag, given) in [
        ("--teacher-share", recipe.teacher_share),
        ("--teacher-temperature", recipe.teacher_temperature),
    ] {
        ensure!(
            !teachers.is_empty() || given.is_none(),
            "{flag} says how a teacher is followed, and there is none: name one with --teacher, or leave it out"
        );
    }
    ensure!(
        teachers.is_empty() || recipe.lessons().share > 0.0 || !args.unlabelled.is_empty(),
        "--teacher-share 0 leaves reviews without stars to the teacher, and there are none: name some with --unlabelled, or give it a share"
    );
    // Refuse what cannot work before reading any data.
    let goes_on = goes_on(&args.out, args.resume, args.overwrite)?;
    let place = args
        .hardware
        .open_for(recipe.tied_to_processor(!teachers.is_empty()))?;
    let reviews = Corpus::read(
        data_files(&args.data, || hub(&args.hub))?,
        Labels {
            weight: recipe.weight_column.clone(),
            ..divided(labels(&labelled), &division)
        },
    )?;
    tell_blank(reviews.blank(), reviews.len(), &labelled);
    let unlabelled = match args.unlabelled.is_empty() {
        true => None,
        false => Some(Unlabelled::read(
            data_files(&args.unlabelled, || hub(&args.hub))?,
            &labelled.columns.text_column,
        )?),
    };
    let teacher = |source: &Source| {
        Ok(Teacher {
            name: source.title(),
            folder: source.model_folder(|| hub(&args.hub))?,
        })
    };
    let teachers = teachers.iter().map(teacher).collect::<Result<Vec<_>>>()?;
    let (base_name, student, folder) = match from {
        Start::Model(source) => (
            source.title(),
            None,
            source.model_folder(|| hub(&args.hub))?,
        ),
        Start::Fresh(shape) => {
            let folder = args.out.join(STUDENT);
            if !(goes_on && folder.join(bundle::CONFIG).is_file()) {
                if folder.exists() {
                    std::fs::remove_dir_all(&folder)
                        .with_context(|| format!("removing {}", folder.display()))?;
                }
                fresh_student(
                    &reviews,
                    unlabelled.as_ref(),
                    shape,
                    &recipe,
                    teachers.first(),
                    &folder,
                )?;
            }
            ("a fresh model".to_owned(), Some((*shape).clone()), folder)
        }
    };
    let base = BaseModel::read(&folder, recipe.max_length, recipe.seed)?;
    say!(
        "{base_name}: {} of {} layers, {} wide, {} weights, texts up to {} tokens",
        base.config.model_type(),
        base.config.layers,
        base.config.hidden_size,
        base.weights.parameters(),
        base.tokenizer.max_length()
    );
    if !base.fresh.is_empty() {
        say!(
            "the head starts fresh, drawn from seed {}: {}",
            recipe.seed,
            base.fresh.join(", ")
        );
    }
    interrupt::listen()?;
    train(Training {
        base,
        base_name,
        student,
        teachers,
        reviews: &reviews,
        unlabelled: unlabelled.as_ref(),
        data_name: titles(&args.data),
        recipe,
        recipe_toml,
        place,
        out: args.out,
        save_after: SAVE_AFTER,
        resume: args.resume,
        overwrite: args.overwrite,
    })
}

fn tell(outcome: &Outcome, json: bool, out: &Path) -> Result<()> {
    if json {
        out!("{}", serde_json::to_string(outcome)?);
    } else {
        print_metrics("test", &outcome.test);
        if let Some(unseen) = &outcome.unseen {
            print_metrics(
                "test, texts that do not stand in the training split",
                unseen,
            );
        }
        out!(
            "  {:<28}{:>8.4}",
            "Loss before calibration",
            outcome.uncalibrated_loss
        );
        let memory = outcome
            .peak_memory_mb
            .map(|megabytes| format!("; {megabytes} MB of memory at most"))
            .unwrap_or_default();
        let Outcome {
            seconds,
            train_samples_per_second,
            tokens_per_second,
            ..
        } = outcome;
        out!(
            "trained in {seconds:.1} s: {train_samples_per_second:.1} reviews/s, {tokens_per_second:.0} tokens/s{memory}"
        );
        out!("the bundle is in {}", out.display());
    }
    Ok(())
}

/// Writes a fresh model to `folder`. Its vocabulary is learned only from the reviews that it will
/// be trained on; its embeddings come from the first teacher.
fn fresh_student(
    reviews: &Corpus,
    unlabelled: Option<&Unlabelled>,
    shape: &Shape,
    recipe: &Recipe,
    teacher: Option<&Teacher>,
    folder: &Path,
) -> Result<()> {
    let parent = teacher
        .map(|teacher| parent(teacher, recipe.seed))
        .transpose()?
        .flatten();
    let mut texts = reviews.texts(&recipe.parts(reviews)?.train)?;
    if let Some(unlabelled) = unlabelled {
        unlabelled.for_each_text(&mut |more| {
            texts.extend(more.iter().map(std::string::ToString::to_string));
            Ok(())
        })?;
    }
    let tokenizer = FreshTokenizer::learned(texts.iter().map(String::as_str), shape.vocab_size)?;
    let (weights, pieces) = fresh::write(
        tokenizer,
        shape,
        recipe.max_length.unwrap_or(MAX_LENGTH),
        recipe.seed,
        parent.as_ref(),
        folder,
    )?;
    say!(
        "a fresh model of {weights} weights, drawn from seed {}, with a vocabulary of {pieces} pieces",
        recipe.seed
    );
    Ok(())
}
