"""Nodes of a graph that compute with sizes: ``sym_size``, arithmetic on it, and conditions that a call must meet."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import fx

from graphprune.ground.arguments import require

__all__ = ["is_guard", "reads_size", "size_nodes", "sizes_of_inputs"]

_READ = torch.ops.aten.sym_size.int


def is_guard(node: fx.Node) -> bool:
    """Whether the node refuses calls of other sizes: ``require(holds, message)``."""
    return node.target is require


def reads_size(node: fx.Node) -> bool:
    """Whether the node is the size of one dimension of a tensor."""
    return node.target is _READ or (
        node.op == "call_method" and node.target == "size" and len(node.args) == 2
    )


def size_nodes(graph: fx.Graph) -> dict[fx.Node, None]:
    """All nodes that compute with nothing but sizes, guards among them, in the graph's order."""
    found: dict[fx.Node, None] = {}
    for node in graph.nodes:
        if reads_size(node) or _computes(node, found):
            found[node] = None
    return found


def _computes(node: fx.Node, sizes: Collection[fx.Node]) -> bool:
    """Whether a Python function takes sizes alone; an operator of ATen that takes them makes a tensor."""
    if node.op != "call_function" or isinstance(node.target, torch._ops.OpOverload):
        return False
    given = node.all_input_nodes
    return bool(given) and all(source in sizes for source in given)


def sizes_of_inputs(graph: fx.Graph) -> list[fx.Node]:
    """Those that are known before anything is computed: what is read of each input, then what is made of it."""
    known = {node: place for place, node in enumerate(graph.nodes) if node.op == "placeholder"}
    read: list[tuple[int, int, fx.Node]] = []
    made = []
    for node in size_nodes(graph):
        if all(source in known for source in node.all_input_nodes):
            if reads_size(node):
                read.append((known[node.args[0]], node.args[1], node))  # type: ignore[arg-type]
            else:
                made.append(node)
            known[node] = len(known)
    return [node for _, _, node in sorted(read, key=lambda item: item[:2])] + made
