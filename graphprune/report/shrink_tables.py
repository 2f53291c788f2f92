"""Further tables of ``graphprune shrink``: of a plan, a loop, a repair, and a lossless cut."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from graphprune.report.formats import COSTS, TEXTS, count_text, figure_text, share_text
from graphprune.report.tables import filled_table

__all__ = ["lossless_tables", "reach_table", "repair_tables", "round_tables", "width_table"]

ROWS = 16  # of a repair in the terminal; report.html and report.json have all layers


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


def round_tables(loop: Mapping[str, Any] | None) -> Iterator[Table | Text]:
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
