"""Checks a Starsight bundle against `transformers`, which loads the folder, or the repository on the Hub,
and computes the logits of the probes.

usage: check_bundle.py BUNDLE|OWNER/NAME. Prints the largest difference; exits with 1 if it is above 1e-4,
or if the labels have other names.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from transformers import AutoModelForSequenceClassification, AutoTokenizer

TOLERANCE = 1e-4


def main() -> int:
    parser = argparse.ArgumentParser(description="Compares a bundle's probes with what transformers computes.")
    parser.add_argument("bundle", metavar="BUNDLE|OWNER/NAME")
    name = parser.parse_args().bundle
    local = Path(name).is_dir()
    bundle = Path(name) if local else Path(snapshot_download(name))
    if not (bundle / "starsight.json").is_file():
        parser.error(f"{bundle} is no bundle: it has no starsight.json")

    probes = json.loads((bundle / "starsight.json").read_text(encoding="utf-8"))["probes"]
    if not probes:
        print("the bundle has no probes", file=sys.stderr)
        return 1

    model, loading = AutoModelForSequenceClassification.from_pretrained(
        name, local_files_only=local, output_loading_info=True
    )
    if any(loading.values()):
        print(f"the weights are not those of the model: {loading}", file=sys.stderr)
        return 1
    labels = {0: "1 star"} | {label: f"{label + 1} stars" for label in range(1, 5)}
    if model.config.id2label != labels:
        print(f"the labels are {model.config.id2label}, not {labels}", file=sys.stderr)
        return 1
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=local)

    differences = []
    for probe in probes:
        ids = tokenizer(
            probe["text"], truncation=True, max_length=model.config.max_position_embeddings, return_tensors="pt"
        )
        with torch.no_grad():
            logits = model(**ids).logits[0]
        differences.append((logits - torch.tensor(probe["logits"])).abs().max())
    largest, worst = torch.stack(differences).max(0)  # max treats NaN as the largest value
    print(f"{len(probes)} probes, largest difference {largest:.3e}, at {probes[worst]['text'][:60]!r}")
    return 0 if largest <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
