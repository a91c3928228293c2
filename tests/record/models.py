"""Makes the tiny random models and records their logits as computed by `transformers`.

Writes fixtures/distilbert/, fixtures/bert/ (each with logits.json) and fixtures/bert-legacy/ (with hidden.json).
"""

import json
import shutil

import torch
from common import FIXTURES, numbers, write
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    DistilBertTokenizer,
)

MAX_TOKENS = 48
STARS = {label: f"{label + 1} star{'s' if label else ''}" for label in range(5)}

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SHARED = (
    "! ' ( ) , - . / : ? 0 1 2 3 4 5 6 7 8 9 ##0 ##5 ##9 "
    "a b c d e f g l n o r s t ##a ##b ##d ##e ##f ##g ##i ##l ##n ##o ##r ##s ##t ##y "
    "##ing ##ed ##er ##es ##ly ##able ##ful ##ash ##line "
    "app good bad great love hate work works crash slow fast update ads not very is it and the this to "
    "does don line one two star times money login help 好 很"
).split()
CASED = "A I T ##A ##E ##H ##I ##P ##R ##S ##T The This Good Love café é É ##é".split()
# The uncased tokeniser removes the accent of `café`. No Google vocabulary has emoji; here one emoji
# is a piece, alone and at the end of a word.
UNCASED = "i h m ##h ##m ##p cafe tres nai ##ve 👍 ##👍 eclair ß ##ß".split()

TEXTS = [
    "",
    "good",
    "Good app, works great!",
    "👍😊 good👍",
    "Le café est très bon, naïve Éclair, Straße",
    "This app is very good and it works. " * 30,
    "zxqwv blorft unbelievable loveable",
    "这个应用很好用",
    "line one\nline\ttwo\r\n  bad   app ",
    "THIS APP IS GREAT!!!",
    "I don't love it: 5/10, crashes 99 times (ads)...",
    "a" * 100 + " " + "a" * 101,
    "[MASK] is not [SEP] good",
    "bad\u0000 \u200bgood\ufffd \u00a0slow\u2028fast",
    "cafe\u0301 E\u0301",
    "good " * (MAX_TOKENS - 2),
    "good " * (MAX_TOKENS - 1) + "bad",
]


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Draws weights large enough that a small mistake changes the logits; no LayerNorm is the identity, no bias zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 0.3
            norm_weight = "norm" in name.lower() and name.endswith("weight")
            parameter.copy_(noise + 1 if norm_weight else noise)


def save(folder: str, model, tokenizer) -> None:
    path = FIXTURES / folder
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    vocab = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    (path / "vocab.txt").write_text("".join(f"{token}\n" for token, _ in vocab), encoding="utf-8")


def encode(folder: str, text: str) -> list[int]:
    """The ids by `transformers`; checks that tokenizer.json alone gives the same."""
    ids = AutoTokenizer.from_pretrained(FIXTURES / folder)(text, truncation=True, max_length=MAX_TOKENS)["input_ids"]
    plain = Tokenizer.from_file(str(FIXTURES / folder / "tokenizer.json"))
    plain.enable_truncation(MAX_TOKENS)
    assert plain.encode(text).ids == ids, text
    return ids


def record_logits(folder: str) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(FIXTURES / folder).eval()
    cases = []
    for text in TEXTS:
        ids = encode(folder, text)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0]
            exact = model.double()(input_ids=torch.tensor([ids])).logits[0]
            model.float()
        assert (logits - exact).abs().max() < 1e-5, "float32 alone loses too much to be held to 1e-4"
        cases.append({"text": text, "token_ids": ids, "logits": numbers(logits)})
    answers = {max(range(5), key=case["logits"].__getitem__) for case in cases}
    assert len(answers) == 5, "take another seed: some number of stars is never the answer"
    write(f"{folder}/logits.json", {"max_tokens": MAX_TOKENS, "cases": cases})


def save_legacy() -> None:
    """Saves the BERT encoder in the format of old checkpoints: names without `bert.`, LayerNorm with gamma and beta, no head."""
    source, path = FIXTURES / "bert", FIXTURES / "bert-legacy"
    path.mkdir(exist_ok=True)
    for file in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(source / file, path / file)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    for key in ("id2label", "label2id", "problem_type"):
        del config[key]
    config["architectures"] = ["BertModel"]
    (path / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    encoder = AutoModel.from_pretrained(source).eval()
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    tensors = {"embeddings.position_ids": torch.arange(MAX_TOKENS).unsqueeze(0)}
    for name, tensor in encoder.state_dict().items():
        for new, legacy in old.items():
            name = name.replace(new, legacy)
        tensors[name] = tensor.contiguous()
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})

    loaded = AutoModel.from_pretrained(path).eval()
    cases = []
    for text in ("Good app, works great!", "I don't love it: 5/10, crashes 99 times (ads)..."):
        ids = encode("bert-legacy", text)
        with torch.no_grad():
            output, same = loaded(input_ids=torch.tensor([ids])), encoder(input_ids=torch.tensor([ids]))
        assert torch.equal(output.last_hidden_state, same.last_hidden_state)
        cases.append(
            {
                "text": text,
                "token_ids": ids,
                "cls_hidden": numbers(output.last_hidden_state[0, 0]),
                "pooled": numbers(output.pooler_output[0]),
            }
        )
    write("bert-legacy/hidden.json", {"cases": cases})


def main() -> None:
    torch.use_deterministic_algorithms(True)
    vocab = {token: id for id, token in enumerate(SPECIAL + SHARED + CASED)}
    labels = {
        "num_labels": 5,
        "id2label": STARS,
        "label2id": {name: label for label, name in STARS.items()},
        "problem_type": "single_label_classification",
    }
    config = DistilBertConfig(
        vocab_size=len(vocab), max_position_embeddings=MAX_TOKENS, dim=32, n_layers=2, n_heads=4, hidden_dim=64, **labels
    )
    model = DistilBertForSequenceClassification(config)
    randomise(model, seed=75)
    save("distilbert", model, DistilBertTokenizer(vocab=vocab, do_lower_case=False, model_max_length=MAX_TOKENS))
    record_logits("distilbert")

    vocab = {token: id for id, token in enumerate(SPECIAL + SHARED + UNCASED)}
    config = BertConfig(
        vocab_size=len(vocab),
        max_position_embeddings=MAX_TOKENS,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        hidden_act="gelu",
        layer_norm_eps=1e-12,
        type_vocab_size=2,
        **labels,
    )
    model = BertForSequenceClassification(config)
    randomise(model, seed=16)
    save("bert", model, BertTokenizer(vocab=vocab, do_lower_case=True, model_max_length=MAX_TOKENS))
    record_logits("bert")
    save_legacy()


if __name__ == "__main__":
    main()
