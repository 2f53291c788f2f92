"""The original file with everything that is removed held at zero: what the cut file must equal.

It is an ONNX file too, so that onnxruntime computes it, and nothing of what cuts files has a part in it. Behind every
value of which something is removed stands a Where that puts zeros there, in 8 bits the zero point. Operators that
average, compare or normalise along an axis would see these zeros. So a mean is divided by the share that is kept, a
softmax or a maximum is given what cannot win, and a norm is written out over what is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

import numpy as np

from graphprune.importing.nested import graphs, scoped
from graphprune.slicing.norms import fused, is_fused, written_out
from graphprune.slicing.writer import Mask, Writer, share
from graphprune.slicing.zero_points import BYTES, of_values

__all__ = ["Mask", "masked"]

# operators for which zero is not nothing → what to put in the place of what is removed
_FILLS = {
    **dict.fromkeys("Softmax LogSoftmax Hardmax ReduceMax ReduceLogSumExp ArgMax TopK".split(), -inf),
    **dict.fromkeys("ReduceMin ArgMin".split(), inf),
    "ReduceProd": 1.0,
}


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
    writer = Writer(made)
    for prefix, graph in reversed(list(graphs(made.graph))):  # inner ones first, since nodes are copied
        nodes: list[Any] = []
        zeros = of_values(graph)
        for node in graph.node:
            names = [name for name in node.output if f"{prefix}{name}" in masks]
            read = scoped(masks, prefix, node.input[0]) if node.input else ""
            if names and is_fused(node):
                before = fused(writer, node, masks[f"{prefix}{names[0]}"], dtypes[f"{prefix}{names[0]}"])
            else:
                before = _restricted(writer, node, masks[read], dtypes[read], prefix) if read else [node]
            after = []
            for name in names:
                unique = f"{prefix}{name}"
                whole = writer.new(f"{unique}/whole")
                _rename(before, name, whole)
                fill = zeros.get(name, 0.0) if dtypes[unique] in BYTES else 0.0
                after += writer.select(whole, masks[unique], dtypes[unique], name, fill)
            nodes += [*before, *after]
        del graph.node[:]
        graph.node.extend(nodes)
    return made


def _restricted(writer: Writer, node: Any, mask: Mask, dtype: np.dtype[Any], prefix: str) -> list[Any]:
    """The node, and what it takes that it sees only what ``mask`` keeps of its first input. It comes last."""
    if node.op_type in _FILLS:
        filled = writer.select(node.input[0], mask, dtype, fill=_FILLS[node.op_type])
        node.input[0] = filled[-1].output[0]
        return [*filled, node]
    if node.op_type == "ReduceMean":
        return _mean(writer, node, mask, dtype, prefix)
    return written_out(writer, node, mask, dtype)


def _mean(writer: Writer, node: Any, mask: Mask, dtype: np.dtype[Any], prefix: str) -> list[Any]:
    from onnx import helper

    given = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    axes = given.get("axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        axes = writer.arrays[scoped(writer.arrays, prefix, node.input[1])].tolist()
    kept = share(mask, axes, bool(given.get("keepdims", 1))).astype(dtype)
    output, node.output[0] = node.output[0], writer.new("mean")
    return [node, writer.node("Div", [node.output[0], writer.constant(kept)], output)]


def _rename(nodes: list[Any], old: str, new: str) -> None:
    """Another name for a value that these nodes give, and read."""
    for node in nodes:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
