//! The model card, in the Hub's conventions.

use std::fmt::Write;

use serde_json::Value;
use starsight_model::metrics::Metrics;

use crate::evaluation::Evaluation;
use crate::train::Outcome;

/// `README.md` of a bundle: front matter, metrics, confusion matrix, data, recipe, limits and use.
pub fn write(name: &str, outcome: &Outcome, provenance: &Value) -> String {
    let test = &outcome.test.metrics;
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
        metrics_table(&outcome.test, &outcome.validation),
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

fn metrics_table(test: &Evaluation, validation: &Metrics) -> String {
    let mut out = String::from("| | test | 95% confidence | validation |\n|---|---|---|---|\n");
    for measure in test.measures() {
        let [test, validation] = [&test.metrics, validation].map(|metrics| measure.show((measure.of)(metrics)));
        let _ = writeln!(out, "| {} | {test} | {} | {validation} |", measure.name, measure.show_interval());
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
