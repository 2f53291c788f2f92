"""The operators that compute sizes, on Python's numbers: what remembers its tensor's size goes on remembering it.

Float arithmetic is Python's, in double precision, except that constants have the precision of the file.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from graphprune.capture.remembered import plain
from graphprune.importing.node import DTYPES, Node
from graphprune.importing.values import MOST, Numbers, as_numbers

__all__ = ["COUNTING"]

Array = np.ndarray[Any, Any]


def _each(function: Callable[..., Any], *arrays: Array) -> Array:
    """The function of each element, broadcast."""
    return np.asarray(np.frompyfunc(function, len(arrays), 1)(*arrays), dtype=object)


def _divided(dividend: Any, divisor: Any) -> Any:
    """Whole numbers are divided towards zero."""
    if (plain(dividend) < 0) != (plain(divisor) < 0):
        return -(-dividend // divisor)
    return dividend // divisor


def _arithmetic(whole: Callable[..., Any], real: Callable[..., Any] | None = None) -> Any:
    def compute(node: Node, *given: Numbers) -> Numbers:
        function = real if real is not None and given[0].dtype.is_floating_point else whole
        return as_numbers(_each(function, *(item.array for item in given)), given[0].dtype)

    return compute


def _remainder(node: Node, dividend: Numbers, divisor: Numbers) -> Numbers:
    function = math.fmod if node["fmod"] else operator.mod
    return as_numbers(_each(function, dividend.array, divisor.array), dividend.dtype)


def _several(function: Callable[[Any, Any], Any]) -> Any:
    def compute(node: Node, first: Numbers, *others: Numbers) -> Numbers:
        array = first.array
        for other in others:
            array = _each(function, array, other.array)
        return as_numbers(array, first.dtype)

    return compute


def _comparison(function: Callable[..., Any]) -> Any:
    def compute(node: Node, *given: Numbers) -> Numbers:
        return as_numbers(
            _each(lambda *items: bool(function(*items)), *(item.array for item in given)), torch.bool
        )

    return compute


def _laid_out(function: Callable[..., Array]) -> Any:
    """An operator that only moves elements; further inputs are plain numbers."""

    def compute(node: Node, x: Numbers, *given: Numbers | None) -> Numbers | None:
        lists = [None if item is None else item.array for item in given]
        if any(item is not None and item.sized for item in given):
            return None
        return as_numbers(function(node, x.array, *lists), x.dtype)

    return compute


def _axes(node: Node, given: Array | None) -> list[int] | None:
    if given is not None:
        return [int(axis) for axis in given.flat]
    return node["axes"]


def _squeezed(node: Node, x: Array, given: Array | None = None) -> Array:
    axes = _axes(node, given)
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def _unsqueezed(node: Node, x: Array, given: Array | None = None) -> Array:
    return np.expand_dims(x, tuple(_axes(node, given) or ()))


def _reshaped(node: Node, x: Array, shape: Array) -> Array:
    return x.reshape([x.shape[place] if size == 0 else size for place, size in enumerate(shape.tolist())])


def _gathered(node: Node, x: Array, indices: Array) -> Array:
    return np.asarray(np.take(x, indices.astype(np.int64), axis=node["axis"]), dtype=object)


def _sliced(
    node: Node,
    x: Array,
    starts: Array | None = None,
    ends: Array | None = None,
    axes: Array | None = None,
    steps: Array | None = None,
) -> Array:
    first = node["starts"] if starts is None else starts.tolist()
    last = node["ends"] if ends is None else ends.tolist()
    along = _axes(node, axes) or range(len(first))
    strides = [1] * len(first) if steps is None else steps.tolist()
    items = [slice(None)] * x.ndim
    for axis, start, end, step in zip(along, first, last, strides, strict=True):
        # a start below the first element, or an end before it, is given as a large negative number
        items[axis] = slice(start, None if step < 0 and end < -x.shape[axis] else end, step)
    return x[tuple(items)]


def _joined(node: Node, *given: Numbers) -> Numbers | None:
    joined = np.concatenate([item.array for item in given], node["axis"])
    return as_numbers(joined, given[0].dtype) if joined.size <= MOST else None


def _expanded(node: Node, x: Array, shape: Array) -> Array:
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(shape.tolist())))


def _parted(node: Node, x: Numbers, sizes: Numbers | None = None) -> Any:
    given = node["split"] if sizes is None else sizes.array.tolist()
    axis, count = node["axis"], len(node.outputs)
    if given is None:
        return tuple(as_numbers(part, x.dtype) for part in np.array_split(x.array, count, axis))
    if sizes is not None and sizes.sized:
        return None
    return tuple(as_numbers(part, x.dtype) for part in np.split(x.array, np.cumsum(given)[:-1], axis))


def _cast(node: Node, x: Numbers) -> Numbers | None:
    dtype = DTYPES.get(node["to"])
    if dtype is None:
        return None
    if dtype == torch.bool:
        return as_numbers(_each(lambda item: bool(item != 0), x.array), dtype)
    if dtype.is_floating_point or x.dtype == torch.bool:
        return as_numbers(_each(lambda item: item * 1 if isinstance(item, bool) else item, x.array), dtype)
    return as_numbers(
        _each(lambda item: math.trunc(item), x.array) if x.dtype.is_floating_point else x.array, dtype
    )


def _where(node: Node, condition: Numbers, x: Numbers, y: Numbers) -> Numbers:
    return as_numbers(_each(lambda c, a, b: a if c else b, condition.array, x.array, y.array), x.dtype)


def _reduction(function: Callable[[Any, Any], Any]) -> Any:
    def compute(node: Node, x: Numbers, axes: Numbers | None = None) -> Numbers | None:
        along = _axes(node, None if axes is None else axes.array)
        if x.array.ndim != 1 or x.array.size == 0 or along not in (None, [], [0], [-1]):
            return None
        if not along and node["noop_with_empty_axes"]:
            return x
        result = x.array[0]
        for item in x.array[1:]:
            result = function(result, item)
        return as_numbers([result] if node["keepdims"] else result, x.dtype)

    return compute


def _filled(node: Node, shape: Numbers) -> Numbers | None:
    """A short vector of whole numbers is one of sizes."""
    from onnx import numpy_helper

    value = None if node["value"] is None else numpy_helper.to_array(node["value"])
    sizes: Sequence[int] = shape.array.tolist()
    if value is None or value.dtype.kind not in "iub" or len(sizes) > 1 or shape.sized or sum(sizes) > MOST:
        return None
    return as_numbers(np.full(tuple(sizes), value.item(), dtype=object), getattr(torch, value.dtype.name))


def _counted(node: Node, *limits: Numbers) -> Numbers | torch.Tensor:
    """A short range of plain numbers is one of axes, or of sizes."""
    dtype = limits[0].dtype
    start, end, step = (item.array.item() for item in limits)
    if dtype.is_floating_point or any(item.sized for item in limits) or len(range(start, end, step)) > MOST:
        return torch.arange(start, end, step, dtype=dtype)
    return as_numbers(np.asarray(range(start, end, step), dtype=object), dtype)


COUNTING: dict[str, Callable[..., Any]] = {
    "Abs": _arithmetic(abs),
    "Add": _arithmetic(operator.add),
    "And": _comparison(lambda a, b: a and b),
    "Cast": _cast,
    "Ceil": _arithmetic(math.ceil),
    "Concat": _joined,
    "ConstantOfShape": _filled,
    "Div": _arithmetic(_divided, operator.truediv),
    "Equal": _comparison(operator.eq),
    "Expand": _laid_out(_expanded),
    "Floor": _arithmetic(math.floor),
    "Gather": _laid_out(_gathered),
    "Greater": _comparison(operator.gt),
    "GreaterOrEqual": _comparison(operator.ge),
    "Identity": lambda node, x: x,
    "Less": _comparison(operator.lt),
    "LessOrEqual": _comparison(operator.le),
    "Max": _several(max),
    "Min": _several(min),
    "Mod": _remainder,
    "Mul": _arithmetic(operator.mul),
    "Neg": _arithmetic(operator.neg),
    "Not": _comparison(operator.not_),
    "Or": _comparison(lambda a, b: a or b),
    "Range": _counted,
    "ReduceMax": _reduction(max),
    "ReduceMin": _reduction(min),
    "ReduceProd": _reduction(operator.mul),
    "ReduceSum": _reduction(operator.add),
    "Reshape": _laid_out(_reshaped),
    "Round": _arithmetic(round),
    "Slice": _laid_out(_sliced),
    "Split": _parted,
    "Squeeze": _laid_out(_squeezed),
    "Sub": _arithmetic(operator.sub),
    "Transpose": _laid_out(lambda node, x: x.transpose(node["perm"])),
    "Unsqueeze": _laid_out(_unsqueezed),
    "Where": _where,
}
