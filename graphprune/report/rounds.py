"""Tables of a loop of pruning and fine-tuning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from graphprune.report.formats import figure_text, share_text
from graphprune.report.tables import filled_table

__all__ = ["round_tables"]


def round_tables(loop: Mapping[str, Any] | None) -> Iterable[Table | Text]:
    """What a loop made, and why it ended."""
    if loop is None:
        return
    rows = []
    for row in loop["rounds"]:
        figures = (figure_text(row[key]) for key in ("before", "metric"))
        good = "" if row["good"] else "below the floor"
        rows.append((row["number"], share_text(row["macs"]), *figures, good))
    yield filled_table(">round|>MACs|>cut|>fine-tuned|", rows)
    yield Text(f"The loop ended: {loop['reason']}")
