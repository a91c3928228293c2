"""The folder of the fixtures, and how they are written."""

import json
from pathlib import Path

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"


def number(x) -> float:
    """Rounds to nine significant digits, which represent every float32 exactly."""
    return float(f"{float(x):.9g}")


def numbers(xs) -> list[float]:
    return [number(x) for x in xs]


def write(path: str, value, depth: int = 2) -> None:
    """Writes JSON with a line for each entry down to `depth`, so that files are small and diffs readable."""

    def lines(value, level: int) -> str:
        if level == depth or not isinstance(value, (dict, list)) or not value:
            return json.dumps(value, ensure_ascii=False, allow_nan=False)
        pad, end = "\n" + " " * (level + 1), "\n" + " " * level
        if isinstance(value, dict):
            entries = (f"{json.dumps(k)}: {lines(v, level + 1)}" for k, v in value.items())
            return "{" + pad + ("," + pad).join(entries) + end + "}"
        return "[" + pad + ("," + pad).join(lines(v, level + 1) for v in value) + end + "]"

    file = FIXTURES / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(lines(value, 0) + "\n", encoding="utf-8")
    print(f"{file.relative_to(FIXTURES.parent)}: {file.stat().st_size} bytes")
