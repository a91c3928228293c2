//! The model card, in the Hub's conventions.

use std::fmt::Write;

use serde_json::Value;
use starsight_model::metrics::Metrics;

use crate::train::Outcome;

/// `README.md` of a bundle: front matter, metrics, confusion matrix, data, recipe, limits and use.
pub fn write(name: &str, outcome: &Outcome, provenance: &Value) -> String {
    let test = &outcome.test;
    let text = |key: &str| provenance[key].as_str().unwrap_or("unknown").to_string();
    let (base, data) = (text("base_model"), text("data"));
    // A path on someone's disk is no repository on the Hub.
    let on_hub = |name: &str| name.parse::<crate::hub::RepoId>().is_ok() && name.matches('/').count() == 1 && !name.contains('.');
    let mut out = String::from("---\nlibrary_name: transformers\npipeline_tag: text-classification\n");
    if on_hub(&base) {
        let _ = writeln!(out, "base_model: {base}");
    }
    if on_hub(&data) {
        let _ = writeln!(out, "datasets:\n- {data}");
    }
    let _ = write!(
        out,
        "language: en\nmetrics:\n- accuracy\n- mae\n- f1\ntags:\n- starsight\n- reviews\n- star-rating\nwidget:\n- text: \"Great app, I use it every day!\"\n\
         - text: \"Crashes every time I open it.\"\nmodel-index:\n- name: {name}\n  results:\n  - task:\n      type: text-classification\n    dataset:\n      name: {data:?}\n      \
         type: {data:?}\n      split: test\n    metrics:\n    - type: accuracy\n      value: {:.4}\n    - type: mae\n      value: {:.4}\n    - type: f1\n      name: macro F1\n      \
         value: {:.4}\n---\n\n",
        test.accuracy, test.mae, test.macro_f1
    );
    let _ = write!(
        out,
        "# {name}\n\nRates app reviews from one to five stars. Fine-tuned from `{base}` on `{data}` by Starsight. Label 0 is one star, label 4 is five.\n\n\
         ## How good it is\n\n{} reviews of the test split, which nothing was chosen by.\n\n{}\n### Confusion matrix\n\nRows: the stars that the reviewer gave. Columns: the stars \
         that the model gives.\n\n{}\n",
        test.samples,
        metrics_table(test, &outcome.validation),
        confusion_table(test)
    );
    let recipe = serde_json::to_string_pretty(&provenance["recipe"]).unwrap_or_default();
    let _ = write!(
        out,
        "## How it was made\n\n{} reviews were divided as `datasets.train_test_split(test_size=0.2, stratify_by_column=\"star\")` does, twice, with seed {}: {} to train, {} to \
         validate, {} to test. Of the evaluations along the way the best was kept, by validation {} (step {} of {}).\n\n```json\n{recipe}\n```\n\n",
        provenance["reviews"],
        provenance["split_seed"],
        outcome.train_samples,
        outcome.validation.samples,
        test.samples,
        provenance["recipe"]["best-by"].as_str().unwrap_or("loss"),
        outcome.best_step,
        outcome.steps
    );
    out.push_str(
        "## How to use it\n\nIn Python:\n\n```python\nfrom transformers import pipeline\nrate = pipeline(\"text-classification\", model=\".\")  # this folder, or its name on the Hub\n\
         rate(\"Great app, I use it every day!\")\n```\n\nWith Starsight, from the shell:\n\n```sh\nstarsight rate --model . \"Great app, I use it every day!\"\n```\n\nOr in a page: `starsight site` \
         builds one that runs this model in the visitor's own browser.\n\n## Limits\n\nIt knows what the reviews that it learned from know: their language, their kind of app, their habits. \
         Stars and words often disagree in real reviews, so no model reaches 100%. Irony, other languages and texts without an opinion are rated all the same.\n",
    );
    out
}

fn metrics_table(test: &Metrics, validation: &Metrics) -> String {
    let percent = |x: f64| format!("{:.2}%", 100.0 * x);
    let number = |x: f64| format!("{x:.4}");
    let rows: [(&str, String, String); 9] = [
        ("Accuracy", percent(test.accuracy), percent(validation.accuracy)),
        ("At most one star off", percent(test.off_by_one), percent(validation.off_by_one)),
        ("4-5 stars against 1-3", percent(test.binary_great), percent(validation.binary_great)),
        ("5 stars against the rest", percent(test.binary_five), percent(validation.binary_five)),
        ("Mean absolute error, stars", number(test.mae), number(validation.mae)),
        ("Macro F1", number(test.macro_f1), number(validation.macro_f1)),
        ("Quadratic weighted kappa", number(test.qwk), number(validation.qwk)),
        ("Expected calibration error", number(test.ece), number(validation.ece)),
        ("Loss", number(test.loss), number(validation.loss)),
    ];
    let mut out = String::from("| | test | validation |\n|---|---|---|\n");
    for (name, test, validation) in rows {
        let _ = writeln!(out, "| {name} | {test} | {validation} |");
    }
    out
}

fn confusion_table(metrics: &Metrics) -> String {
    let mut out = String::from("| | 1 | 2 | 3 | 4 | 5 |\n|---|---|---|---|---|---|\n");
    for (row, stars) in metrics.confusion.iter().zip(1..) {
        let _ = writeln!(out, "| **{stars}** | {} |", row.map(|n| n.to_string()).join(" | "));
    }
    out
}
