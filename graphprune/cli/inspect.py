"""``graphprune inspect`` and ``graphprune explain``."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

import graphprune as gp
from graphprune.axes.dependency import DependencyGraph
from graphprune.cli.models import Source, resolve
from graphprune.cli.output import print_result, silence, stdout_is_kept, width
from graphprune.cli.progress import Stages, stages
from graphprune.cli.shapes import parse_shapes
from graphprune.ground.files import write_text
from graphprune.report.facts import inspection, network_facts
from graphprune.report.graph_files import WRITERS
from graphprune.report.page import render
from graphprune.report.picture import layer_graph
from graphprune.report.tables import cost_line, group_table, pin_table

__all__ = ["explain", "inspect"]

# Neither groups nor pins depend on the values of weights, and nothing has to be downloaded without them.
WEIGHTS = "none"
OVERLAP = "Shares overlap: a layer between two groups counts for both."


def inspect(
    model: str,
    shapes: Sequence[str],
    json: bool,
    outputs: Sequence[str] = (),
    files: Mapping[str, Path | None] | None = None,
) -> None:
    """Shows what can be removed from a model and what cannot.

    Args:
        files: "html", or one of `graph_files.WRITERS` → the file to write.

    Raises:
        GraphpruneError: there is no such model, it cannot be captured, or a file cannot be written.
    """
    with stages() as progress:
        source, graph = _traced(model, shapes, progress, outputs)
        found = inspection(graph)
        asked = {"source": {"command": _command(source, outputs)}}
        for kind, path in (files or {}).items():
            if path is not None:
                progress(f"write {path.name}")
                write_text(path, _file(kind, source, graph, {**found, **asked}))
    print_result({"model": source.spec, **found}, _parts(source, found), json)


def explain(model: str, layer: str, shapes: Sequence[str], json: bool) -> None:
    """Shows what the dimensions of one layer are coupled with, or why they are pinned.

    Raises:
        GraphpruneError: there is no such model or layer, or the model cannot be captured.
    """
    with stages() as progress:
        source, graph = _traced(model, shapes, progress)
        found = graph.explanation(layer)
    print_result({"model": source.spec, **found}, [Text(_wrapped(found["text"]))], json)


def _traced(
    model: str, shapes: Sequence[str], progress: Stages, outputs: Sequence[str] = ()
) -> tuple[Source, DependencyGraph]:
    sizes = parse_shapes(shapes)
    progress("build the model")
    with stdout_is_kept():
        source = resolve(model, WEIGHTS, sizes)
    progress("capture and analyse")
    with silence():
        return source, gp.trace(source.model, source.inputs, outputs=outputs)


def _file(kind: str, source: Source, graph: DependencyGraph, found: Mapping[str, Any]) -> str:
    if kind == "html":
        return render({**found, **network_facts(graph)}, source.spec)
    return WRITERS[kind](layer_graph(graph))


def _command(source: Source, outputs: Sequence[str]) -> str:
    words = ["graphprune", "inspect", source.spec]
    words += [word for output in outputs for word in ("--keep-output", output)]
    words += [word for shape in source.shapes for word in ("--input-shape", ",".join(map(str, shape)))]
    return shlex.join([*words, "--html", "FILE"])


def _parts(source: Source, found: Mapping[str, Any]) -> Iterator[RenderableType]:
    least = found["smallest"]["params"] / max(found["params"], 1)
    yield from (Text(source.spec, style="bold"), cost_line(found))
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
    wrapper = textwrap.TextWrapper(width(), break_long_words=False, break_on_hyphens=False)
    lines = []
    for line in text.splitlines():
        wrapper.initial_indent = " " * (len(line) - len(line.lstrip()))
        wrapper.subsequent_indent = f"{wrapper.initial_indent}    "
        lines += wrapper.wrap(line.strip())
    return "\n".join(lines)
