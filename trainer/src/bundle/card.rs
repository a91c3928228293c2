//! The model card, in the Hub's conventions.

use std::fmt::Write;

use serde_json::Value;
use starsight_model::metrics::Metrics;
use starsight_model::rating::Decoding;

use crate::data::Dedup;
use crate::evaluate::Evaluation;
use crate::evaluate::Outcome;
use crate::evaluate::limits::Limit;
use crate::hub::RepoId;

/// Example texts for the Hub's widget.
const EXAMPLES: [&str; 3] = [
    "Great app, I use it every day!",
    "Crashes every time I open it.",
    "It is okay, but the last update made it slow.",
];

/// Where a model comes from, as its card says.
struct Origin {
    /// Name of the base model.
    base: String,
    /// Repository of the base model on the Hub, if it has one.
    base_repo: Option<String>,
    /// Name of the data.
    data: String,
    /// Repositories of the data on the Hub.
    data_repos: Vec<String>,
}

/// Returns `README.md` of a bundle: front matter, metrics, confusion matrix, data, recipe, use and
/// `limits`. `license` is the base model's, if it states one.
pub fn write(
    name: &str,
    outcome: &Outcome,
    provenance: &Value,
    limits: &[Limit],
    license: Option<&str>,
) -> String {
    let origin = Origin::of(provenance);
    let mut out = front_matter(name, &outcome.test.metrics, &origin, license);
    out.push_str(&quality(name, outcome, &origin));
    out.push_str(&making(outcome, provenance));
    for part in [USE, IN_PYTHON, ELSEWHERE] {
        out.push_str(part);
    }
    out.push_str(&limits_table(limits));
    out
}

/// The heading, and the section on the metrics.
fn quality(name: &str, outcome: &Outcome, origin: &Origin) -> String {
    let Origin { base, data, .. } = origin;
    let test = &outcome.test.metrics;
    format!(
        "\n# {name}\n\nRates app reviews from one to five stars. Fine-tuned from `{base}` on `{data}` by Starsight. Label 0 is one star, label 4 is five.\n\n\
         ## How good it is\n\nEvaluated on {} reviews of the test split.\n\n{}\n### Confusion matrix\n\nRows: the stars that the reviewer gave. Columns: the stars \
         that the model gives.\n\n{}\n",
        test.samples,
        metrics_table(&outcome.test, &outcome.validation),
        confusion_table(test)
    )
}

/// The section on data, recipe and calibration.
fn making(outcome: &Outcome, provenance: &Value) -> String {
    let recipe = serde_json::to_string_pretty(&provenance["recipe"]).unwrap_or_default();
    format!(
        "## How it was made\n\n{} reviews were divided {} with seed {}: {} to train, {} to \
         validate, {} to test.{}{}{} Of the evaluations along the way the best was kept, by validation {} (step {} of {}). \
         A temperature of {:.3}, fitted to the validation reviews, makes its probabilities match how often it is right ([Guo et al. 2017](https://arxiv.org/abs/1706.04599)): {}; \
         it changes no rating's likeliest stars. {}\n\n```json\n{recipe}\n```\n\n",
        provenance["reviews"],
        division(provenance),
        provenance["split_seed"],
        outcome.train_samples,
        outcome.validation.samples,
        outcome.test.metrics.samples,
        copies(provenance),
        repeats(provenance),
        teacher(provenance).unwrap_or_default(),
        provenance["recipe"]["best-by"].as_str().unwrap_or("loss"),
        outcome.best_step,
        outcome.steps,
        outcome.temperature,
        calibration(outcome),
        decoding(outcome.decoding)
    )
}

/// How the reviews were divided.
fn division(provenance: &Value) -> String {
    match provenance["split_by"].as_str() {
        None | Some("stars") => "as `datasets.train_test_split(test_size=0.2, stratify_by_column=\"star\")` does, twice,".to_owned(),
        Some("text") => "by stars, with equal texts (ignoring case and white space) in one part,".to_owned(),
        Some(by) => match by.split_once(':') {
            Some(("date", column)) => format!("by `{column}`, the last ones to test,"),
            Some(("given", column)) => format!("by the column `{column}` and shuffled"),
            _ => format!("by stars, with equal values of `{}` in one part,", by.trim_start_matches("column:")),
        },
    }
}

