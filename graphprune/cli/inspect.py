"""``graphprune inspect`` and ``graphprune explain``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

import graphprune as gp
from graphprune.axes.dependency import DependencyGraph
from graphprune.cli.declared import command_line
from graphprune.cli.limits import limits_of, said_of_limits
from graphprune.cli.look_request import ExplainRequest, InspectRequest, LookRequest
from graphprune.cli.models import Source, resolve
from graphprune.cli.onnx_file import parse_given
from graphprune.cli.output import console, print_result, silence, stdout_is_kept
from graphprune.cli.pretrained import check_not_of_folders, inspect_folder, is_folder
from graphprune.cli.progress import Stages, stages
from graphprune.cli.shapes import parse_dynamic, parse_shapes
from graphprune.ground.files import write_text
from graphprune.importing.reading import Tidying
from graphprune.report.facts import inspection, network_facts
from graphprune.report.graph_files import WRITERS
from graphprune.report.page import render
from graphprune.report.picture import layer_graph
from graphprune.report.sizes import size_lines
from graphprune.report.tables import cost_line, group_table, pin_table

__all__ = ["explain", "inspect"]

# Neither groups nor pins depend on the values of weights, and nothing has to be downloaded without them.
WEIGHTS = "none"
OVERLAP = "Shares overlap: a layer between two groups counts for both."


def inspect(request: InspectRequest) -> None:
    """Shows what can be removed from a model and what cannot.

    Raises:
        GraphpruneError: there is no such model, it cannot be captured, or a file cannot be written.
    """
    if is_folder(request.model):
        inspect_folder(request)
        return
    check_not_of_folders(request)
    with stages() as progress:
        source, graph = _traced(request, progress)
        limits = limits_of(graph, request)
        found = inspection(graph, {name: limit.least for name, limit in limits.items()})
        again = replace(
            request, model=source.spec, html=Path("FILE"), dot=None, graphml=None, mermaid=None, json=False
        )
        asked = {"source": {"command": command_line(again, "inspect")}}
        for kind in ("html", *WRITERS):
            if (path := getattr(request, kind)) is not None:
                progress(f"write {path.name}")
                write_text(path, _file(kind, source, graph, {**found, **asked}))
    held = map(Text, said_of_limits(limits, limits))
    print_result({"model": source.spec, **found}, (*_parts(source, found), *held), request.json)


def explain(request: ExplainRequest) -> None:
    """Shows what the dimensions of one layer are coupled with, or why they are pinned.

    Raises:
        GraphpruneError: there is no such model or layer, or the model cannot be captured.
    """
    with stages() as progress:
        source, graph = _traced(request, progress)
        found = graph.explanation(request.layer, request.paths, console(sys.stdout).width)
        limits = limits_of(graph, request)
    axes = (axis for dims in found["tensors"].values() for dim in dims for axis in dim["axes"])
    names = dict.fromkeys(axis["group"] for axis in axes if axis["group"])
    asked = list(said_of_limits(limits, names))
    parts = (Text(found["text"]), *map(Text, asked))
    print_result({"model": source.spec, **found, "asked": asked}, parts, request.json)


def _traced(request: LookRequest, progress: Stages) -> tuple[Source, DependencyGraph]:
    sizes, dynamic = parse_shapes(request.input_shape), parse_dynamic(request.dynamic)
    progress("build the model")
    with stdout_is_kept():
        given, tidying = (
            parse_given(request.input, request.feed),
            Tidying(request.keep_denormals, request.simplify),
        )
        source = resolve(request.model, request.weights or WEIGHTS, sizes, given=given, tidying=tidying)
    progress("capture and analyse")
    with silence():
        return source, gp.trace(
            source.model,
            source.inputs,
            outputs=request.keep_output,
            dynamic=dynamic,
            keep_denormals=request.keep_denormals,
            simplify=request.simplify,
        )


def _file(kind: str, source: Source, graph: DependencyGraph, found: Mapping[str, Any]) -> str:
    if kind == "html":
        return render({**found, **network_facts(graph)}, source.spec)
    return WRITERS[kind](layer_graph(graph))


def _parts(source: Source, found: Mapping[str, Any]) -> Iterator[RenderableType]:
    least = found["smallest"]["params"] / max(found["params"], 1)
    yield from (Text(source.spec, style="bold"), cost_line(found))
    yield from map(Text, size_lines(found["dimensions"]))
    yield Text(
        f"{len(found['groups'])} groups of units that go together; the fewest leave {least:.1%} of the parameters"
    )
    if found["groups"]:
        yield from (group_table(found), Text(OVERLAP, style="dim"))
    if found["pins"]:
        yield pin_table(found)
    for operator, names in found["unruled"].items():
        yield Text(f"No rule fits {operator}, at {', '.join(names[:3])}: its axes are pinned")
    yield from (Text(f"Note: {note}") for note in found["notes"])
