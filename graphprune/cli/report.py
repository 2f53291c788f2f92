"""``graphprune report``, and the curves of a sensitivity as a report takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.text import Text
from typing_extensions import NotRequired, TypedDict

from graphprune.cli.output import print_result
from graphprune.cli.request import ReportRequest
from graphprune.ground.documents import fitted, named, parse_json, read_json, read_text
from graphprune.ground.errors import InputError
from graphprune.ground.files import write_text
from graphprune.planning.document import PlanDocument
from graphprune.probing import Sensitivity
from graphprune.report.document import read_report, sweep_hint
from graphprune.report.page import render, render_sweep
from graphprune.results.picking import read_sweep
from graphprune.scoring import find_importance

__all__ = ["curves_of", "report"]

METRICS = {
    "l2": "relative L2 distance of the outputs",
    "kl": "divergence of the outputs' softmax (KL, nats)",
    "evaluate": "what the evaluation gives",
}


class Curves(TypedDict):
    """Points of each group: the share that is removed, and the figure."""

    metric: str
    groups: dict[str, list[list[float]]]
    baseline: NotRequired[float | None]


_REMEDY = "give what `graphprune sensitivity` wrote to its --output, or printed with --json"


def report(request: ReportRequest) -> None:
    """Writes report.html from report.json and plan.json, or from sweep.json.

    Raises:
        InputError: it is no result directory, or one of a version that did not record its layers.
    """
    directory = request.directory
    if sweep_hint(directory):
        if request.sensitivity:
            raise InputError("--sensitivity is for the page of a result", sweep_hint(directory))
        found = read_sweep(directory)
        _write(request, lambda: render_sweep(found), "sweep.json")
        return
    path, choice = directory / "report.json", directory / "plan.json"
    found = named(path, lambda: read_report(path))
    plan = named(choice, lambda: read_json(choice, PlanDocument))
    curves = _read_curves(request.sensitivity) if request.sensitivity else None
    title = str(found.get("source", {}).get("model", found.get("name", directory.name)))
    _write(request, lambda: render(found, title, plan["groups"], curves), "report.json")


def _write(request: ReportRequest, rendered: Callable[[], str], source: str) -> None:
    page = request.directory / "report.html"
    try:
        text = rendered()
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ZeroDivisionError) as error:
        raise InputError(
            f"{request.directory}/{source} cannot be shown: {type(error).__name__} {error}",
            "shrink the model again",
        ) from error
    write_text(page, text)
    document = {"page": str(page), "bytes": page.stat().st_size}
    print_result(document, [Text(f"Written to {page}")], request.json, request.quiet)


def curves_of(found: Sensitivity) -> dict[str, Any]:
    """What `graphprune.report.page.render` draws."""
    return {
        "metric": METRICS[found.distance],
        "baseline": found.baseline,
        "groups": {
            name: [[point.removed / point.size, point.value] for point in points]
            for name, points in found.curves.items()
        },
    }


def _read_curves(path: Path) -> Mapping[str, Any]:
    """What `graphprune sensitivity` printed with ``--json``, or kept in its ``--output``.

    Raises:
        InputError: it is neither.
    """
    try:
        text = read_text(path)
    except InputError as error:
        raise InputError(f"{path} cannot be read: {error.message}", _REMEDY) from error
    try:
        document = parse_json(text)
    except InputError:  # of one line each
        return curves_of(Sensitivity.load(path, find_importance("l2", None, None)))
    try:
        return fitted(Curves, document)
    except InputError as error:
        raise InputError(f"{path} holds no curves: {error.message}", _REMEDY) from error
