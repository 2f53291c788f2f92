"""``graphprune shrink`` with several budgets, and ``graphprune pick``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

import graphprune as gp
from graphprune.cli.declared import command_line, run_settings
from graphprune.cli.models import Source
from graphprune.cli.original import recorded
from graphprune.cli.output import print_result
from graphprune.cli.pick_request import PickRequest
from graphprune.cli.progress import Stages
from graphprune.cli.request import ShrinkRequest
from graphprune.cli.training import Figures, is_first
from graphprune.ground.errors import InputError
from graphprune.report.answers import warning
from graphprune.report.curve import sweep_tables
from graphprune.report.tables import answer_lines, shrink_table, verdict_line
from graphprune.results.result import Result

__all__ = ["check_sweep", "pick", "swept", "swept_parts"]


def check_sweep(request: ShrinkRequest, kind: str, deploys: bool) -> None:
    """Raises InputError where several budgets are asked for together with what takes one.

    Args:
        deploys: files for other runtimes are asked for.
    """
    if kind and deploys:
        raise InputError(
            f"--int8, --fp16 and the like are for one result, and --{kind} has several",
            "sweep without them, pick one, and export that: graphprune export DIR",
        )
    if kind and request.tune:
        raise InputError(
            f"--tune trains for one budget, and --{kind} has several",
            "sweep without it, pick one, and train that: graphprune tune DIR",
        )


def swept(
    request: ShrinkRequest,
    kind: str,
    directory: Path,
    source: Source,
    options: dict[str, Any],
    progress: Stages,
) -> dict[str, Any]:
    """Shrinks to every budget and writes the folder that holds them all; what stands in its sweep.json."""
    figures = Figures(source.evaluate, progress)
    figures.add("before", "original", source.model)
    command = command_line(request, "shrink")
    found = gp.sweep(source.model, source.inputs, progress=progress, **options)
    if not is_first():
        return {}

    def extra(result: Result) -> dict[str, Any]:
        budget = result.plan.request["budget"][kind]
        figures.add("after", "slim model", result.model)
        one = replace(request, asked={**request.asked, kind: str(budget)})
        again = command_line(replace(one, output=directory / f"{kind}-{budget}"), "shrink")
        return {"source": recorded(source, result.graph, tuple(figures.notes), again), **figures.extra}

    graph = next(iter(found.results.values())).graph
    return found.save(
        directory,
        latency=not request.no_latency,
        progress=progress,
        extra=extra,
        settings={"shrink": run_settings(request)},
        force=request.force,
        source=recorded(source, graph, tuple(figures.notes), command),
    )


def swept_parts(document: Mapping[str, Any], directory: Path) -> Iterator[RenderableType]:
    """What the terminal shows of a sweep."""
    if said := warning(document):
        yield Text(said, style="bold yellow")
    yield from sweep_tables(document)
    notes = [*document.get("source", {}).get("notes", ()), *document["notes"]]
    yield from (Text(f"Note: {note}") for note in notes)
    yield Text(
        f"Written to {directory}, one folder each; graphprune pick {directory} BUDGET makes one the result"
    )


def pick(request: PickRequest) -> None:
    """Makes one result of a sweep the result.

    Raises:
        InputError: see `graphprune.pick`.
    """
    report = gp.pick(request.directory, request.budget, request.output, request.force)
    place = request.output or request.directory
    parts: Iterable[RenderableType] = (
        *answer_lines(report),
        shrink_table(report),
        verdict_line(report["verdict"]),
        Text(f"Written to {place}"),
    )
    print_result({"directory": str(place), **report}, parts, request.json, request.quiet)
