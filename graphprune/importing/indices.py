"""Which whole numbers an input may hold: rows of the tables that it looks up, a number that it is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphprune.importing.constants import Constants

__all__ = ["Range", "index_range"]

Range = tuple[int, int]  # from the first up to the second, both included

# operators that pass on the numbers of their first input
_PASSING = set(
    "Cast Identity Reshape Squeeze Unsqueeze Transpose Flatten Expand Tile Slice Split Concat Where".split()
)
_USUAL = (1, 1)  # a mask that hides nothing


def index_range(graph: Any, name: str, constants: Constants) -> Range:
    """The numbers that an input of whole numbers may hold.

    Args:
        graph: an onnx.GraphProto.
        constants: of it.
    """
    limits = [found for user, place in _readers(graph, name) if (found := _limit(user, place, constants))]
    return (max(low for low, _ in limits), min(high for _, high in limits)) if limits else _USUAL


def _readers(graph: Any, name: str) -> Iterator[tuple[Any, int]]:
    """Nodes that read the numbers of a value, as they are, and the place among their inputs."""
    reached = {name}
    for node in graph.node:
        for place, read in enumerate(node.input):
            if read in reached:
                yield node, place
                if node.op_type in _PASSING:
                    reached |= set(node.output)


def _limit(node: Any, place: int, constants: Constants) -> Range | None:
    if node.op_type == "Gather" and place == 1:
        table = constants.array(node.input[0])
        axis = next((item.i for item in node.attribute if item.name == "axis"), 0)
        return None if table is None else (0, table.shape[axis] - 1)
    if node.op_type == "OneHot" and place == 0:
        depth = constants.array(node.input[1])
        return None if depth is None else (0, int(depth.reshape(-1)[0]) - 1)
    if node.op_type == "Equal":
        other = constants.array(node.input[1 - place])
        return None if other is None or other.size != 1 else (int(other.reshape(-1)[0]),) * 2
    return None
