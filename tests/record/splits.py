"""Records the results of the notebook's two stratified splits by `datasets`, and of numpy's generator that it uses.

Writes fixtures/splits.json. The label columns are not stored: `stars` rebuilds them from the class counts and a seed.
"""

import hashlib

import datasets
import numpy as np
from common import write
from datasets.utils import stratify

# A case of at most this many rows keeps all indices; a larger one keeps a hash and the first 20.
WHOLE = 101

# name, rows of 1, 2, 3, 4 and 5 stars, shuffle seed (None: sorted by stars), seeds of the split
CASES = [
    ("two classes, 11 rows", [5, 0, 0, 0, 6], 1, [42, 0, 7]),
    ("three classes, 25 rows", [12, 0, 5, 0, 8], 2, [42, 0, 7]),
    ("one class", [0, 0, 0, 0, 10], None, [42]),
    ("fewest rows for five classes, with ties", [6, 6, 5, 5, 5], 3, [42, 0, 7]),
    ("balanced, 100 rows", [20, 20, 20, 20, 20], 4, [42]),
    ("balanced, sorted", [20, 20, 20, 20, 20], None, [42]),
    # The exact share of every class ends in .8. In f64 the remainders differ in the last bits, so
    # there is no tie.
    ("remainders equal but for rounding", [6, 11, 16, 26, 41], 5, [42, 7]),
    ("skewed, 100 rows", [60, 20, 5, 5, 10], 6, [42, 0, 7]),
    ("ties, 101 rows", [21, 20, 20, 20, 20], 7, [42, 0, 7]),
    ("ties between pairs", [24, 24, 24, 14, 14], 8, [42]),
    ("classes of three rows", [40, 3, 3, 3, 52], 9, [42, 7]),
    ("classes of two rows", [60, 2, 0, 2, 37], 10, [42]),
    ("ties in both splits, 997 rows", [203, 203, 203, 194, 194], 11, [42, 0, 7]),
    ("skewed, 997 rows", [598, 199, 50, 50, 100], 12, [42]),
    ("only 1 and 5 stars, 997 rows", [300, 0, 0, 0, 697], 13, [42]),
    ("tiny classes, 5000 rows", [2494, 3, 2, 3, 2498], 14, [42]),
    ("skewed, 5000 rows", [3000, 1000, 250, 250, 500], 15, [42, 0, 7]),
    ("skewed, 20000 rows", [12000, 4000, 1000, 1000, 2000], 16, [42]),
    ("like app reviews, 20000 rows, sorted", [4292, 881, 1071, 1732, 12024], None, [42]),
]

# name, counts, shuffle seed
ERRORS = [
    ("a class with a single row", [10, 1, 10, 10, 10], 21),
    ("a class that the first split leaves a single row", [40, 2, 20, 20, 20], 22),
    ("one row", [0, 0, 0, 0, 1], None),
    ("two rows of one class", [0, 0, 0, 0, 2], None),
    ("a test split smaller than the number of classes", [2, 2, 2, 2, 2], 23),
    ("a validation split smaller than the number of classes", [5, 5, 5, 5, 6], 24),
]


class Lcg:
    """Knuth's 64-bit linear congruential generator; a draw is its upper 31 bits."""

    def __init__(self, seed: int):
        self.state = seed

    def below(self, n: int) -> int:
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % n


def stars(counts: list[int], shuffle: int | None) -> list[int]:
    """The rows sorted by stars, then shuffled by the Fisher-Yates method from the last row down."""
    column = [star for star, count in enumerate(counts, 1) for _ in range(count)]
    if shuffle is not None:
        lcg = Lcg(shuffle)
        for i in range(len(column) - 1, 0, -1):
            j = lcg.below(i + 1)
            column[i], column[j] = column[j], column[i]
    return column


class CountTies:
    """Forwards draws to a generator, and counts the choices that had to leave out a tied class."""

    count = 0

    def __init__(self, rng):
        self.rng = rng

    def choice(self, inds, size, replace):
        CountTies.count += size < len(inds)
        return self.rng.choice(inds, size=size, replace=replace)


approximate_mode = stratify.approximate_mode
stratify.approximate_mode = lambda counts, n, rng: approximate_mode(counts, n, CountTies(rng))


