"""``sensitivity``: what the outputs suffer when single groups are pruned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from graphprune.axes.dependency import DependencyGraph
from graphprune.calibration import DISTANCES, Distance, Evaluate, Loss
from graphprune.cutting.harm import Figure
from graphprune.face.trace import trace
from graphprune.ground.digest import digest
from graphprune.ground.errors import InputError
from graphprune.ground.options import SEEDS, check_number, share
from graphprune.ground.processes import from_first, is_first
from graphprune.planning.plan import fingerprint
from graphprune.probing import RATIOS, Record, Sensitivity, Watch, measured
from graphprune.scoring import Importance, find_importance

__all__ = ["sensitivity"]


def sensitivity(
    model: nn.Module | DependencyGraph | str | Path,
    example_inputs: Any = None,
    *,
    calibration: Any = None,
    evaluate: Evaluate | None = None,
    ratios: Sequence[float | str] = RATIOS,
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
        model: the model, its graph from `trace`, or the path of an ONNX file. It is left as it was.
        example_inputs: as for `trace`.
        calibration: batches, as for `shrink`; without any, the example inputs. They and the model's outputs are held in
            memory. Under ``torch.distributed`` each process gives batches of its own, and all get the distance over
            those of all.
        evaluate: ``evaluate(model)`` → a number, or a dict whose first value is one, higher is better; called with slim
            models instead of measuring distances. Calibration data are then for the importance alone. Under
            ``torch.distributed`` the first process calls it.
        ratios: shares of a group's units to remove.
        distance: "l2", ``|y' - y| / |y|`` over all outputs of all batches, or "kl", the mean divergence of their
            softmax over the last dimension, in nats.
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
    check_number("seed", seed, SEEDS)
    shares = [share("ratios", ratio) for ratio in ratios]
    if not shares or not all(0 < ratio < 1 for ratio in shares):
        raise InputError(f"ratios={tuple(ratios)} are no shares to remove", "give numbers between 0 and 1")
    criterion = find_importance(importance, calibration, loss, shared=True)
    graph = model if isinstance(model, DependencyGraph) else trace(model, example_inputs)
    place = None if path is None else Path(path)
    measure = Distance(graph.program, calibration, distance) if evaluate is None else Figure(graph, evaluate)
    head: dict[str, Any] = {
        "model": fingerprint(graph),
        "weights": digest(graph.program.tensors)[:16],
        "importance": str(criterion) if type(criterion).__str__ is not object.__str__ else "",
        "seed": seed,
        **measure.head,
    }
    scores = criterion(graph, graph.program.tensors, seed)
    # one process reads and writes the file; what it holds already is measured by none
    held = from_first(lambda: Record.open(place, head).points)
    record = Record(head, held, place if is_first() else None)
    points = measured(graph, scores, shares, measure, record, watch)
    return Sensitivity(head["distance"], points, head["baseline"], head["model"], criterion)
