"""Makes tiny random models of the architectures that candle-transformers computes, and records their
logits as computed by `transformers`.

Writes fixtures/deberta-v2/, fixtures/modernbert/ and fixtures/xlm-roberta/, each with logits.json. They
use the tokeniser of fixtures/bert/, so run `models.py` first.
"""

import shutil

import torch
from common import FIXTURES
from models import MAX_TOKENS, SPECIAL, STARS, randomise, record_logits
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import (
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)


def main() -> None:
    torch.use_deterministic_algorithms(True)
    vocab_size = Tokenizer.from_file(str(FIXTURES / "bert" / "tokenizer.json")).get_vocab_size()
    common = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "num_labels": 5,
        "id2label": STARS,
        "label2id": {name: label for label, name in STARS.items()},
        "pad_token_id": SPECIAL.index("[PAD]"),
        "bos_token_id": SPECIAL.index("[CLS]"),
        "eos_token_id": SPECIAL.index("[SEP]"),
        "cls_token_id": SPECIAL.index("[CLS]"),
        "sep_token_id": SPECIAL.index("[SEP]"),
    }
    deberta = DebertaV2Config(
        **common,
        num_hidden_layers=2,
        max_position_embeddings=MAX_TOKENS,
        relative_attention=True,
        position_buckets=8,
        max_relative_positions=-1,
        pos_att_type=["p2c", "c2p"],
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        position_biased_input=False,
        type_vocab_size=0,
        layer_norm_eps=1e-7,
    )
    modern = ModernBertConfig(**common, num_hidden_layers=4, max_position_embeddings=MAX_TOKENS, local_attention=8, classifier_pooling="mean")
    roberta = XLMRobertaConfig(**common, num_hidden_layers=2, max_position_embeddings=MAX_TOKENS + 1, type_vocab_size=1, layer_norm_eps=1e-5)
    # With these seeds each number of stars is the rating of some text.
    for name, model, seed in [
        ("deberta-v2", DebertaV2ForSequenceClassification(deberta), 47),
        ("modernbert", ModernBertForSequenceClassification(modern), 4),
        ("xlm-roberta", XLMRobertaForSequenceClassification(roberta), 180),
    ]:
        path = FIXTURES / name
        path.mkdir(exist_ok=True)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(FIXTURES / "bert" / file, path / file)
        randomise(model, seed)
        model.save_pretrained(path)
        if name == "xlm-roberta":
            # The same weights in the format of older checkpoints.
            torch.save(load_file(path / "model.safetensors"), path / "pytorch_model.bin")
        record_logits(name)


if __name__ == "__main__":
    main()
