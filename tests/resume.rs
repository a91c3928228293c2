//! Runs that are interrupted at any moment and resume to the same weights.

mod common;

#[cfg(unix)]
mod unix {
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::process::{Command, Output, Stdio};
    use std::time::{Duration, Instant};

    use serde_json::Value;
    use starsight_model::rng;
    use tempfile::TempDir;

    use crate::common::{self, bad, csv, folder_with, good, json, starsight, text, words};

    /// Dropout, an evaluation within the epoch, and further checkpoints: frequent saving makes it
    /// likely that a kill interrupts a save.
    #[rustfmt::skip]
    const TRAIN: [&str; 23] = [
        "train", "--resume", "--model", "base", "--data", "reviews.csv", "--lr", "5e-3", "--epochs", "5", "--batch", "16", "--accum", "1", "--dropout", "0.2",
        "--eval-every", "9", "--save-every", "2", "--best-by", "macro-f1", "--out",
    ];

    fn train(out: &str) -> Vec<&str> {
        TRAIN.into_iter().chain([out]).collect()
    }

    /// A folder with reviews.csv, base/, and whole/, a run without interruption; and the time it
    /// took.
    fn whole() -> (tempfile::TempDir, Duration) {
        let dir = folder_with("reviews.csv", csv(320));
        let init = words(
            "init --data reviews.csv --out base --layers 1 --hidden 32 --vocab-size 200 --max-length 32",
        );
        good(dir.path(), &init);
        let clock = Instant::now();
        good(dir.path(), &train("whole"));
        let time = clock.elapsed();
        (dir, time)
    }

