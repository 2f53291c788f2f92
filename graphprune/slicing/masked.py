"""The original file with everything that is removed held at zero: what the cut file must equal.

It is an ONNX file too, so that onnxruntime computes it, and nothing of what cuts files has a part in it. Behind every
value of which something is removed stands a Where that puts zeros there, in 8 bits the zero point. Operators that average, compare or normalise
along an axis would see these zeros. So a mean is divided by the share that is kept, a softmax or a maximum is given
what cannot win, and a norm is written out over what is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

import numpy as np

from graphprune.importing.nested import graphs, scoped
from graphprune.slicing.tensors import arrays_of
from graphprune.slicing.zero_points import of_values

__all__ = ["Mask", "masked"]

Array = np.ndarray[Any, Any]
Mask = Array  # of truth values, of the value's rank; a dimension of which nothing is removed has size 1

# operators for which zero is not nothing → what to put in the place of what is removed
_FILLS = {
    **dict.fromkeys("Softmax LogSoftmax Hardmax ReduceMax ReduceLogSumExp ArgMax TopK".split(), -inf),
    **dict.fromkeys("ReduceMin ArgMin".split(), inf),
    "ReduceProd": 1.0,
}
_NORMS = {
    "LayerNormalization": True,
    "RMSNormalization": False,
    "SimplifiedLayerNormalization": False,
}  # centred?
# operators that add and normalise → which output is the sum, which inputs are the weight and the bias
_FUSED = {
    "EmbedLayerNormalization": (2, 5, 6),
    "SkipLayerNormalization": (3, 2, 3),
    "SkipSimplifiedLayerNormalization": (3, 2, None),
}
_SELECTED = (np.float16, np.float32, np.float64, np.int32, np.int64, np.uint8)  # which Where selects among


def masked(model: Any, masks: Mapping[str, Mask], dtypes: Mapping[str, np.dtype[Any]]) -> Any:
    """A copy of a file (onnx.ModelProto), masked.

    Args:
        masks: by the unique names of the nodes' values; values without any stay as they are. The constants are cut by
            whoever calls.
        dtypes: of the values that have masks.
    """
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    writer = _Writer(made)
    for prefix, graph in reversed(list(graphs(made.graph))):  # inner ones first, since nodes are copied
        nodes: list[Any] = []
        zeros = of_values(graph)
        for node in graph.node:
            names = [name for name in node.output if f"{prefix}{name}" in masks]
            read = scoped(masks, prefix, node.input[0]) if node.input else ""
            if names and node.op_type in _FUSED:
                before = _fused(writer, node, masks[f"{prefix}{names[0]}"])
            else:
                before = writer.restricted(node, masks[read], dtypes[read], prefix) if read else [node]
            after = []
            for name in names:
                unique = f"{prefix}{name}"
                whole = writer.new(f"{unique}/whole")
                _rename(before, name, whole)
                after += writer.select(whole, masks[unique], dtypes[unique], name, zeros.get(name, 0.0))
            nodes += [*before, *after]
        del graph.node[:]
        graph.node.extend(nodes)
    return made


class _Writer:
    """Makes nodes and constants under new names."""

    def __init__(self, model: Any) -> None:
        self._graph, self._arrays, self._count = model.graph, arrays_of(model), 0
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

    def restricted(self, node: Any, mask: Mask, dtype: np.dtype[Any], prefix: str) -> list[Any]:
        """The node, and what it takes that it sees only what ``mask`` keeps of its first input. It comes last."""
        if node.op_type in _FILLS:
            filled = self.select(node.input[0], mask, dtype, fill=_FILLS[node.op_type])
            node.input[0] = filled[-1].output[0]
            return [*filled, node]
        if node.op_type == "ReduceMean":
            return self._mean(node, mask, prefix)
        centred = _NORMS.get(node.op_type)
        return [node] if centred is None else _norm(self, node, mask, centred)

    def _mean(self, node: Any, mask: Mask, prefix: str) -> list[Any]:
        from onnx import helper

        given = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        axes = given.get("axes")
        if axes is None and len(node.input) > 1 and node.input[1]:
            axes = self._arrays[scoped(self._arrays, prefix, node.input[1])].tolist()
        share = _share(mask, axes, bool(given.get("keepdims", 1)))
        output, node.output[0] = node.output[0], self.new("mean")
        return [node, self.node("Div", [node.output[0], self.constant(share)], output)]

    def mean_of(self, value: str, mask: Mask, axes: list[int]) -> list[Any]:
        """Nodes for the mean over what is kept, which is zero elsewhere."""
        if self._opset < 18:
            mean = self.node("ReduceMean", [value], axes=axes)
        else:
            mean = self.node("ReduceMean", [value, self.constant(np.array(axes, dtype=np.int64))])
        return [mean, self.node("Div", [mean.output[0], self.constant(_share(mask, axes, True))])]


def _share(mask: Mask, axes: list[int] | None, keepdims: bool) -> Array:
    """The share that is kept of what is reduced; one where nothing is kept."""
    share = mask.mean(axis=None if axes is None else tuple(axes), keepdims=keepdims, dtype=np.float64)
    return np.where(share == 0, 1.0, share).astype(np.float32)


def _norm(writer: _Writer, node: Any, mask: Mask, centred: bool) -> list[Any]:
    """A norm over the last axes: centred, divided by the root of the mean of squares, times a weight, plus a bias."""
    from onnx import helper

    given = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    axes = list(range(given.get("axis", -1) % mask.ndim, mask.ndim))
    made, x = [], node.input[0]

    def add(operator: str, *inputs: str) -> str:
        made.append(writer.node(operator, list(inputs)))
        name: str = made[-1].output[0]
        return name

    def mean(value: str) -> str:
        made.extend(writer.mean_of(value, mask, axes))
        name: str = made[-1].output[0]
        return name

    if centred:
        moved = add("Sub", x, mean(x))
        made.extend(writer.select(moved, mask, np.dtype(np.float32)))
        x = made[-1].output[0]
    eps = writer.constant(np.float32(given.get("epsilon", 1e-5)))
    x = add("Div", x, add("Sqrt", add("Add", mean(add("Mul", x, x)), eps)))
    x = add("Mul", x, node.input[1])
    if len(node.input) > 2 and node.input[2]:
        x = add("Add", x, node.input[2])
    return [*made, writer.node("Identity", [x], node.output[0])]


def _fused(writer: _Writer, node: Any, mask: Mask) -> list[Any]:
    """The node for its sum alone, and the norm of that, written out over what ``mask`` keeps."""
    from onnx import helper

    total, weight, bias = _FUSED[node.op_type]
    output = node.output[0]
    node.output.extend([""] * (total + 1 - len(node.output)))
    node.output[0] = writer.new("unread")
    node.output[total] = node.output[total] or writer.new("sum")
    beta = node.input[bias] if bias is not None and len(node.input) > bias else ""
    given = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    norm = writer.node(
        "LayerNormalization",
        [node.output[total], node.input[weight], beta],
        output,
        epsilon=given.get("epsilon", 1e-12),
    )
    return [node, *_norm(writer, norm, mask, centred=bias is not None)]


def _rename(nodes: list[Any], old: str, new: str) -> None:
    """Another name for a value that these nodes give, and read."""
    for node in nodes:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new


def _number(dtype: Any) -> int:
    """ONNX's number of a dtype."""
    from onnx import helper

    found: int = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return found
