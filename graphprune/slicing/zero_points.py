"""What stands for nothing in tensors of 8 bits: the zero point of the operators that write or read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphprune.importing.nested import graphs, scoped
from graphprune.importing.schemas import formal_names

__all__ = ["BYTES", "of_constants", "of_values"]

Array = np.ndarray[Any, Any]
BYTES = (np.uint8, np.int8)
_ENDING = "_zero_point"


def of_values(graph: Any) -> dict[str, str]:
    """Value of a graph (onnx.GraphProto) → the value that is its zero point.

    An operator that has none passes on that of its first input, as a Reshape does.
    """
    found: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "DynamicQuantizeLinear":
            found[node.output[0]] = node.output[2]
            continue
        places = [at for at, name in enumerate(_formal(node)) if name.endswith(_ENDING)]
        writes = node.op_type in ("QuantizeLinear", "QGemm") or node.op_type.startswith("QLinear")
        if writes and places and len(node.input) > places[-1] and node.input[places[-1]]:
            found[node.output[0]] = node.input[places[-1]]
        elif not places and node.input and node.input[0] in found:
            found |= dict.fromkeys(node.output, found[node.input[0]])
    return found


def of_constants(model: Any, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Constant of 8 bits → its zero point, shaped so that it stands beside it.

    Args:
        arrays: see `arrays_of`.
    """
    found: dict[str, Array] = {}
    for prefix, graph in graphs(model.graph):
        for node in graph.node:
            formal = _formal(node)
            for place, name in enumerate(node.input):
                constant = scoped(arrays, prefix, name) if name else ""
                if not constant or arrays[constant].dtype not in BYTES or place >= len(formal):
                    continue
                beside = f"{formal[place]}{_ENDING}"
                at = formal.index(beside) if beside in formal else len(node.input)
                zero = scoped(arrays, prefix, node.input[at]) if at < len(node.input) else ""
                if zero:
                    found[constant] = _beside(arrays[zero], arrays[constant].ndim, _axis(node))
    return found


def _formal(node: Any) -> tuple[str, ...]:
    domain = "" if node.domain == "ai.onnx" else node.domain
    return tuple(name.lower() for name in formal_names(node.op_type, 21 if not domain else 1, domain))


def _axis(node: Any) -> int:
    """Along which a weight has scales and zero points."""
    numbers = {item.name: item.i for item in node.attribute}
    if node.op_type == "DequantizeLinear":
        return int(numbers.get("axis", 1))
    return 0 if "Conv" in node.op_type or numbers.get("transB") else -1


def _beside(zero: Array, rank: int, axis: int) -> Array:
    if zero.size == 1 or zero.ndim != 1:
        return zero.reshape(()) if zero.size == 1 else zero
    return zero.reshape([-1 if dim == axis % rank else 1 for dim in range(rank)])
