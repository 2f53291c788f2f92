"""docs/accuracy.md from the rows of `bench_accuracy`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["TUNED", "write_table"]

Rows = list[dict[str, Any]]
COLUMNS = ("cut", "repaired")  # of graphprune, as in `bench_accuracy.OURS`
TUNED = 0.25  # share of the multiply-accumulates at which both are fine-tuned

INTRODUCTION = """# Accuracy, without training and after a little

`python tools/bench_accuracy.py` makes the tables. They show what a model loses when it is cut to a share of its
multiply-accumulates (MACs).

- **graphprune** has one setting for all models: `importance="auto"` and `repair=True`. It tries seven choices on every
  other batch of the calibration data, and the rest of the batches say which is taken. No choice looks at test data. The
  column "cut" is without the repair.
- **torch-pruning** has its best criterion and ranking in every cell, chosen on the very test data. If a model stands in
  [the table of choices](choice.md), only the five choices that did best there on its test data are run again.
- **Loss** is the accuracy lost, in points. Where there are no labels, it is the Kullback-Leibler divergence of the
  predicted classes, or one minus the cosine of the embeddings.
- **MACs** are the share that torch's own counter finds in the slim models of graphprune and torch-pruning.
- **"won"** means at most half of torch-pruning's loss. **"no loss"** means that neither tool loses anything, but
  torch-pruning's best of 62 to 124 choices happens to gain.
- Seconds were taken beside other processes.
"""


def write_table(rows: Rows, path: Path) -> None:
    """Writes the table of every share, and what is behind it."""
    if not rows:
        return
    versions = ", ".join(f"{name} {number}" for name, number in rows[-1]["versions"].items())
    dates = sorted({row["date"] for row in rows})
    text = [
        INTRODUCTION,
        f"Measured {' to '.join(dict.fromkeys((dates[0], dates[-1])))} with {versions}.",
        "",
    ]
    shares = sorted({row["share"] for row in rows if row["tool"] != "original"} - {TUNED}, reverse=True)
    models = list(dict.fromkeys(row["model"] for row in rows))
    for share in shares:
        there = {row["model"] for row in rows if row["share"] == share}
        text += _table(
            [r for r in rows if r["share"] in (share, 1.0)], [m for m in models if m in there], share
        )
    path.write_text("\n".join([*text, *_tuned(rows, models), *_data(rows, models), *_seconds(rows)]) + "\n")


def _table(rows: Rows, models: list[str], share: float) -> list[str]:
    titles = ["model", "loss in", "original", *COLUMNS, "chosen", "torch-pruning", "its choice", "MACs", ""]
    lines = [f"## At {share:g} of the MACs", "", _line(titles), _line(["---"] * len(titles))]
    return [*lines, *(_row([r for r in rows if r["model"] == model], model) for model in models), ""]


def _row(rows: Rows, model: str) -> str:
    original = next((row["figures"] for row in rows if row["tool"] == "original"), {})
    ours = {row["choice"]: row for row in rows if row["tool"] == "graphprune"}
    tried = [row for row in rows if row["tool"] == "torch-pruning"]
    theirs = [row for row in tried if "figures" in row]
    peer = min(theirs, key=lambda row: _loss(row["figures"], original), default=None)
    lost = {name: _loss(row["figures"], original) for name, row in ours.items() if "figures" in row}
    cells = [
        _text(lost.get(name), original) if name in lost else _failure(ours.get(name)) for name in COLUMNS
    ]
    last = lost.get(COLUMNS[-1])
    costs = [f"{row['macs']:.3f}" if row and "macs" in row else "–" for row in (ours.get(COLUMNS[-1]), peer)]
    return _line(
        [
            model,
            _measure(original),
            f"{original['accuracy']:.3f}" if "accuracy" in original else "–",
            *cells,
            ours.get(COLUMNS[-1], {}).get("chosen", "–"),
            _text(_loss(peer["figures"], original), original)
            if peer
            else "none runs"
            if tried
            else "not measured",
            peer["choice"] if peer else "–",
            " / ".join(costs),
            _outcome(last, None if peer is None else _loss(peer["figures"], original)) if tried else "",
        ]
    )


FINE_TUNED = f"""## Fine-tuned, at {TUNED:g} of the MACs

- **graphprune**'s models are chosen and repaired as above, then fine-tuned by `gp.tune`.
- **torch-pruning**'s are its five best choices at the smallest share above. The same trainer fine-tunes them with the
  same data, learning rate and steps. The one that does best on the test data counts.
