"""docs/no-data.md from the rows of `bench_no_data`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench_rows import DOCS

__all__ = ["write_table"]

MARK = "<!-- table -->"  # what stands above it is written by hand
WAYS = ("weights", "no data", "real")
Rows = list[dict[str, Any]]


def write_table(rows: Rows, path: Path) -> None:
    """Writes the table of every model below the mark, and leaves what stands above it."""
    if not rows:
        return
    head = path.read_text().partition(MARK)[0] if path.exists() else ""
    peer = _peer()
    lines = [MARK, ""]
    for model in dict.fromkeys(row["model"] for row in rows):
        lines += _model([row for row in rows if row["model"] == model], model, peer)
    versions = ", ".join(f"{name} {number}" for name, number in rows[-1]["versions"].items())
    dates = sorted({row["date"] for row in rows})
    lines += [
        f"Measured {' to '.join(dict.fromkeys((dates[0], dates[-1])))} with {versions}, one thread.",
        "",
    ]
    path.write_text(head + "\n".join(lines))


def _model(rows: Rows, model: str, peer: dict[tuple[str, str], str]) -> list[str]:
    original = next(row for row in rows if row["tool"] == "original")
    titles = (
        "MACs",
        "weights alone",
        "no data",
        "real data",
        "torch-pruning's best, real data",
        "no data: chosen",
        "no data: the zoo's own test",
        "CPU s",
    )
    lines = [f"## {model}", "", f"{original['data']}. The original: {_figures(original)}.", "", _line(titles)]
    lines.append(_line(["---"] * len(titles)))
    for share in sorted({row["share"] for row in rows} - {1.0}, reverse=True):
        found = {row["choice"]: row for row in rows if row["share"] == share}
        chosen = found.get("no data", {})
        cells = [_figures(found[way]) if way in found else "" for way in WAYS]
        more = [
            peer.get((model, f"{share:g}"), ""),
            chosen.get("chosen", ""),
            ", ".join(f"{name} {value:.3f}" for name, value in chosen.get("zoo", {}).items()),
            f"{chosen['seconds']:.0f}" if chosen else "",
        ]
        lines.append(_line([f"{share:g}", *cells, *more]))
    return [*lines, ""]


def _figures(row: dict[str, Any]) -> str:
    if "failure" in row:
        return f"fails: {row['failure']}"
    found = row["figures"]
    said = []
    for name in ("accuracy", "agreement", "cosine", "kl"):
        if name in found and not (name == "agreement" and "accuracy" in found):
            said.append(f"{name} {found[name]:.3f}" if name != "kl" else f"KL {found[name]:.2g}")
    return ", ".join(said)


def _peer() -> dict[tuple[str, str], str]:
    """(model, share) → the figures of torch-pruning's best choice, from the table of choices."""
    text = (DOCS / "choice.md").read_text().partition("## Best against best")[2].partition("\n## ")[0]
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        if len(cells) > 5 and cells[1].replace(".", "").isdigit():
            found[cells[0], cells[1]] = cells[4]
    return found


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
