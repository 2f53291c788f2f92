"""The headline of a page: tiles with what a model cost before, what it costs now, and what was won back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graphprune.report.formats import COSTS, TEXTS, count_text, figure_text, share_text, threads_text

__all__ = ["size_tiles", "tiles"]

Report = Mapping[str, Any]
Row = dict[str, Any]

TITLES = {"macs": "MACs", "params": "Parameters", "onnx_bytes": "ONNX file"}


def _won_back(report: Report) -> Iterator[Row]:
    """What a repair and a fine-tuning have won back of the answers."""
    if repair := report.get("repair"):
        before, after = (share_text(repair[when] ** 0.5) for when in ("before", "after"))
        batches = f"{repair['batches']} {'batch' if repair['batches'] == 1 else 'batches'}"
        note = f"error of the outputs on {batches} of calibration data"
        kept = note if repair["kept"] else f"{note}; the plain cut was kept"
        yield _tile("Repair", after, kept, before)
    tuning = report.get("tuning") or {}
    if metric := tuning.get("metric"):
        texts = {when: figure_text(metric.get(when)) for when in ("before", "best")}
        yield _tile("Fine-tuning", texts["best"], f"figure, {tuning.get('steps')} steps", texts["before"])
    elif history := [row["loss"] for row in tuning.get("history", ()) if row.get("loss") is not None]:
        first, last = f"{history[0]:.4g}", f"{history[-1]:.4g}"
        yield _tile("Fine-tuning", last, f"loss, {tuning.get('steps')} steps", first)


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
    yield from _won_back(report)


def size_tiles(report: Report) -> Iterator[Row]:
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
