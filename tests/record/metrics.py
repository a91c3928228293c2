"""Records the metrics of invented predictions, computed by scikit-learn where it has them.

Writes fixtures/metrics.json.
"""

import math

import numpy as np
from common import number, write
from sklearn.metrics import cohen_kappa_score, confusion_matrix, f1_score

CLASSES = range(5)
BINS = 15
MILLION = 1_000_000


def safe(parts: np.ndarray) -> bool:
    """Whether float32, or another rule for ties and bin edges, gives the same results."""
    *_, second, top = np.sort(parts)
    edge = top * BINS / MILLION
    return parts.min() > 0 and top - second > 10 and abs(edge - round(edge)) > 1e-3


def probabilities(logits: np.ndarray, rng) -> np.ndarray:
    """Rows of six-digit probabilities that sum to exactly one, as parts per million."""
    rows = []
    for row in logits:
        while True:
            p = np.exp(row - row.max())
            parts = np.maximum(np.round(p / p.sum() * MILLION), 1).astype(int)
            parts[parts.argmax()] += MILLION - parts.sum()
            if safe(parts):
                break
            row = row + rng.normal(0, 0.01, row.shape)
        rows.append(parts)
    return np.array(rows)


def expected_calibration_error(p: np.ndarray, labels: np.ndarray) -> float:
    """Difference between top probability and accuracy in equal bins, weighted by the rows in each."""
    confidence, hit = p.max(1), p.argmax(1) == labels
    bins = np.ceil(confidence * BINS).astype(int) - 1
    return sum(abs(confidence[bins == b].sum() - hit[bins == b].sum()) for b in range(BINS)) / len(labels)


def record(name: str, labels: np.ndarray, parts: np.ndarray) -> dict:
    p = parts / MILLION
    predicted = p.argmax(1)
    distance = np.abs(predicted - labels)
    metrics = {
        "loss": -np.log(p[np.arange(len(labels)), labels]).mean(),
        "accuracy": (distance == 0).mean(),
        "off_by_one": (distance <= 1).mean(),
        "binary_great": ((predicted >= 3) == (labels >= 3)).mean(),
        "binary_five": ((predicted == 4) == (labels == 4)).mean(),
        "mae": distance.mean(),
        "macro_f1": f1_score(labels, predicted, average="macro", zero_division=0),
        "qwk": cohen_kappa_score(labels, predicted, labels=list(CLASSES), weights="quadratic"),
        "ece": expected_calibration_error(p, labels),
    }
    assert all(math.isfinite(value) for value in metrics.values())
    return {
        "name": name,
        "metrics": {
            **{key: number(value) for key, value in metrics.items()},
            "confusion": confusion_matrix(labels, predicted, labels=list(CLASSES)).tolist(),
        },
        "rows": [{"label": int(label), "probabilities": row.tolist()} for label, row in zip(labels, p, strict=True)],
    }


def main() -> None:
    rng = np.random.default_rng(2026)
    labels = rng.integers(0, 5, 200)
    even = record("random", labels, probabilities(rng.normal(0, 1.5, (200, 5)), rng))

    # No review has 2 stars, in labels or predictions. 3 stars are never predicted, though some
    # reviews have them.
    labels = rng.choice(5, 200, p=[0.2, 0.0, 0.06, 0.1, 0.64])
    logits = rng.normal(0, 1.0, (200, 5)) + 2.5 * np.eye(5)[labels] - np.array([0, 9, 9, 0, -1.5])
    skewed = record("skewed, a class missing", labels, probabilities(logits, rng))
    confusion = np.array(skewed["metrics"]["confusion"])
    assert confusion[1].sum() == confusion[:, 1].sum() == confusion[:, 2].sum() == 0 < confusion[2].sum()

    write("metrics.json", {"sets": [even, skewed]}, depth=4)


if __name__ == "__main__":
    main()
