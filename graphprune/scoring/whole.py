"""Weights that are stored as whole numbers, by the floats that they stand for."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, MutableMapping
from typing import Any, cast

from torch import Tensor, fx

from graphprune.capture.operators import call
from graphprune.capture.program import Program
from graphprune.capture.simplify import is_pure

__all__ = ["as_floats"]


def as_floats(program: Program, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors; parameters in whole numbers as the floats that they are read as.

    Such a weight is followed through operators that read stored tensors alone and keep its shape: a byte of 130 whose
    zero point is 128 and whose scale is 0.1 becomes 0.2.
    """
    whole = [node for node in program.graph.nodes if node.op == "get_attr" and _is_whole(program, node)]
    if not whole:
        return tensors
    constant = _constant(program.graph)
    found = {str(node.target): _followed(node, constant, tensors) for node in whole}
    return ChainMap(found, cast(MutableMapping[str, Tensor], tensors))


def _is_whole(program: Program, node: fx.Node) -> bool:
    item = program.stored[str(node.target)]
    return item.kind == "parameter" and not (item.tensor.is_floating_point() or item.tensor.is_complex())


def _constant(graph: fx.Graph) -> set[fx.Node]:
    """The stored tensors, and the nodes that read them alone and write into none."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "get_attr" or (node.op == "call_function" and is_pure(node, found)):
            found.add(node)
    return found


def _followed(node: fx.Node, constant: set[fx.Node], tensors: Mapping[str, Tensor]) -> Tensor:
    """What becomes of a stored tensor, as a float."""
    known: dict[fx.Node, Any] = {}
    value = _value(node, tensors, known)
    while len(node.users) == 1 and (node := next(iter(node.users))) in constant:
        after = _value(node, tensors, known)
        if not isinstance(after, Tensor) or after.shape != value.shape:
            break
        value = after
    return cast(Tensor, value.float())


def _value(node: fx.Node, tensors: Mapping[str, Tensor], known: dict[fx.Node, Any]) -> Any:
    """The value of a constant node."""
    if node not in known:
        if node.op == "get_attr":
            known[node] = tensors[str(node.target)]
        else:
            known[node] = call(node, lambda source: _value(source, tensors, known))
    return known[node]
