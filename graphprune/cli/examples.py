"""Example inputs as JSON and back, so that a saved result can be run again without its original."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from graphprune.cli.shapes import Inputs, random_tensor, value_range
from graphprune.ground.errors import InputError

__all__ = ["describe_inputs", "restore_inputs"]


def describe_inputs(inputs: Inputs) -> dict[str, Any]:
    """Shapes, dtypes and ranges of the tensors, other values as they are."""
    args, kwargs = inputs
    return {"args": [_described(item) for item in args], "kwargs": _described(kwargs)["dict"]}


def restore_inputs(description: Mapping[str, Any], seed: int = 0) -> Inputs:
    """Inputs of these shapes and dtypes: normal random floats, whole numbers within the recorded range.

    Raises:
        InputError: it is not what `describe_inputs` returns.
    """
    generator = torch.Generator().manual_seed(seed)
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
