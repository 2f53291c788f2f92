"""Programs that compute with sizes of their inputs, made by hand from programs that were captured at one size.

Sizes of the example are numbers that stand nowhere else, so each literal that is one of them, or was computed from
them, can be told from others and becomes a node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, fx, nn

from graphprune.axes.dependency import DependencyGraph, build_graph
from graphprune.capture.describe import describe
from graphprune.capture.program import Program
from graphprune.capture.searching import find_varying
from graphprune.capture.varying import Varying
from graphprune.ground.arguments import require

__all__ = ["Condition", "Sizes", "sized_graph", "sized_program", "with_nodes"]

# a number that stands in the graph → the function that computes it, and the numbers that it computes it from
Derived = Mapping[int, tuple[Any, ...]]
# (function, size, number, message): the function of the two must be true; a size may be computed from another one
Computed = tuple[Callable[..., Any], int, int]
Condition = tuple[Callable[[Any, Any], Any], int | Computed, int, str]


@dataclass(frozen=True)
class Sizes:
    """Which sizes vary: dimension of the first input → name; what is computed from them; and what must hold."""

    names: Mapping[int, str]
    derived: Derived = field(default_factory=dict)
    conditions: Sequence[Condition] = ()


def sized_program(model: nn.Module, x: Tensor, sizes: Sizes) -> Program:
    """The program of ``model`` that computes with the sizes of ``x``, one tensor, instead of naming them."""
    capturing = import_module("graphprune.capture.capture")

    def batch_alone(model: nn.Module, inputs: Any, dimensions: Any, names: Any) -> Varying:
        return find_varying(model, inputs, [item for item in dimensions if item.dim == 0], names)

    # nothing is refused for its size; and arange(46) is no constant, for it is to be arange(size)
    nothing = {"require_dimensions": lambda *_: None, "fold_constants": lambda *_: {}}
    with patch.multiple(capturing, find_varying=batch_alone, **nothing):
        program = capturing.capture(model.eval(), x)
    return with_nodes(program, sizes)


def with_nodes(program: Program, sizes: Sizes) -> Program:
    """``program`` with nodes for the sizes of its first input, and with conditions on them."""
    graph, place = program.graph, program.inputs[0]
    source = next(node for node in graph.nodes if node.name == place)
    shape = next(leaf for leaf in program.flat_inputs(*program.example) if isinstance(leaf, Tensor)).shape
    last = max((node for node in graph.nodes if node.op == "placeholder"), key=list(graph.nodes).index)
    made: dict[int, fx.Node] = {}

    def add(target: Callable[..., Any], *args: Any) -> fx.Node:
        nonlocal last
        with graph.inserting_after(last):
            last = graph.call_function(target, args)
        return last

    def number(value: int) -> Any:
        return made.get(value, value)

    for dim, _ in sizes.names.items():
        made[shape[dim]] = add(torch.ops.aten.sym_size.int, source, dim)
        last.meta["val"] = shape[dim]
    for value, (function, *given) in sizes.derived.items():
        made[value] = add(function, *map(number, given))
        last.meta["val"] = value
    for function, one, other, message in sizes.conditions:
        value = number(one) if isinstance(one, int) else add(one[0], number(one[1]), one[2])
        last.meta.setdefault("val", 0)
        condition = add(function, value, other)
        condition.meta["val"] = True
        add(require, condition, message)
    for node in graph.nodes:
        if isinstance(node.meta.get("val"), Tensor | tuple | list):
            node.args, node.kwargs = fx.node.map_aggregate(
                (node.args, dict(node.kwargs)), lambda leaf: number(leaf) if type(leaf) is int else leaf
            )
    graph.lint()
    described = describe(graph)
    dimensions = tuple(
        replace(item, name=sizes.names[item.dim]) if item.place == 0 and item.dim in sizes.names else item
        for item in program.dimensions
    )
    return replace(
        program, graph=graph, operations=described.operations, values=described.values, dimensions=dimensions
    )


def sized_graph(model: nn.Module, x: Tensor, sizes: Sizes) -> DependencyGraph:
    """The dependency graph of `sized_program`, to be given to the verbs in the place of a model."""
    return build_graph(sized_program(model, x, sizes))
