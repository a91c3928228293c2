"""What a rater without a network is worth: TF-IDF over words and pairs of words with logistic regression, and five stars for everything. Learned from one split, told on others.

    starsight split --data REVIEWS --split-by text --dedup --out SPLIT
    python3 tests/measure/baseline.py SPLIT [OTHER.csv ...]

needs: scikit-learn pandas pyarrow
"""

import json
import sys

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score
from sklearn.pipeline import make_pipeline

STARS = np.arange(1, 6)


def ece(probabilities, truth, bins=15):
    """The expected calibration error of shared/src/metrics.rs: equal bins of the highest probability."""
    sure, right = probabilities.max(1), probabilities.argmax(1) + 1 == truth
    place = np.minimum((sure * bins).astype(int), bins - 1)
    return sum((place == b).mean() * abs(right[place == b].mean() - sure[place == b].mean()) for b in range(bins) if (place == b).any())


def judge(name, data, probabilities, truth):
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


folder, others = sys.argv[1], sys.argv[2:]
read = lambda path: (pd.read_parquet(path) if path.endswith(".parquet") else pd.read_csv(path)).fillna({"review": ""})
train = read(f"{folder}/train.parquet")
model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True), LogisticRegression(C=1.0, max_iter=300))
model.fit(train.review, train.star)
shares = np.bincount(train.star, minlength=6)[1:] / len(train)
for path in [f"{folder}/test.parquet", *others]:
    data = read(path)
    truth = data.star.to_numpy()
    judge("TF-IDF and logistic regression", path, model.predict_proba(data.review), truth)
    judge("always the commonest", path, np.tile(shares, (len(truth), 1)), truth)