/// Which copies were left out, if any.
fn copies(provenance: &Value) -> String {
    match serde_json::from_value(provenance["dedup"].clone()) {
        Ok(Dedup(columns)) => format!(
            " Reviews whose {} were those of an earlier one were left out.",
            [vec!["text".into(), "stars".into()], columns]
                .concat()
                .join(", ")
        ),
        Err(_) => String::new(),
    }
}

/// Whether equal texts were one example.
fn repeats(provenance: &Value) -> &'static str {
    match provenance["recipe"]["repeats"] == "counted" {
        true => {
            " Reviews with the same text were learned together, with the counts of their stars."
        }
        false => "",
    }
}

/// What the model learned from its teacher, if it had one.
fn teacher(provenance: &Value) -> Option<String> {
    let teacher = provenance["teacher"].as_str()?;
    let share = provenance["teacher_share"].as_f64().unwrap_or_default();
    let unlabelled = provenance["unlabelled"].as_u64().unwrap_or(0);
    let words = match provenance["student"].is_object() && provenance["fresh_embeddings"] != true {
        true => {
            " Each piece of its vocabulary that its teacher knows began as the mean of what the teacher's pieces of it mean ([Gee et al. 2022](https://arxiv.org/abs/2402.09977))."
        }
        false => "",
    };
    if share == 0.0 {
        return Some(format!(
            "{words} It also learned from the predictions of `{teacher}` on {unlabelled} unlabelled texts ([Hinton et al. 2015](https://arxiv.org/abs/1503.02531))."
        ));
    }
    let alone = match unlabelled {
        0 => String::new(),
        n => format!("; {n} unlabelled texts have these logits alone"),
    };
    Some(format!(
        "{words} Besides the stars it learned from the logits of `{teacher}` ([Hinton et al. 2015](https://arxiv.org/abs/1503.02531)), which count for {share} of the loss{alone}."
    ))
}

/// Where the temperature is applied.
fn calibration(outcome: &Outcome) -> &'static str {
    match outcome.temperature_apart {
        true => {
            "logits are divided by it for the probabilities that ratings and metrics here rest on, and other programs do not know it"
        }
        false => {
            "the head's last weights are divided by it, so that every program that loads them gives these probabilities"
        }
    }
}

/// How a rating's stars follow from its probabilities.
fn decoding(decoding: Decoding) -> &'static str {
    match decoding {
        Decoding::Likeliest => "A rating's stars are the likeliest ones.",
        Decoding::Median => {
            "A rating's stars are the median of the five probabilities, which are the fewest stars off on average."
        }
        Decoding::Expected => {
            "A rating's stars are the mean of the five probabilities, rounded, which has the least squared error."
        }
        Decoding::Balanced => {
            "A rating's stars are those with the least expected cost, where any error costs 1, and 0.3 more for each star: right almost as often as the likeliest, and less far off."
        }
    }
}

const USE: &str = "## How to use it\n\n";

const IN_PYTHON: &str = r#"In Python, with this folder or its name on the Hub:

```python
from transformers import pipeline

rate = pipeline("text-classification", model=".")
rate("Great app, I use it every day!")  # [{'label': '5 stars', 'score': ...}]
```

"#;

/// Replaces [`IN_PYTHON`] if the bundle has no weights that `transformers` can load.
const NOT_IN_PYTHON: &str = "\
Its weights are integers of 8 bits (`web/weights.safetensors`), which `transformers` cannot load; Starsight can, and so can every browser.

";

const ELSEWHERE: &str = r#"With Starsight, from the shell:

```sh
starsight rate --model . "Great app, I use it every day!"
```

Or in the visitor's own browser, where no review leaves the machine: `starsight site --model . --out site` writes a page that rates with this model, and
`starsight.js` beside it, for pages of your own:

```js
import { load } from './starsight.js';

const rater = await load({ model: './model/' });  // or the model's name on the Hub
const { ratings } = await rater.rate(['Great app, I use it every day!']);
```

## Limits

It knows what the reviews that it learned from know: their language, their kind of app, their habits. Stars and words often disagree in real reviews, so no model
reaches 100%. Irony, other languages and texts without an opinion are rated all the same. What it gives is a guess at the stars, and no judgement of the reviewer.
"#;

/// The card of a bundle without floating-point weights: it does not tell readers to load them.
pub fn of_integers(card: &str) -> String {
    let card = card.replacen(
        "library_name: transformers\n",
        "library_name: starsight\n",
        1,
    );
    // Replace everything up to the next section, whatever an earlier version wrote there.
    let [from, to] =
        [IN_PYTHON, ELSEWHERE].map(|part| part.lines().next().and_then(|line| card.find(line)));
    match (from, to) {
        (Some(from), Some(to)) if from < to => {
            format!("{}{NOT_IN_PYTHON}{}", &card[..from], &card[to..])
        }
        _ => card,
    }
}

