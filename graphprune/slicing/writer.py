"""Writes nodes into a file: a choice by a mask, a mean over what a mask keeps."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphprune.slicing.tensors import arrays_of

__all__ = ["Mask", "Writer", "share"]

Array = np.ndarray[Any, Any]
Mask = Array  # of truth values, of the value's rank; a dimension of which nothing is removed has size 1
_SELECTED = (np.float16, np.float32, np.float64, np.int32, np.int64, np.uint8)  # which Where selects among


class Writer:
    """Makes nodes and constants under new names."""

    def __init__(self, model: Any) -> None:
        self._graph, self.arrays, self._count = model.graph, arrays_of(model), 0
        self._opset = next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))

    def new(self, name: str) -> str:
        """A name that no other value has."""
        self._count += 1
        return f"{name}/{self._count}"

    def node(self, operator: str, inputs: list[str], output: str = "", **attributes: Any) -> Any:
        """A node of one output, to which it gives a new name where none is said."""
        from onnx import helper

        return helper.make_node(operator, inputs, [output or self.new(operator)], **attributes)

    def constant(self, array: Any, name: str = "constant") -> str:
        """The name of a new constant of the whole file."""
        from onnx import numpy_helper

        self._graph.initializer.append(numpy_helper.from_array(np.asarray(array), made := self.new(name)))
        return made

    def select(
        self, value: str, mask: Mask, dtype: np.dtype[Any], output: str = "", fill: float | str = 0.0
    ) -> list[Any]:
        """Nodes that put ``fill``, or the value of that name, where the mask does not hold."""
        if dtype == np.bool_:
            return [self.node("And", [value, self.constant(mask, "mask")], output)]
        if self._opset < 9:  # has no Where
            return [self.node("Mul", [value, self.constant(mask.astype(dtype), "mask")], output)]
        if dtype not in _SELECTED:
            named = [value, fill] if isinstance(fill, str) else [value]
            wide = [self.node("Cast", [name], to=_number(np.int32)) for name in named]
            fill = wide[1].output[0] if isinstance(fill, str) else fill
            *inner, last = self.select(wide[0].output[0], mask, np.dtype(np.int32), "", fill)
            return [*wide, *inner, last, self.node("Cast", [last.output[0]], output, to=_number(dtype))]
        filled = fill if isinstance(fill, str) else self.constant(np.asarray(fill, dtype=dtype), "fill")
        return [self.node("Where", [self.constant(mask, "mask"), value, filled], output)]

    def mean_of(self, value: str, mask: Mask, axes: list[int], dtype: Any) -> list[Any]:
        """Nodes for the mean over what is kept, which is zero elsewhere."""
        if self._opset < 18:
            mean = self.node("ReduceMean", [value], axes=axes)
        else:
            mean = self.node("ReduceMean", [value, self.constant(np.array(axes, dtype=np.int64))])
        return [
            mean,
            self.node("Div", [mean.output[0], self.constant(share(mask, axes, True).astype(dtype))]),
        ]


def share(mask: Mask, axes: list[int] | None, keepdims: bool) -> Array:
    """The share that is kept of what is reduced; one where nothing is kept."""
    kept = mask.mean(axis=None if axes is None else tuple(axes), keepdims=keepdims, dtype=np.float64)
    return np.where(kept == 0, 1.0, kept)


def _number(dtype: Any) -> int:
    """ONNX's number of a dtype."""
    from onnx import helper

    found: int = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return found
