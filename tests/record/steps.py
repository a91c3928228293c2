"""Records twenty optimisation steps of the tiny models with the notebook's recipe and without dropout.

Writes fixtures/steps.json. The loop is plain torch; `check_against_trainer` checks it against `transformers.Trainer`.
"""

import math
import tempfile

import torch
from common import FIXTURES, number, numbers, write
from torch.utils.data import SequentialSampler
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    get_linear_schedule_with_warmup,
)
from transformers.trainer_pt_utils import get_parameter_names

STEPS, WARMUP = 20, 0.1
BATCH, ACCUMULATION = 4, 2
LEARNING_RATE, WEIGHT_DECAY, MAX_GRAD_NORM = 1e-3, 0.01, 1.0
NO_DROPOUT = {
    "distilbert": {"dropout": 0.0, "attention_dropout": 0.0, "seq_classif_dropout": 0.0},
    "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0},
}
# The parameters that `Trainer.get_decay_parameter_names` excludes from weight decay.
NOT_DECAYED = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]

# Text and label (stars - 1). Lengths are uneven; one review is empty, one longer than the model's
# maximum.
REVIEWS = [
    ("Good app, works great!", 4),
    ("bad", 0),
    ("This app is slow and it crashes, does not work. help", 1),
    ("love love love", 4),
    ("The update is good but ads times two", 2),
    ("", 4),
    ("not bad and not good", 2),
    ("hate the ads!!! slow to login, crashes " * 12, 0),
    ("very good, fast, 4 stars", 3),
    ("great great app", 4),
    ("I don't love it: 5/10", 1),
    ("works one time", 3),
]
# The reviews of each step, in micro-batches: three rounds over the twelve reviews, then three more
# in other orders, and so on.
ROUNDS = [
    [0, 1, 2, 3, 4, 5, 6, 7],
    [8, 9, 10, 11, 0, 3, 6, 9],
    [1, 4, 7, 10, 2, 5, 8, 11],
    [11, 7, 3, 10, 6, 2, 9, 5],
    [1, 8, 4, 0, 5, 10, 0, 7],
    [3, 6, 11, 1, 9, 2, 8, 4],
]
ORDER = [ROUNDS[step % len(ROUNDS)] for step in range(STEPS)]


def load(name: str, dtype=torch.float32):
    path = FIXTURES / name
    model = AutoModelForSequenceClassification.from_pretrained(path, **NO_DROPOUT[name])
    return model.to(dtype).train(), AutoTokenizer.from_pretrained(path)


def digest(tensor: torch.Tensor) -> list[float]:
    """Sum, L2 norm, and a weighted sum that detects a transposed or reordered tensor."""
    flat = tensor.detach().double().flatten()
    weights = (torch.arange(flat.numel()) * 7919 % 1009).double() / 1009 - 0.5
    return numbers([flat.sum(), flat.norm(), (flat * weights).sum()])


def digests(model, pick=lambda parameter: parameter) -> dict[str, list[float]]:
    return {name: digest(pick(parameter)) for name, parameter in model.named_parameters()}


def train(name: str, dtype=torch.float32):
    model, tokenizer = load(name, dtype)
    decayed = set(get_parameter_names(model, [torch.nn.LayerNorm], NOT_DECAYED))
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for n, p in parameters.items() if n in decayed], "weight_decay": WEIGHT_DECAY},
            {"params": [p for n, p in parameters.items() if n not in decayed], "weight_decay": 0.0},
        ],
        lr=LEARNING_RATE,
        betas=(0.9, 0.999),
        eps=1e-8,
    )
    scheduler = get_linear_schedule_with_warmup(optimizer, math.ceil(WARMUP * STEPS), STEPS)
    steps, first_gradients = [], None
    for rows in ORDER:
        step_loss = 0.0
        for start in range(0, len(rows), BATCH):
            reviews = [REVIEWS[row] for row in rows[start : start + BATCH]]
            batch = tokenizer([text for text, _ in reviews], truncation=True, padding=True, return_tensors="pt")
            loss = model(**batch, labels=torch.tensor([label for _, label in reviews])).loss / ACCUMULATION
            loss.backward()
            step_loss += loss.item()
        first_gradients = first_gradients or digests(model, lambda parameter: parameter.grad)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
        lr = optimizer.param_groups[0]["lr"]
        steps.append({"reviews": rows, "lr": lr, "loss": number(step_loss), "grad_norm": number(norm)})
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    return model, decayed, steps, first_gradients


