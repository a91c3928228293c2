"""Checks publishing and fetching against Python's huggingface_hub and transformers, on the tests' own Hub.

usage: check_hub.py TARGET, the folder with the programs `starsight` and `examples/loopback_hub`. A small
model is trained and published. Python downloads it, reads its card and computes its probes. Then each side
reads, offline, the cache that the other one filled. Exits with 1 if anything differs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

HERE = Path(__file__).resolve().parent
SAMPLES = HERE.parent.parent / "samples" / "reviews.csv"
REPO = "python/star-ratings"
TOKEN = "hf_ofTheCheck"
REVIEW = "Great app, I use it every day!"

# Run in separate Python processes: huggingface_hub reads its environment variables when it is
# imported.
DOWNLOAD = """
import sys
from huggingface_hub import snapshot_download
print(snapshot_download(sys.argv[1]))
"""
READ_CARD = """
import json, sys
from huggingface_hub import ModelCard, metadata_load
path = sys.argv[1] + "/README.md"
card = ModelCard.load(path)
results = [[result.dataset_type, result.metric_type, result.metric_value] for result in card.data.eval_results]
print(json.dumps({"metadata": metadata_load(path), "model_name": card.data.model_name, "results": results}))
"""


def check(what: str, holds: bool) -> None:
    print(f"{'ok  ' if holds else 'FAIL'}  {what}")
    if not holds:
        sys.exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Holds publishing and fetching to Python's huggingface_hub.")
    parser.add_argument("target", type=Path, metavar="TARGET")
    target = parser.parse_args().target.resolve()

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        server = subprocess.Popen(
            [target / "examples" / "loopback_hub", "0", home / "hub", TOKEN], stdout=subprocess.PIPE, text=True
        )
        try:
            endpoint = server.stdout.readline().split(" at ")[1].split(",")[0]
            compare(target / "starsight", home, endpoint)
        finally:
            server.terminate()
            server.wait()


def compare(starsight: Path, home: Path, endpoint: str) -> None:
    def run(*command: str | Path, cache: str, offline: bool = False, token: str | None = None) -> str:
        env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        env |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home / cache)}
        env |= {"HF_HUB_OFFLINE": "1"} if offline else {}
        env |= {"HF_TOKEN": token} if token else {}
        return subprocess.run(command, env=env, cwd=home, check=True, stdout=subprocess.PIPE, text=True).stdout

    def python(*arguments: str | Path, **how) -> str:
        return run(sys.executable, "-B", *arguments, **how)

    shape = ["--layers", "1", "--hidden", "32", "--vocab-size", "400", "--max-length", "64"]
    run(starsight, "init", "--data", SAMPLES, "--out", "base", *shape, cache="none")
    run(starsight, "train", "--model", "base", "--data", SAMPLES, "--out", "model", "--max-steps", "20", cache="none")
    published = json.loads(run(starsight, "publish", "--model", "model", "--to", REPO, "--json", cache="none", token=TOKEN))
    check(f"published {published['files']} files in commit {published['commit']}", len(published["commit"]) == 40)

    snapshot = Path(python("-c", DOWNLOAD, REPO, cache="of-python").strip())
    check("Python downloads that commit", snapshot.name == published["commit"])
    files = json.loads((snapshot / "starsight.json").read_text(encoding="utf-8"))["files"]
    hashes = [sha256((snapshot / file["path"]).read_bytes()).hexdigest() for file in files]
    check(f"its {len(files)} files are those of the manifest", hashes == [file["sha256"] for file in files])

    card = json.loads(python("-c", READ_CARD, snapshot, cache="of-python"))
    metrics = json.loads((home / "model" / "metrics.json").read_text(encoding="utf-8"))["test"]
    wanted = [["accuracy", round(metrics["accuracy"], 4)], ["mae", round(metrics["mae"], 4)], ["f1", round(metrics["macro_f1"], 4)]]
    check("huggingface_hub reads the model card", card["metadata"]["library_name"] == "transformers" and card["model_name"] == "model")
    check(f"and its results {wanted}", [result[1:] for result in card["results"]][:3] == wanted)

    print(python(HERE / "check_bundle.py", REPO, cache="of-python").strip())
    check("transformers loads it by name and agrees with its probes", True)

    rate = [starsight, "rate", "--json", REVIEW, "--model"]
    here = run(*rate, "model", cache="none")
    check("Starsight rates the same, offline, from Python's cache", run(*rate, REPO, cache="of-python", offline=True) == here)
    check("Starsight rates the same from the Hub", run(*rate, REPO, cache="of-starsight") == here)
    theirs = Path(python("-c", DOWNLOAD, REPO, cache="of-starsight", offline=True).strip())
    check("Python finds the files offline in Starsight's cache", theirs.name == published["commit"])
    print(python(HERE / "check_bundle.py", REPO, cache="of-starsight", offline=True).strip())
    check("and transformers loads them from there", True)


if __name__ == "__main__":
    main()
