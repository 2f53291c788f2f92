"""Tables of a plan that has not been carried out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from graphprune.report.formats import COSTS, TEXTS, share_text
from graphprune.report.tables import filled_table

__all__ = ["reach_table", "width_table"]


def reach_table(proposal: Mapping[str, Any]) -> Table:
    """What each cost is, would be, and could be at the least."""
    rows = []
    for key in ("macs", "params", "memory", "onnx_bytes", "latency"):
        label, kind = COSTS[key]
        before = proposal["before"].get(key)
        if before:
            after, least = proposal["after"][key], proposal["smallest"][key]
            texts = map(TEXTS[kind], (before, after))
            rows.append((label, *texts, share_text(after / before), share_text(least / before)))
    return filled_table("|>before|>planned|>share|>least share", rows)


def width_table(proposal: Mapping[str, Any]) -> Table:
    """Widths of the groups that would change."""
    groups = proposal["groups"].items()
    rows = ((name, row["size"], row["kept"]) for name, row in groups if row["kept"] != row["size"])
    return filled_table("group|>width|>planned", rows)
