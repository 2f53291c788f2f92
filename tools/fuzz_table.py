"""docs/fuzzing.md from the JSON lines of `fuzz.py`."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

__all__ = ["OUTCOMES", "read", "write_table"]

Line = dict[str, Any]
OUTCOMES = {
    "exact": "the slim model equals the masked original: outputs, other batch sizes, slices",
    "nothing": "no unit can be removed, and no simple rule says otherwise",
    "refused": "an error that names its reason, and no simple rule proves that it could have been pruned",
    "false refusal": "an error, though a layer can surely be pruned",
    "wrong": "another result than the masked original's, without a word",
    "crash": "any other exception",
    "unknown": "the oracle has no definition for what was removed",
}
FLAGS = {
    "untrainable": "the backward pass fails, or gradients are not the masked original's",
    "batch fixed": "the original runs at another batch size, the slim model does not",
    "size fixed": "the original runs with one dimension larger, the slim model refuses it",
    "needless pin": "a layer that can surely be pruned stayed whole",
    "uncastable": "`.double()` on the slim model, and it no longer runs",
    "not saved": "`save` raises, or writes no ONNX file",
    "not loaded": "`load` raises, or gives another model",
    "onnx differs": "onnxruntime gives other numbers than the slim model",
}


def read(path: Path) -> list[Line]:
    """One line for each model; of a model that was measured twice, the last."""
    if not path.exists():
        return []
    found: dict[int, Line] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue  # cut short
        found[line["seed"]] = line
    return list(found.values())


def write_table(lines: Sequence[Line], page: Path) -> None:
    """Replaces the part of the page between the two marks, or writes a new page."""
    begin, end = "<!-- counts -->", "<!-- end of counts -->"
    text = page.read_text(encoding="utf-8") if page.exists() else f"# Random models\n\n{begin}\n{end}\n"
    before, after = text.split(begin)[0], text.split(end)[1]
    page.write_text(f"{before}{begin}\n{summary(lines)}{end}{after}", encoding="utf-8")


def summary(lines: Sequence[Line]) -> str:
    """The counts as Markdown."""
    drawn = [line for line in lines if line["outcome"] != "none"]
    count, outcomes = len(drawn), Counter(line["outcome"] for line in drawn)
    operators = [line["operators"] for line in drawn if "operators" in line]
    saved = sum("files" in line.get("seconds", {}) for line in drawn)
    rows = [
        f"Of {date.today():%Y-%m-%d}: **{count:,} models**, of {sum(operators) / max(len(operators), 1):.1f} "
        f"operators on average; {saved:,} of them saved, loaded and run in onnxruntime.",
        "",
        "| outcome | models | |",
        "| --- | --- | --- |",
    ]
    rows += [f"| {name} | {outcomes[name]:,} | {text} |" for name, text in OUTCOMES.items()]
    flags = Counter(flag for line in drawn for flag in line["flags"])
    rows += ["", "| beside it | models | |", "| --- | --- | --- |"]
    rows += [f"| {name} | {flags[name]:,} | {text} |" for name, text in FLAGS.items()]
    rows += ["", *_reasons(drawn), "", *_seconds(drawn), "", *_kinds(drawn), ""]
    return "\n".join(rows)


def _reasons(lines: Sequence[Line]) -> list[str]:
    """What was said, most frequent first, with the number of one model."""
    said: dict[tuple[str, str], list[int]] = {}
    for line in lines:
        found = dict(line["flags"])
        if line["outcome"] not in ("exact", "nothing"):
            found[line["outcome"]] = line["reason"]
        for kind, text in found.items():
            said.setdefault((kind, general(text)), []).append(line["seed"])
    if not said:
        return ["Nothing else was said."]
    rows = ["| what | said | models | such as |", "| --- | --- | --- | --- |"]
    order = sorted(said.items(), key=lambda item: (-len(item[1]), item[0]))
    return rows + [f"| {kind} | {text} | {len(seeds)} | {seeds[0]} |" for (kind, text), seeds in order[:60]]


def general(text: str) -> str:
    """Without names and numbers, which differ from model to model."""
    text = re.sub(r"\b[vxlpb]\d+(\.\w+)*\b", "…", text.replace("|", "/").replace("\n", " "))
    return re.sub(r"-?\d+(\.\d+)?(e[-+]\d+)?", "n", text)[:160]


def _seconds(lines: Sequence[Line]) -> list[str]:
    total: Counter[str] = Counter()
    for line in lines:
        total.update(line.get("seconds", {}))
    each = ", ".join(f"{name} {seconds / max(len(lines), 1):.2f}" for name, seconds in total.items())
    return [f"Seconds of a processor for one model, on average: {each}."]


def _kinds(lines: Sequence[Line]) -> list[str]:
    kinds = Counter(kind for line in lines for kind in line.get("kinds", ()))
    listed = ", ".join(
        f"{kind} {count:,}" for kind, count in sorted(kinds.items(), key=lambda item: -item[1])
    )
    return [f"Models in which each kind of step occurs: {listed}."]
