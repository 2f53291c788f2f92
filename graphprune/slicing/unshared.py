"""Shapes that several nodes read: each node gets one of its own, and those that stay the same become one again.

Exporters write a shape once, though one of its readers may be cut otherwise than another: queries and values have heads
of the same size until some of it goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphprune.importing.nested import graphs
from graphprune.importing.operators.table import OPERATORS

__all__ = ["together", "unshared"]

_PUT_TOGETHER = ("Concat",)  # operators that make a shape of several numbers


def unshared(model: Any) -> tuple[Any, dict[str, str]]:
    """A copy of a file (onnx.ModelProto) in which no two nodes read the same shape.

    Returns:
        The file, and for every node that was added, by its output, the output that it copies.
    """
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    copies: dict[str, str] = {}
    for _, graph in reversed(list(graphs(made.graph))):  # inner ones first, since nodes are copied
        makers = {node.output[0]: node for node in graph.node if node.op_type in _PUT_TOGETHER}
        read: set[str] = set()
        nodes = []
        for node in graph.node:
            for place in _shapes(node):
                name = node.input[place]
                if name in makers and name in read:
                    copy = onnx.NodeProto()
                    copy.CopyFrom(makers[name])
                    copy.output[0] = node.input[place] = f"{name}/{len(copies)}"
                    copy.name = f"{copy.name}/{len(copies)}" if copy.name else ""
                    copies[copy.output[0]] = name
                    nodes.append(copy)
                read.add(name)
            nodes.append(node)
        del graph.node[:]
        graph.node.extend(nodes)
    return made, copies


def together(model: Any, copies: Mapping[str, str]) -> None:
    """Removes from a file the added nodes that read what the copied ones read."""
    for _, graph in reversed(list(graphs(model.graph))):
        made = {node.output[0]: node for node in graph.node}
        alike = {
            copy: name
            for copy, name in copies.items()
            if copy in made and made[copy].input == made[name].input
        }
        for node in graph.node:
            for place in _shapes(node):
                node.input[place] = alike.get(node.input[place], node.input[place])
        for copy in alike:
            graph.node.remove(made[copy])


def _shapes(node: Any) -> list[int]:
    """Which inputs of a node are shapes, sizes and the like."""
    known = OPERATORS.get(node.op_type)
    return [place for place in known.counts if place < len(node.input)] if known else []
