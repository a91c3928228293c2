//! The program's command line, on good and bad files.

mod common;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use common::{TRAIN, bad, csv, folder_with, good, json, starsight, text, trained, unknown, words};
use starsight::data::Tables;

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = dir
        .read_dir()
        .expect("a folder")
        .map(|e| {
            e.expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

/// The files that a run leaves.
const RUN: [&str; 14] = [
    "README.md",
    "checkpoints",
    "config.json",
    "metrics.json",
    "model.safetensors",
    "recipe.toml",
    "report.html",
    "starsight.json",
    "tensorboard",
    "tokenizer.json",
    "tokenizer_config.json",
    "train_log.jsonl",
    "vocab.txt",
    "web",
];

/// A file of the run `model`, as JSON.
fn of_run(dir: &Path, name: &str) -> serde_json::Value {
    json(&std::fs::read_to_string(dir.join("model").join(name)).expect("a file of the run"))
}

#[test]
fn a_run_leaves_a_bundle_a_log_and_a_report() {
    let dir = trained();
    let at = dir.path();
    assert_eq!(names(&at.join("model")), RUN);
    let log = std::fs::read_to_string(at.join("model/train_log.jsonl")).expect("a log");
    // 204 reviews in batches of 16 are 13 steps an epoch; each epoch adds a validation.
    assert_eq!(log.lines().count(), 8 * 13 + 8);
    let metrics = of_run(at, "metrics.json");
    assert_eq!(
        (
            metrics["steps"].as_u64(),
            metrics["test"]["samples"].as_u64()
        ),
        (Some(104), Some(64))
    );

    let [low, high] = [0, 1].map(|end| {
        metrics["test"]["intervals"]["loss"][end]
            .as_f64()
            .expect("an end")
    });
    let loss = metrics["test"]["loss"].as_f64().expect("a loss");
    assert!(low < loss && loss < high, "{low} {loss} {high}");
    let report = std::fs::read_to_string(at.join("model/report.html")).expect("a report");
    assert!(
        report.contains("<h1>model</h1>")
            && report.contains("How it learned")
            && report.contains("evaluated on 64 test reviews")
    );
}

#[test]
fn evaluation_of_the_test_split_repeats_the_metrics_of_training() {
    let dir = trained();
    let at = dir.path();
    let metrics = of_run(at, "metrics.json");
    let loss = metrics["test"]["loss"].as_f64().expect("a loss");
    // `evaluate` reports the same metrics for the test split as `train`.
    let evaluated = json(&good(
        at,
        &words("evaluate --model model --data reviews.csv --split test --json"),
    ));
    assert_eq!(
        evaluated["metrics"]["confusion"],
        metrics["test"]["confusion"]
    );
    assert_eq!(
        evaluated["metrics"]["intervals"]["accuracy"],
        metrics["test"]["intervals"]["accuracy"]
    );
    // The temperature is folded into the head; loss and ECE depend on it.
    let temperature = metrics["temperature"].as_f64().expect("a temperature");
    let manifest = of_run(at, "starsight.json");
    assert!(
        manifest["temperature"] == 1.0 && (temperature - 1.0).abs() > 1e-3,
        "{temperature}"
    );
    for metric in ["loss", "ece"] {
        let [here, there] = [&evaluated["metrics"], &metrics["test"]]
            .map(|of| of[metric].as_f64().expect("a number"));
        assert!((here - there).abs() < 1e-6, "{metric}: {here} {there}");
    }
    assert!(good(at, &words("evaluate --model model --data reviews.csv")).contains("Accuracy"));
    assert!(
        metrics["uncalibrated_loss"]
            .as_f64()
            .is_some_and(|raw| (raw - loss).abs() > 1e-6),
        "{}",
        metrics["uncalibrated_loss"]
    );
}

#[test]
fn evaluation_in_int8_reports_the_agreement_with_f32() {
    let dir = trained();
    let at = dir.path();
    // Evaluation in int8 also reports the agreement with f32. Quantising again gives the same
    // weights.
    let int8 = json(&good(
        at,
        &words("evaluate --model model --data reviews.csv --int8 --json"),
    ));
    assert_eq!(int8["agreement"]["samples"], 320);
    assert!(
        int8["agreement"]["same_star"].as_f64() >= Some(0.99)
            && int8["agreement"]["mean_difference"].as_f64() < Some(0.02),
        "{}",
        int8["agreement"]
    );
    assert!(
        good(
            at,
            &words("evaluate --model model --data reviews.csv --int8")
        )
        .contains("agreement with f32")
    );
    let read = |name: &str| std::fs::read(at.join("model").join(name)).expect("a file");
    let before = ["starsight.json", "web/weights.safetensors"].map(read);
    good(at, &["quantize", "--model", "model"]);
    assert!(before == ["starsight.json", "web/weights.safetensors"].map(read));
}

#[test]
fn reviews_are_rated_from_arguments_and_from_files_of_each_format() {
    let dir = trained();
    let at = dir.path();
    // rate: texts, a file in each format, standard input.
    let rated = json(&good(
        at,
        &[
            "rate",
            "--model",
            "model",
            "--json",
            "great app, love it 😍",
            "",
            "terrible, crashes all day",
        ],
    ));
    let stars: Vec<u64> = rated["ratings"]
        .as_array()
        .expect("ratings")
        .iter()
        .map(|r| r["stars"].as_u64().expect("stars"))
        .collect();
    assert_eq!((stars.len(), stars[0], stars[2]), (3, 5, 1));
    assert!(good(at, &["rate", "--model", "model", "great app, love it"]).starts_with("★★★★★"));
    for out in ["rated.csv", "rated.tsv", "rated.jsonl", "rated.parquet"] {
        assert!(
            good(
                at,
                &[
                    "rate",
                    "--model",
                    "model",
                    "--data",
                    "reviews.csv",
                    "--out",
                    out
                ]
            )
            .contains("320 reviews rated")
        );
        let again = json(&good(
            at,
            &[
                "rate",
                "--model",
                "model",
                "--data",
                out,
                "--out",
                "again.csv",
                "--json",
            ],
        ));
        assert_eq!(again["samples"], 320, "{out} is read back");
        // The file's own columns stay as they are, and the new ratings, which are the same, follow.
        let [first, second] = ["rated.csv", "again.csv"]
            .map(|name| std::fs::read_to_string(at.join(name)).expect("a file"));
        let [first, second] = [&first, &second].map(|text| text.lines().collect::<Vec<_>>());
        assert_eq!(
            (first[0], second[0]),
            (
                "package_name,review,date,star,stars,expected,p1,p2,p3,p4,p5",
                "package_name,review,date,star,stars,expected,p1,p2,p3,p4,p5,rated_stars,rated_expected,rated_p1,rated_p2,rated_p3,rated_p4,rated_p5"
            )
        );
        // A number may be written otherwise: 2.6e-6 for 0.0000026.
        let same = |a: &str, b: &str| {
            let number = |x: &str| x.parse::<f64>().ok();
            a == b || number(a).is_some_and(|a| number(b) == Some(a))
        };
        for (before, after) in first[1..].iter().zip(&second[1..]) {
            let [before, after] = [before, after].map(|line| line.split(',').collect::<Vec<_>>());
            let (own, ratings) = after.split_at(before.len());
            assert!(
                own.iter().zip(&before).all(|(a, b)| same(a, b))
                    && ratings.iter().eq(&before[before.len() - 7..]),
                "{out}: {before:?}, {after:?}"
            );
        }
    }
    let line = "rate --model model --data rated.csv --out again.csv";
    let said = text(&starsight(at, &words(line)).stderr);
    assert!(
        said.contains("rated.csv has columns with the names of ratings, which are kept; the new ratings are in rated_stars,"),
        "{said}"
    );
}

#[test]
fn a_published_copy_is_the_bundle_without_the_run() {
    let dir = trained();
    let at = dir.path();
    let (metrics, manifest) = (of_run(at, "metrics.json"), of_run(at, "starsight.json"));
    let temperature = metrics["temperature"].as_f64().expect("a temperature");
    // `publish --out` copies the same bundle. The browser tests cover `site`, which needs the page.
    good(at, &words("publish --model model --out copy"));
    assert_eq!(
        names(&at.join("copy")),
        RUN.into_iter()
            .filter(|n| ![
                "checkpoints",
                "metrics.json",
                "recipe.toml",
                "report.html",
                "tensorboard",
                "train_log.jsonl"
            ]
            .contains(n))
            .collect::<Vec<_>>()
    );
    bad(
        at,
        &words("publish --model model --out copy"),
        1,
        &["copy is not empty; choose a new folder"],
    );
    // With the temperature undone, the loss equals the run's recorded uncalibrated loss.
    let path = at.join("copy/starsight.json");
    let warm = format!(r#""temperature":{}"#, 1.0 / temperature);
    std::fs::write(
        &path,
        manifest.to_string().replace(r#""temperature":1.0"#, &warm),
    )
    .expect("written");
    let raw = json(&good(
        at,
        &words("evaluate --model copy --data reviews.csv --split test --json"),
    ));
    let [here, there] = [&raw["metrics"]["loss"], &metrics["uncalibrated_loss"]]
        .map(|of| of.as_f64().expect("a number"));
    assert!((here - there).abs() < 1e-6, "{here} {there}");
}

#[test]
fn a_copy_may_have_integers_alone_notes_and_languages() {
    let dir = trained();
    let at = dir.path();
    // A copy without floating-point weights rates with the dequantised int8 weights.
    good(at, &words("publish --model model --out light --integers"));
    assert!(good(at, &["rate", "--model", "light", "great app, love it"]).starts_with("★★★★★"));
    // Its card gets the notes and the languages given.
    std::fs::write(at.join("notes.md"), "## From whom\n\nFrom a test.\n").expect("written");
    good(
        at,
        &words("publish --model model --out noted --notes notes.md --languages en,ko"),
    );
    let card = std::fs::read_to_string(at.join("noted/README.md")).expect("a card");
    assert!(
        card.contains("language:\n- \"en\"\n- \"ko\"\n")
            && card.contains("From a test.\n\n## Limits\n"),
        "{card}"
    );
    assert!(
        good(at, &["rate", "--model", "noted", "great app, love it"]).starts_with("★★★★★"),
        "the manifest vouches for it"
    );
    bad(
        at,
        &words("publish --model model --out other --notes none.md"),
        1,
        &["reading none.md"],
    );
    assert!(
        good(
            at,
            &["rate", "--model", "light", "--int8", "great app, love it"]
        )
        .starts_with("★★★★★")
    );
    bad(at, &["publish", "--model", "model"], 2, &["--to"]);
}

#[test]
fn a_folder_with_a_run_is_not_trained_into_again() {
    let dir = trained();
    let at = dir.path();
    // A second run in the same folder needs --resume or --overwrite.
    bad(
        at,
        &TRAIN,
        1,
        &["model contains an earlier run", "--resume or --overwrite"],
    );
    // --resume with another recipe is refused.
    let mut other = TRAIN.to_vec();
    other[8] = "1e-3";
    other.push("--resume");
    bad(
        at,
        &other,
        1,
        &["contains a run that differs; --resume needs the same recipe, base model and data"],
    );
}

#[test]
fn a_truncated_bundle_is_refused_before_it_rates() {
    let dir = trained();
    let at = dir.path();
    good(at, &words("publish --model model --out copy"));
    // A bundle with truncated weights is refused before it rates anything.
    let weights = std::fs::read(at.join("copy/model.safetensors")).expect("weights");
    std::fs::write(
        at.join("copy/model.safetensors"),
        &weights[..weights.len() / 2],
    )
    .expect("written");
    bad(
        at,
        &words("rate --model copy x"),
        1,
        &["model.safetensors", "truncated"],
    );
    std::fs::remove_file(at.join("copy/starsight.json")).expect("removed");
    bad(
        at,
        &words("rate --model copy x"),
        1,
        &["model.safetensors: truncated"],
    );
    std::fs::remove_file(at.join("copy/model.safetensors")).expect("removed");
    good(at, &words("rate --model copy x"));
    std::fs::remove_file(at.join("copy/web/weights.safetensors")).expect("removed");
    bad(
        at,
        &words("rate --model copy x"),
        1,
        &["copy has no model.safetensors"],
    );
}

#[test]
fn an_output_that_cannot_be_written_is_reported_first() {
    let dir = trained();
    let at = dir.path();
    // An output that cannot be written is reported before a model is looked for.
    for (out, says) in [
        ("out.xlsx", "out.xlsx: files of this type cannot be written"),
        (
            "reviews.csv/out.csv",
            "reviews.csv/out.csv: cannot write a file in",
        ),
    ] {
        bad(
            at,
            &[
                "rate",
                "--model",
                "./nowhere",
                "--data",
                "reviews.csv",
                "--out",
                out,
            ],
            1,
            &[says],
        );
    }
    assert!(
        good(
            at,
            &words("rate --model model --data reviews.csv --out new/folder/out.csv")
        )
        .contains("320 reviews rated")
    );
    bad(
        at,
        &words("publish --model base --out copy2"),
        1,
        &["base is not a bundle"],
    );
}

/// A small random model of an architecture that candle computes.
fn foreign(name: &str) -> String {
    format!("{}/../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn probabilities(rated: &str) -> Vec<f64> {
    let rated = json(rated);
    rated["ratings"]
        .as_array()
        .expect("ratings")
        .iter()
        .flat_map(|rating| rating["probabilities"].as_array().expect("five").clone())
        .map(|p| p.as_f64().expect("a number"))
        .collect()
}

#[test]
fn candle_rates_as_our_own_engine_does() {
    let dir = trained();
    let at = dir.path();
    let rate = [
        "rate",
        "--model",
        "model",
        "--json",
        "great app, love it",
        "terrible, crashes all day",
        "",
    ];
    let [own, candle] = [&rate[..], &[&rate[..], &["--engine", "candle"]].concat()]
        .map(|args| probabilities(&good(at, args)));
    let largest = own
        .iter()
        .zip(&candle)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max);
    assert!(own.len() == 15 && largest < 1e-5, "{largest}");
    let evaluated = json(&good(
        at,
        &words("evaluate --model model --data reviews.csv --engine candle --json"),
    ));
    assert_eq!(
        evaluated["agreement"]["same_star"], 1.0,
        "{}",
        evaluated["agreement"]
    );
    bad(
        at,
        &words("rate --model model --engine candle --int8 x"),
        2,
        &["cannot be used with"],
    );
}

#[test]
fn architectures_that_candle_computes_are_rated_and_teach() {
    let dir = folder_with("reviews.csv", csv(320));
    let at = dir.path();
    for name in ["deberta-v2", "modernbert", "xlm-roberta"] {
        let model = foreign(name);
        let said = text(&starsight(at, &["rate", "--model", &model, "good app"]).stderr);
        assert!(
            said.contains(&format!("{name} is computed by candle")),
            "{said}"
        );
        assert!(
            good(
                at,
                &["evaluate", "--model", &model, "--data", "reviews.csv"]
            )
            .contains("Accuracy")
        );
        bad(
            at,
            &["rate", "--model", &model, "--int8", "good app"],
            1,
            &["--int8 does not support", name, "omit --int8"],
        );
    }
    // The same weights in PyTorch's file format.
    let pickled = at.join("pickled");
    std::fs::create_dir(&pickled).unwrap();
    for file in ["config.json", "tokenizer.json", "pytorch_model.bin"] {
        std::fs::copy(
            format!("{}/{file}", foreign("xlm-roberta")),
            pickled.join(file),
        )
        .unwrap();
    }
    let rate = |model: &str| {
        good(
            at,
            &["rate", "--model", model, "--json", "good app", "bad app"],
        )
    };
    assert_eq!(rate("pickled"), rate(&foreign("xlm-roberta")));
    good(
        at,
        &words(
            "init --data reviews.csv --out base --layers 1 --hidden 32 --vocab-size 200 --max-length 32",
        ),
    );
    let train = words(
        "train --model base --data reviews.csv --batch 16 --accum 1 --max-steps 4 --out student \
         --json",
    );
    let taught = json(&good(
        at,
        &[
            &train[..],
            &["--teacher", &foreign("deberta-v2"), "--teacher", "pickled"],
        ]
        .concat(),
    ));
    assert_eq!(taught["steps"], 4, "{taught}");
}

#[test]
fn a_student_of_such_a_teacher_starts_with_random_embeddings() {
    let dir = folder_with("reviews.csv", csv(320));
    let teacher = foreign("xlm-roberta");
    let line = format!(
        "distill --teacher {teacher} --data reviews.csv --batch 16 --accum 1 --max-steps 2 --out small --layers 1 --hidden 32 --heads 2 --vocab-size 200"
    );
    let said = text(&starsight(dir.path(), &words(&line)).stderr);
    assert!(
        said.contains(
            "embeddings are initialised at random: those of a xlm-roberta cannot be used"
        ) && said.contains("a new model of"),
        "{said}"
    );
}

#[test]
fn a_rating_near_the_prior_is_called_a_guess() {
    let dir = trained();
    let at = dir.path();
    let manifest = json(&std::fs::read_to_string(at.join("model/starsight.json")).unwrap());
    let prior: Vec<f64> = manifest["prior"]
        .as_array()
        .expect("five")
        .iter()
        .map(|share| share.as_f64().unwrap())
        .collect();
    assert!(
        (prior.iter().sum::<f64>() - 1.0).abs() < 1e-6 && prior.iter().all(|share| *share > 0.0),
        "{prior:?}"
    );
    unknown(at, "model", "zxcv");
    let rate = [
        "rate",
        "--model",
        "model",
        "--int8",
        "zxcv",
        "terrible, crashes all day",
    ];
    let said = text(&starsight(at, &rate).stderr);
    assert!(said.contains("1 of 2 ratings is a guess"), "{said}");
    let rated = json(&good(at, &[&rate[..], &["--json"]].concat()));
    assert_eq!(
        (&rated["ratings"][0]["guess"], &rated["ratings"][1]["guess"]),
        (&true.into(), &false.into()),
        "{rated}"
    );
    std::fs::write(
        at.join("two.csv"),
        "review\nzxcv\n\"terrible, crashes all day\"\n",
    )
    .unwrap();
    let summary = json(&good(
        at,
        &words("rate --model model --int8 --data two.csv --out rated.csv --json"),
    ));
    assert_eq!(
        (&summary["samples"], &summary["guesses"]),
        (&2.into(), &1.into()),
        "{summary}"
    );
}

#[test]
fn what_reviews_are_like() {
    let dir = folder_with(
        "reviews.csv",
        "package_name,review,star\norg.a,Great app 👍,5\norg.b,great  APP 👍,5\norg.a,great app 👍,4\norg.a,,1\norg.b,\"Cette application est vraiment très utile pour organiser mes journées de travail\",5\n",
    );
    let at = dir.path();
    let survey = json(&good(at, &words("data --data reviews.csv --json")));
    assert_eq!(
        (&survey["reviews"], &survey["blank"], &survey["stars"]),
        (&5.into(), &1.into(), &serde_json::json!([1, 0, 0, 1, 3]))
    );
    let repeats = &survey["repeats"];
    assert_eq!(
        (
            &repeats["texts"],
            &repeats["copies"],
            &repeats["copies_with_stars"],
            &repeats["conflicting_reviews"]
        ),
        (&3.into(), &2.into(), &1.into(), &3.into())
    );
    assert_eq!(repeats["ceiling"].as_f64(), Some(0.8));
    assert!(
        survey["leakage"].is_null(),
        "a class of one review cannot be divided"
    );
    assert_eq!(
        (&survey["emoji"], &survey["languages"]),
        (
            &serde_json::json!([["👍", 3]]),
            &serde_json::json!([["French", 1]])
        )
    );
    assert_eq!(
        survey["groups"][0],
        serde_json::json!({ "group": "org.a", "reviews": 3, "mean_stars": 10.0 / 3.0, "stars": [1, 0, 0, 1, 1] })
    );
    let text = good(at, &["data", "--data", "reviews.csv"]);
    for said in [
        "5 reviews, 1 of them without text",
        "accuracy from the text alone cannot exceed 80.00%",
        "package_name, by number of reviews",
    ] {
        assert!(text.contains(said), "{said} in {text}");
    }
    bad(
        at,
        &words("data --data reviews.csv --by app"),
        1,
        &["no column `app`"],
    );
}

#[test]
fn evaluation_by_group_and_as_a_report() {
    let dir = trained();
    let at = dir.path();
    let evaluate = ["evaluate", "--model", "model", "--data", "reviews.csv"];
    let with = |more: &[&'static str]| [&evaluate[..], more].concat();
    let groups = json(&good(
        at,
        &with(&[
            "--by",
            "package_name",
            "--by",
            "length",
            "--by",
            "date",
            "--json",
        ]),
    ))["groups"]
        .clone();
    assert_eq!(groups["package_name"][0]["group"], "org.example");
    assert_eq!(groups["package_name"][0]["samples"], 320);
    for by in ["length", "date"] {
        let groups = groups[by].as_array().expect("groups");
        assert_eq!(
            groups
                .iter()
                .map(|g| g["samples"].as_u64().expect("a count"))
                .sum::<u64>(),
            320,
            "{by}"
        );
        assert!(groups.len() > 1, "{by}");
        assert!(
            groups
                .iter()
                .all(|g| (0.0..=1.0).contains(&g["accuracy"].as_f64().expect("a share"))),
            "{by}"
        );
    }
    let table = good(at, &with(&["--by", "length", "--report", "report.html"]));
    assert!(
        table.contains("tokens") && table.contains("95%: "),
        "{table}"
    );
    let page = std::fs::read_to_string(at.join("report.html")).expect("a report");
    assert!(page.contains("Confusion matrix") && !page.contains("How it learned"));
    bad(
        at,
        &with(&["--by", "app"]),
        1,
        &[
            "reviews.csv: no column `app`; it has package_name, review, date, star",
            "--by takes",
            "`length`",
        ],
    );
    bad(
        at,
        &with(&["--report", "reviews.csv/report.html"]),
        1,
        &["reviews.csv"],
    );
}

#[test]
fn a_benchmark_shows_each_way() {
    let dir = trained();
    let at = dir.path();
    let bench = words("bench --model model --data reviews.csv --rows 40 --repeats 2");
    let with = |more: &[&'static str]| [&bench[..], more].concat();
    let table = json(&good(at, &with(&["--batch-sizes", "32,1", "--json"])));
    let figures = table["measured"]["figures"].as_array().expect("figures");
    // Four ways for a batch of 32, one for a single review, and one by tokens.
    assert_eq!(figures.len(), 6);
    for figure in figures {
        let number = |name: &str| figure[name].as_f64().expect("a number");
        assert!(
            figure["spread"][0].as_f64() <= Some(number("samples_per_second")),
            "{figure}"
        );
        assert!(
            number("samples_per_second") > 0.0 && number("peak_share") > 0.0,
            "{figure}"
        );
        assert_eq!(
            number("padding") > 1.0,
            figure["layout"] == "padded",
            "{figure}"
        );
    }
    assert_eq!(figures[0]["lag"]["milliseconds"], 500);
    assert_eq!(figures[4]["lag"]["milliseconds"], 20);
    assert!(
        figures[5]["lag"].is_null(),
        "the notebook has none for this"
    );
    // 40 single reviews, each with a lag of one second.
    let slow = json(&good(
        at,
        &with(&["--batch-sizes", "1", "--lag-ms", "1000", "--json"]),
    ));
    let rate = slow["measured"]["figures"][0]["lag"]["samples_per_second"]
        .as_f64()
        .expect("a rate");
    assert!((0.9..1.0).contains(&rate), "{rate}");
    assert_eq!(table["quoted"][0]["measured"], false);
    assert!(good(at, &bench).contains("ChatGPT (quoted, not measured)"));
    bad(
        at,
        &with(&["--batch-sizes", "32,0"]),
        2,
        &["--batch-sizes", "1..=4096"],
    );
    bad(
        at,
        &with(&["--text-column", "text"]),
        1,
        &["reviews.csv: no column `text`"],
    );
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_resumes_to_the_same_weights() {
    let dir = trained();
    let at = dir.path();
    let mut args = TRAIN.to_vec();
    args[6] = "second";
    args[10] = "40";
    let whole = {
        let mut args = args.clone();
        args[6] = "whole";
        good(at, &args);
        std::fs::read(at.join("whole/model.safetensors")).expect("weights")
    };
    let log = at.join("second/train_log.jsonl");
    let lines = || std::fs::read_to_string(&log).map_or(0, |log| log.lines().count());
    // By SIGINT, as Ctrl-C sends, and then by SIGTERM, as a shutdown sends.
    for (signal, after) in [("-INT", 20), ("-TERM", 150)] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_starsight"))
            .args(&args)
            .current_dir(at)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        while lines() < after && child.try_wait().expect("a child").is_none() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status()
            .expect("a signal");
        let output = child.wait_with_output().expect("ended");
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{signal}: {error}");
        assert!(
            error.contains("saved in second; continue with --resume"),
            "{signal}: {error}"
        );
        assert!(!at.join("second/starsight.json").exists(), "no bundle yet");
        args.push("--resume");
    }
    args.pop();
    good(at, &args);
    assert!(
        whole == std::fs::read(at.join("second/model.safetensors")).expect("weights"),
        "the same weights, bit for bit"
    );
    let steps = |run: &str| -> Vec<String> {
        let log = std::fs::read_to_string(at.join(run).join("train_log.jsonl")).expect("a log");
        log.lines()
            .map(json)
            .map(|line| format!("{} {}", line["step"], line["loss"]))
            .collect()
    };
    assert_eq!(steps("whole"), steps("second"));
}

#[test]
fn a_split_keeps_every_row_and_column() {
    let dir = folder_with("reviews.csv", csv(101));
    let counts = json(&good(
        dir.path(),
        &words("split --data reviews.csv --out parts --json"),
    ));
    assert_eq!(
        counts["rows"],
        serde_json::json!({ "train": 64, "val": 16, "test": 21 })
    );
    assert_eq!(
        names(&dir.path().join("parts")),
        ["test.parquet", "train.parquet", "val.parquet"]
    );
    // Each part can be read and divided again, so it has all columns.
    let again = json(&good(
        dir.path(),
        &words("split --data parts/train.parquet --out again --json"),
    ));
    assert_eq!(again["rows"]["test"], 13);
    // The same reviews in several files, named by their folder, by a pattern, or one by one.
    let whole = csv(101);
    let (first, second) = whole.split_at(whole.match_indices('\n').nth(50).expect("a line").0 + 1);
    std::fs::create_dir(dir.path().join("shards")).expect("a folder");
    let header = whole.lines().next().expect("a header");
    for (name, content) in [
        ("a.csv", first),
        ("b.csv", &format!("{header}\n{second}")),
        ("notes.txt", "none of the reviews"),
    ] {
        std::fs::write(dir.path().join("shards").join(name), content).expect("written");
    }
    let parts = |out: &str| {
        ["train", "val", "test"].map(|part| {
            std::fs::read(dir.path().join(out).join(part).with_extension("parquet"))
                .expect("a part")
        })
    };
    for (data, out) in [
        (&["shards"][..], "folder"),
        (&["shards/*.csv"], "pattern"),
        (&["shards/a.csv", "shards/b.csv"], "files"),
    ] {
        good(
            dir.path(),
            &[&["split", "--out", out, "--data"], data].concat(),
        );
        assert!(parts(out) == parts("parts"), "{data:?}");
    }
    bad(
        dir.path(),
        &words("split --data shards/*.tsv --out none"),
        1,
        &["shards/*.tsv: no such file"],
    );
}

#[test]
fn what_belongs_together_is_not_divided() {
    // 40 texts, each five times and sometimes with other stars; four apps; each row a day later
    // than the one before.
    let row = |i: usize| {
        format!(
            "org.a{},Text {}{},2024-{:02}-{:02},{}\n",
            i % 4,
            i % 40,
            " ".repeat(i / 40),
            1 + i / 28,
            1 + i % 28,
            1 + (i + i / 160) % 5
        )
    };
    let dir = folder_with(
        "reviews.csv",
        format!(
            "package_name,review,date,star\n{}",
            (0..200).map(row).collect::<String>()
        ),
    );
    let at = dir.path();
    let split = |by: &str, more: &[&str]| {
        let mut args = vec![
            "split",
            "--data",
            "reviews.csv",
            "--out",
            "parts",
            "--json",
            "--split-by",
            by,
        ];
        args.extend(more);
        let counts = json(&good(at, &args));
        assert_eq!(counts["by"], by);
        ["train", "val", "test"].map(|part| {
            let table = Tables::open(&[at.join(format!("parts/{part}.parquet"))], None, None)
                .and_then(Tables::join)
                .expect("a table");
            assert_eq!(counts["rows"][part], table.len());
            ["package_name", "review", "date"].map(|column| {
                let values = table.shown(column).expect("values").into_iter();
                values
                    .map(|value| value.trim().to_lowercase())
                    .collect::<Vec<_>>()
            })
        })
    };
    let rows =
        |parts: &[[Vec<String>; 3]; 3]| parts.iter().map(|columns| columns[0].len()).sum::<usize>();
    let disjoint = |parts: &[[Vec<String>; 3]; 3], column: usize| {
        let [train, val, test] = [0, 1, 2]
            .map(|part: usize| parts[part][column].iter().cloned().collect::<HashSet<_>>());
        train.is_disjoint(&val) && train.is_disjoint(&test) && val.is_disjoint(&test)
    };
    assert!(!disjoint(&split("stars", &[]), 1));
    let by_text = split("text", &[]);
    assert!(disjoint(&by_text, 1) && rows(&by_text) == 200);
    assert!(disjoint(&split("column:package_name", &[]), 0));
    let [train, val, test] = split("date:date", &[]).map(|[_, _, dates]| dates);
    assert!(train.iter().max() < val.iter().min() && val.iter().max() < test.iter().min());
    // Of each text's five copies the last has other stars, so two rows of it stay.
    assert_eq!(rows(&split("text", &["--dedup", "package_name"])), 80);
    assert_eq!(
        rows(&split("text", &["--dedup", "package_name,date"])),
        200,
        "none on the same day"
    );
    let given = words("split --data reviews.csv --out parts --split-by given:package_name");
    bad(
        at,
        &given,
        1,
        &["reviews.csv, line 2: `package_name` is \"org.a0\"; expected train, validation or test"],
    );
    bad(
        at,
        &words("split --data reviews.csv --out parts --split-by column:app"),
        1,
        &["reviews.csv: no column `app`"],
    );
    bad(
        at,
        &words("split --data reviews.csv --out parts --split-by day"),
        2,
        &["column:NAME"],
    );
}

/// Files that are refused: name, content, and what the error says.
const BAD_FILES: [(&str, &[u8], &[&str]); 23] = [
    (
        "a.csv",
        b"text,star\nfine,5\n",
        &[
            "a.csv: no column `review`; it has text, star",
            "--text-column",
        ],
    ),
    ("a.csv", b"review,stars\nfine,5\n", &["no column `star`"]),
    (
        "a.csv",
        b"review,star\nfine,5\nbad,6\n",
        &["a.csv, line 3: `star` is \"6\"; expected a whole number from 1 to 5"],
    ),
    (
        "a.csv",
        b"review,star\n\"two\nlines\",5\nbad,0\n",
        &["a.csv, line 4: `star` is \"0\""],
    ),
    (
        "a.csv",
        b"review,star\nfine,good\n",
        &["`star` is \"good\""],
    ),
    ("a.csv", b"review,star\nfine,4.5\n", &["`star` is \"4.5\""]),
    (
        "a.csv",
        b"review,star\nfine,\n",
        &["a.csv, line 2: `star` is empty", "--drop-empty"],
    ),
    ("a.csv", b"", &["a.csv: empty file"]),
    ("a.csv", b"review,star\n", &["a.csv: no reviews"]),
    (
        "a.csv",
        b"review,star\nfine,5,extra\n",
        &["a.csv, line 2: 3 fields, but the header names 2"],
    ),
    (
        "a.csv",
        b"review,star\nfine,5\n\nbad,6\n",
        &["a.csv, line 4: `star` is \"6\""],
    ),
    (
        "a.csv",
        b"review,star\r\nfine,5\r\n\r\n\"two\r\nlines\",5\r\nbad,6\r\n",
        &["a.csv, line 6: `star` is \"6\""],
    ),
    (
        "a.csv",
        b"star,review\n5,fine\n1,\"bad\n5,fine\n",
        &["a.csv, line 3: unclosed quotation mark"],
    ),
    (
        "a.tsv",
        b"star\treview\n5\t\"fine\"\n1\t\"\"\"bad\"\"\n",
        &["a.tsv, line 3: unclosed quotation mark"],
    ),
    (
        "a.csv",
        b"review,star\nfine,as many stars as there are in the sky; and more\n",
        &["a.csv, line 2: `star` is \"as many stars as there are in the sky; a\"…; expected"],
    ),
    (
        "a.csv",
        b"\"review,star\nfine,5\n",
        &["a.csv, line 1: unclosed quotation mark"],
    ),
    (
        "a.csv",
        b"review,star\nfine,5\ngood,5,more\nbad\n",
        &["a.csv, line 3: 3 fields, but the header names 2"],
    ),
    (
        "a.jsonl",
        b"{\"review\": \"nice \\ud83d\", \"star\": 5}\n",
        &["a.jsonl, line 1: not a JSON object"],
    ),
    (
        "a.parquet",
        b"PAR1 not really",
        &["a.parquet: not a complete Parquet file"],
    ),
    (
        "a.jsonl",
        b"{\"review\": \"fine\", \"star\": 5}\n{\"review\": \n",
        &["a.jsonl, line 2: not a JSON object"],
    ),
    (
        "a.jsonl",
        b"{\"review\": null, \"star\": 5}\n",
        &["a.jsonl, line 1: `review` is empty", "--drop-empty"],
    ),
    (
        "a.jsonl",
        b"{\"review\": 3, \"star\": 5}\n",
        &["column `review` has type Int64; expected text"],
    ),
    (
        "a.txt",
        b"fine",
        &["a.txt: files of this type cannot be read"],
    ),
];

#[test]
fn bad_files_are_named_with_their_place() {
    for (name, content, says) in BAD_FILES {
        let dir = folder_with(name, content);
        bad(
            dir.path(),
            &["split", "--data", &format!("./{name}"), "--out", "parts"],
            1,
            says,
        );
        assert_eq!(names(dir.path()), [name], "nothing is half written");
    }
    let dir = folder_with(
        "one.csv",
        "review,star\n".to_string() + &"fine,5\n".repeat(20) + "bad,1\n",
    );
    bad(
        dir.path(),
        &words("split --data one.csv --out parts"),
        1,
        &["one.csv: too few reviews: class 1 has 1 review left for the test split; 2 are needed"],
    );
    bad(
        dir.path(),
        &words("split --data missing.csv --out parts"),
        1,
        &["missing.csv: no such file"],
    );
}

#[test]
fn bad_arguments_are_named() {
    let dir = folder_with("one.csv", csv(20));
    bad(dir.path(), &["split", "--data", "one.csv"], 2, &["--out"]);
    bad(dir.path(), &["fly"], 2, &["unrecognized subcommand"]);
    for host in [
        "hub.example",
        "https://",
        "https://hub.example/models",
        "https://hub.example;script-src *",
        "https://hub\"example",
    ] {
        bad(
            dir.path(),
            &["site", "--model", "m", "--out", "o", "--model-host", host],
            2,
            &["--model-host", "expected a host such as"],
        );
    }
    bad(
        dir.path(),
        &words("site --model m --out o --base-url you.github.io"),
        2,
        &["--base-url", "expected an address such as"],
    );
    bad(
        dir.path(),
        &words("train --out x --lr 0"),
        2,
        &["--lr", "expected a number above 0"],
    );
}

#[test]
fn what_is_guessed_of_a_file_is_said() {
    let dir = folder_with(
        "a.csv",
        &b"review;star\nfine;5\ntr\xe8s bien, merci;4\n"[..],
    );
    let said = text(&starsight(dir.path(), &["data", "--data", "a.csv"]).stderr);
    assert!(
        said.contains("a.csv: its fields are separated by `;`"),
        "{said}"
    );
    assert!(
        said.contains("a.csv: 1 row is not UTF-8 and read as Windows-1252 (line 3)"),
        "{said}"
    );
}

#[test]
fn empty_and_endless_reviews_stay_in() {
    let mut content = csv(160);
    content += "org.example,,2024-01-01,5\norg.example,\"   \",2024-01-01,5\n";
    content += &format!("org.example,{},2024-01-01,1\n", "x".repeat(100_000));
    content += "org.example,\"comma, \"\"quote\"\" and\nline break\",2024-01-01,1\n";
    let dir = folder_with("reviews.csv", content);
    let output = starsight(
        dir.path(),
        &words("split --data reviews.csv --out all --json"),
    );
    assert!(
        text(&output.stderr)
            .contains("2 of 164 reviews have no text, and are kept; --drop-empty leaves them out"),
        "{}",
        text(&output.stderr)
    );
    let total = |output: &Output| {
        ["train", "val", "test"]
            .map(|part| {
                json(&text(&output.stdout))["rows"][part]
                    .as_u64()
                    .expect("a count")
            })
            .iter()
            .sum::<u64>()
    };
    assert_eq!(total(&output), 164);
    let dropped = starsight(
        dir.path(),
        &words("split --data reviews.csv --out dropped --json --drop-empty"),
    );
    assert_eq!(total(&dropped), 162);
    good(
        dir.path(),
        &words("init --data reviews.csv --out base --layers 1 --hidden 16 --vocab-size 150"),
    );
    good(
        dir.path(),
        &words("train --model base --data reviews.csv --out model --batch 16 --lr 1e-3"),
    );
    let rated = json(&good(
        dir.path(),
        &[
            "rate",
            "--model",
            "model",
            "--json",
            "",
            &"x".repeat(100_000),
        ],
    ));
    for rating in rated["ratings"].as_array().expect("ratings") {
        let sum: f64 = rating["probabilities"]
            .as_array()
            .expect("five")
            .iter()
            .map(|p| p.as_f64().expect("a number"))
            .sum();
        assert!((sum - 1.0).abs() < 1e-5);
    }
}

#[test]
fn a_model_that_cannot_be_computed_is_told() {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let dir = folder_with("reviews.csv", csv(80));
    let at = dir.path();
    bad(
        at,
        &words("train --model ./nowhere --data reviews.csv --out out"),
        1,
        &["./nowhere: no such folder"],
    );
    bad(
        at,
        &words("train --model . --data reviews.csv --out out"),
        1,
        &["contains no model: config.json is missing"],
    );
    // A name that looks like a repository may be a mistyped folder.
    let mut mistyped = Command::new(env!("CARGO_BIN_EXE_starsight"));
    mistyped
        .args(["rate", "--model", "runs/mdoel", "x"])
        .current_dir(at)
        .env("HF_HUB_OFFLINE", "1")
        .env("HF_HOME", at.join("hf"));
    let output = mistyped
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("no local folder runs/mdoel; trying the Hub: "),
        "{}",
        text(&output.stderr)
    );
    let model = at.join("model");
    std::fs::create_dir(&model).expect("a folder");
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(fixtures.join("bert-legacy").join(name), model.join(name)).expect("copied");
    }
    // A bare encoder cannot rate; training adds a new head and says so.
    bad(
        at,
        &words("rate --model model x"),
        1,
        &["no tensor `classifier.weight`"],
    );
    let output = starsight(
        at,
        &words("train --model model --data reviews.csv --out tuned"),
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains(
            "the head is new, initialised from seed 42: classifier.weight, classifier.bias"
        )
    );
    let config = std::fs::read_to_string(model.join("config.json")).expect("a config");
    std::fs::write(
        model.join("config.json"),
        config.replace("\"bert\"", "\"roberta\""),
    )
    .expect("written");
    bad(
        at,
        &words("train --model model --data reviews.csv --out out"),
        1,
        &["model_type is \"roberta\"; supported are"],
    );
    std::fs::write(
        model.join("config.json"),
        config.replace("\"hidden_size\": 32", "\"hidden_size\": 64"),
    )
    .expect("written");
    bad(
        at,
        &words("train --model model --data reviews.csv --out out"),
        1,
        &[
            "embeddings.word_embeddings.weight",
            "has shape",
            "config.json asks for",
        ],
    );
    assert!(!at.join("out").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_leaves_nothing_half_written() {
    let dir = trained();
    // A limit on file size simulates a full disk: the write fails in the middle.
    let limited = |args: &str| {
        let line = format!(
            "ulimit -f 8; trap '' XFSZ; exec '{}' {args}",
            env!("CARGO_BIN_EXE_starsight")
        );
        Command::new("sh")
            .args(["-c", &line])
            .current_dir(dir.path())
            .output()
            .expect("a shell")
    };
    let before = names(dir.path());
    let output = limited("rate --model model --data reviews.csv --out rated.csv");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("writing rated.csv"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(names(dir.path()), before);
    let output = limited("publish --model model --out copy");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("writing copy"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(names(dir.path()), before);

    // Only the last part exceeds the limit; none of the three may replace an older one.
    let at = dir.path();
    good(at, &words("split --data reviews.csv --out parts"));
    let parts = || {
        names(&at.join("parts"))
            .into_iter()
            .map(|name| {
                (
                    std::fs::read(at.join("parts").join(&name)).expect("a part"),
                    name,
                )
            })
            .collect::<Vec<_>>()
    };
    let old = parts();
    let mut noise = 1u64;
    let mut word = || {
        noise = noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        format!("{noise:x}")
    };
    let row = |i: usize| {
        format!(
            "{},2024-{:02}-{:02},{}\n",
            if i < 80 {
                "short".into()
            } else {
                (0..100).map(|_| word()).collect::<String>()
            },
            1 + i / 28,
            1 + i % 28,
            1 + i % 5
        )
    };
    std::fs::write(
        at.join("dated.csv"),
        format!(
            "review,date,star\n{}",
            (0..100).map(row).collect::<String>()
        ),
    )
    .expect("written");
    let output = limited("split --data dated.csv --split-by date:date --out parts");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("writing parts/test.parquet"),
        "{}",
        text(&output.stderr)
    );
    assert!(parts() == old);
}

#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_printed_is_no_panic() {
    let dir = trained();
    let run = |args: &[&str], out: Stdio, error: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_starsight"));
        command
            .args(args)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(error)
            .spawn()
            .and_then(Child::wait_with_output)
            .expect("the program ends")
    };
    let full = || {
        Stdio::from(
            std::fs::File::options()
                .write(true)
                .open("/dev/full")
                .expect("a device"),
        )
    };
    let split = words("split --data reviews.csv --out parts --json");
    for args in [
        &["data", "--data", "reviews.csv"][..],
        &split,
        &["rate", "--model", "model", "--json", "great app"],
    ] {
        let output = run(args, full(), Stdio::piped());
        assert_eq!(
            output.status.code(),
            Some(1),
            "{args:?}: {}",
            text(&output.stderr)
        );
        assert!(
            text(&output.stderr)
                .contains("error: writing to standard output: No space left on device"),
            "{args:?}: {}",
            text(&output.stderr)
        );
    }
    assert_eq!(
        names(&dir.path().join("parts")),
        ["test.parquet", "train.parquet", "val.parquet"],
        "the work is done all the same"
    );
    // A closed pipe, as `head` leaves one, is not an error.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = run(
        &["data", "--data", "reviews.csv"],
        writer.into(),
        Stdio::piped(),
    );
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), String::new())
    );
    // Progress that cannot be printed does not stop the run.
    let output = run(
        &[
            "train",
            "--model",
            "base",
            "--data",
            "reviews.csv",
            "--max-steps",
            "2",
            "--out",
            "unheard",
            "--json",
        ],
        Stdio::piped(),
        full(),
    );
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(json(&text(&output.stdout))["steps"], 2);
}

#[test]
fn a_port_that_is_taken_is_told() {
    let dir = folder_with("index.html", "<p>a site</p>");
    let other = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = other.local_addr().expect("an address").port().to_string();
    bad(
        dir.path(),
        &["serve", ".", "--port", &port],
        1,
        &[&format!("port {port} is in use"), "--port"],
    );
    bad(
        dir.path(),
        &["serve", "nowhere"],
        1,
        &["nowhere is not a folder"],
    );
    bad(dir.path(), &words("serve . --port 65536"), 2, &["--port"]);
}
