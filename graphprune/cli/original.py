"""The original of a result: what its report records of it, and how it is made again from that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

import graphprune as gp
from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.inputs import Inputs
from graphprune.cli.models import FACTORY, Source, resolve
from graphprune.cli.output import silence, stdout_is_kept
from graphprune.cli.progress import Stages
from graphprune.cli.shapes import random_tensor, value_range
from graphprune.cli.user_file import named_in
from graphprune.ground.digest import digest
from graphprune.ground.errors import InputError

__all__ = [
    "describe_inputs",
    "original",
    "other_weights",
    "recorded",
    "restore_inputs",
    "unknown_original",
]


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
    return ""


def original(
    recorded: Mapping[str, Any],
    model: str | None,
    weights: str | None,
    outputs: tuple[str, ...],
    progress: Stages,
) -> tuple[Source, DependencyGraph]:
    """Builds and captures ``model``, or else the one that is recorded.

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
    spec = model if model is not None else str(recorded["model"])
    with stdout_is_kept():
        source = resolve(spec, None if used in (None, FACTORY) else str(used), shapes, seed)
    progress("capture the original")
    with silence():
        return source, gp.trace(source.model, source.inputs, outputs=outputs)


def other_weights(recorded: Mapping[str, Any], source: Source, graph: DependencyGraph) -> str:
    """What is wrong if this is not the model that was shrunk; "" if it is."""
    expected = recorded.get("digest")
    if expected is None or digest(graph.program.tensors) == expected:
        return ""
    return f"{source.spec} has other weights here than those that were shrunk"


def describe_inputs(inputs: Inputs) -> dict[str, Any]:
    """Shapes, dtypes and ranges of the tensors, other values as they are."""
    args, kwargs = inputs
    return {"args": [_described(item) for item in args], "kwargs": _described(kwargs)["dict"]}


def restore_inputs(description: Mapping[str, Any]) -> Inputs:
    """Inputs of these shapes and dtypes: normal random floats, whole numbers within the recorded range.

    Raises:
        InputError: it is not what `describe_inputs` returns.
    """
    generator = torch.Generator().manual_seed(0)
    try:
        args = tuple(_restored(item, generator) for item in description["args"])
        kwargs = {str(name): _restored(item, generator) for name, item in description["kwargs"].items()}
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"the recorded inputs cannot be read: {error}", "name the model with --model"
        ) from error
    return args, kwargs


def _described(value: Any) -> dict[str, Any]:
    if isinstance(value, Tensor):
        values = value_range(value)
        return {
            "shape": list(value.shape),
            "dtype": str(value.dtype).removeprefix("torch."),
            **({"range": list(values)} if values else {}),
        }
    if isinstance(value, Mapping):
        return {"dict": {str(key): _described(item) for key, item in value.items()}}
    if isinstance(value, list | tuple):
        return {"tuple" if isinstance(value, tuple) else "list": [_described(item) for item in value]}
    return {"value": value if isinstance(value, bool | int | float | str) else None}


def _restored(item: Mapping[str, Any], generator: torch.Generator) -> Any:
    if "shape" in item:
        return _tensor(item, generator)
    if "dict" in item:
        return {key: _restored(inner, generator) for key, inner in item["dict"].items()}
    for kind, build in (("tuple", tuple), ("list", list)):
        if kind in item:
            return build(_restored(inner, generator) for inner in item[kind])
    return item["value"]


def _tensor(item: Mapping[str, Any], generator: torch.Generator) -> Tensor:
    dtype = getattr(torch, item["dtype"])
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"{item['dtype']!r} is no dtype")
    low, high = map(int, item.get("range", (0, 0)))
    return random_tensor([int(size) for size in item["shape"]], dtype, (low, high), generator)
