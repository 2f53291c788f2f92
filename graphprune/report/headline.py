"""The headline of a page: what a model cost before, and what it costs now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from graphprune.report.formats import (
    bytes_text,
    count_text,
    figure_text,
    milliseconds_text,
    share_text,
    threads_text,
)

__all__ = ["sizes", "tiles"]

Report = Mapping[str, Any]
Row = dict[str, Any]

COSTS = (
    ("MACs", "macs", count_text),
    ("Parameters", "params", count_text),
    ("ONNX file", "onnx_bytes", bytes_text),
)


def tiles(report: Report) -> Iterator[Row]:
    """The headline: what it cost before, what it costs now."""
    before, after = report["before"], report["after"]
    for label, key, text in COSTS:
        if after.get(key) is not None:
            yield _tile(label, before.get(key), after[key], text)
    if timed := report.get("latency"):
        tile = _tile("Latency, onnxruntime", timed["original_ms"], timed["slim_ms"], milliseconds_text)
        yield {
            **tile,
            "note": f"batch {timed['batch']}, {threads_text(timed['threads'])}, {1 / timed['ratio']:.2f} × the speed",
        }
    figures = report.get("evaluation") or {}
    for name, old in figures.get("before", {}).items():
        new = figures.get("after", {}).get(name)
        yield {
            "label": name,
            "before": figure_text(old),
            "now": figure_text(new),
            "share": None,
            "note": "measured on data",
        }


def _tile(label: str, before: float | None, after: float, text: Callable[[float | None], str]) -> Row:
    share = after / before if before else None
    gone = (
        f"{share_text(abs(1 - share))} {'less' if share <= 1 else 'more'}"
        if share is not None
        else "of the slim model"
    )
    return {
        "label": label,
        "before": text(before) if before is not None else "",
        "now": text(after),
        "share": share,
        "width": round(100 * min(share, 1), 2) if share is not None else 100,
        "note": gone,
    }


def sizes(report: Report) -> Iterator[Row]:
    """The headline of a model that was only inspected."""
    for label, key in (("MACs", "macs"), ("Parameters", "params")):
        reach = report["reachable"][key]
        note = f"{share_text(reach)} in reach of some group"
        yield {
            "label": label,
            "before": "",
            "now": count_text(report[key]),
            "share": reach,
            "width": 100 * reach,
            "note": note,
        }
    least = report["smallest"]["params"] / max(report["params"], 1)
    note = f"one unit in each leaves {share_text(least)} of the parameters"
    yield {
        "label": "Coupled groups",
        "before": "",
        "now": str(len(report["groups"])),
        "share": None,
        "note": note,
    }
