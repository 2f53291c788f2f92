"""Tables of a repair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from graphprune.report.tables import filled_table

__all__ = ["repair_tables"]

ROWS = 16  # of the table in the terminal; report.html and report.json have all layers


def repair_tables(report: Mapping[str, Any] | None) -> Iterator[Table | Text]:
    """The error of the outputs and of the layers, of many those where it fell most, before and after, and what could
    not be repaired; or nothing."""
    if report is None:
        return
    steps = report["steps"]
    falls = sorted(range(len(steps)), key=lambda place: steps[place]["after"] - steps[place]["before"])
    shown = [steps[place] for place in sorted(falls[:ROWS])]
    rows = ((step["layer"], step["kind"], f"{step['before']:.3g}", f"{step['after']:.3g}") for step in shown)
    yield filled_table("repaired layer|what|>error before|>error after", rows)
    if len(shown) < len(steps):
        yield Text(f"… and {len(steps) - len(shown)} layers where the error fell less, see report.html")
    change = f"{report['before']:.3g} to {report['after']:.3g}"
    if report["kept"]:
        count = f"{report['batches']} {'batch' if report['batches'] == 1 else 'batches'}"
        yield Text(f"Repair: error of the outputs on {count} from {change} of their square")
    else:
        yield Text(f"Repair: not kept, since the error of the outputs went from {change} of their square")
    for layer, why in report["left"].items():
        yield Text(f"Not repaired: {layer}, {why}")
