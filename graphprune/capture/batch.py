"""A dynamic batch from a static trace: the batch is traced as a prime, and its multiples become sizes again.

Symbolic sizes make `torch.export` about twice as slow and stop it wherever Python computes with them. A large prime
that divides no other size can stand for the batch instead. With 1009 examples, ``x.view(x.shape[0] * 4, 8)`` becomes
``view(4036, 8)``; since 4036 is 4 × 1009, that literal is made four times the batch size again. Whether the graph
really holds at any batch size is then tried out at another one, without data.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import sympy
import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from graphprune.capture.execution import Execution
from graphprune.capture.inputs import Inputs
from graphprune.ground.arguments import tensor_leaves
from graphprune.ground.errors import first_line

__all__ = ["at_batch", "batch_problem", "choose_prime", "free_batch"]

_FIRST_PRIME = 1009  # memory for inputs of so many examples is asked for, though never touched
_OTHER_BATCH = 3


def choose_prime(model: torch.nn.Module, inputs: Inputs) -> int:
    """A prime that divides no size of the model's tensors, nor of the inputs beyond the first."""
    tensors = (*model.parameters(), *model.buffers())
    sizes = {size for tensor in tensors for size in tensor.shape}
    sizes |= {size for leaf in tensor_leaves(inputs) for size in leaf.shape[1:]}
    prime = _FIRST_PRIME
    while any(size and size % prime == 0 for size in sizes):
        prime = int(sympy.nextprime(prime))
    return prime


def at_batch(inputs: Inputs, batch: int) -> Inputs:
    """Tensors like ``inputs`` with a first dimension of ``batch``, their values undefined."""

    def resized(tensor: Tensor) -> Tensor:
        return torch.empty(batch, *tensor.shape[1:], dtype=tensor.dtype, device=tensor.device)

    return pytree.tree_map_only(Tensor, resized, inputs)


def free_batch(graph: fx.Graph, inputs: list[fx.Node], prime: int) -> None:
    """Replaces every literal that is a multiple of ``prime`` by as many times the batch size of the ``inputs``."""
    source = next(node for node in inputs if isinstance(node.meta.get("val"), Tensor))
    multiples: dict[int, fx.Node] = {}

    def node_of(multiple: int) -> fx.Node:
        if multiple not in multiples:
            anchor = multiples[1] if multiple > 1 else source
            with graph.inserting_after(anchor):
                size = (
                    graph.call_function(torch.ops.aten.sym_size.int, (source, 0))
                    if multiple == 1
                    else graph.call_function(operator.mul, (node_of(1), multiple))
                )
            size.meta["val"] = multiple * prime
            multiples[multiple] = size
        return multiples[multiple]

    def freed(leaf: Any) -> Any:
        return node_of(leaf // prime) if _is_multiple(leaf, prime) else leaf

    for node in list(graph.nodes):
        if node.op in ("call_function", "output"):
            if any(_is_multiple(leaf, prime) for leaf in pytree.tree_leaves((node.args, node.kwargs))):
                node_of(1)
            node.args = fx.node.map_aggregate(node.args, freed)
            node.kwargs = fx.node.map_aggregate(node.kwargs, freed)


def _is_multiple(leaf: Any, prime: int) -> bool:
    return isinstance(leaf, int) and not isinstance(leaf, bool) and leaf > 0 and leaf % prime == 0


def batch_problem(graph: fx.Graph, prime: int, constants: Iterable[Tensor]) -> str:
    """Why the graph does not hold at every batch size; empty if it does, as far as shapes tell."""
    for tensor in constants:
        small = tensor.numel() <= 16 and not tensor.is_floating_point() and not tensor.is_complex()
        if small and any(_is_multiple(abs(int(value)), prime) for value in tensor.flatten().tolist()):
            return "the batch size became a constant"
    try:
        for node, value in _without_data(graph, prime):
            if _shapes(value) != _scaled(_shapes(node.meta.get("val")), prime):
                return f"the shape of {node.name} is fixed, or no multiple of the batch size"
    except Exception as error:  # whatever an operator raises on tensors without data
        return first_line(error, 200)
    return ""


def _without_data(graph: fx.Graph, prime: int) -> Execution:
    """A run at another batch size, of tensors on the meta device."""

    def small(tensor: Tensor) -> Tensor:
        return torch.empty(_scaled(tuple(tensor.shape), prime), dtype=tensor.dtype, device="meta")

    def moved(argument: Any) -> Any:
        return torch.device("meta") if isinstance(argument, torch.device) else argument

    def example(node: fx.Node) -> Any:
        return pytree.tree_map_only(Tensor, small, node.meta.get("val"))

    tensors = {str(node.target): example(node) for node in graph.find_nodes(op="get_attr")}
    inputs = [example(node) for node in graph.find_nodes(op="placeholder")]
    return Execution(graph, tensors, inputs, literal=moved)


def _shapes(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape)
    return [_shapes(item) for item in value] if isinstance(value, list | tuple) else value


def _scaled(shapes: Any, prime: int) -> Any:
    """Shapes, and sizes, at the other batch size."""
    return pytree.tree_map(
        lambda size: size // prime * _OTHER_BATCH if _is_multiple(size, prime) else size, shapes
    )
