"""``graphprune export``, and what ``graphprune shrink`` writes of that kind beside its result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

import graphprune as gp
from graphprune.asking.deployment import Deployment
from graphprune.cli.data import ensure_readable, read_calibration
from graphprune.cli.images import image_options
from graphprune.cli.output import print_result, silence, stdout_is_kept
from graphprune.cli.progress import Stages, stages
from graphprune.cli.request import ShrinkRequest
from graphprune.cli.request_export import ExportRequest
from graphprune.face.export import example_of, place_of
from graphprune.report.deployed import deployed_lines, deployed_table

__all__ = ["deployed", "deployed_parts", "deployment_of", "export"]


def export(request: ExportRequest) -> None:
    """Writes the files, and shows them beside each other.

    Raises:
        GraphpruneError: see `graphprune.export`.
    """
    spec = request.asked.get("calibration")
    ensure_readable(spec, request.mean, request.std)
    Deployment(**request.asked)  # what is out of range is refused before the long work
    with stages(request.quiet) as progress:
        with stdout_is_kept():
            images = image_options(request.mean, request.std)
            calibration = read_calibration(spec, example_of(request.source), images) if spec else None
        options = {**request.asked, "calibration": calibration}
        with silence():
            report = gp.export(
                request.source, request.output, not request.no_latency, request.force, progress, **options
            )
    place = place_of(request.source, request.output)
    print_result(
        {"directory": str(place), **report}, deployed_parts(report, place), request.json, request.quiet
    )


def deployment_of(request: ShrinkRequest) -> dict[str, Any] | None:
    """What ``graphprune shrink`` was asked to write beside its result; None for nothing.

    Raises:
        InputError: it is out of range.
    """
    return dict(request.deploy) if Deployment(**request.deploy).is_asked else None


def deployed(
    request: ShrinkRequest,
    directory: Path,
    asked: Mapping[str, Any],
    options: Mapping[str, Any],
    progress: Stages,
) -> dict[str, Any]:
    """The report of the files that are written into a result, on the calibration data of the shrink."""
    shared = {name: options[name] for name in ("calibration", "threads", "batch", "seed")}
    return gp.export(directory, None, not request.no_latency, True, progress, **asked, **shared)


def deployed_parts(report: Mapping[str, Any], directory: Path) -> Iterator[RenderableType]:
    """The table of the files, what stayed in float, and where they are."""
    yield deployed_table(report)
    yield from map(Text, deployed_lines(report))
    yield Text(f"Written to {directory}")
