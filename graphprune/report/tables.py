"""Tables for the terminal, made from plain dictionaries; 80 columns are enough for each of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from graphprune.report.formats import (
    COSTS,
    TEXTS,
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
    "filled_table",
    "group_table",
    "pin_table",
    "sensitivity_table",
    "shrink_table",
    "verdict_line",
    "zoo_table",
]

Report = Mapping[str, Any]

MARKS = {True: ("passed", "green"), False: ("FAILED", "bold red"), None: ("not checked", "yellow")}
MEANINGS = {
    "l2": "Change of the output over the output (L2)",
    "kl": "Divergence of the output's softmax (KL, nats)",
}
COLUMNS = 6  # what fits beside a group's name


def shrink_table(report: Report) -> Table:
    """Before and after of a report: cost, file size, latency and, where there are any, figures."""
    before, after = report["before"], report["after"]
    rows: list[tuple[str, ...]] = []
    for key in ("params", "macs", "onnx_bytes"):
        (label, kind), old, new = COSTS[key], before.get(key), after.get(key)
        share = new / old if old and new is not None else None
        rows.append((label, TEXTS[kind](old), TEXTS[kind](new), share_text(share)))
    if timed := report.get("latency"):
        label = f"latency, batch {timed['batch']}, {threads_text(timed['threads'])}"
        both = (milliseconds_text(timed[key]) for key in ("original_ms", "slim_ms"))
        rows.append((label, *both, share_text(timed["ratio"])))
    figures = report.get("evaluation") or {}
    for name, old in figures.get("before", {}).items():
        rows.append((name, figure_text(old), figure_text(figures.get("after", {}).get(name)), ""))
    return filled_table("|>before|>after|>after / before", rows)


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
    return filled_table(
        "group|>width|>members|>parameters|>MACs",
        (
            (
                group["name"],
                f"{group['size']} × {group['each_of']}" if group["each_of"] else group["size"],
                len(group["members"]),
                share_text(group["params"]),
                share_text(group["macs"]),
            )
            for group in inspected["groups"]
        ),
    )


def pin_table(inspected: Report) -> Table:
    """Why axes cannot be cut, most costly first."""
    return filled_table(
        "pinned because|>axes|>parameters|>out of reach",
        (
            (row["reason"], row["axes"], count_text(row["params"]), count_text(row["unreachable"]))
            for row in inspected["pins"]
        ),
    )


def check_table(checks: Sequence[Report]) -> Table:
    """Checks with their outcome, and what they found or why they were left out."""
    rows = []
    for check in checks:
        mark, style = MARKS[check["passed"]]
        detail, figure = check.get("detail"), check.get("figure")
        found = "" if figure is None else error_text(figure)
        name = f"{check['name']}: {detail}" if detail else check["name"]
        rows.append((Text(mark, style=style, no_wrap=True), name, found))
    return filled_table("|check|>figure", rows)


def comparison_table(compared: Report) -> Table:
    """Figures of two results beside those of the original."""
    rows: list[tuple[str, ...]] = []
    for row in compared["figures"]:
        values = (TEXTS[row["kind"]](row[key]) for key in ("original", "one", "other"))
        rows.append((row["name"], *values, share_text(row["ratio"])))
    passed = (f"{each['passed']} of {each['of']}" for each in compared["checks"])
    return filled_table("|>original|>A|>B|>B / A", [*rows, ("checks passed", "", *passed, "")])


def difference_table(groups: Sequence[Report]) -> Table:
    """Kept units of groups in two results."""
    rows = (
        (group["name"], group["size"], group["one"], group["other"], f"{group['common']:.4g}")
        for group in groups
    )
    return filled_table("group|>original|>A|>B|>in both", rows)


def zoo_table(entries: Sequence[Report]) -> Table:
    """The zoo: names, what they are, licences and where weights come from."""
    rows = (
        (Text(entry["name"], no_wrap=True), entry["summary"], entry["licence"], entry["weights"])
        for entry in entries
    )
    return filled_table("name|summary|licence|weights", rows)


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


def figure_table(figures: Mapping[str, float]) -> Table:
    """Figures of one evaluation."""
    return filled_table("figure|>value", ((name, figure_text(value)) for name, value in figures.items()))


def filled_table(titles: str, rows: Iterable[Iterable[Any]]) -> Table:
    """A table of these rows.

    Args:
        titles: of the columns, with "|" between them; ">" before the title of a column of numbers, which stand at the
            right, as in "group|>width".
        rows: one cell per column. Everything but a `Text` is shown as ``str`` has it, brackets in it too.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for title in titles.split("|"):
        right = title.startswith(">")
        # fold, since half a layer name is no name
        side: Any = "right" if right else "left"
        table.add_column(title.removeprefix(">"), justify=side, overflow="fold", no_wrap=right)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    return table
