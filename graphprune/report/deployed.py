"""The files of a deployment beside each other: a table, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from graphprune.report.filled import filled_table
from graphprune.report.formats import bytes_text, milliseconds_text, ratio_text, share_text

__all__ = ["deployed_lines", "deployed_table"]

Report = Mapping[str, Any]
SHOWN = 3  # names in a list, where there are more


def deployed_table(report: Report) -> Table:
    """Size, time and error of every file; the model before it was shrunk in the first row, where it is known."""
    rows: list[tuple[str, ...]] = []
    before = report.get("before", {})
    if before:
        timed = before.get("latency", {})
        ratio = 1 / timed["ratio"] if timed.get("ratio") else None
        spent = milliseconds_text(timed["original_ms"]) if timed else ""
        rows.append(("original", bytes_text(before["bytes"]), spent, share_text(ratio), "", ""))
    for name, row in report["files"].items():
        timed, found = row.get("latency", {}), row["fidelity"]
        spent = milliseconds_text(timed["slim_ms"]) if timed else ""
        ratio = ratio_text(timed["ratio"], timed["interval"]) if timed else ""
        alike = share_text(found["agreement"])
        rows.append((name, bytes_text(row["bytes"]), spent, ratio, share_text(found["error"]), alike))
    return filled_table("|>size|>latency|>/ model.onnx|>outputs off|>alike", rows)


def deployed_lines(report: Report) -> Iterator[str]:
    """On what files were judged, what stayed in float, and a plain word where a file is bad."""
    found = next(iter(report["files"].values()))["fidelity"]
    kept = "held-out " if found["held_out"] else ""
    yield f"Outputs beside those of the float32 file on {found['examples']} {kept}examples of {found['data']}."
    if report.get("before", {}).get("latency"):
        yield "The original was timed by shrink, when and where that ran."
    for name, row in report["files"].items():
        if left := row.get("float_nodes"):
            of = f" of {row['nodes']}" if "nodes" in row else ""
            more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
            yield f"{name}: {len(left)}{of} nodes stay in float32: {', '.join(left[:SHOWN])}{more}"
    yield from (f"Note: {note}" for note in report["notes"])
    for name, row in report["files"].items():
        if row["fidelity"]["poor"]:
            yield (
                f"{name} answers otherwise: do not deploy it. Give calibration data of yours, or leave more in float "
                "(a smaller max-error)."
            )
