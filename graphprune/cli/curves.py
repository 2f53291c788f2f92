"""Curves of a sensitivity, as a report takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphprune.ground.errors import InputError
from graphprune.probing import Sensitivity
from graphprune.scoring import find_importance

__all__ = ["curves_of", "read_curves"]

METRICS = {
    "l2": "relative L2 distance of the outputs",
    "kl": "divergence of the outputs' softmax (KL, nats)",
    "evaluate": "what the evaluation gives",
}


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


def read_curves(path: Path) -> Mapping[str, Any]:
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


_REMEDY = "give what `graphprune sensitivity` wrote to its --output, or printed with --json"
