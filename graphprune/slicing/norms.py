"""Norms written out as their parts, over what a mask keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphprune.slicing.writer import Mask, Writer

__all__ = ["fused", "is_fused", "written_out"]

# over the last axes → whether the mean is taken away
_LAST = {"LayerNormalization": True, "RMSNormalization": False, "SimplifiedLayerNormalization": False}
# operators that add and normalise → which output is the sum, which inputs are the weight and the bias
_FUSED = {
    "EmbedLayerNormalization": (2, 5, 6),
    "SkipLayerNormalization": (3, 2, 3),
    "SkipSimplifiedLayerNormalization": (3, 2, None),
}


def is_fused(node: Any) -> bool:
    """Whether a node (onnx.NodeProto) adds, and normalises the sum."""
    return node.op_type in _FUSED


def fused(writer: Writer, node: Any, mask: Mask, dtype: Any) -> list[Any]:
    """The node for its sum alone, and the norm of that, written out over what ``mask`` keeps."""
    total, weight, bias = _FUSED[node.op_type]
    output = node.output[0]
    node.output.extend([""] * (total + 1 - len(node.output)))
    node.output[0] = writer.new("unread")
    node.output[total] = node.output[total] or writer.new("sum")
    beta = node.input[bias] if bias is not None and len(node.input) > bias else ""
    parts = _Parts(writer, mask, dtype, [mask.ndim - 1])
    x = parts.normal(node.output[total], bias is not None, _number(node, "epsilon", 1e-12))
    return [node, *parts.scaled(x, node.input[weight], beta, output)]


def written_out(writer: Writer, node: Any, mask: Mask, dtype: Any) -> list[Any]:
    """A norm as nodes that see what ``mask`` keeps of its first input; any other node as it is."""
    x, *scales = node.input
    weight, bias = [*scales, "", ""][:2]
    epsilon = _number(node, "epsilon", 1e-5)
    if node.op_type in _LAST:
        axes = range(int(_number(node, "axis", -1)) % mask.ndim, mask.ndim)
        parts = _Parts(writer, mask, dtype, axes)
        return parts.scaled(parts.normal(x, _LAST[node.op_type], epsilon), weight, bias, node.output[0])
    if node.op_type == "InstanceNormalization" and mask[0, 0].size > 1:
        parts = _Parts(writer, mask, dtype, range(2, mask.ndim))
        beside = [-1, *[1] * (mask.ndim - 2)]
        weight, bias = (parts.add("Reshape", name, parts.whole(beside)) for name in scales)
        return parts.scaled(parts.normal(x, True, epsilon), weight, bias, node.output[0])
    if node.op_type == "GroupNormalization" and mask.shape[1] > 1:
        return _grouped(writer, node, mask, dtype, epsilon)
    return [node]


def _grouped(writer: Writer, node: Any, mask: Mask, dtype: Any, epsilon: float) -> list[Any]:
    """With the groups as a dimension. Scale and bias have one number for each channel, or for each group."""
    groups = int(_number(node, "num_groups", 1))
    apart = mask[0].any(axis=tuple(range(1, mask.ndim - 1))).reshape(1, groups, -1, 1)
    parts = _Parts(writer, apart, dtype, [2, 3])
    x = parts.add("Reshape", node.input[0], parts.whole([0, groups, mask.shape[1] // groups, -1]))
    x = parts.normal(x, True, epsilon)
    for operator, name in zip(("Mul", "Add"), node.input[1:], strict=True):
        x = parts.add(operator, x, parts.add("Reshape", name, parts.whole([1, groups, -1, 1])))
    shape = parts.add("Shape", node.input[0])
    return [*parts.made, writer.node("Reshape", [x, shape], node.output[0])]


class _Parts:
    """Nodes that normalise along some axes, over what a mask keeps."""

    def __init__(self, writer: Writer, mask: Mask, dtype: Any, axes: Sequence[int]) -> None:
        self._writer, self._mask, self._dtype, self._axes = writer, mask, dtype, list(axes)
        self.made: list[Any] = []

    def add(self, operator: str, *inputs: str) -> str:
        """The name of what one more node gives."""
        self.made.append(self._writer.node(operator, list(inputs)))
        return str(self.made[-1].output[0])

    def whole(self, numbers: list[int]) -> str:
        """The name of a constant of sizes."""
        return self._writer.constant(np.array(numbers, dtype=np.int64))

    def _mean(self, value: str) -> str:
        self.made.extend(self._writer.mean_of(value, self._mask, self._axes, self._dtype))
        return str(self.made[-1].output[0])

    def normal(self, x: str, centred: bool, epsilon: float) -> str:
        """Centred if so asked, and divided by the root of the mean of squares."""
        if centred:
            moved = self.add("Sub", x, self._mean(x))
            self.made.extend(self._writer.select(moved, self._mask, np.dtype(self._dtype)))
            x = self.made[-1].output[0]
        least = self._writer.constant(np.asarray(epsilon, dtype=self._dtype))
        return self.add("Div", x, self.add("Sqrt", self.add("Add", self._mean(self.add("Mul", x, x)), least)))

    def scaled(self, x: str, weight: str, bias: str, output: str) -> list[Any]:
        """All nodes; the last ones multiply by a weight and add a bias, where there are any."""
        x = self.add("Mul", x, weight) if weight else x
        x = self.add("Add", x, bias) if bias else x
        return [*self.made, self._writer.node("Identity", [x], output)]


def _number(node: Any, name: str, default: float) -> float:
    from onnx import helper

    found = (helper.get_attribute_value(item) for item in node.attribute if item.name == name)
    return float(next(found, default))
