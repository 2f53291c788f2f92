"""What became of the model's answers, in words: the first thing that a report says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphprune.report.formats import COSTS, figure_text, share_text

__all__ = ["answers", "asked", "warning"]

Report = Mapping[str, Any]


def asked(request: Report) -> str:
    """The budgets that a plan records, both ways, since some say what to keep and one what to remove.

    >>> asked({"budget": {"macs": 0.5}}), asked({"budget": {"ratio": 0.3}}), asked({"lossless": True})
    ('keep 50% of the multiply-accumulates, remove 50%', 'remove 30% of the units of every group, keep 70%', '')
    >>> asked({"budget": {"latency": "4ms", "params": 0.8}})
    'latency of at most 4ms; keep 80% of the parameters, remove 20%'
    """
    return "; ".join(_budget(kind, value) for kind, value in request.get("budget", {}).items())


def _budget(kind: str, value: float | str) -> str:
    name = COSTS[kind][0].partition(",")[0] if kind in COSTS else "units of every group"
    if isinstance(value, str):
        return f"{name} of at most {value}"
    first, other = ("remove", "keep") if kind == "ratio" else ("keep", "remove")
    whole, rest = (f"{round(100 * part, 8):.4g}%" for part in (value, 1 - value))
    return f"{first} {whole} of the {name}, {other} {rest}"


def answers(report: Report) -> str:
    """How many answers are the same, how far outputs are off, and on which data; empty where nothing was judged.

    >>> found = {"error": 0.05, "agreement": 0.98, "examples": 64, "data": "your calibration data", "held_out": True}
    >>> answers({"fidelity": found})
    '98.0% alike, outputs off by 5.0%, on 64 held-out examples of your calibration data'
    """
    return "; ".join(filter(None, [_evaluated(report), _alike(report)]))


def _evaluated(report: Report) -> str:
    """The figure by which the user, or the zoo, judges a model."""
    figures = report.get("evaluation") or {}
    before, after = figures.get("before", {}), figures.get("after", {})
    name = next(iter(before), None)
    return (
        ""
        if name is None or name not in after
        else f"{name} {figure_text(before[name])} → {figure_text(after[name])}"
    )


def _alike(report: Report) -> str:
    found = report.get("fidelity")
    if not found:
        return ""
    alike = "" if found["agreement"] is None else f"{share_text(found['agreement'])} alike, "
    kept = "held-out " if found["held_out"] else ""
    data = f"{found['examples']} {kept}examples of {found['data']}"
    return f"{alike}outputs off by {share_text(found['error'])}, on {data}"


def warning(report: Report) -> str:
    """A plain word where the answers are bad, or mean nothing; empty where they are fair."""
    if report.get("source", {}).get("weights") == "none":
        return "The weights are random: the answers of this model mean nothing, before and after."
    found = report.get("fidelity")
    if not found or not found.get("poor") or report.get("tuning"):
        return ""
    by_error = found["agreement"] is None or found["data"].startswith("synthetic")
    how = (
        f"by {share_text(found['error'])}"
        if by_error
        else f"in {share_text(1 - found['agreement'])} of cases"
    )
    return (
        f"The slim model answers differently {how}: fine-tune it (graphprune tune), give calibration data of "
        "yours, or keep more. Verified says that the cut is exact, no more."
    )
