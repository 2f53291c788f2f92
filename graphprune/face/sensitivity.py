"""Measures a model's sensitivity: composes capture, scoring and probing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from graphprune.axes.dependency import DependencyGraph
from graphprune.calibration import DISTANCES, Distance, Evaluate, Loss
from graphprune.cutting.harm import Figure
from graphprune.face.shrink import trace
from graphprune.ground.errors import InputError
from graphprune.probing import RATIOS, Course, Sensitivity, Watch, probe
from graphprune.scoring import Importance, find_importance

__all__ = ["sensitivity"]


def sensitivity(
    model: nn.Module | DependencyGraph,
    example_inputs: Any = None,
    *,
    calibration: Any = None,
    evaluate: Evaluate | None = None,
    ratios: Sequence[float] = RATIOS,
    distance: str = "l2",
    importance: str | Importance = "l2",
    loss: Loss | None = None,
    path: str | Path | None = None,
    watch: Watch = lambda done, total: None,
    seed: int = 0,
) -> Sensitivity:
    """Measures how the output changes when single groups lose some of their units, all others whole.

    Every measurement runs the slim program itself, so norms and other statistics are exact; the model is captured once.

    Args:
        model: the model, or its graph from `trace`. It is left as it was.
        example_inputs: as for `shrink`.
        calibration: batches, as for `shrink`; without any, the example inputs. They and the model's outputs are held in
            memory. Under ``torch.distributed`` each process gives batches of its own, and all get the distance over
            those of all.
        evaluate: ``evaluate(model)`` → a number, or a dict whose first value is one, higher is better; called with slim
            models instead of measuring distances. Calibration data are then for the importance alone. Under
            ``torch.distributed`` the first process calls it.
        ratios: shares of a group's units to remove.
        distance: "l2", ``|y' - y| / |y|`` over all batches, or "kl", the mean divergence of the softmax over the last
            dimension, in nats. Several outputs count alike; for "l2" their squared distances are averaged.
        importance: which units of a group go first, see `shrink`.
        loss: for an importance that takes gradients.
        path: a file of JSON lines, written point by point by the first process; where it exists already, the
            measurement goes on.
        watch: called with the number of points that are done, and of all.
        seed: of random importance.

    Raises:
        InputError: an argument is wrong, or the file measures something else.
        CaptureError: the model cannot be captured.
    """
    if distance not in DISTANCES:
        raise InputError(f"unknown distance {distance!r}", f"use one of {', '.join(DISTANCES)}")
    if not ratios or not all(0 < ratio < 1 for ratio in ratios):
        raise InputError(f"ratios={tuple(ratios)} are no shares to remove", "give numbers between 0 and 1")
    criterion = find_importance(importance, calibration, loss, shared=True)
    graph = model if isinstance(model, DependencyGraph) else trace(model, example_inputs)
    measure = Distance(graph.program, calibration, distance) if evaluate is None else Figure(graph, evaluate)
    course = Course(None if path is None else Path(path), watch, seed)
    return probe(graph, criterion, measure, ratios, course)
