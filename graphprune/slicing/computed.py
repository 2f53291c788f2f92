"""Numbers that the cut file would compute of widths that are others now, and that it reads as data.

The root of a width, by which scores are divided, must stay what it was: a constant stands in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphprune.importing.interpreter import Graph, Turn
from graphprune.importing.operators.counting import COUNTING
from graphprune.importing.operators.table import OPERATORS
from graphprune.importing.values import Numbers
from graphprune.slicing.chains import Chains

__all__ = ["keep_data", "original_numbers"]


def original_numbers(before: Mapping[str, Numbers], scopes: Sequence[str], name: str) -> Numbers | None:
    """What the original file computes under that name of a graph, or of one around it."""
    return next((before[f"{at}{name}"] for at in scopes if f"{at}{name}" in before), None)


def keep_data(
    graph: Graph, turn: Turn, inputs: list[Any], node: Any, before: Mapping[str, Numbers], chains: Chains
) -> None:
    """Gives a node what the original file computes, where it reads numbers as data and they are others now.

    Args:
        inputs: of the node, which are changed.
        node: its onnx.NodeProto, which is changed too.
        before: the numbers that the original file computes.
    """
    operator = turn.step.node.operator
    counts = operator in COUNTING and all(item is None or isinstance(item, Numbers) for item in inputs)
    if operator not in OPERATORS or counts:
        return
    for place, item in enumerate(inputs):
        if not isinstance(item, Numbers) or place in OPERATORS[operator].counts:
            continue
        was = original_numbers(before, graph.constants.scopes, turn.given[place])
        if was is not None and was.array.tolist() != item.array.tolist():
            inputs[place], node.input[place] = was, chains.constant(was)
