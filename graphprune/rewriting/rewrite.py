"""Rewrites a program for a plan: a new graph, sliced tensors; the original is untouched."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, fx, nn

from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.lazy import Lazy
from graphprune.capture.operators import given_arguments, set_arguments
from graphprune.capture.program import Program, Stored
from graphprune.capture.sizes import reads_size
from graphprune.planning.masks import Masks
from graphprune.planning.plan import Plan, make_masks
from graphprune.planning.region import narrowed
from graphprune.rewriting.literals import NewCall, new_call
from graphprune.rewriting.sizes import Scaled, restored

__all__ = ["rewrite"]


def rewrite(graph: DependencyGraph, plan: Plan) -> Program:
    """The slim program: tensors hold only what ``plan`` keeps, and every literal fits.

    ``requires_grad``, dtype, device, ties and persistence are the original's. No tensor is shared with the
    user's model. Tensors on the meta device are cut when they are read, see `Program.with_weights`.
    """
    program = graph.program
    read = set(program.attributes.values())
    stored = {
        # a parameter that nothing reads stays the user's own
        name: item
        if item.kind == "parameter" and name not in read
        else _sliced(item, plan.kept.get(name, {}) if name in read else {})
        for name, item in program.stored.items()
    }
    return dataclasses.replace(
        program,
        graph=_new_graph(graph, make_masks(graph, plan.groups)),
        stored=stored,
        weights=_weights(program, plan, read),
    )


def _weights(program: Program, plan: Plan, read: Collection[str]) -> Mapping[str, Tensor] | None:
    """What is kept of tensors that are read from files, each cut when it is read."""
    if program.weights is None:
        return None

    def cut(name: str) -> Tensor:
        return narrowed(program.tensors[name], plan.kept.get(name, {}) if name in read else {})

    return Lazy(program.stored, cut)


def _sliced(item: Stored, kept: Mapping[int, Tensor]) -> Stored:
    """The tensor at the ``kept`` indices; a copy even where all of it is kept."""
    tensor = narrowed(item.tensor.detach(), kept) if kept else item.tensor.detach().clone()
    if item.kind == "parameter":
        tensor = nn.Parameter(tensor, requires_grad=item.tensor.requires_grad)
    return dataclasses.replace(item, tensor=tensor)


def _new_graph(graph: DependencyGraph, masks: Masks) -> fx.Graph:
    """A copy of the graph in which only operators that touch a changed axis differ."""
    old = graph.program.graph
    operations = {operation.name: operation for operation in graph.program.operations}
    new = fx.Graph()
    mapping: dict[fx.Node, Any] = {}
    emitted = partial(_emitted, new, _own_name(old.nodes), mapping)
    for node in old.nodes:
        copy = mapping[node] = new.node_copy(node, mapping.__getitem__)
        if reads_size(node):
            mapping[node] = emitted(_as_before(graph, masks, node))
        operation = operations.get(node.name)
        if operation is not None:
            call = new_call(operation, given_arguments(node), graph.analysis, masks)
            _apply(new, copy, call, emitted)
    return new


def _as_before(graph: DependencyGraph, masks: Masks, node: fx.Node) -> Any:
    """The size that ``node`` reads, as large as in the original: what is computed from it is resized where it is used.

    Counting what is left would also change numbers, such as the divisor of a mean.
    """
    source, dim = node.args
    term = graph.analysis.terms[graph.program.values[source.name].name][dim]  # type: ignore[union-attr,index]
    return restored(node, term, masks)


def _apply(new: fx.Graph, copy: fx.Node, call: NewCall, emitted: Callable[[Any], Any]) -> None:
    with new.inserting_before(copy):
        changes = {name: emitted(value) for name, value in call.arguments.items()}
    if call.target is not None:
        copy.target, copy.args, copy.kwargs = call.target, (copy.args[0], *changes.values()), {}
        return
    set_arguments(copy, changes)


def _emitted(new: fx.Graph, name: str, mapping: Mapping[fx.Node, fx.Node], value: Any) -> Any:
    """Literals that depend on the batch size are computed in the graph, by nodes of that ``name``."""
    if isinstance(value, list):
        return [_emitted(new, name, mapping, item) for item in value]
    if isinstance(value, Scaled):
        return _computed(new, name, value, mapping[value.node])
    return mapping[value] if isinstance(value, fx.Node) else value


def _computed(new: fx.Graph, name: str, value: Scaled, node: fx.Node) -> fx.Node:
    sign = operator.add if value.plus > 0 else operator.sub
    steps = ((operator.mul, value.times, 1), (operator.floordiv, value.parts, 1), (sign, abs(value.plus), 0))
    for function, number, nothing in steps:
        if number != nothing:
            node = new.create_node("call_function", function, (node, number), name=name)
    return node


def _own_name(nodes: Iterable[fx.Node]) -> str:
    """A name that no node begins with, so that every copied node keeps the original's; see also `slim_graph`."""
    name = "kept_size"
    while any(node.name.startswith(name) for node in nodes):
        name = f"again_{name}"
    return name
