"""The tensors of an ONNX program in memory, under the model's names: they can be given other values, none missed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from graphprune.ground.errors import ExportError

__all__ = ["Names", "replace_initializers", "stored_form"]

REPORT = "report the model: its ONNX file cannot be compared on random weights"


@dataclass(frozen=True)
class Names:
    """What the tensors of an ONNX program are called in the model.

    Attributes:
        reads: names of the parameters and buffers from which something is computed.
        ties: the other names of those that have several.
    """

    reads: frozenset[str]
    ties: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, name: str) -> tuple[str, ...]:
        """All names of a tensor, the initializer's first."""
        return (name, *self.ties.get(name, ()))


def replace_initializers(graph: Any, names: Names, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put `tensors` in the place of every parameter and buffer that the model reads.

    Args:
        graph: an `onnx_ir.Graph` of the program, to be changed.
        names: what its tensors are called.
        tensors: values by the model's names, of the shapes and dtypes that the graph has.

    Raises:
        ExportError: the graph has no initializer of the name, shape and dtype of a tensor that the model reads,
            or there is no value for it.
    """
    import onnx_ir

    for name in sorted(names.reads):
        if name not in graph.initializers:
            raise ExportError(f"the ONNX program has no initializer for the tensor {name!r}", REPORT)
    for name, initializer in graph.initializers.items():
        found = next((other for other in names.of(name) if other in tensors), None)
        if found is None and name in names.reads:
            raise ExportError(f"there is no value for the tensor {name!r} of the ONNX program", REPORT)
        if found is None or name not in names.reads:  # a constant, which the module holds as integers
            continue
        value = onnx_ir.tensor(stored_form(tensors[found]), name=name)
        there, given = _form(initializer.const_value), _form(value)
        if given != there:
            raise ExportError(f"the initializer {name!r} is {there}, the tensor {given}", REPORT)
        initializer.const_value = value


def stored_form(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor as ONNX stores it: complex numbers as pairs."""
    plain = tensor.detach().cpu()
    return (torch.view_as_real(plain) if plain.is_complex() else plain).contiguous()


def _form(tensor: Any) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"
