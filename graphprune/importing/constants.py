"""The constants of a graph: initializers, and the values of Constant nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graphprune.ground.errors import CaptureError
from graphprune.importing.node import Node
from graphprune.importing.values import MOST, Held, Numbers, as_numbers, dtype_of, numbers_of, tensor_from

__all__ = ["Constants"]

Array = np.ndarray[Any, Any]


class Constants:
    """Constants by name, those of the graph around among them. One that several nodes read is one tensor.

    Args:
        outer: those of the graph around.
        prefix: of the names that are unique in the whole file, see `graphprune.importing.nested`.

    Attributes:
        scopes: the prefixes of this graph, of the one around, and so on.
    """

    def __init__(self, graph: Any, outer: Constants | None = None, prefix: str = "") -> None:
        from onnx import numpy_helper

        self._outer = outer
        self.scopes: tuple[str, ...] = (prefix, *(outer.scopes if outer else ()))
        self._arrays: dict[str, Array] = {}
        self._same: dict[str, str] = {}
        self._tensors: dict[str, Tensor] = {}
        for item in graph.initializer:
            self._arrays[item.name] = numpy_helper.to_array(item)
        for item in graph.sparse_initializer:
            raise CaptureError(
                f"the initializer {item.values.name} is sparse", "export the model with dense weights"
            )
        for node in graph.node:
            if node.op_type == "Constant" and (value := _value(node)) is not None:
                self._arrays[node.output[0]] = value
            elif node.op_type == "Identity" and self.array(node.input[0]) is not None:
                self._same[node.output[0]] = self._same.get(node.input[0], node.input[0])

    @property
    def names(self) -> set[str]:
        """All values of this graph that are constants."""
        return {*self._arrays, *self._same}

    def array(self, name: str) -> Array | None:
        """The value of a constant; None of what is none."""
        name = self._same.get(name, name)
        return (
            self._arrays[name] if name in self._arrays else self._outer.array(name) if self._outer else None
        )

    def source(self, name: str) -> str:
        """The initializer, or the value of a Constant node, of which ``name`` is another name; unique."""
        name = self._same.get(name, name)
        if name in self._arrays or self._outer is None:
            return f"{self.scopes[0]}{name}"
        return self._outer.source(name)

    def tensor(self, name: str, attribute: str, node: Node) -> Tensor:
        """The tensor of a constant: a parameter where it has floats along a dimension that are no running statistics.

        Args:
            attribute: what the node that reads it calls it.

        Raises:
            CaptureError: torch has no such dtype.
        """
        source = self._same.get(name, name)
        if source not in self._arrays:
            assert self._outer is not None
            return self._outer.tensor(source, attribute, node)
        if source not in self._tensors:
            try:
                tensor = tensor_from(self._arrays[source])
            except TypeError as error:
                raise node.refusal(f"{source} is of the type {self._arrays[source].dtype.name}") from error
            self._tensors[source] = _parameter(tensor) if _is_weight(tensor, attribute) else tensor
        return self._tensors[source]

    def held(self, name: str, attribute: str, counts: bool) -> Held:
        """The constant beside a node that reads it; ``counts`` says that it reads sizes."""
        array = self.array(name)
        assert array is not None
        dtype = dtype_of(array)
        numbers: Numbers | None = numbers_of(array, dtype)
        if counts and numbers is None and array.size <= MOST:
            numbers = as_numbers(np.asarray(array.tolist(), dtype=object), dtype)
        return Held(attribute, self.source(name), numbers)


def _is_weight(tensor: Tensor, attribute: str) -> bool:
    """Whether training made it: floats along a dimension, or such in 8 bits, whose zero points have one at most."""
    if tensor.dtype in (torch.int8, torch.uint8):
        return tensor.dim() > 1
    return tensor.is_floating_point() and tensor.dim() > 0 and not attribute.startswith("running_")


def _parameter(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=tensor.is_floating_point())


def _value(node: Any) -> Array | None:
    """What a Constant node holds; None of texts and sparse tensors."""
    from onnx import helper, numpy_helper

    item = node.attribute[0]
    value = helper.get_attribute_value(item)
    match item.name:
        case "value":
            return numpy_helper.to_array(value)
        case "value_float" | "value_floats":
            return np.array(value, dtype=np.float32)
        case "value_int" | "value_ints":
            return np.array(value, dtype=np.int64)
    return None