- There are 300 steps of 32 examples, or of 16 where there are no labels; 40 steps where one takes seconds.
- With labels, both are trained on them and on the original's outputs. Figures are means of two orders of the examples.
  "best" is the best of graphprune's on the test data too: of what "auto" takes, and the four that it found next best.
- Without labels (MTCNN, CREPE, MiniLM), graphprune's are also trained towards the kept units of the original's layers
  (`features=1`).
"""


def _tuned(rows: Rows, models: list[str]) -> list[str]:
    titles = [
        "model",
        "loss in",
        "graphprune",
        "",
        "best",
        "torch-pruning",
        "its choice",
        "MACs, ours / its",
        "",
    ]
    lines = [FINE_TUNED, _line(titles), _line(["---"] * len(titles))]
    for model in models:
        own = [row for row in rows if row["model"] == model]
        original = next(row["figures"] for row in own if row["tool"] == "original")
        measured = [row for row in own if row["share"] == TUNED and "figures" in row]

        def best(tool: str, measured: Rows = measured, original: Any = original) -> dict[str, Any] | None:
            of_tool = [row for row in measured if row["tool"] == tool]
            return min(of_tool, key=lambda row: _loss(row["figures"], original), default=None)

        taken = next((row for row in measured if row["choice"] == "tuned"), None)
        ours, theirs = best("graphprune"), best("torch-pruning")
        if taken or theirs:
            lost = [_loss(row["figures"], original) if row else None for row in (taken, ours, theirs)]
            cells = ["fails" if loss is None else _text(loss, original) for loss in lost]
            costs = [f"{row['macs']:.3f}" if row else "–" for row in (taken, theirs)]
            choice = theirs["choice"] if theirs else "–"
            first, second = (_ahead(loss, lost[2]) for loss in lost[:2])
            lines.append(
                _line(
                    [
                        model,
                        _measure(original),
                        cells[0],
                        first,
                        cells[1],
                        cells[2],
                        choice,
                        " / ".join(costs),
                        second,
                    ]
                )
            )
    left = [model for model in models if not any(line.startswith(f"| {model} |") for line in lines)]
    more = ["", f"Not fine-tuned here: {', '.join(left)}."] if left else []
    return [*lines, *more, ""] if len(lines) > 3 else []


def _ahead(ours: float | None, theirs: float | None) -> str:
    if ours is None or (theirs is not None and ours > theirs):
        return "**lost**"
    return "equal" if ours == theirs else "ahead"


def _outcome(ours: float | None, theirs: float | None) -> str:
    if ours is None:
        return "**lost**"
    if theirs is None or ours <= min(theirs, theirs / 2):
        return "won"
    if ours <= 0:
        return "no loss"
    return "ahead, not by half" if ours < theirs else "equal" if ours == theirs else "**lost**"


def _loss(figures: dict[str, float], original: dict[str, float]) -> float:
    if "accuracy" in original:
        return round(original["accuracy"] - figures["accuracy"], 6)
    return figures["kl"] if "kl" in original else 1 - figures["cosine"]


def _measure(original: dict[str, float]) -> str:
    return "points" if "accuracy" in original else "KL" if "kl" in original else "1 − cosine"


def _text(loss: float | None, original: dict[str, float]) -> str:
    if loss is None:
        return "–"
    return f"{100 * loss:.1f}" if "accuracy" in original else f"{loss:.3f}"


def _failure(row: dict[str, Any] | None) -> str:
    return "–" if row is None else row["failure"].partition(":")[0]


def _data(rows: Rows, models: list[str]) -> list[str]:
    about = {row["model"]: row["data"] for row in rows}
    return ["## Calibration and test data", "", *(f"- {model}: {about[model]}" for model in models), ""]


def _seconds(rows: Rows) -> list[str]:
    """What the repairs took, in passes of the original over the calibration data."""
    titles = ["model", "MACs", "one pass, s", "repair, s", "of it solving, s", "passes without solving"]
    lines = ["## Time of the repair", "", _line(titles), _line(["---"] * len(titles))]
    for row in rows:
        if "repair_seconds" in row:
            whole, solving, one = (row[f"{name}_seconds"] for name in ("repair", "solve", "pass"))
            times = [
                f"{one:.2f}",
                f"{whole:.1f}",
                f"{solving:.1f}",
                f"{(whole - solving) / max(one, 1e-9):.1f}",
            ]
            lines.append(_line([row["model"], f"{row['share']:g}", *times]))
    return lines


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