/// The card with `notes` before its limits, or at its end where it has none.
pub fn with_notes(card: &str, notes: &str) -> String {
    let notes = notes.trim();
    match card.find(LIMITS) {
        Some(at) => format!("{}{notes}\n\n{}", &card[..at], &card[at..]),
        None => format!("{}\n\n{notes}\n", card.trim_end()),
    }
}

/// The card with these languages in place of English; `None` if it does not name English.
pub fn in_languages(card: &str, languages: &[String]) -> Option<String> {
    const ENGLISH: &str = "\nlanguage: en\n";
    let list: String = languages
        .iter()
        .map(|code| format!("\n- {}", quoted(code)))
        .collect();
    card.contains(ENGLISH)
        .then(|| card.replacen(ENGLISH, &format!("\nlanguage:{list}\n"), 1))
}

/// Heading of the limits.
const LIMITS: &str = "## Limits\n";

impl Origin {
    fn of(provenance: &Value) -> Origin {
        let text = |key: &str| provenance[key].as_str().unwrap_or("unknown");
        Origin {
            base: text("base_model").to_owned(),
            base_repo: repository(text("base_model")),
            data: text("data").to_owned(),
            data_repos: text("data").split(", ").filter_map(repository).collect(),
        }
    }
}

/// The Hub repository that a source names; `None` for a path.
fn repository(source: &str) -> Option<String> {
    source.parse::<RepoId>().ok().map(|repo| repo.path())
}

/// The front matter for the Hub: YAML between two lines of dashes.
fn front_matter(name: &str, test: &Metrics, origin: &Origin, license: Option<&str>) -> String {
    let mut out =
        String::from("---\nlibrary_name: transformers\npipeline_tag: text-classification\n");
    if let Some(license) = license {
        let _ = writeln!(out, "license: {}", quoted(license));
    }
    if let Some(base) = &origin.base_repo {
        let _ = writeln!(out, "base_model: {}", quoted(base));
    }
    if !origin.data_repos.is_empty() {
        let _ = writeln!(out, "datasets:\n{}", list(&origin.data_repos));
    }
    let examples = EXAMPLES
        .map(|text| format!("- text: {}", quoted(text)))
        .join("\n");
    let data = quoted(origin.data_repos.first().unwrap_or(&origin.data));
    let _ = write!(
        out,
        "language: en\nmetrics:\n- accuracy\n- mae\n- f1\ntags:\n- starsight\n- reviews\n- star-rating\nwidget:\n{examples}\nmodel-index:\n- name: {}\n  results:\n  - task:\n      \
         type: text-classification\n      name: Star rating of reviews\n    dataset:\n      name: {data}\n      type: {data}\n      split: test\n    metrics:\n",
        quoted(name)
    );
    let results = [
        ("accuracy", "Accuracy", test.accuracy),
        ("mae", "Mean absolute error, stars", test.mae),
        ("f1", "Macro F1", test.macro_f1),
        ("off_by_one", "At most one star off", test.off_by_one),
        ("cohen_kappa", "Quadratic weighted kappa", test.qwk),
    ];
    for (kind, name, value) in results {
        let _ = writeln!(
            out,
            "    - type: {kind}\n      name: {}\n      value: {value:.4}",
            quoted(name)
        );
    }
    out.push_str("---\n");
    out
}

/// The text as a YAML string, whatever it contains: JSON strings are valid YAML.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn list(items: &[String]) -> String {
    items
        .iter()
        .map(|item| format!("- {}", quoted(item)))
        .collect::<Vec<_>>()
        .join("\n")
}

fn metrics_table(test: &Evaluation, validation: &Metrics) -> String {
    let mut out = String::from("| | test | 95% confidence | validation |\n|---|---|---|---|\n");
    for measure in test.measures() {
        let [test, validation] =
            [&test.metrics, validation].map(|metrics| measure.show((measure.of)(metrics)));
        let _ = writeln!(
            out,
            "| {} | {test} | {} | {validation} |",
            measure.name,
            measure.show_interval()
        );
    }
    out
}

