"""docs/choice.md from the rows of `bench_choice`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["write_table"]

Row = dict[str, Any]
OURS, THEIRS, ADAPTER = "graphprune", "torch-pruning", "adapter"
TEXT = """# Which units to remove: measured

Real pretrained models are cut to a share of their multiply-accumulates, without any training. Then they are compared
with the original on held-out data. Calibration and test data never overlap.

    python tools/bench_choice.py            # goes on where it was stopped
    python tools/bench_choice.py --table    # this file from build/choice.jsonl

- Both tools get the same calibration data and the same loss.
- Torch's own counter measures the multiply-accumulates of the slim models. graphprune's keep at most the share.
  torch-pruning's keep at most 1.01 times the share, since its ratio has to be searched.
- torch-pruning runs its own pruner, with its criteria, its rankings (local, global, isomorphic) and normalisers.
- "held" says that the layer before a flatten was left whole, since torch-pruning mixes up its channels there. Both
  tools were tried with and without.
- Where there are labels, the choice with the higher accuracy is better. At equal accuracy it is the one with the
  smaller divergence (KL, nats) from the original.
- Without labels the divergence decides. For an encoder of texts it is the mean cosine with the original's embeddings.
"""


def write_table(rows: Sequence[Row], path: Path) -> None:
    """The whole document."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    good = [row for row in rows if "figures" in row]
    parts = [
        TEXT,
        _versions(rows),
        "## Best against best\n",
        "The best of all choices of either tool, by the test data.\n",
        *_duel(good, models, _score),
        "\n## Chosen without looking at the test data\n",
        "Of all choices of either tool, the one with the least harm on calibration data counts. Its figures are of "
        "test data.\n",
        *_duel(good, models, lambda row: (-row["calibration"],)),
        "\n## One choice for all models\n",
        "How often a fixed choice of graphprune's is better than the *best* of torch-pruning's choices, which differs "
        "from row to row, and how often it is better than torch-pruning's own default (magnitude, local).\n",
        *_fixed(good),
        "\n## Every criterion and ranking\n",
        "Accuracy where there are labels, else KL or cosine, at 0.9, 0.8, 0.7 and 0.5 of the MACs; of several "
        "normalisations the best.\n",
        *(line for model in models for line in _grid(good, model)),
        "\n## What failed\n",
        *_failures(rows),
    ]
    path.write_text("\n".join(parts).rstrip() + "\n")


