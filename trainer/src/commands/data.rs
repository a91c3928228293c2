//! `starsight data`

use anyhow::Result;
use indicatif::HumanCount;

use super::{hub, reviews};
use crate::cli::source::{data_files, names};
use crate::cli::{Data, Division};
use crate::data::survey::{Leakage, OFTEN, Repeats, Spread, StarsOf, Survey};

/// Default column to group reviews by, if the data has it.
const APP: &str = "package_name";

pub(super) fn run(args: &Data) -> Result<()> {
    let reviews = reviews(
        &data_files(&args.data, || hub(&args.hub))?,
        &args.labelled,
        &Division::default(),
        None,
    )?;
    let by = args
        .by
        .as_deref()
        .or_else(|| reviews.table.batch().column_by_name(APP).map(|_| APP));
    let grouping = by.map(|by| reviews.table.shown(by)).transpose()?;
    let survey = Survey::of(&reviews, args.split_seed, grouping.as_deref())?;
    if args.json {
        out!("{}", serde_json::to_string(&survey)?);
    } else {
        print(&names(&args.data), by, &survey);
    }
    Ok(())
}

fn print(name: &str, by: Option<&str>, survey: &Survey) {
    let Survey {
        reviews,
        blank,
        stars,
        mean_stars,
        repeats,
        leakage,
        characters,
        words,
        ..
    } = survey;
    let reviews = *reviews;
    out!(
        "{name}: {} reviews, {} of them without text",
        n(reviews),
        n(*blank)
    );
    out!("\nstars, {mean_stars:.2} on average");
    for (count, stars) in stars.iter().zip(1..) {
        out!("  {stars}  {:>9}  {:>6}", n(*count), share(*count, reviews));
    }
    print_repeats(repeats, leakage.as_ref(), reviews);
    out!("\nlength       median     90%     99% maximum");
    for (
        what,
        Spread {
            median,
            p90,
            p99,
            max,
        },
    ) in [("characters", characters), ("words", words)]
    {
        out!("  {what:<11}{median:>6}  {p90:>6}  {p99:>6}  {max:>6}");
    }
    out!(
        "\n{:.1}% of the reviews have an emoji{}",
        100.0 * survey.with_emoji,
        listed(": ", &survey.emoji)
    );
    out!("scripts{}", listed(": ", &survey.scripts));
    out!(
        "languages{}; {} unidentified (too short or ambiguous)",
        listed(": ", &survey.languages),
        n(survey.unknown_language)
    );
    if let Some(by) = by {
        out!("\n{by}, by number of reviews");
        let width = survey
            .groups
            .iter()
            .map(|g| g.group.chars().count())
            .max()
            .unwrap_or(0)
            .min(48);
        for StarsOf {
            group,
            reviews,
            mean_stars,
            stars,
        } in &survey.groups
        {
            let shares = stars
                .map(|count| format!("{:>4.0}%", 100.0 * count as f64 / *reviews as f64))
                .join("");
            out!(
                "  {group:<width$}  {:>9}  {mean_stars:.2} stars  {shares}",
                n(*reviews)
            );
        }
    }
}

fn print_repeats(repeats: &Repeats, leakage: Option<&Leakage>, reviews: usize) {
    let Repeats {
        texts,
        copies,
        copies_with_stars,
        frequent_texts,
        frequent_reviews,
        conflicting_texts,
        conflicting_reviews,
        ceiling,
    } = repeats;
    out!(
        "\n{} distinct texts (ignoring case and white space)",
        n(*texts)
    );
    out!(
        "  {} reviews ({}) repeat the text of an earlier review; {} of them also repeat its stars",
        n(*copies),
        share(*copies, reviews),
        n(*copies_with_stars)
    );
    out!(
        "  {} texts occur in {OFTEN} or more reviews: {} reviews ({})",
        n(*frequent_texts),
        n(*frequent_reviews),
        share(*frequent_reviews, reviews)
    );
    out!(
        "  {} texts have differing stars, in {} reviews ({}): accuracy from the text alone cannot exceed {:.2}%",
        n(*conflicting_texts),
        n(*conflicting_reviews),
        share(*conflicting_reviews, reviews),
        100.0 * ceiling
    );
    if let Some(Leakage {
        val,
        test,
        test_ceiling,
        unseen_ceiling,
    }) = leakage
    {
        out!(
            "  with the notebook's split, the text of {:.1}% of the validation and {:.1}% of the test reviews is also in the training split; \
             accuracy on the test split cannot exceed {:.2}%, and {:.2}% on texts that are not in the training split",
            100.0 * val,
            100.0 * test,
            100.0 * test_ceiling,
            100.0 * unseen_ceiling
        );
    }
}

/// Formats a count with thousands separators.
fn n(count: usize) -> String {
    HumanCount(count as u64).to_string()
}

fn share(count: usize, of: usize) -> String {
    format!("{:.1}%", 100.0 * count as f64 / of.max(1) as f64)
}

/// `before` and the names with their counts; empty if there are none.
fn listed(before: &str, counts: &[(String, usize)]) -> String {
    let list: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{name} {}", n(*count)))
        .collect();
    if list.is_empty() {
        String::new()
    } else {
        format!("{before}{}", list.join(", "))
    }
}