class InOrder(Trainer):
    # By default Trainer 5.23 assumes that the model's loss is already divided by the accumulation
    # steps, because its `forward` has keyword arguments. It is not, so gradients and logged losses
    # double (transformers#47688).
    loss_is_scaled_for_ga = False

    def _get_train_sampler(self, dataset=None):
        return SequentialSampler(self.train_dataset)


def difference(a, b, skip: list[str]) -> float:
    """The largest difference between two models' parameters, except those in `skip`."""
    pairs = zip(a.named_parameters(), b.parameters(), strict=True)
    return max((x - y).abs().max().item() for (name, x), y in pairs if name not in skip)


def check_against_trainer(name: str, expected, steps: list[dict], skip: list[str]) -> None:
    model, tokenizer = load(name)
    rows = [{**tokenizer(REVIEWS[row][0], truncation=True), "labels": REVIEWS[row][1]} for order in ORDER for row in order]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=STEPS,
            per_device_train_batch_size=BATCH,
            gradient_accumulation_steps=ACCUMULATION,
            learning_rate=LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            max_grad_norm=MAX_GRAD_NORM,
            warmup_steps=WARMUP,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        )
        collator = DataCollatorWithPadding(tokenizer)
        trainer = InOrder(model, arguments, collator, rows)
        trainer.train()
    for step, entry in zip(steps, trainer.state.log_history, strict=False):
        for ours, theirs in (("lr", "learning_rate"), ("loss", "loss"), ("grad_norm", "grad_norm")):
            assert math.isclose(step[ours], float(entry[theirs]), rel_tol=1e-3, abs_tol=1e-9), (step, entry)
    largest = difference(expected, model, skip)
    print(f"{name}: largest parameter difference from Trainer {largest:.1e}")
    assert largest < 1e-5


def rounding(ours, exact) -> list[str]:
    """Parameters whose exact gradient is zero: AdamW scales rounding errors up to full steps, so they are no reference."""
    pairs = zip(ours.named_parameters(), exact.parameters(), strict=True)
    return [name for (name, a), b in pairs if (a - b).abs().max() > 1e-4]


def main() -> None:
    torch.use_deterministic_algorithms(True)
    models = {}
    for name in NO_DROPOUT:
        model, decayed, steps, gradients = train(name)
        exact, _, exact_steps, _ = train(name, torch.float64)
        skip = rounding(model, exact)
        print(f"{name}: largest parameter difference from float64 {difference(model, exact, skip):.1e}, but for {skip}")
        check_against_trainer(name, model, steps, skip)
        for step, other in zip(steps, exact_steps, strict=True):
            print(step["lr"], step["loss"], step["grad_norm"], f"float64: {other['loss']} {other['grad_norm']}")
        models[name] = {
            "steps": steps,
            "decayed": sorted(decayed),
            "rounding": skip,
            "first_gradients": gradients,
            "parameters": digests(model),
        }
    write(
        "steps.json",
        {
            "recipe": {
                "dropout": 0.0,
                "micro_batch": BATCH,
                "accumulation": ACCUMULATION,
                "learning_rate": LEARNING_RATE,
                "warmup_steps": math.ceil(WARMUP * STEPS),
                "total_steps": STEPS,
                "beta1": 0.9,
                "beta2": 0.999,
                "eps": 1e-8,
                "weight_decay": WEIGHT_DECAY,
                "max_grad_norm": MAX_GRAD_NORM,
            },
            "reviews": [{"text": text, "label": label} for text, label in REVIEWS],
            "models": models,
        },
        depth=4,
    )


if __name__ == "__main__":
    main()
