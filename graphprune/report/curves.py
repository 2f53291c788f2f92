"""Curves that a report may have: how sensitive each group is, and how the figure went from round to round."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["curves", "layer_times"]

Row = dict[str, Any]


def curves(sensitivity: Mapping[str, Any] | None, loop: Mapping[str, Any] | None) -> Iterator[Row]:
    """One chart for each that there is.

    Args:
        sensitivity: see `graphprune.report.page.render`.
        loop: of a result that was made in rounds, see `graphprune.face.shrink_and_tune.Loop.to_dict`.
    """
    if sensitivity:
        whole = sensitivity.get("baseline")
        start = [] if whole is None else [[0.0, whole]]
        yield {
            "id": "sensitivity",
            "title": "Sensitivity",
            "note": "Each line is one group that alone loses this share of its units; point at one to see which.",
            "x": "share removed",
            "y": sensitivity["metric"],
            "points": [
                {"line": name, "x": share, "y": figure}
                for name, curve in sensitivity["groups"].items()
                for share, figure in [*start, *curve]
            ],
        }
    points = [
        {"line": line, "x": row["number"], "y": row[figure]}
        for row in (loop or {}).get("rounds", ())
        for line, figure in (("before tuning", "before"), ("after tuning", "metric"))
        if row[figure] is not None
    ]
    if points:
        yield {
            "id": "rounds",
            "title": "Round by round",
            "note": "",
            "x": "round",
            "y": "evaluation",
            "points": points,
        }


def layer_times(milliseconds: Mapping[str, Any] | None, layers: Iterable[Mapping[str, Any]]) -> list[Row]:
    """One row per layer that was timed, ``{layer: [before, after]}``, in that order; ``id`` where it is drawn."""
    numbers = {layer["name"]: layer["id"] for layer in reversed(list(layers)) if layer["name"]}
    return [
        {"id": numbers.get(name), "place": place, "name": name, "before": before, "after": after}
        for place, (name, (before, after)) in enumerate((milliseconds or {}).items())
    ]
