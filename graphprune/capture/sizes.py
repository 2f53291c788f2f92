"""Nodes of a graph that compute with sizes: ``sym_size``, arithmetic on it, and conditions that a call must meet."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import fx

from graphprune.ground.arguments import require

__all__ = ["is_guard", "reads_size", "repeated_guards", "size_nodes", "sizes_of_inputs"]

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
    """Those that are known before anything is computed: sizes, what is made of them, and guards, input by input."""
    inputs = {node: place for place, node in enumerate(graph.nodes) if node.op == "placeholder"}
    # the sizes that a node is made of, as (input, dimension)
    reads: dict[fx.Node, tuple[tuple[int, int], ...]] = {}
    for node in size_nodes(graph):
        sources = node.all_input_nodes
        if reads_size(node) and sources[0] in inputs:
            reads[node] = ((inputs[sources[0]], node.args[1]),)  # type: ignore[assignment]
        elif all(source in reads for source in sources):
            reads[node] = tuple(sorted({place for source in sources for place in reads[source]}))
    rank = {node: 2 if is_guard(node) else 0 if reads_size(node) else 1 for node in reads}
    return sorted(reads, key=lambda node: (rank[node], reads[node] if rank[node] != 1 else ()))


def repeated_guards(graph: fx.Graph) -> set[fx.Node]:
    """Guards that demand what one before them demands."""
    first: dict[Any, fx.Node] = {}  # what is computed alike has one first node
    same: dict[fx.Node, fx.Node] = {}
    found = set()
    for node in size_nodes(graph):
        if is_guard(node):
            formula: Any = (node.target, same.get(node.args[0], node.args[0]))  # type: ignore[arg-type]
            if formula in first:
                found.add(node)
        else:
            formula = (node.target, fx.node.map_arg(node.args, lambda source: same.get(source, source)))
        same[node] = first.setdefault(formula, node)
    return found
