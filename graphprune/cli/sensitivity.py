"""``graphprune sensitivity``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text

import graphprune as gp
from graphprune.cli.data import ensure_readable, read_calibration
from graphprune.cli.images import image_options
from graphprune.cli.models import Source, resolve
from graphprune.cli.onnx_file import parse_given
from graphprune.cli.output import print_result, silence, stdout_is_kept
from graphprune.cli.progress import Stages, stages
from graphprune.cli.report import curves_of
from graphprune.cli.request import SensitivityRequest
from graphprune.cli.shapes import parse_dynamic, parse_shapes
from graphprune.cli.training import is_first, joined_processes
from graphprune.cli.user_file import read_function
from graphprune.probing import Sensitivity
from graphprune.report.tables import sensitivity_table

__all__ = ["sensitivity"]


def sensitivity(request: SensitivityRequest) -> None:
    """Measures, and shows a row for each group.

    Under ``torchrun`` every process runs this, on its share of the data; the first one writes and shows.

    Raises:
        GraphpruneError: see `graphprune.sensitivity`; what was measured is in the output file.
    """
    first = is_first()
    with stages(request.quiet or not first, request.timings and first) as progress, joined_processes():
        source, found = _measured(request, progress)
    if not first:
        return
    report = _report(source.spec, found, request)
    parts = (*(Text(f"Note: {note}") for note in source.notes), *sensitivity_table(report))
    written = () if request.output is None else (Text(f"Written to {request.output}"),)
    print_result(report, (*parts, *written), request.json, request.quiet)


def _measured(request: SensitivityRequest, progress: Stages) -> tuple[Source, Sensitivity]:
    dynamic = parse_dynamic(request.dynamic)
    progress("build the model")
    with stdout_is_kept():
        ensure_readable(request.calibration, request.mean, request.std)
        functions = {
            name: read_function(f"--{name}", getattr(request, name)) for name in ("loss", "evaluate")
        }
        shapes, given = parse_shapes(request.input_shape), parse_given(request.input, request.feed)
        source = resolve(request.model, request.weights, shapes, request.seed, given)
        images = image_options(request.mean, request.std)
        batches = read_calibration(request.calibration, source.inputs, images)
    progress.expect(["capture", "score", "measure"])
    progress("capture")
    with silence():
        graph = gp.trace(source.model, source.inputs, dynamic=dynamic)
    progress("score")

    def watch(done: int, total: int) -> None:
        if not done:
            progress("measure")
        progress.part(done / total)

    with stdout_is_kept(), progress.resumable(request.output):
        return source, gp.sensitivity(
            graph,
            calibration=batches,
            ratios=request.shares,
            distance=request.distance,
            importance=request.importance,
            path=request.output,
            watch=watch,
            seed=request.seed,
            **functions,
        )


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