def split(column: list[int], seed: int):
    """The notebook's splits: yields (train, test) of all rows, then (train, test) of the first train."""
    ds = datasets.Dataset.from_dict({"row": list(range(len(column))), "star": column}).class_encode_column("star")
    for _ in range(2):
        parts = ds.train_test_split(test_size=0.2, seed=seed, stratify_by_column="star")
        ds = parts["train"]
        yield parts["train"]["row"][:], parts["test"]["row"][:]


def indices(rows: list[int], whole: bool):
    if whole:
        return rows
    packed = np.array(rows, dtype="<u4").tobytes()
    return {"len": len(rows), "head": rows[:20], "sha256": hashlib.sha256(packed).hexdigest()}


def record_case(name: str, counts: list[int], shuffle: int | None, seed: int) -> dict:
    column = stars(counts, shuffle)
    CountTies.count = 0
    (_, test), (train, val) = split(column, seed)
    assert sorted(train + val + test) == list(range(len(column)))
    whole = len(column) <= WHOLE
    return {
        "name": name,
        "counts": counts,
        "shuffle": shuffle,
        "seed": seed,
        "ties": CountTies.count,
        "train": indices(train, whole),
        "val": indices(val, whole),
        "test": indices(test, whole),
    }


def record_error(name: str, counts: list[int], shuffle: int | None) -> dict:
    done = 0
    try:
        for _ in split(stars(counts, shuffle), 42):
            done += 1
    except ValueError as error:
        return {
            "name": name,
            "counts": counts,
            "shuffle": shuffle,
            "seed": 42,
            "split": ["first", "second"][done],
            "error": str(error),
        }
    raise AssertionError(f"{name}: datasets raised no error")


def record_generator(seed: int) -> dict:
    """numpy's `default_rng(seed)`, each entry from a new generator; `after` has the raw draws that follow."""

    def fresh():
        return np.random.default_rng(seed)

    def after(rng):
        return [str(x) for x in rng.bit_generator.random_raw(2)]

    state = fresh().bit_generator.state["state"]
    mixed = fresh()
    sequence = [
        {"permutation": 3, "result": mixed.permutation(3).tolist()},
        {"choice": [5, 2], "result": mixed.choice([0, 1, 2, 3, 4], 2, replace=False).tolist()},
        {"permutation": 10, "result": mixed.permutation(10).tolist()},
        {"choice": [4, 3], "result": mixed.choice([0, 1, 2, 3], 3, replace=False).tolist()},
        {"choice": [1, 1], "result": mixed.choice([0], 1, replace=False).tolist()},
        {"permutation": 1, "result": mixed.permutation(1).tolist()},
        {"permutation": 17, "result": mixed.permutation(17).tolist()},
    ]
    thrice = fresh()
    big = fresh()
    permutation = big.permutation(100_000)
    return {
        "seed": seed,
        "seed_sequence": [str(x) for x in np.random.SeedSequence(seed).generate_state(4, np.uint64)],
        "state": str(state["state"]),
        "inc": str(state["inc"]),
        "random_raw": [str(x) for x in fresh().bit_generator.random_raw(8)],
        "permutation_10": fresh().permutation(10).tolist(),
        "permutation_1000": fresh().permutation(1000)[:20].tolist(),
        "permutation_100000": {**indices(permutation.tolist(), False), "after": after(big)},
        "choice_5_2": [thrice.choice([0, 1, 2, 3, 4], 2, replace=False).tolist() for _ in range(3)],
        "sequence": sequence,
        "sequence_after": after(mixed),
    }


def main():
    assert datasets.__version__.startswith("5.2."), f"wanted datasets 5.2, found {datasets.__version__}"
    datasets.disable_caching()
    datasets.disable_progress_bars()
    cases = [
        record_case(name, counts, shuffle, seed) for name, counts, shuffle, seeds in CASES for seed in seeds
    ]
    assert sum(case["ties"] > 0 for case in cases) >= 5, "too few cases break ties"
    write(
        "splits.json",
        {
            "datasets": datasets.__version__,
            "numpy": np.__version__,
            "generators": [record_generator(seed) for seed in (42, 0, 7, 2**40 + 5)],
            "columns": [
                {"counts": [3, 2, 0, 1, 4], "shuffle": seed, "stars": stars([3, 2, 0, 1, 4], seed)} for seed in (None, 1)
            ],
            "cases": cases,
            "errors": [record_error(*case) for case in ERRORS],
        },
    )
    for case in cases:
        print(case["seed"], case["ties"], case["name"])


if __name__ == "__main__":
    main()
