"""Tables of a plan that has not been carried out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from graphprune.report.formats import bytes_text, count_text, milliseconds_text, share_text
from graphprune.report.tables import new_table

__all__ = ["reach_table", "width_table"]

_ROWS: tuple[tuple[str, str, Callable[[float | None], str]], ...] = (
    ("multiply-accumulates", "macs", count_text),
    ("parameters", "params", count_text),
    ("peak activation memory", "memory", bytes_text),
    ("ONNX file", "onnx_bytes", bytes_text),
    ("latency, predicted", "latency", milliseconds_text),
)


def reach_table(proposal: Mapping[str, Any]) -> Table:
    """What each cost is, would be, and could be at the least."""
    table = new_table(
        ("", "left"), ("before", "right"), ("planned", "right"), ("share", "right"), ("least share", "right")
    )
    for label, kind, text in _ROWS:
        before = proposal["before"].get(kind)
        if before:
            after, least = proposal["after"][kind], proposal["smallest"][kind]
            table.add_row(
                label, text(before), text(after), share_text(after / before), share_text(least / before)
            )
    return table


def width_table(proposal: Mapping[str, Any]) -> Table:
    """Widths of the groups that would change."""
    table = new_table(("group", "left"), ("width", "right"), ("planned", "right"))
    for name, group in proposal["groups"].items():
        if group["kept"] != group["size"]:
            table.add_row(Text(name), str(group["size"]), str(group["kept"]))
    return table
