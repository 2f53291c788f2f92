"""``graphprune sensitivity``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text

import graphprune as gp
from graphprune.axes.dependency import DependencyGraph
from graphprune.calibration import Evaluate, Loss
from graphprune.cli.calibration import ensure_readable, read_loss
from graphprune.cli.curves import curves_of
from graphprune.cli.data import image_options, read_calibration
from graphprune.cli.models import Source, resolve
from graphprune.cli.output import print_json, show, silence, stdout_is_kept
from graphprune.cli.progress import Stages, stages
from graphprune.cli.sensitivity_request import SensitivityRequest
from graphprune.cli.shapes import parse_shapes
from graphprune.cli.training import is_first, joined_processes, user_evaluation
from graphprune.probing import Sensitivity
from graphprune.report.sensitivity import sensitivity_table

__all__ = ["sensitivity"]


def sensitivity(request: SensitivityRequest) -> None:
    """Measures, and shows a row for each group.

    Under ``torchrun`` every process runs this, on its share of the data; the first one writes and shows.

    Raises:
        GraphpruneError: see `graphprune.sensitivity`; what was measured is in the output file.
    """
    first = is_first()
    with stages(request.quiet or not first) as progress, joined_processes():
        source, found = _measured(request, progress)
    if not first:
        return
    report = _report(source.spec, found, request)
    if request.json:
        print_json(report)
    elif not request.quiet:
        show(*(Text(f"Note: {note}") for note in source.notes), *sensitivity_table(report))
        if request.output is not None:
            show(Text(f"Written to {request.output}"))


def _measured(request: SensitivityRequest, progress: Stages) -> tuple[Source, Sensitivity]:
    progress("build the model")
    with stdout_is_kept():
        ensure_readable(request.calibration, request.mean, request.std)
        loss = None if request.loss is None else read_loss(request.loss)
        evaluate = None if request.evaluate is None else user_evaluation(request.evaluate)
        source = resolve(request.model, request.weights, parse_shapes(request.input_shape), request.seed)
        calibration = _calibration(request, source)
    progress("capture")
    with silence():
        graph = gp.trace(source.model, source.inputs)
    progress("score")

    with stdout_is_kept():
        try:
            found = _probed(request, graph, calibration, evaluate, loss, progress)
        except KeyboardInterrupt:
            if request.output is not None and request.output.is_file():
                progress.leave(f"stopped; the same command goes on from {request.output}")
            raise
    return source, found


def _probed(
    request: SensitivityRequest,
    graph: DependencyGraph,
    calibration: Any,
    evaluate: Evaluate | None,
    loss: Loss | None,
    progress: Stages,
) -> Sensitivity:
    def watch(done: int, total: int) -> None:
        if not done:
            progress("measure")
        progress.part(done / total)

    return gp.sensitivity(
        graph,
        calibration=calibration,
        evaluate=evaluate,
        ratios=request.shares,
        distance=request.distance,
        importance=request.importance,
        loss=loss,
        path=request.output,
        watch=watch,
        seed=request.seed,
    )


def _calibration(request: SensitivityRequest, source: Source) -> Any:
    if request.calibration is None:
        return None
    return read_calibration(request.calibration, source.inputs, image_options(request.mean, request.std))


def _report(spec: str, found: Sensitivity, request: SensitivityRequest) -> Mapping[str, Any]:
    """The curves as `graphprune report --sensitivity` takes them, and what was measured how."""
    return {
        "model": spec,
        "distance": found.distance,
        "importance": request.importance,
        "ratios": list(request.shares),
        "sizes": {name: points[0].size for name, points in found.curves.items()},
        **curves_of(found),
    }
