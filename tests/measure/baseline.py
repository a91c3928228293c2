"""What a rater without a network is worth: TF-IDF over words and pairs of words with logistic regression, and five stars for everything. Learned from one split, told on others.

    starsight split --data REVIEWS --split-by text --dedup --out SPLIT
    python3 tests/measure/baseline.py SPLIT [OTHER.csv ...]

needs: scikit-learn pandas pyarrow
"""

import sys

import numpy as np
from judge import judge, read
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

folder, others = sys.argv[1], sys.argv[2:]
train = read(f"{folder}/train.parquet")
model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True), LogisticRegression(C=1.0, max_iter=300))
model.fit(train.review, train.star)
shares = np.bincount(train.star, minlength=6)[1:] / len(train)
for path in [f"{folder}/test.parquet", *others]:
    data = read(path)
    truth = data.star.to_numpy()
    judge("TF-IDF and logistic regression", path, model.predict_proba(data.review), truth)
    judge("always the commonest", path, np.tile(shares, (len(truth), 1)), truth)
