"""Which input of an ONNX file takes which tensor of the model's arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import torch
from torch.utils._pytree import tree_leaves

from graphprune.ground.errors import ExportError

__all__ = ["Inputs", "match_inputs", "tensors_in", "to_numpy"]

Inputs = tuple[tuple[Any, ...], Mapping[str, Any]]  # positional arguments, and those with keywords


def match_inputs(
    names: Sequence[str], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    """The tensors in `args` and `kwargs`, by name of the input that takes each.

    The file's inputs are the model's arguments in order: positional tensors come first, and those of a
    keyword argument are called after it.

    Args:
        names: the file's input names, in order.
        args: positional arguments, tensors anywhere inside them.
        kwargs: keyword arguments, likewise.

    Raises:
        ExportError: there are more or fewer tensors than inputs.
    """
    left = list(names)
    matched: list[tuple[str, torch.Tensor]] = []
    for tensor in tensors_in(args):
        matched.append((left.pop(0) if left else "", tensor))
    for keyword, value in kwargs.items():
        for tensor in tensors_in(value):
            name = _belonging(keyword, left)
            if name in left:
                left.remove(name)
            matched.append((name, tensor))
    if left or any(not name for name, _ in matched):
        inputs = f"{len(names)} inputs ({', '.join(names)})"
        raise ExportError(
            f"the file has {inputs}, but the arguments hold {len(matched)} tensors",
            "give the arguments that the file was exported with",
        )
    return dict(matched)


def to_numpy(tensor: torch.Tensor) -> numpy.ndarray[Any, Any]:
    """The tensor's values as onnxruntime takes them.

    Raises:
        ExportError: numpy has no such dtype.
    """
    try:
        return tensor.detach().cpu().contiguous().numpy()
    except TypeError as error:
        raise ExportError(
            f"onnxruntime cannot be fed {tensor.dtype} from Python",
            "convert the model to float32 before exporting",
        ) from error


def tensors_in(value: Any) -> list[torch.Tensor]:
    """The tensors anywhere in nested arguments, in order."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _belonging(keyword: str, names: Sequence[str]) -> str:
    """The input called `keyword`, else the first that begins with it, else the first of all, else ""."""
    if keyword in names:
        return keyword
    prefixed = [name for name in names if name.startswith(f"{keyword}_")]
    return (prefixed or [*names, ""])[0]
