"""Graphs within graphs, and names that are unique in the whole file.

Graphs of nodes may use names again. So the names of what they hold begin with the node's first output and the
attribute, as in ``"chosen.then_branch/weight"``.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

__all__ = ["graphs", "inner_prefix", "inputs_of", "nodes_of", "places", "read_in", "scoped"]


def inner_prefix(prefix: str, output: str, attribute: str) -> str:
    """Of the names in a node's own graph.

    Args:
        prefix: of the graph that the node is in.
        output: the node's first.
    """
    return f"{prefix}{output}.{attribute}/"


def graphs(graph: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """This graph (onnx.GraphProto) and all within it, each after the prefix of its names."""
    yield prefix, graph
    for node in graph.node:
        for item in node.attribute:
            if item.HasField("g"):
                yield from graphs(item.g, inner_prefix(prefix, node.output[0], item.name))


def scoped(names: Container[str], prefix: str, name: str) -> str:
    """The unique name, among ``names``, of what a graph of this prefix calls so; empty if there is none."""
    return next((full for full in (f"{prefix}{name}", name) if full in names), "")


def read_in(graph: Any) -> set[str]:
    """Names that a graph, or one within it, reads or gives; among them those of the graph around."""
    names = {item.name for _, inner in graphs(graph) for item in inner.output}
    return names | {name for _, inner in graphs(graph) for node in inner.node for name in node.input}


def inputs_of(node: Any) -> set[str]:
    """What a node reads, its own graphs too."""
    inner = (read_in(item.g) for item in node.attribute if item.HasField("g"))
    return set(node.input).union(*inner) - {""}


def nodes_of(graph: Any) -> dict[str, Any]:
    """Every node by its first output."""
    return {f"{prefix}{node.output[0]}": node for prefix, inner in graphs(graph) for node in inner.node}


def places(graph: Any) -> dict[str, Any]:
    """Every initializer (onnx.TensorProto), and every Constant's value (onnx.AttributeProto)."""
    stored = {f"{prefix}{item.name}": item for prefix, inner in graphs(graph) for item in inner.initializer}
    nodes = nodes_of(graph).items()
    return stored | {name: node.attribute[0] for name, node in nodes if node.op_type == "Constant"}
