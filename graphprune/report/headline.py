"""The headline of a page: what a model cost before, what it costs now, and how that was asked for."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from graphprune.asking.record import as_call
from graphprune.report.formats import COSTS, TEXTS, count_text, share_text, threads_text

__all__ = ["recipe", "replay", "sizes", "tiles"]

Report = Mapping[str, Any]
Row = dict[str, Any]

TITLES = {"macs": "MACs", "params": "Parameters", "onnx_bytes": "ONNX file"}


def tiles(report: Report) -> Iterator[Row]:
    """The headline: what it cost before, what it costs now."""
    before, after = report["before"], report["after"]
    for key, label in TITLES.items():
        if after.get(key) is not None:
            yield _changed(label, before.get(key), after[key], COSTS[key][1])
    if timed := report.get("latency"):
        note = (
            f"batch {timed['batch']}, {threads_text(timed['threads'])}, {1 / timed['ratio']:.2f} × the speed"
        )
        tile = _changed("Latency, onnxruntime", timed["original_ms"], timed["slim_ms"], "milliseconds")
        yield {**tile, "note": note}
    figures = report.get("evaluation") or {}
    for name, old in figures.get("before", {}).items():
        text, new = TEXTS["figure"], figures.get("after", {}).get(name)
        yield _tile(name, text(new), "measured on data", before=text(old))


def sizes(report: Report) -> Iterator[Row]:
    """The headline of a model that was only inspected."""
    for key in ("macs", "params"):
        reach = report["reachable"][key]
        note = f"{share_text(reach)} in reach of some group"
        yield _tile(TITLES[key], count_text(report[key]), note, share=reach, width=100 * reach)
    least = report["smallest"]["params"] / max(report["params"], 1)
    note = f"one unit in each leaves {share_text(least)} of the parameters"
    yield _tile("Coupled groups", str(len(report["groups"])), note)


def _tile(label: str, now: str, note: str, before: str = "", **bar: float | None) -> Row:
    """One figure of the headline, and the ``share`` and ``width`` of a bar under it, where it has one."""
    return {"label": label, "before": before, "now": now, "note": note, "share": None, **bar}


def _changed(label: str, before: float | None, after: float, kind: str) -> Row:
    text = TEXTS[kind]
    if not before:
        was = text(before) if before is not None else ""
        return _tile(label, text(after), "of the slim model", was, width=100)
    share = after / before
    note = f"{share_text(abs(1 - share))} {'less' if share <= 1 else 'more'}"
    return _tile(label, text(after), note, text(before), share=share, width=round(100 * min(share, 1), 2))


def recipe(report: Report) -> str:
    """The command line that was given, or else the call of `graphprune.shrink` that the request amounts to."""
    if command := report.get("source", {}).get("command"):
        return str(command)
    return as_call(report["request"]) if "request" in report else ""


def replay(report: Report) -> str:
    """What makes the same choice again, unit by unit, from the plan; nothing for a model that was only inspected."""
    if "after" not in report:
        return ""
    source = report.get("source", {})
    if "model" not in source:
        return 'graphprune.shrink(model, example_inputs, plan=Plan.from_json(Path("plan.json").read_text()))'
    words = ["graphprune", "shrink", source["model"], "--plan", "plan.json"]
    if source.get("weights") not in (None, "published", "factory"):
        words += ["--weights", source["weights"]]
    for shape in source.get("input_shapes", ()):
        words += ["--input-shape", ",".join(map(str, shape))]
    return shlex.join([*words, "--seed", str(source.get("seed", 0)), "--output", "again"])
