"""Metrics of ratings of reviews whose stars are known, as one line of JSON."""

import json

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score

STARS = np.arange(1, 6)


def ece(probabilities, truth, bins=15):
    """The expected calibration error of shared/src/metrics.rs: equal bins of the highest probability."""
    sure, right = probabilities.max(1), probabilities.argmax(1) + 1 == truth
    place = np.minimum((sure * bins).astype(int), bins - 1)
    return sum((place == b).mean() * abs(right[place == b].mean() - sure[place == b].mean()) for b in range(bins) if (place == b).any())


def read(path):
    """Reads reviews from a CSV or Parquet file."""
    return (pd.read_parquet(path) if path.endswith(".parquet") else pd.read_csv(path)).fillna({"review": ""})


def judge(name, data, probabilities, truth):
    """Prints the metrics of probabilities (reviews, 5)."""
    stars = probabilities.argmax(1) + 1
    far = np.abs(stars - truth)
    print(
        json.dumps(
            dict(
                rater=name,
                data=data,
                reviews=len(truth),
                accuracy=accuracy_score(truth, stars),
                off_by_one=float((far <= 1).mean()),
                mae=float(far.mean()),
                qwk=cohen_kappa_score(truth, stars, weights="quadratic", labels=STARS),
                macro_f1=f1_score(truth, stars, average="macro", labels=STARS, zero_division=0),
                ece=float(ece(probabilities, truth)),
            )
        ),
        flush=True,
    )
