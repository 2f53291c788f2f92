"""``graphprune report``, and the curves of a sensitivity as a report takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.text import Text

from graphprune.cli.documents import read_document
from graphprune.cli.output import print_result
from graphprune.cli.request import ReportRequest
from graphprune.ground.errors import InputError
from graphprune.ground.files import write_text
from graphprune.probing import Sensitivity
from graphprune.report.page import render
from graphprune.scoring import find_importance

__all__ = ["curves_of", "report"]

NEEDED = ("before", "after", "groups", "layers", "edges", "pins")
METRICS = {
    "l2": "relative L2 distance of the outputs",
    "kl": "divergence of the outputs' softmax (KL, nats)",
    "evaluate": "what the evaluation gives",
}
_REMEDY = "give what `graphprune sensitivity` wrote to its --output, or printed with --json"


def report(request: ReportRequest) -> None:
    """Writes report.html from report.json and plan.json.

    Raises:
        InputError: it is no result directory, or one of a version that did not record its layers.
    """
    directory = request.directory
    found = read_document(directory / "report.json")
    if missing := [name for name in NEEDED if name not in found]:
        raise InputError(
            f"{directory}/report.json has no {missing[0]}: an older version wrote it",
            "shrink the model again; `shrink MODEL --plan` makes the same choice",
        )
    plan = read_document(directory / "plan.json")
    curves = _read_curves(request.sensitivity) if request.sensitivity else None
    title = str(found.get("source", {}).get("model", found.get("name", directory.name)))
    page = directory / "report.html"
    try:
        text = render(found, title, plan.get("groups", {}), curves)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ZeroDivisionError) as error:
        raise InputError(
            f"{directory}/report.json cannot be shown: {type(error).__name__} {error}",
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
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", _REMEDY) from error
    except ValueError:  # of one line each
        return curves_of(Sensitivity.load(path, find_importance("l2", None, None)))
    if not isinstance(document, dict) or not {"metric", "groups"} <= set(document):
        raise InputError(f"{path} holds no curves", _REMEDY)
    return document
