"""Tables for the terminal, made from plain dictionaries; 80 columns are enough for each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from graphprune.report.formats import (
    bytes_text,
    count_text,
    error_text,
    figure_text,
    milliseconds_text,
    share_text,
    threads_text,
)

__all__ = [
    "check_table",
    "comparison_table",
    "cost_line",
    "difference_table",
    "figure_table",
    "group_table",
    "new_table",
    "pin_table",
    "shrink_table",
    "verdict_line",
    "zoo_table",
]

Report = Mapping[str, Any]

MARKS = {True: ("passed", "green"), False: ("FAILED", "bold red"), None: ("not checked", "yellow")}


def shrink_table(report: Report) -> Table:
    """Before and after of a report: cost, file size, latency and, where there are any, figures."""
    before, after = report["before"], report["after"]
    table = new_table(("", "left"), ("before", "right"), ("after", "right"), ("after / before", "right"))
    for label, key, text in (
        ("parameters", "params", count_text),
        ("multiply-accumulates", "macs", count_text),
        ("ONNX file", "onnx_bytes", bytes_text),
    ):
        old, new = before.get(key), after.get(key)
        table.add_row(label, text(old), text(new), share_text(new / old if old and new is not None else None))
    if timed := report.get("latency"):
        table.add_row(
            f"latency, batch {timed['batch']}, {threads_text(timed['threads'])}",
            milliseconds_text(timed["original_ms"]),
            milliseconds_text(timed["slim_ms"]),
            share_text(timed["ratio"]),
        )
    figures = report.get("evaluation") or {}
    for name, old in figures.get("before", {}).items():
        table.add_row(Text(name), figure_text(old), figure_text(figures.get("after", {}).get(name)), "")
    return table


def verdict_line(verdict: Report) -> Text:
    """How many checks passed, and how near the slim model is to the (masked) original and to onnxruntime."""
    checks = verdict["checks"]
    passed = sum(check["passed"] for check in checks)
    if not verdict["passed"]:
        return Text.assemble(
            ("NOT VERIFIED", "bold red"), f", {len(checks) - passed} of {len(checks)} checks failed"
        )
    errors = []
    parts = ("every node", "masked original"), ("original model", "original"), ("onnxruntime", "onnxruntime")
    for part, label in parts:
        figures = [check["figure"] for check in checks if part in check["name"]]
        errors += [f"{label} within {error_text(max(figures))}"] if figures else []
    return Text.assemble(("Verified", "bold green"), f", {passed} checks: ", ", ".join(errors))


def cost_line(inspected: Report) -> Text:
    """Size of a model and how much of it the groups reach."""
    reach = inspected["reachable"]
    return Text(
        f"{count_text(inspected['params'])} parameters ({share_text(reach['params'])} in reach), "
        f"{count_text(inspected['macs'])} MACs ({share_text(reach['macs'])} in reach)"
    )


def group_table(inspected: Report) -> Table:
    """The coupled groups: their width, how many dimensions they span, and their share of the cost."""
    table = new_table(
        ("group", "left"),
        ("width", "right"),
        ("members", "right"),
        ("parameters", "right"),
        ("MACs", "right"),
    )
    for group in inspected["groups"]:
        each = f" × {group['each_of']}" if group["each_of"] else ""
        table.add_row(
            Text(group["name"]),
            f"{group['size']}{each}",
            str(len(group["members"])),
            share_text(group["params"]),
            share_text(group["macs"]),
        )
    return table


def pin_table(inspected: Report) -> Table:
    """Why axes cannot be cut, most costly first."""
    table = new_table(
        ("pinned because", "left"), ("axes", "right"), ("parameters", "right"), ("out of reach", "right")
    )
    for row in inspected["pins"]:
        table.add_row(
            Text(row["reason"]), str(row["axes"]), count_text(row["params"]), count_text(row["unreachable"])
        )
    return table


def check_table(checks: Sequence[Report]) -> Table:
    """Checks with their outcome, and what they found or why they were left out."""
    table = new_table(("", "left"), ("check", "left"), ("figure", "right"))
    for check in checks:
        mark, style = MARKS[check["passed"]]
        detail = check.get("detail")
        figure = check.get("figure")
        table.add_row(
            Text(mark, style=style, no_wrap=True),
            Text(check["name"] + (f": {detail}" if detail else "")),
            "" if figure is None else error_text(figure),
        )
    return table


def comparison_table(compared: Report) -> Table:
    """Figures of two results beside those of the original."""
    texts = {
        "count": count_text,
        "bytes": bytes_text,
        "milliseconds": milliseconds_text,
        "share": share_text,
        "figure": figure_text,
    }
    table = new_table(("", "left"), ("original", "right"), ("A", "right"), ("B", "right"), ("B / A", "right"))
    for row in compared["figures"]:
        text = texts[row["kind"]]
        values = (text(row[key]) for key in ("original", "one", "other"))
        table.add_row(Text(row["name"]), *values, share_text(row["ratio"]))
    table.add_row(
        "checks passed", "", *(f"{each['passed']} of {each['of']}" for each in compared["checks"]), ""
    )
    return table


def difference_table(groups: Sequence[Report]) -> Table:
    """Kept units of groups in two results."""
    table = new_table(
        ("group", "left"), ("original", "right"), ("A", "right"), ("B", "right"), ("in both", "right")
    )
    for group in groups:
        common = f"{group['common']:.4g}"
        table.add_row(Text(group["name"]), *(str(group[key]) for key in ("size", "one", "other")), common)
    return table


def zoo_table(entries: Sequence[Report]) -> Table:
    """The zoo: names, what they are, licences and where weights come from."""
    table = new_table(("name", "left"), ("summary", "left"), ("licence", "left"), ("weights", "left"))
    for entry in entries:
        texts = (entry["summary"], entry["licence"], entry["weights"])
        table.add_row(Text(entry["name"], no_wrap=True), *map(Text, texts))
    return table


def figure_table(figures: Mapping[str, float]) -> Table:
    """Figures of one evaluation."""
    table = new_table(("figure", "left"), ("value", "right"))
    for name, value in figures.items():
        table.add_row(Text(name), figure_text(value))
    return table


def new_table(*columns: tuple[str, Any]) -> Table:
    """An empty table with these titles and sides, "left" or "right"."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for title, side in columns:
        # fold, since half a layer name is no name
        table.add_column(title, justify=side, overflow="fold", no_wrap=side == "right")
    return table
