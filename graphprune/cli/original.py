"""The original of a result: what its report records of it, and how it is made again from that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import graphprune as gp
from graphprune.axes.dependency import DependencyGraph
from graphprune.cli.models import FACTORY, LIBRARIES, Source, resolve
from graphprune.cli.onnx_file import is_onnx
from graphprune.cli.output import silence, stdout_is_kept
from graphprune.cli.progress import Stages
from graphprune.cli.shapes import check_numbers, describe_inputs
from graphprune.cli.user_file import named_in
from graphprune.ground.digest import digest
from graphprune.ground.dynamic import read_dynamic
from graphprune.ground.errors import InputError
from graphprune.importing.reading import tidying_of
from graphprune.planning import Plan

__all__ = ["original", "recorded", "unknown_original"]


def recorded(
    source: Source, graph: DependencyGraph, notes: Sequence[str], command: str = ""
) -> dict[str, Any]:
    """What `graphprune verify` needs to make the original again, and the command that made the result."""
    return {
        "model": source.spec,
        **({"command": command} if command else {}),
        "weights": source.weights,
        "seed": source.seed,
        "input_shapes": [list(shape) for shape in source.shapes],
        "inputs": describe_inputs(source.inputs),
        "digest": digest(graph.program.tensors),
        "notes": [*source.notes, *notes],
    }


def unknown_original(recorded: Mapping[str, Any], model: str | None, option: str) -> str:
    """Why the original cannot be made unless the user names it with ``option``; "" where it can."""
    if model is not None:
        return ""
    spec = recorded.get("model")
    if not isinstance(spec, str):
        return f"the report records no model; name it with {option}"
    if named_in(spec):
        # a report is data: it must not make us run a file
        return f"the original is made by a file of Python, which is run only if named: {option} {spec}"
    if is_onnx(spec):
        return f"the original is an ONNX file, which is read only if named: {option} {spec}"
    library, _, name = spec.partition(":")
    if library not in LIBRARIES or ":" in name:
        return f"the original is at another place, which is read only if named: {option} {spec}"
    return ""


def original(
    recorded: Mapping[str, Any],
    model: str | None,
    weights: str | None,
    plan: Plan,
    progress: Stages,
) -> tuple[Source, DependencyGraph, str]:
    """Builds ``model``, or else the one that is recorded, and captures it as for ``plan``.

    The text says what is wrong where this is not the model that was shrunk; "" if it is.

    Raises:
        GraphpruneError: it cannot be made here.
    """
    progress("build the original")
    used = weights if weights is not None else recorded.get("weights")
    try:
        shapes = [tuple(map(int, shape)) for shape in recorded.get("input_shapes", ())]
        seed = int(recorded.get("seed", 0))
    except (TypeError, ValueError) as error:
        raise InputError(f"the report's source cannot be read: {error}", "shrink the model again") from error
    for shape in shapes:
        check_numbers(shape)
    spec = model if model is not None else str(recorded["model"])
    with stdout_is_kept():
        tidying = tidying_of(plan.request)
        source = resolve(spec, None if used in (None, FACTORY) else str(used), shapes, seed, {}, tidying)
    progress("capture the original")
    with silence():
        graph = gp.trace(
            source.model, source.inputs, outputs=plan.outputs, dynamic=read_dynamic(plan.dynamic)
        )
    same = recorded.get("digest") in (None, digest(graph.program.tensors))
    return source, graph, "" if same else f"{source.spec} has other weights here than those that were shrunk"
