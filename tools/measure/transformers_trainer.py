"""Trains with transformers.Trainer on the reviews of a split, with its best settings: one epoch, batches of
32 reviews of similar length, learning rate 1e-4 with linear warm-up and decay. Evaluates on other files.

    starsight split --data REVIEWS --split-by text --out SPLIT
    python3 tools/measure/transformers_trainer.py SPLIT ENCODER ROWS [OTHER.csv ...]

It trains on the first ROWS of the training split, as `starsight train --train-rows ROWS` does. needs: torch transformers datasets accelerate scikit-learn pandas pyarrow
"""

import json
import os
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from datasets import Dataset
from judge import judge, read
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments, set_seed

folder, encoder, rows, others = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
set_seed(42)
tokenizer = AutoTokenizer.from_pretrained(encoder)


def tokens(data):
    ids = Dataset.from_dict({"review": data.review.tolist(), "label": (data.star - 1).tolist()})
    return ids.map(lambda x: tokenizer(x["review"], truncation=True, max_length=128), batched=True, remove_columns="review")


with tempfile.TemporaryDirectory() as out:
    recipe = TrainingArguments(
        output_dir=out,
        num_train_epochs=1,
        per_device_train_batch_size=32,
        per_device_eval_batch_size=128,
        train_sampling_strategy="group_by_length",
        learning_rate=1e-4,
        warmup_steps=0.1,
        weight_decay=0.01,
        save_strategy="no",
        report_to=[],
        use_cpu=not torch.cuda.is_available(),
    )
    trainer = Trainer(
        model=AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=5),
        args=recipe,
        train_dataset=tokens(read(f"{folder}/train.parquet").head(rows)),
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    trained = trainer.train()
    print(json.dumps(dict(learned=rows, seconds=trained.metrics["train_runtime"], reviews_a_second=trained.metrics["train_samples_per_second"])), flush=True)
    for path in [f"{folder}/test.parquet", *others]:
        # Trainer's prediction order is by length, so use its own labels.
        found = trainer.predict(tokens(read(path)))
        judge("transformers.Trainer", path, torch.tensor(found.predictions).softmax(1).numpy(), found.label_ids + 1)
