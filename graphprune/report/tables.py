"""Tables for the terminal, made from plain dictionaries; 80 columns are enough for each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from graphprune.report.answers import answers, asked, warning
from graphprune.report.filled import filled_table
from graphprune.report.formats import (
    COSTS,
    TEXTS,
    count_text,
    error_text,
    figure_text,
    milliseconds_text,
    ratio_text,
    share_text,
    threads_text,
)

__all__ = [
    "answer_lines",
    "asked_lines",
    "check_table",
    "comparison_table",
    "cost_line",
    "difference_table",
    "figure_table",
    "group_table",
    "lossless_tables",
    "pin_table",
    "reach_table",
    "repair_tables",
    "round_tables",
    "sensitivity_table",
    "shrink_table",
    "timing_table",
    "verdict_line",
    "width_table",
    "zoo_table",
]

Report = Mapping[str, Any]

MARKS = {True: ("passed", "green"), False: ("FAILED", "bold red"), None: ("not checked", "yellow")}
MEANINGS = {
    "l2": "Change of the output over the output (L2)",
    "kl": "Divergence of the output's softmax (KL, nats)",
}
ROWS = 16  # of a repair in the terminal; report.html and report.json have all layers
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
        rows.append((label, *both, ratio_text(timed["ratio"], timed.get("interval", ()))))
    figures = report.get("evaluation") or {}
    for name, old in figures.get("before", {}).items():
        rows.append((name, figure_text(old), figure_text(figures.get("after", {}).get(name)), ""))
    return filled_table("|>before|>after|>after / before", rows)


def asked_lines(report: Report) -> Iterator[Text]:
    """What was asked for, if that was a budget."""
    if said := asked(report["request"]):
        yield Text.assemble(("Asked for", "bold"), f": {said}")


def answer_lines(report: Report) -> Iterator[Text]:
    """What became of the model's answers, and a plain word where they are bad."""
    if said := answers(report):
        yield Text.assemble(("Answers", "bold"), f": {said}")
    if said := warning(report):
        yield Text(said, style="bold yellow")


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
    rows = []
    for group in inspected["groups"]:
        width = f"{group['size']} × {group['each_of']}" if group["each_of"] else group["size"]
        shares = (share_text(group[key]) for key in ("params", "macs"))
        rows.append((group["name"], width, len(group["members"]), *shares))
    return filled_table("group|>width|>members|>parameters|>MACs", rows)


def pin_table(inspected: Report) -> Table:
    """Why axes cannot be cut, most costly first."""
    rows = (
        (row["reason"], row["axes"], count_text(row["params"]), count_text(row["unreachable"]))
        for row in inspected["pins"]
    )
    return filled_table("pinned because|>axes|>parameters|>out of reach", rows)


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
        counts = map(count_text, (zeros, gone, zeros - gone))
        tensors.append((tensor["name"], *counts, _counted(tensor["stayed"])))
    if tensors:
        yield filled_table("zeros of|>all|>gone|>left|rows and columns that stay because", tensors)


def _counted(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in numbers.items())


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


def timing_table(seconds: Mapping[str, float]) -> Table:
    """What took how long, the longest first; stages of less than a hundredth of the whole together."""
    whole = sum(seconds.values()) or 1.0
    long = sorted(
        (stage for stage in seconds if seconds[stage] >= whole / 100), key=lambda stage: -seconds[stage]
    )
    rows = [(stage, seconds[stage]) for stage in long]
    if rest := [spent for stage, spent in seconds.items() if stage not in long]:
        rows.append((f"{len(rest)} more", sum(rest)))
    texts = [(stage, f"{spent:.1f} s", share_text(spent / whole)) for stage, spent in rows]
    return filled_table("stage|>took|>share", [*texts, ("all", f"{whole:.1f} s", "")])
