"""The terminal's account of a sensitivity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from graphprune.report.formats import error_text, figure_text, share_text
from graphprune.report.tables import filled_table

__all__ = ["sensitivity_table"]

MEANINGS = {
    "l2": "Change of the output over the output (L2)",
    "kl": "Divergence of the output's softmax (KL, nats)",
}
COLUMNS = 6  # what fits beside a group's name


def sensitivity_table(report: Mapping[str, Any]) -> Iterator[Table | Text]:
    """What it is, and a row for each group: what was measured with each share of its units removed."""
    meaning = MEANINGS.get(report["distance"])
    meaning = meaning or f"What the evaluation gives; {figure_text(report['baseline'])} for the whole model"
    yield Text(f"{meaning}, with these shares of one group removed")
    shares = _chosen(report["ratios"])
    text = figure_text if report["distance"] == "evaluate" else error_text
    rows = []
    for name, curve in report["groups"].items():
        size = report["sizes"][name]
        values = {round(share * size): value for share, value in curve}
        cells = (values.get(min(round(size * share), size - 1)) for share in shares)
        rows.append((name, size, *map(text, cells)))
    titles = "".join(f"|>{share_text(share)}" for share in shares)
    yield filled_table(f"group|>width{titles}", rows)


def _chosen(ratios: Sequence[float]) -> list[float]:
    """At most `COLUMNS`, evenly, the last one too."""
    if len(ratios) <= COLUMNS:
        return list(ratios)
    return [ratios[round(place * (len(ratios) - 1) / (COLUMNS - 1))] for place in range(COLUMNS)]
