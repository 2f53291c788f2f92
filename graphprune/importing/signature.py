"""What a file says of its inputs: names, types, and sizes, which may be symbols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from graphprune.ground.dynamic import Declared
from graphprune.ground.errors import InputError
from graphprune.importing.naming import identifier, parameter_names
from graphprune.importing.node import DTYPES

__all__ = ["Input", "declared_sizes", "read_signature"]


@dataclass(frozen=True)
class Input:
    """An input of a file.

    Args:
        sizes: a number where the size is fixed, or the symbol of the file; a size without either has one of its own.
    """

    name: str
    dtype: torch.dtype
    sizes: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(map(str, self.sizes))})"


def read_signature(model: Any) -> tuple[Input, ...]:
    """The inputs of an onnx.ModelProto in order, without initializers that are listed there.

    Raises:
        InputError: an input is no tensor, has no known rank, or a type that torch does not have.
    """
    held = {item.name for item in model.graph.initializer}
    return tuple(_input(item) for item in model.graph.input if item.name not in held)


def _input(item: Any) -> Input:
    kind = item.type.tensor_type
    if not item.type.HasField("tensor_type") or kind.elem_type not in DTYPES:
        raise InputError(f"the input {item.name} is no tensor of numbers", "shrink a file that takes tensors")
    if not kind.HasField("shape"):
        raise InputError(f"the file says no shape of its input {item.name}", "export it with a shape")
    sizes = tuple(_size(item.name, place, dim) for place, dim in enumerate(kind.shape.dim))
    return Input(item.name, DTYPES[kind.elem_type], sizes)


def _size(name: str, place: int, dim: Any) -> int | str:
    if dim.HasField("dim_value") and dim.dim_value > 0:
        return int(dim.dim_value)
    named = any(letter.isalnum() for letter in dim.dim_param)  # some write "?" where they know none
    return dim.dim_param if named else f"{name}:{place}"


def declared_sizes(inputs: Sequence[Input]) -> Declared:
    """The sizes that vary by the file's own word, under names that are as near to its symbols as can be."""
    arguments = parameter_names(item.name for item in inputs)
    symbols = {arguments[item.name]: _symbols(item) for item in inputs}
    return Declared({name: sizes for name, sizes in symbols.items() if sizes})


def _symbols(item: Input) -> Mapping[int, str]:
    return {
        place: "" if size == f"{item.name}:{place}" else identifier(size)
        for place, size in enumerate(item.sizes)
        if isinstance(size, str)
    }
