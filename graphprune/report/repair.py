"""Tables of a repair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from graphprune.report.tables import new_table

__all__ = ["repair_tables"]


def repair_tables(report: Mapping[str, Any] | None) -> Iterator[Table | Text]:
    """The error of every layer and of the outputs, before and after, and what could not be repaired; or nothing."""
    if report is None:
        return
    table = new_table(
        ("repaired layer", "left"), ("what", "left"), ("error before", "right"), ("error after", "right")
    )
    for step in report["steps"]:
        table.add_row(Text(step["layer"]), step["kind"], f"{step['before']:.3g}", f"{step['after']:.3g}")
    yield table
    change = f"{report['before']:.3g} to {report['after']:.3g}"
    if report["kept"]:
        yield Text(
            f"Repair: error of the outputs on {report['batches']} batches from {change} of their square"
        )
    else:
        yield Text(f"Repair: not kept, since the error of the outputs went from {change} of their square")
    for layer, why in report["left"].items():
        yield Text(f"Not repaired: {layer}, {why}")
