//! `starsight train` and `starsight distill`

use std::path::Path;

use anyhow::{Context, Result, ensure};
use starsight_model::bundle;

use super::{divided, hub, labels, print_blank, print_metrics};
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
use crate::train::{self, Recipe, SAVE_AFTER, Training};

/// Folder of a fresh student, inside the run's folder.
const STUDENT: &str = "student";

/// The model whose embeddings initialise a fresh student: the teacher. `None` if candle computes
/// the teacher, whose weights then have other names.
fn parent(teacher: &Teacher, seed: u64) -> Result<Option<BaseModel>> {
    if let Some(model_type) = rating::of_candle(&files::read(&teacher.folder.join(bundle::CONFIG))?)
    {
        say!(
            "the student's embeddings are initialised at random: those of a {model_type} cannot be used"
        );
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
    print_outcome(&run_training(args)?, json, &out)
}

/// Does what `starsight train` does, without printing the results.
pub(super) fn run_training(args: Train) -> Result<Outcome> {
    let Train {
        model,
        teacher,
        run,
    } = args;
    start(
        &Start::Model(&model),
        &teacher,
        run,
        &format!("starsight train --model {model}{}", teacher_flags(&teacher)),
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
    print_outcome(
        &start(
            &Start::Fresh(&student),
            &teacher,
            run,
            &format!("starsight distill{} {shape}", teacher_flags(&teacher)),
        )?,
        json,
        &out,
    )
}

fn teacher_flags(teachers: &[Source]) -> String {
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
    let recipe_toml = args.settings.to_toml(&command_line(command, &args))?;
    let Settings {
        labelled,
        division,
        recipe,
    } = args.settings.0;
    check_teacher_flags(&recipe, !teachers.is_empty(), !args.unlabelled.is_empty())?;
    // Refuse what cannot work before reading any data.
    let resumes = train::resumes(&args.out, args.resume, args.overwrite)?;
    let place = args
        .hardware
        .open_for(recipe.processor_only_flag(!teachers.is_empty()))?;
    let reviews = Corpus::read(
        data_files(&args.data, || hub(&args.hub))?,
        Labels {
            weight: recipe.weight_column.clone(),
            ..divided(labels(&labelled), &division)
        },
    )?;
    print_blank(reviews.blank(), reviews.len(), &labelled);
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
            if !(resumes && folder.join(bundle::CONFIG).is_file()) {
                remove_folder(&folder)?;
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
    print_base(&base, &base_name, recipe.seed);
    interrupt::listen()?;
    train::train(Training {
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

/// The command line of a run, for the first line of `recipe.toml`.
fn command_line(command: &str, args: &TrainingRun) -> String {
    let unlabelled = if args.unlabelled.is_empty() {
        String::new()
    } else {
        format!(" --unlabelled {}", names(&args.unlabelled))
    };
    format!(
        "{command} --data {}{unlabelled} --out {} --config recipe.toml",
        names(&args.data),
        args.out.display()
    )
}

/// Refuses flags of a teacher without a teacher, and a teacher that would have no effect.
fn check_teacher_flags(recipe: &Recipe, has_teacher: bool, has_unlabelled: bool) -> Result<()> {
    for (flag, given) in [
        ("--teacher-share", recipe.teacher_share),
        ("--teacher-temperature", recipe.teacher_temperature),
    ] {
        ensure!(has_teacher || given.is_none(), "{flag} needs --teacher");
    }
    ensure!(
        !has_teacher || recipe.distillation().share > 0.0 || has_unlabelled,
        "--teacher-share 0 uses the teacher only for unlabelled reviews: add some with --unlabelled, or set a share above 0"
    );
    Ok(())
}

fn remove_folder(folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)
            .with_context(|| format!("removing {}", folder.display()))?;
    }
    Ok(())
}

/// Prints the size of the base model, and which tensors of its head are new.
fn print_base(base: &BaseModel, name: &str, seed: u64) {
    say!(
        "{name}: {} of {} layers, {} wide, {} weights, texts up to {} tokens",
        base.config.model_type(),
        base.config.layers,
        base.config.hidden_size,
        base.weights.parameters(),
        base.tokenizer.max_length()
    );
    if !base.fresh.is_empty() {
        say!(
            "the head is new, initialised from seed {seed}: {}",
            base.fresh.join(", ")
        );
    }
}

fn print_outcome(outcome: &Outcome, json: bool, out: &Path) -> Result<()> {
    if json {
        out!("{}", serde_json::to_string(outcome)?);
    } else {
        print_metrics("test", &outcome.test);
        out!(
            "  {:<28}{:>8.4}",
            "Loss before calibration",
            outcome.uncalibrated_loss
        );
        if let Some(unseen) = &outcome.unseen {
            print_metrics(
                "test, reviews whose text is not in the training split",
                unseen,
            );
        }
        let memory = outcome
            .peak_memory_mb
            .map(|megabytes| format!("; peak memory {megabytes} MB"))
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
        "a new model of {weights} weights (seed {}), with a vocabulary of {pieces} pieces",
        recipe.seed
    );
    Ok(())
}