    /// Asserts that the run in `out` gave the same results as whole/, and left no temporary files.
    fn assert_whole(at: &Path, out: &str) {
        let read = |run: &str, name: &str| fs::read(at.join(run).join(name)).expect("a file");
        assert!(
            read("whole", "model.safetensors") == read(out, "model.safetensors"),
            "the same weights, bit for bit"
        );
        let steps = |run: &str| -> Vec<String> {
            let told = |line| {
                let line = json(line);
                format!("{} {} {}", line["step"], line["loss"], line["validation"])
            };
            text(&read(run, "train_log.jsonl"))
                .lines()
                .map(told)
                .collect()
        };
        assert_eq!(steps("whole"), steps(out));
        let entries = |dir: &Path| {
            fs::read_dir(dir)
                .expect("a folder")
                .map(|e| e.expect("an entry").path())
                .collect::<Vec<_>>()
        };
        let hidden = |path: &Path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with('.'))
        };
        let mut folders = vec![at.join(out)];
        while let Some(folder) = folders.pop() {
            for path in entries(&folder) {
                assert!(!hidden(&path), "{} is left", path.display());
                folders.extend(path.is_dir().then_some(path));
            }
        }
        assert_eq!(checkpoints(at, out), checkpoints(at, "whole"));
    }

    fn checkpoints(at: &Path, out: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(at.join(out).join("checkpoints")) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .map(|e| {
                e.expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names.retain(|name| name.starts_with("step-"));
        names
    }

    /// Starts the run, and kills it after `time`.
    fn killed_after(at: &Path, out: &str, time: Duration) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_starsight"))
            .args(train(out))
            .current_dir(at)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        std::thread::sleep(time);
        // SIGKILL; the run may have ended before.
        child.kill().expect("killed");
        child.wait_with_output().expect("ended")
    }

    #[test]
    fn a_run_that_is_killed_again_and_again_ends_with_the_same_weights() {
        let (dir, time) = whole();
        let at = dir.path();
        // Times are drawn from a seed, so that a failure can be looked for again, as far as the
        // clock allows.
        for i in 0..8 {
            let share = rng::bits(2026, i) as f64 / u64::MAX as f64;
            let output = killed_after(at, "killed", time.mul_f64(0.6 * share));
            assert!(
                !text(&output.stderr).contains("error:"),
                "{}",
                text(&output.stderr)
            );
            assert!(
                !text(&output.stderr).contains("cannot be used"),
                "no half checkpoint has a checkpoint's name: {}",
                text(&output.stderr)
            );
        }
        good(at, &train("killed"));
        assert_whole(at, "killed");
    }

    /// A folder with 40,000 reviews and a base model.
    fn with_many() -> TempDir {
        // All texts differ: equal ones would be rated once.
        let ending = |i: usize| {
            (0..16)
                .map(|bit| if (i >> bit) & 1 == 1 { " good" } else { " bad" })
                .collect::<String>()
        };
        let rows = csv(40_000)
            .lines()
            .enumerate()
            .map(|(i, row)| row.replace("\",2024", &format!("{}\",2024", ending(i))) + "\n")
            .collect::<String>();
        let dir = folder_with("reviews.csv", rows);
        let init = words(
            "init --data reviews.csv --out base --layers 2 --hidden 64 --vocab-size 200 --max-length 32",
        );
        good(dir.path(), &init);
        dir
    }

    /// Trains two steps on them.
    fn train_two(out: &str) -> Vec<&str> {
        let mut line = words(
            "train --resume --model base --data reviews.csv --max-steps 2 --batch 16 --accum 1 --out",
        );
        line.push(out);
        line
    }

    #[test]
    fn a_validation_that_is_interrupted_is_made_up_for() {
        let dir = with_many();
        let at = dir.path();
        good(at, &train_two("whole"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_starsight"))
            .args(train_two("cut"))
            .current_dir(at)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        // Both steps are in the log, the validation of 6,400 reviews is not.
        let log = || fs::read_to_string(at.join("cut/train_log.jsonl")).unwrap_or_default();
        let clock = Instant::now();
        while log().lines().count() < 2 {
            assert!(
                clock.elapsed() < Duration::from_mins(1)
                    && child.try_wait().expect("a child").is_none(),
                "no steps"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(
            Command::new("kill")
                .args(["-INT", &child.id().to_string()])
                .status()
                .expect("kill")
                .success()
        );
        let output = child.wait_with_output().expect("ended");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("interrupted after step 2 of 2; saved in cut; continue with --resume"),
            "{said}"
        );
        assert!(
            !said.contains("validation loss") && !log().contains("validation"),
            "{said}"
        );
        good(at, &train_two("cut"));
        assert_whole(at, "cut");
    }

    #[test]
    fn a_test_split_whose_rating_is_interrupted_is_made_up_for() {
        let dir = with_many();
        let at = dir.path();
        good(at, &train_two("whole"));
        // After the last step the test split of 8,000 reviews remains to be rated.
        let mut child = Command::new(env!("CARGO_BIN_EXE_starsight"))
            .args(train_two("rated"))
            .current_dir(at)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut lines = BufReader::new(child.stderr.take().expect("standard error"))
            .lines()
            .map(|line| line.expect("text"));
        assert!(
            lines.any(|line| line.starts_with("kept step ")),
            "no weights to rate with"
        );
        assert!(
            Command::new("kill")
                .args(["-INT", &child.id().to_string()])
                .status()
                .expect("kill")
                .success()
        );
        let said: Vec<String> = lines.collect();
        assert_eq!(child.wait().expect("ended").code(), Some(1), "{said:?}");
        let last = "error: interrupted before the test split was rated; saved in rated; continue with --resume";
        assert_eq!(said.last().map(String::as_str), Some(last));
        good(at, &train_two("rated"));
        assert_whole(at, "rated");
    }

    /// Applies `change` to the saved state in each checkpoint of whole/.
    fn retold(at: &Path, change: impl Fn(&mut Value)) {
        for name in checkpoints(at, "whole") {
            let path = at.join("whole/checkpoints").join(name).join("state.json");
            let mut saved = json(&text(&fs::read(&path).expect("a state")));
            change(&mut saved["state"]);
            fs::write(&path, saved.to_string()).expect("written");
        }
    }

    fn forget(object: &mut Value, field: &str) {
        assert!(
            object
                .as_object_mut()
                .and_then(|fields| fields.remove(field))
                .is_some(),
            "no {field}"
        );
    }

    #[test]
    fn a_run_goes_on_from_the_same_base_alone_and_from_what_earlier_versions_told_of_it() {
        let (dir, _) = whole();
        let at = dir.path();
        let init = words(
            "init --data reviews.csv --out other/base --layers 1 --hidden 32 --vocab-size 200 \
         --max-length 32 --seed 7",
        );
        good(at, &init);
        // Another base with the same name, shape and vocabulary.
        let other: Vec<&str> = train("whole")
            .into_iter()
            .map(|flag| if flag == "base" { "other/base" } else { flag })
            .collect();
        bad(
            at,
            &other,
            1,
            &[
                "whole contains a run that differs; --resume needs the same recipe, base model and data",
            ],
        );

        let mode = |path: &Path| fs::metadata(path).expect("a folder").permissions().mode() & 0o777;
        fs::create_dir(at.join("new")).expect("a folder");
        for name in checkpoints(at, "whole") {
            assert_eq!(
                mode(&at.join("whole/checkpoints").join(name)),
                mode(&at.join("new")),
                "as open as any new folder"
            );
        }

        retold(at, |state| {
            forget(&mut state["run"], "base");
            forget(&mut state["run"]["recipe"], "decode");
            forget(&mut state["run"]["recipe"], "ordinal-log-loss");
        });
        let output = starsight(at, &train("whole"));
        assert!(
            output.status.success() && text(&output.stderr).contains("resuming after step"),
            "{}",
            text(&output.stderr)
        );

        retold(at, |state| forget(state, "watch"));
        bad(
            at,
            &train("whole"),
            1,
            &[
                "state.json was written by another version of Starsight",
                "missing field `watch`",
            ],
        );
    }

    #[test]
    fn a_fresh_student_is_neither_touched_by_a_run_that_is_refused_nor_taken_for_another() {
        let dir = common::trained();
        let at = dir.path();
        let distil = |layers: &'static str, more: &[&'static str]| {
            #[rustfmt::skip]
            let flags = [
                "distill", "--teacher", "model", "--data", "reviews.csv", "--out", "student", "--hidden", "16", "--heads", "2", "--vocab-size", "150", "--max-length",
                "32", "--max-steps", "1", "--layers", layers,
            ];
            [&flags[..], more].concat()
        };
        let layers = || {
            json(&text(
                &fs::read(at.join("student/student/config.json")).expect("a file"),
            ))["n_layers"]
                .as_u64()
        };
        let again = |flags: &[&str]| {
            let output = starsight(at, flags);
            let said = text(&output.stderr);
            assert!(
                output.status.success() && said.contains("reviews from"),
                "what the teacher said is kept: {said}"
            );
        };
        good(at, &distil("1", &[]));
        // Only checkpoints show that there was a run.
        fs::remove_file(at.join("student/starsight.json")).expect("removed");
        let missing: Vec<&str> = distil("2", &[])
            .into_iter()
            .map(|flag| {
                if flag == "reviews.csv" {
                    "nothing.csv"
                } else {
                    flag
                }
            })
            .collect();
        bad(at, &missing, 1, &["student contains an earlier run"]);
        assert_eq!(layers(), Some(1));
        bad(
            at,
            &distil("2", &["--resume"]),
            1,
            &[
                "--resume needs the same recipe, base model and data",
                r#""layers":2"#,
            ],
        );
        again(&distil("1", &["--resume"]));
        assert_eq!(layers(), Some(1));
        // Without a checkpoint there is nothing to resume from.
        for name in checkpoints(at, "student") {
            fs::remove_dir_all(at.join("student/checkpoints").join(name)).expect("removed");
        }
        again(&distil("2", &["--resume"]));
        assert_eq!(layers(), Some(2));
        again(&distil("1", &["--overwrite"]));
        assert_eq!(layers(), Some(1));
    }

    /// Damages a checkpoint's folder.
    type Damage = fn(&Path);

    #[test]
    fn a_damaged_checkpoint_is_told_and_passed_over() {
        let (dir, _) = whole();
        let at = dir.path();
        let resumed = |what: &str| {
            let output = starsight(at, &train("copy"));
            assert!(output.status.success(), "{what}: {}", text(&output.stderr));
            assert_whole(at, "copy");
            text(&output.stderr)
        };
        let copy = || {
            let _ = fs::remove_dir_all(at.join("copy"));
            assert!(
                Command::new("cp")
                    .args(["-r", "whole", "copy"])
                    .current_dir(at)
                    .status()
                    .expect("cp")
                    .success()
            );
            let names = checkpoints(at, "copy");
            names[names.len() - 2..]
                .iter()
                .map(|name| at.join("copy/checkpoints").join(name))
                .collect::<Vec<_>>()
        };
        let damages: [(&str, Damage); 5] = [
            ("one bit", |path| {
                let path = path.join("first_moment.safetensors");
                let mut bytes = fs::read(&path).expect("moments");
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(&path, bytes).expect("written");
            }),
            ("cut off", |path| {
                let path = path.join("model.safetensors");
                let bytes = fs::read(&path).expect("weights");
                fs::write(&path, &bytes[..bytes.len() - 1]).expect("written");
            }),
            ("a file is gone", |path| {
                fs::remove_file(path.join("second_moment.safetensors")).expect("removed");
            }),
            ("no state", |path| {
                fs::remove_file(path.join("state.json")).expect("removed");
            }),
            ("half a state", |path| {
                let bytes = fs::read(path.join("state.json")).expect("a state");
                fs::write(path.join("state.json"), &bytes[..bytes.len() / 2]).expect("written");
            }),
        ];
        for (what, damage) in damages {
            let newest = copy();
            damage(&newest[1]);
            let said = resumed(what);
            assert!(
                said.contains(&format!(
                    "the checkpoint copy/checkpoints/{}",
                    newest[1].file_name().expect("a name").display()
                )),
                "{what}: {said}"
            );
            assert!(
                said.contains("cannot be used") && said.contains("resuming after step"),
                "{what}: {said}"
            );
        }
        // Temporary files of a killed program are removed.
        copy();
        fs::create_dir(at.join("copy/checkpoints/.saving-abc")).expect("a folder");
        fs::write(
            at.join("copy/checkpoints/.saving-abc/model.safetensors"),
            "half",
        )
        .expect("written");
        fs::write(at.join("copy/.starsight-abc"), "half").expect("written");
        resumed("leftovers");
        // Without an intact checkpoint the run is refused.
        copy();
        for name in checkpoints(at, "copy") {
            fs::remove_file(at.join("copy/checkpoints").join(name).join("state.json"))
                .expect("removed");
        }
        bad(
            at,
            &train("copy"),
            1,
            &["copy/checkpoints has no complete checkpoint; --overwrite starts from the beginning"],
        );
    }

    #[test]
    fn a_disk_that_fills_up_costs_nothing_that_was_saved() {
        let (dir, _) = whole();
        let at = dir.path();
        // A limit on file size simulates a full disk: the log fits, the weights do not.
        let limited = || {
            let line = format!(
                "ulimit -f 64; trap '' XFSZ; exec '{}' {}",
                env!("CARGO_BIN_EXE_starsight"),
                train("full").join(" ")
            );
            let output = Command::new("sh")
                .args(["-c", &line])
                .current_dir(at)
                .output()
                .expect("a shell");
            assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
            assert!(
                text(&output.stderr).contains("saving the checkpoint full/checkpoints/step-"),
                "{}",
                text(&output.stderr)
            );
        };
        limited();
        assert!(checkpoints(at, "full").is_empty());
        let mut time = Duration::from_millis(50);
        while checkpoints(at, "full").is_empty() {
            killed_after(at, "full", time);
            time += Duration::from_millis(50);
        }
        let before = checkpoints(at, "full");
        limited();
        assert_eq!(checkpoints(at, "full"), before);
        good(at, &train("full"));
        assert_whole(at, "full");
    }
}