def _versions(rows: Sequence[Row]) -> str:
    dates = sorted({row["date"] for row in rows})
    versions = sorted({row["versions"] for row in rows})
    data = {row["model"]: row["data"] for row in rows}
    lines = [
        f"{'; '.join(versions)}; measured {dates[0]}" + (f" to {dates[-1]}" if dates[1:] else "") + ".\n"
    ]
    lines += ["| model | data |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in data.items())]
    return "\n".join(lines) + "\n"


def _score(row: Row) -> tuple[float, ...]:
    """What decides, higher is better."""
    figures = row["figures"]
    if "cosine" in figures:
        return (figures["cosine"],)
    return (figures.get("accuracy", 0.0), -figures["kl"])


def _figures(row: Row) -> str:
    figures = row["figures"]
    if "cosine" in figures:
        return f"cosine {figures['cosine']:.4f}"
    first = "accuracy" if "accuracy" in figures else "agreement"
    return f"{first} {figures[first]:.1%}, KL {figures['kl']:.2g}"


def _named(row: Row) -> str:
    return f"{row['choice']}, {row['ranking']}"


def _duel(
    rows: Sequence[Row], models: Sequence[str], by: Callable[[Row], tuple[float, ...]]
) -> Iterator[str]:
    yield "| model | MACs | torch-pruning | its MACs | figures | graphprune | its MACs | figures | |"
    yield "| --- " * 9 + "|"
    outcome: Counter[str] = Counter()
    for model in models:
        for share in sorted({row["share"] for row in rows if row["model"] == model}, reverse=True):
            here = [row for row in rows if (row["model"], row["share"]) == (model, share)]
            theirs, ours = ([row for row in here if row["tool"] == tool] for tool in (THEIRS, OURS))
            if not theirs or not ours:
                continue
            their, our = max(theirs, key=by), max(ours, key=by)
            verdict = _verdict(our, their)
            outcome[verdict] += 1
            cells = [f"{_named(row)} | {row['macs']:.3f} | {_figures(row)}" for row in (their, our)]
            yield f"| {model} | {share} | {cells[0]} | {cells[1]} | {verdict} |"
    yield "\n" + ", ".join(f"{count} {verdict}" for verdict, count in sorted(outcome.items())) + "."


def _verdict(our: Row, their: Row) -> str:
    one, other = _score(our), _score(their)
    return "better" if one > other else "equal" if one == other else "**lost**"


def _fixed(rows: Sequence[Row]) -> Iterator[str]:
    """The fixed choices that win most often, with and without data."""
    places = sorted({(row["model"], row["share"]) for row in rows})
    best, default = {}, {}
    for place in places:
        theirs = [row for row in rows if (row["model"], row["share"]) == place and row["tool"] == THEIRS]
        plain = [row for row in theirs if row["choice"] == "magnitude p=2" and row["ranking"] == "local"]
        best[place] = max(map(_score, theirs), default=())
        default[place] = max(map(_score, plain), default=())
    table: dict[str, list[Row]] = {}
    for row in rows:
        if row["tool"] == OURS and " held" not in row["choice"]:
            table.setdefault(_named(row), []).append(row)
    counted = [
        (
            sum(_score(row) > best[row["model"], row["share"]] for row in found),
            sum(_score(row) > default[row["model"], row["share"]] for row in found),
            len(found),
            name,
        )
        for name, found in table.items()
    ]
    yield "| choice | better than its best | better than its default | of |"
    yield "| --- " * 4 + "|"
    for dataless in (False, True):
        chosen = [item for item in counted if _dataless(item[3]) == dataless]
        for wins, beats, count, name in sorted(
            chosen, key=lambda item: (-item[0] / item[2], -item[1], item[3])
        )[:8]:
            yield f"| {name}{' (no data)' if dataless else ''} | {wins} | {beats} | {count} |"


def _dataless(name: str) -> bool:
    free = ("l1", "l2", "linf", "lamp", "bn_scale", "fpgm", "cosine", "random")
    return name.startswith(free) and "trials" not in name


def _grid(rows: Sequence[Row], model: str) -> Iterator[str]:
    rankings = {
        OURS: ("uniform", "global", "isomorphic", "per_cost"),
        THEIRS: ("local", "global", "isomorphic"),
    }
    for tool in (OURS, THEIRS, ADAPTER):
        here = [row for row in rows if (row["model"], row["tool"]) == (model, tool)]
        if not here:
            continue
        columns = rankings.get(tool, ("uniform", "global", "isomorphic"))
        title = {ADAPTER: "torch-pruning's criteria on graphprune's groups"}.get(tool, tool)
        yield f"\n### {model}: {title}\n"
        yield f"| criterion | {' | '.join(columns)} |"
        yield "| --- " * (len(columns) + 1) + "|"
        for criterion in dict.fromkeys(_criterion(row) for row in here):
            cells = [
                _cell([r for r in here if _criterion(r) == criterion and r["ranking"] == ranking])
                for ranking in columns
            ]
            yield f"| {criterion} | {' | '.join(cells)} |"


def _criterion(row: Row) -> str:
    """The choice without its normalisation."""
    name, _, rest = row["choice"].partition("::")
    if rest:
        return name + rest.lstrip("abcdefghijklmnopqrstuvwxyz")
    name, colon, rest = row["choice"].partition(":")
    return name + (rest[rest.find(" ") :] if colon and " " in rest else "")


def _cell(rows: Iterable[Row]) -> str:
    by_share: dict[float, list[Row]] = {}
    for row in rows:
        by_share.setdefault(row["share"], []).append(row)
    texts = []
    for _, found in sorted(by_share.items(), reverse=True):
        figures = max(found, key=_score)["figures"]
        key = next(name for name in ("accuracy", "cosine", "kl") if name in figures)
        texts.append(f"{figures[key]:.3f}" if key != "kl" else f"{figures[key]:.2g}")
    return " ".join(texts) or "–"


def _failures(rows: Sequence[Row]) -> Iterator[str]:
    # sizes differ from cut to cut, what is wrong does not
    failed = Counter(
        (row["model"], row["tool"], re.sub(r"\d+$", "…", row["failure"])) for row in rows if "failure" in row
    )
    if not failed:
        yield "Nothing."
        return
    yield "| model | tool | cuts | reason |"
    yield "| --- " * 4 + "|"
    for (model, tool, reason), count in sorted(failed.items(), key=str):
        yield f"| {model} | {tool} | {count} | {reason.replace('|', '/')} |"
