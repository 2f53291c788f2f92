"""An ONNX file has the dtypes that its program was captured in; what the graph reads of its tensors' is a literal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import fx

from graphprune.capture.program import Program
from graphprune.ground.arguments import dtype_of, limit_of

__all__ = ["with_fixed_dtypes"]


def with_fixed_dtypes(program: Program) -> Program:
    """The same without nodes that read a dtype, and without what is computed from dtypes alone."""
    if not any(node.target is dtype_of for node in program.graph.nodes):
        return program
    graph = fx.Graph()
    fixed: dict[fx.Node, Any] = {}
    for node in program.graph.nodes:
        if node.target in (dtype_of, limit_of) or _computes(node, fixed):
            fixed[node] = node.meta["val"]
    mapping: dict[fx.Node, Any] = dict(fixed)
    for node in program.graph.nodes:
        if node not in fixed:
            mapping[node] = graph.node_copy(node, mapping.__getitem__)
    return replace(program, graph=graph)


def _computes(node: fx.Node, fixed: dict[fx.Node, Any]) -> bool:
    operator = isinstance(node.target, torch._ops.OpOverload)
    given = node.all_input_nodes
    return node.op == "call_function" and not operator and bool(given) and all(n in fixed for n in given)
