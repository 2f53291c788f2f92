"""Tables of a lossless shrink, made from its report as plain dictionaries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from graphprune.report.formats import count_text
from graphprune.report.tables import filled_table

__all__ = ["lossless_tables"]


def lossless_tables(report: Mapping[str, Any] | None) -> Iterator[Table | Text]:
    """What became of dead units and of zeros; nothing without a ``report``."""
    if report is None:
        return
    groups = [
        (group["name"], group["size"], _counted(group["removed"]), _counted(group["stayed"]))
        for group in report["groups"]
        if group["removed"] or group["stayed"]
    ]
    if not groups and not report["tensors"]:
        yield Text("Nothing is dead: the model stays as it is")
        return
    if groups:
        yield filled_table("group|>width|removed|dead, but stays because", groups)
    else:
        yield Text("No unit is dead")
    tensors = []
    for tensor in report["tensors"]:
        zeros, gone = tensor["zeros"], tensor["removed"]
        tensors.append(
            (tensor["name"], *map(count_text, (zeros, gone, zeros - gone)), _counted(tensor["stayed"]))
        )
    if tensors:
        yield filled_table("zeros of|>all|>gone|>left|rows and columns that stay because", tensors)


def _counted(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in numbers.items())