/// Table of the model's ratings of texts that are hard for models.
fn limits_table(limits: &[Limit]) -> String {
    let mut out = String::from(
        "\n| reviews made up for the purpose | texts | at most one star off | mean of the expected stars | how sure, on average |\n|---|---|---|---|---|\n",
    );
    for Limit {
        name,
        texts,
        near,
        expected,
        sure,
    } in limits
    {
        let near = near.map_or("nobody can tell".to_owned(), |near| near.to_string());
        let _ = writeln!(
            out,
            "| {name} | {texts} | {near} | {expected:.2} | {:.0}% |",
            100.0 * sure
        );
    }
    out
}

fn confusion_table(metrics: &Metrics) -> String {
    let mut out = String::from("| | 1 | 2 | 3 | 4 | 5 |\n|---|---|---|---|---|---|\n");
    for (row, stars) in metrics.confusion.iter().zip(1..) {
        let _ = writeln!(
            out,
            "| **{stars}** | {} |",
            row.map(|n| n.to_string()).join(" | ")
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::model::base::license;
    use serde_json::json;
    use starsight_model::{EncoderConfig, LABELS};

    use super::*;
    use crate::rate::device::{Numbers, Precision};

    #[test]
    fn what_the_front_matter_names_is_on_the_hub() {
        let origin = Origin::of(
            &json!({ "base_model": "distilbert/distilbert-base-cased@v1", "data": "sealuzh/app_reviews, more.csv" }),
        );
        assert_eq!(
            (origin.base.as_str(), origin.base_repo.as_deref()),
            (
                "distilbert/distilbert-base-cased@v1",
                Some("distilbert/distilbert-base-cased")
            )
        );
        assert_eq!(
            (origin.data.as_str(), &origin.data_repos[..]),
            (
                "sealuzh/app_reviews, more.csv",
                &["sealuzh/app_reviews".to_owned()][..]
            )
        );
    }

    #[test]
    fn no_name_breaks_the_front_matter() {
        let origin = Origin {
            base: "base".into(),
            base_repo: None,
            data: "my: \"reviews\" #1.csv".into(),
            data_repos: vec![],
        };
        let test = starsight_model::metrics::Scores::default().metrics();
        let text = front_matter("- odd: name\n---", &test, &origin, Some("apache-2.0"));
        assert!(
            text.contains(r#"- name: "- odd: name\n---""#)
                && text.contains(r#"type: "my: \"reviews\" #1.csv""#),
            "{text}"
        );
        assert_eq!(
            text.lines().filter(|line| *line == "---").count(),
            2,
            "{text}"
        );
        assert_eq!(license(&text).as_deref(), Some("apache-2.0"));
    }

    /// The outcome of 60 reviews. Every sixth is rated two stars higher, counting on from 1 after
    /// 5.
    fn outcome() -> Outcome {
        let labels: Vec<usize> = (0..60).map(|i| i % LABELS).collect();
        let rated = |i: usize| {
            if i.is_multiple_of(6) {
                (labels[i] + 2) % LABELS
            } else {
                labels[i]
            }
        };
        let logits: Vec<_> = (0..60)
            .map(|i| std::array::from_fn(|label| if label == rated(i) { 2.0 } else { 0.0 }))
            .collect();
        let test = Evaluation::new(&logits, &labels, Decoding::Likeliest);
        Outcome {
            unseen: None,
            uncalibrated_loss: 1.0,
            validation: test.metrics.clone(),
            test,
            temperature: 1.25,
            temperature_apart: false,
            decoding: Decoding::Likeliest,
            best_step: 10,
            best_epoch: 0.5,
            device: "a test".into(),
            precision: Numbers::Float(Precision::F32),
            steps: 20,
            train_samples: 384,
            train_samples_per_second: 100.0,
            tokens_per_second: 1000.0,
            seconds: 3.84,
            eval_samples_per_second: 200.0,
            peak_memory_mb: None,
        }
    }

    #[test]
    fn a_card_says_what_the_model_is_worth_and_how_to_use_it() {
        let outcome = outcome();
        let provenance = json!({ "base_model": "a/base", "data": "a/data", "reviews": 504, "split_seed": 42, "recipe": { "lr": 1e-3, "best-by": "loss" } });
        let limits = [Limit {
            name: "sarcastic",
            texts: 8,
            near: Some(3),
            expected: 3.254,
            sure: 0.616,
        }];
        let card = write("my-stars", &outcome, &provenance, &limits, Some("mit"));
        let (front_matter, body) = card.split_once("\n---\n").unwrap();

        // The front matter has the values of metrics.json, rounded to four digits.
        let metrics = serde_json::to_value(&outcome).unwrap()["test"].clone();
        for (kind, name) in [
            ("accuracy", "accuracy"),
            ("mae", "mae"),
            ("f1", "macro_f1"),
            ("off_by_one", "off_by_one"),
            ("cohen_kappa", "qwk"),
        ] {
            let (_, result) = front_matter
                .split_once(&format!("- type: {kind}\n"))
                .unwrap_or_else(|| panic!("{kind}: {front_matter}"));
            let value = result
                .lines()
                .find_map(|line| line.trim().strip_prefix("value: "))
                .unwrap();
            let wanted = metrics[name].as_f64().unwrap();
            assert!(
                (value.parse::<f64>().unwrap() - wanted).abs() <= 5e-5,
                "{kind}: {value}, and {wanted}"
            );
        }

        // Every measure with its interval.
        for measure in outcome.test.measures() {
            let value = measure.show((measure.of)(&outcome.test.metrics));
            assert!(
                body.contains(&format!(
                    "| {} | {value} | {} | {value} |",
                    measure.name,
                    measure.show_interval()
                )),
                "{}: {body}",
                measure.name
            );
        }
        let [low, high] = outcome.test.intervals.accuracy.map(|end| 100.0 * end);
        assert!(
            body.contains(&format!("| Accuracy | 83.33% | {low:.2}% to {high:.2}% |")),
            "{body}"
        );
        // Of twelve reviews with each number of stars, two are rated wrong.
        assert!(
            body.contains("| **1** | 10 | 0 | 2 | 0 | 0 |\n| **2** | 0 | 10 | 0 | 2 | 0 |\n"),
            "{body}"
        );
        assert!(body.contains("| **5** | 0 | 2 | 0 | 0 | 10 |\n"), "{body}");
        for part in [
            "# my-stars\n",
            "Fine-tuned from `a/base` on `a/data`",
            "\"lr\": 0.001",
            "504 reviews were divided",
            "A temperature of 1.250",
            "the head's last weights are divided by it",
            "pipeline(\"text-classification\", model=\".\")",
            "starsight rate --model .",
            "from './starsight.js'",
            "| sarcastic | 8 | 3 | 3.25 | 62% |",
        ] {
            assert!(body.contains(part), "{part}: {body}");
        }

        // The label in the example is the one that the configuration names.
        let base = json!({ "model_type": "distilbert", "vocab_size": 10, "dim": 8, "n_heads": 2, "n_layers": 1, "hidden_dim": 16, "max_position_embeddings": 8 });
        let config = EncoderConfig::from_json(&serde_json::to_vec(&base).unwrap()).unwrap();
        let labels: Value = serde_json::from_str(&config.to_json()).unwrap();
        assert!(
            body.contains(&format!(
                "[{{'label': '{}', ",
                labels["id2label"]["4"].as_str().unwrap()
            )),
            "{body}"
        );
    }

    #[test]
    fn notes_and_languages_find_their_place() {
        let card = write("my-stars", &outcome(), &json!({}), &[], None);
        let noted = with_notes(
            &in_languages(&card, &["en".into(), "ko".into()]).expect("a language"),
            "## Judged\n\nWell.\n",
        );
        assert!(
            noted.contains("\nlanguage:\n- \"en\"\n- \"ko\"\nmetrics:"),
            "{noted}"
        );
        assert!(
            noted.contains("\n\n## Judged\n\nWell.\n\n## Limits\n"),
            "{noted}"
        );
        assert_eq!(with_notes("# Mine\n", "More."), "# Mine\n\nMore.\n");
        assert_eq!(in_languages("# Mine\n", &["ko".into()]), None);
    }

    #[test]
    fn a_card_of_integers_says_what_can_load_them() {
        let card = write("my-stars", &outcome(), &json!({}), &[], None);
        let light = of_integers(&card);
        for gone in [
            "pipeline(",
            "from transformers",
            "library_name: transformers",
        ] {
            assert!(
                card.contains(gone) && !light.contains(gone),
                "{gone}: {light}"
            );
        }
        assert!(
            light.contains("## How to use it\n\nIts weights are integers of 8 bits")
                && light.contains("starsight rate --model ."),
            "{light}"
        );
        assert_eq!(
            light
                .split_once("With Starsight, from the shell:")
                .unwrap()
                .1,
            card.split_once("With Starsight, from the shell:")
                .unwrap()
                .1
        );
        assert_eq!(
            (of_integers(&light), of_integers("# Mine")),
            (light, "# Mine".to_owned())
        );
    }
}
