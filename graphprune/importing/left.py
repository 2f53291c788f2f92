"""Nodes that are left as they are: those that PyTorch does not run, and all that follow them.

A detector's file often ends with nodes whose results have as many rows as the data say, such as NonMaxSuppression.
Nothing can be removed there. What they read keeps its size, as outputs do, and the network before them is cut all the
same.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from graphprune.importing.control import BODIES
from graphprune.importing.nested import graphs, inputs_of
from graphprune.importing.operators.foreign import is_computed
from graphprune.importing.operators.table import OPERATORS

__all__ = ["KNOWN", "NOTHING", "Left", "left_nodes"]

KNOWN = {*OPERATORS, "Constant", "Shape", "Size", *BODIES}


@dataclass(frozen=True)
class Left:
    """Nodes of a file that are not run.

    Args:
        nodes: the first output of each.
        reads: the values that they read, of other nodes, inputs and constants.
        unknown: operators that PyTorch does not run here → the first node with each.
        first: the nodes that cannot be run, named with their operators; the others follow them.
    """

    nodes: frozenset[str]
    reads: frozenset[str]
    unknown: dict[str, str]
    first: tuple[str, ...]

    @property
    def note(self) -> str:
        """What the user should know."""
        many = f" and {len(self.first) - 3} more" if len(self.first) > 3 else ""
        return (
            f"{', '.join(self.first[:3])}{many} cannot be run in PyTorch, or gives what data alone size: with all that "
            f"follows, {len(self.nodes)} nodes are left as they are"
        )


NOTHING = Left(frozenset(), frozenset(), {}, ())


def left_nodes(graph: Any, refused: Collection[str] = ()) -> Left:
    """What is left of an onnx.GraphProto.

    Args:
        refused: first outputs of nodes that were found not to run.
    """
    nodes, made, reads = set[str](), set[str](), set[str]()
    unknown, first = dict[str, str](), list[str]()
    for node in graph.node:
        named = _unknown(node)
        inputs = inputs_of(node)
        if (named or node.output[0] in refused) and not made & inputs:
            first.append(f"{node.name or node.output[0]} ({node.op_type})")
        if named or node.output[0] in refused or made & inputs:
            nodes.add(node.output[0])
            made |= set(node.output)
            reads |= inputs
        for operator in named:
            unknown.setdefault(operator, node.name or node.output[0])
    return Left(frozenset(nodes), frozenset(reads - made), unknown, tuple(first))


def _unknown(node: Any) -> list[str]:
    """The operators of a node, and of the graphs within it, that are not known."""
    inner = [body for item in node.attribute if item.HasField("g") for _, body in graphs(item.g)]
    every = [node, *(own for body in inner for own in body.node)]
    every = [item for item in every if not is_computed(item)]
    names = (
        item.op_type if item.domain in ("", "ai.onnx") else f"{item.domain}.{item.op_type}" for item in every
    )
    return [name for name in names if name not in KNOWN]
