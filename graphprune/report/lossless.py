"""Tables of a lossless shrink, made from its report as plain dictionaries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from graphprune.report.formats import count_text
from graphprune.report.tables import new_table

__all__ = ["lossless_tables"]


def lossless_tables(report: Mapping[str, Any] | None) -> Iterator[Table | Text]:
    """What became of dead units and of zeros; nothing without a ``report``."""
    if report is None:
        return
    groups = [group for group in report["groups"] if group["removed"] or group["stayed"]]
    if not groups and not report["tensors"]:
        yield Text("Nothing is dead: the model stays as it is")
        return
    if groups:
        yield _units(groups)
    else:
        yield Text("No unit is dead")
    if report["tensors"]:
        yield _zeros(report["tensors"])


def _units(groups: list[Mapping[str, Any]]) -> Table:
    table = new_table(
        ("group", "left"), ("width", "right"), ("removed", "left"), ("dead, but stays because", "left")
    )
    for group in groups:
        removed, stayed = (_counted(group[key]) for key in ("removed", "stayed"))
        table.add_row(Text(group["name"]), str(group["size"]), Text(removed), Text(stayed))
    return table


def _zeros(tensors: list[Mapping[str, Any]]) -> Table:
    table = new_table(
        ("zeros of", "left"),
        ("all", "right"),
        ("gone", "right"),
        ("left", "right"),
        ("rows and columns that stay because", "left"),
    )
    for tensor in tensors:
        zeros, gone = tensor["zeros"], tensor["removed"]
        counts = map(count_text, (zeros, gone, zeros - gone))
        table.add_row(Text(tensor["name"]), *counts, Text(_counted(tensor["stayed"])))
    return table


def _counted(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in numbers.items())
