"""Baselines without a neural network: TF-IDF over words and pairs of words with logistic regression, and a
constant prediction of the class shares. They are trained on one split and evaluated on others.

    starsight split --data REVIEWS --split-by text --out SPLIT
    python3 tools/measure/baseline.py SPLIT [OTHER.csv ...] [--by COLUMN] [--where COLUMN=VALUE | COLUMN!=VALUE]

`--by` also evaluates each value of a column of the test split separately. `--where` restricts training and
evaluation to some rows. Besides all reviews, those whose text is not in the training split are evaluated.

needs: scikit-learn pandas pyarrow
"""

import argparse

import numpy as np
from judge import judge, read
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("others", nargs="*")
parser.add_argument("--by")
parser.add_argument("--where")
args = parser.parse_args()


def wanted(data):
    if not args.where:
        return data
    column, value = args.where.replace("!", "").split("=")
    return data[(data[column] == value) != ("!=" in args.where)]


def key(texts):
    return texts.str.lower().str.split().str.join(" ")


train = wanted(read(f"{args.folder}/train.parquet"))
model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True), LogisticRegression(C=1.0, max_iter=300))
model.fit(train.review, train.star)
shares = np.bincount(train.star, minlength=6)[1:] / len(train)
learned = set(key(train.review))


def tell(name, data):
    truth = data.star.to_numpy()
    probabilities = model.predict_proba(data.review)
    judge("TF-IDF and logistic regression", name, probabilities, truth)
    new = ~key(data.review).isin(learned).to_numpy()
    if 0 < new.sum() < len(data):
        judge("TF-IDF and logistic regression", f"{name}, texts not learned from", probabilities[new], truth[new])
    judge("always the commonest", name, np.tile(shares, (len(truth), 1)), truth)


test = wanted(read(f"{args.folder}/test.parquet"))
tell(f"{args.folder}/test.parquet", test)
for value in sorted(test[args.by].unique()) if args.by else []:
    tell(f"{args.by} {value}", test[test[args.by] == value])
for path in args.others:
    tell(path, wanted(read(path)))
