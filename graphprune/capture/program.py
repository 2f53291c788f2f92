"""The captured program: a functional `torch.fx` graph, its stored tensors, and its calling convention."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from itertools import tee
from math import prod
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from graphprune.capture.nodes import overload, own_memory
from graphprune.capture.operations import Operation, Value

__all__ = ["Constant", "Execution", "Program", "Stored", "run"]


@dataclass(frozen=True)
class Stored:
    """A tensor that the model keeps.

    ``name`` is the first name under which the model registers it and ``ties`` all the others. ``kind`` is
    "parameter", "buffer" or "constant" (a tensor attribute, or one that depends on nothing).
    """

    name: str
    kind: str
    tensor: torch.Tensor
    persistent: bool = True
    ties: tuple[str, ...] = ()


@dataclass(frozen=True)
class Constant:
    """A returned value that is not computed; marks texts, which are not names of values."""

    value: Any


@dataclass(frozen=True)
class Program:
    """A captured model. Nothing in it is changed by later stages.

    Args:
        graph: operators of the ATen vocabulary; stored tensors are ``get_attr`` nodes under their names.
        stored: every tensor of the model by its first name, the user's own tensors, not copies.
        operations: the graph as the core sees it, in order.
        attributes: value name of a ``get_attr`` node → name of the stored tensor.
        inputs: names of the placeholders in calling order; ``arguments`` is (args, kwargs) of positions in it.
        outputs: nested tuples, lists and dicts of value names, the structure that ``forward`` returns; returned
            numbers and None stand as they are, returned texts as `Constant`.
        returned: positions of the outputs among the leaves of what ``forward`` returns: all, or those asked for.
        wanted: the names by which outputs were asked for; empty where all are returned.
        batch_primes: the primes that stand in `Value.shape` for the batch size, and for sizes that are data.
        dynamic_batch: whether the program runs at any batch size.
        notes: what the user should know about this capture.
        model: the user's module, so that the program can be compared with it; None where there is none.
    """

    graph: fx.Graph
    stored: Mapping[str, Stored]
    operations: tuple[Operation, ...]
    values: Mapping[str, Value]
    attributes: Mapping[str, str]
    inputs: tuple[str, ...]
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    parameters: tuple[str, ...]
    outputs: Any
    returned: tuple[int, ...]
    example: tuple[tuple[Any, ...], dict[str, Any]]
    wanted: tuple[str, ...] = ()
    batch_primes: tuple[int, ...] = ()
    dynamic_batch: bool = False
    notes: tuple[str, ...] = ()
    module_types: Mapping[str, str] = field(default_factory=dict)
    model: nn.Module | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        return (
            f"Program({type(self.model).__name__}, operators={len(self.operations)}, inputs={len(self.inputs)}, "
            f"stored={len(self.stored)}, dynamic_batch={self.dynamic_batch})"
        )

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        """Names of all values that are returned, in order."""
        return tuple(leaf for leaf in pytree.tree_leaves(self.outputs) if isinstance(leaf, str))

    @cached_property
    def tensors(self) -> dict[str, torch.Tensor]:
        """Stored tensors by name."""
        return {name: stored.tensor for name, stored in self.stored.items()}

    @cached_property
    def parameter_count(self) -> int:
        """Parameters that the graph uses, tied ones counted once."""
        used = set(self.attributes.values())
        return sum(
            prod(stored.tensor.shape)
            for name, stored in self.stored.items()
            if stored.kind == "parameter" and name in used
        )

    def flat_inputs(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
        """The leaves of a call, in the order of ``inputs``."""
        return list(pytree.tree_leaves((args, dict(kwargs)), is_leaf=lambda leaf: leaf is None))


class Execution:
    """A run of ``graph`` that can be halted before any node, gone on with, and forked.

    ``observe`` may replace the value of each node. Dead values are dropped at once. ``tensors`` and ``inputs`` are
    left as they are, whatever the graph writes in place.

    Attributes:
        environment: the values that are still to be read.
    """

    def __init__(
        self,
        graph: fx.Graph,
        tensors: Mapping[str, torch.Tensor],
        inputs: list[Any],
        observe: Callable[[fx.Node, Any], Any] | None = None,
    ) -> None:
        self.environment: dict[fx.Node, Any] = {}
        self._tensors = tensors
        self._inputs = iter(inputs)
        self._observe = observe
        self._own = own_memory(graph)
        self._uses = {node: len(node.users) for node in graph.nodes}
        self._next = next(iter(graph.nodes))

    def fork(self) -> Execution:
        """Another run from here on; for graphs that write nothing in place, since both share their values."""
        other = copy(self)
        other.environment, other._uses = dict(self.environment), dict(self._uses)
        self._inputs, other._inputs = tee(self._inputs)
        return other

    def advance(self, until: fx.Node | None = None) -> Any:
        """Runs all nodes before ``until``; all of them, and returns the output, without it."""
        while self._next is not until:
            node = self._next
            if node.op == "output":
                return fx.node.map_arg(node.args[0], self.environment.__getitem__)
            value = self._value(node)
            self.environment[node] = self._observe(node, value) if self._observe else value
            for source in node.all_input_nodes:
                self._uses[source] -= 1
                if not self._uses[source]:
                    del self.environment[source]
            self._next = node.next
        return None

    def _value(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self._own(next(self._inputs))
        if node.op == "get_attr":
            return self._own(self._tensors[str(node.target)])
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self.environment.__getitem__)
        return overload(node)(*args, **kwargs)

    def replace(self, name: str, tensor: torch.Tensor) -> None:
        """Goes on with another stored tensor of that name, where it has been read already."""
        for node in self.environment:
            if node.op == "get_attr" and node.target == name:
                self.environment[node] = self._own(tensor)


def run(
    graph: fx.Graph,
    tensors: Mapping[str, torch.Tensor],
    inputs: list[Any],
    observe: Callable[[fx.Node, Any], Any] | None = None,
) -> Any:
    """Interprets ``graph``, see `Execution`."""
    return Execution(graph, tensors, inputs, observe).advance()
