"""``graphprune sensitivity``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from graphprune import pipeline, probes
from graphprune.cli.calibration import read_calibration, read_loss
from graphprune.cli.curves import curves_of
from graphprune.cli.models import resolve
from graphprune.cli.output import console, print_json, show, silence, stdout_is_kept
from graphprune.cli.progress import stages
from graphprune.cli.sensitivity_command import Request
from graphprune.cli.shapes import parse_shapes
from graphprune.cli.signals import stop_if_interrupted
from graphprune.cli.user_file import named_in_file
from graphprune.errors import InputError
from graphprune.probing import Evaluate, Sensitivity, Watch
from graphprune.report.sensitivity import sensitivity_table

__all__ = ["sensitivity"]


def sensitivity(request: Request) -> None:
    """Measures, and shows a row for each group.

    Raises:
        GraphpruneError: see `graphprune.sensitivity`; what was measured is in the output file.
    """
    shares = request.shares
    with stages(request.quiet) as progress:
        progress("build the model")
        with stdout_is_kept():
            calibration = None if request.calibration is None else read_calibration(request.calibration)
            loss = None if request.loss is None else read_loss(request.loss)
            evaluate = None if request.evaluate is None else _read_evaluate(request.evaluate)
            source = resolve(request.model, request.weights, parse_shapes(request.input_shape), request.seed)
        progress("capture")
        with silence():
            graph = pipeline.trace(source.model, source.inputs)
    with _bar(request.quiet) as watch, stdout_is_kept():
        found = probes.sensitivity(
            graph,
            calibration=calibration,
            evaluate=evaluate,
            ratios=shares,
            distance=request.distance,
            importance=request.importance,
            loss=loss,
            path=request.output,
            watch=watch,
            seed=request.seed,
        )
    report = _report(source.spec, found, request)
    if request.json:
        print_json(report)
    elif not request.quiet:
        show(*(Text(f"Note: {note}") for note in source.notes), *sensitivity_table(report))
        if request.output is not None:
            show(Text(f"Written to {request.output}"))


def _read_evaluate(spec: str) -> Evaluate:
    path, colon, name = spec.rpartition(":")
    if not colon or not path.endswith(".py"):
        raise InputError(f"--evaluate {spec!r} names no function", "give path/to/file.py:function")
    return named_in_file(Path(path), name, "return a number, given the model")


@contextmanager
def _bar(quiet: bool) -> Iterator[Watch]:
    """A progress bar with the time that is left, where somebody looks."""
    columns = (
        TextColumn("measure"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    target = console(sys.stderr)
    with Progress(*columns, console=target, disable=quiet or not target.is_terminal) as progress:
        task = progress.add_task("", total=None)

        def watch(done: int, total: int) -> None:
            stop_if_interrupted()
            progress.update(task, completed=done, total=total)

        yield watch


def _report(spec: str, found: Sensitivity, request: Request) -> Mapping[str, Any]:
    """The curves as `graphprune report --sensitivity` takes them, and what was measured how."""
    return {
        "model": spec,
        "distance": found.distance,
        "importance": request.importance,
        "ratios": list(request.shares),
        "sizes": {name: points[0].size for name, points in found.curves.items()},
        **curves_of(found),
    }
