"""``graphprune inspect`` and ``graphprune explain``."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

import graphprune as gp
from graphprune.axes.dependency import DependencyGraph
from graphprune.cli.declared import command_line
from graphprune.cli.models import Source, resolve
from graphprune.cli.onnx_file import parse_given
from graphprune.cli.output import console, print_result, silence, stdout_is_kept
from graphprune.cli.pretrained import inspect_folder, is_folder
from graphprune.cli.progress import Stages, stages
from graphprune.cli.request import ExplainRequest, InspectRequest
from graphprune.cli.shapes import parse_dynamic, parse_shapes
from graphprune.ground.files import write_text
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
    with stages() as progress:
        source, graph = _traced(request, progress, request.keep_output)
        found = inspection(graph)
        again = replace(
            request, model=source.spec, html=Path("FILE"), dot=None, graphml=None, mermaid=None, json=False
        )
        asked = {"source": {"command": command_line(again, "inspect")}}
        for kind in ("html", *WRITERS):
            if (path := getattr(request, kind)) is not None:
                progress(f"write {path.name}")
                write_text(path, _file(kind, source, graph, {**found, **asked}))
    print_result({"model": source.spec, **found}, _parts(source, found), request.json)


def explain(request: ExplainRequest) -> None:
    """Shows what the dimensions of one layer are coupled with, or why they are pinned.

    Raises:
        GraphpruneError: there is no such model or layer, or the model cannot be captured.
    """
    with stages() as progress:
        source, graph = _traced(request, progress)
        found = graph.explanation(request.layer)
    print_result({"model": source.spec, **found}, [Text(_wrapped(found["text"]))], request.json)


def _traced(
    request: InspectRequest | ExplainRequest, progress: Stages, outputs: Sequence[str] = ()
) -> tuple[Source, DependencyGraph]:
    sizes, dynamic = parse_shapes(request.input_shape), parse_dynamic(request.dynamic)
    progress("build the model")
    with stdout_is_kept():
        source = resolve(request.model, WEIGHTS, sizes, given=parse_given(request.input, request.feed))
    progress("capture and analyse")
    with silence():
        return source, gp.trace(source.model, source.inputs, outputs=outputs, dynamic=dynamic)


def _file(kind: str, source: Source, graph: DependencyGraph, found: Mapping[str, Any]) -> str:
    if kind == "html":
        return render({**found, **network_facts(graph)}, source.spec)
    return WRITERS[kind](layer_graph(graph))


def _parts(source: Source, found: Mapping[str, Any]) -> Iterator[RenderableType]:
    least = found["smallest"]["params"] / max(found["params"], 1)
    yield from (Text(source.spec, style="bold"), cost_line(found))
    yield from map(Text, size_lines(found["dimensions"]))
    yield Text(f"{len(found['groups'])} groups; one unit in each leaves {least:.1%} of the parameters")
    if found["groups"]:
        yield from (group_table(found), Text(OVERLAP, style="dim"))
    if found["pins"]:
        yield pin_table(found)
    for operator, names in found["unruled"].items():
        yield Text(f"No rule fits {operator}, at {', '.join(names[:3])}: its axes are pinned")
    yield from (Text(f"Note: {note}") for note in found["notes"])


def _wrapped(text: str) -> str:
    """Long lines broken at spaces, continued further in than they began."""
    wrapper = textwrap.TextWrapper(console(sys.stdout).width, break_long_words=False, break_on_hyphens=False)
    lines = []
    for line in text.splitlines():
        wrapper.initial_indent = " " * (len(line) - len(line.lstrip()))
        wrapper.subsequent_indent = f"{wrapper.initial_indent}    "
        lines += wrapper.wrap(line.strip())
    return "\n".join(lines)
