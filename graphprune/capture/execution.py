"""Running a captured graph: the one interpreter that everything which looks at its values shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from itertools import tee
from typing import Any

import torch
from torch import Tensor, fx

from graphprune.capture.operators import own_memory

__all__ = ["Call", "Execution", "call_operator", "default_dtype", "named_tensors", "run"]

Call = Callable[[fx.Node, tuple[Any, ...], dict[str, Any]], Any]
_aten = torch.ops.aten
_UNWRITTEN = (_aten.empty, _aten.empty_like, _aten.new_empty)


def call_operator(node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The operator of ``node`` on these arguments. Memory that nobody has written to yet is zero, so runs are alike."""
    assert callable(node.target)
    value = node.target(*args, **kwargs)
    return value.zero_() if getattr(node.target, "overloadpacket", None) in _UNWRITTEN else value


@contextmanager
def default_dtype(dtype: torch.dtype | None) -> Iterator[None]:
    """What operators make from numbers alone has ``dtype``; None leaves the default as it is."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype or before)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class Execution:
    """A run of a graph, node by node. It can be halted before any node, continued, and forked.

    A value is dropped once the last node that reads it has run. ``tensors`` and ``inputs`` stay as they are, even
    where the graph writes in place: such a graph is given copies.

    Args:
        tensors: stored tensors by name, or whatever stands for them.
        inputs: the leaves of one call, in the order of the graph's placeholders.
        call: gives a node's value from the values of its arguments.
        literal: gives what stands for an argument that is no node, such as a dtype.

    Attributes:
        environment: the values that are still to be read.
        node: the node that runs next.
    """

    def __init__(
        self,
        graph: fx.Graph,
        tensors: Mapping[str, Any],
        inputs: list[Any],
        call: Call = call_operator,
        literal: Callable[[Any], Any] = lambda leaf: leaf,
    ) -> None:
        self.environment: dict[fx.Node, Any] = {}
        self.node: fx.Node = next(iter(graph.nodes))
        self._tensors = tensors
        self._inputs = iter(inputs)
        self._call = call
        self._literal = literal
        self._own = own_memory(graph)
        self._uses = {node: len(node.users) for node in graph.nodes}

    def fork(self) -> Execution:
        """Another run from here on; for graphs that write nothing in place, since both share their values."""
        other = copy(self)
        other.environment, other._uses = dict(self.environment), dict(self._uses)
        self._inputs, other._inputs = tee(self._inputs)
        return other

    def __iter__(self) -> Iterator[tuple[fx.Node, Any]]:
        """Runs all nodes that are left, and gives each with its value."""
        while self.node.op != "output":
            node = self.node
            yield node, self._step()

    def advance(self, until: fx.Node | None = None) -> Any:
        """Runs all nodes before ``until``. Without it, runs to the end and returns the output."""
        while self.node is not until:
            if self.node.op == "output":
                return self._filled(self.node.args[0])
            self._step()
        return None

    def _step(self) -> Any:
        node = self.node
        value = self.environment[node] = self._value(node)
        for source in node.all_input_nodes:
            self._uses[source] -= 1
            if not self._uses[source]:
                del self.environment[source]
        self.node = node.next
        return value

    def _value(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self._own(next(self._inputs))
        if node.op == "get_attr":
            return self._own(self._tensors[str(node.target)])
        return self._call(node, *self._filled((node.args, dict(node.kwargs))))

    def _filled(self, arguments: Any) -> Any:
        """Arguments with values in the place of nodes."""
        return fx.node.map_aggregate(
            arguments,
            lambda leaf: self.environment[leaf] if isinstance(leaf, fx.Node) else self._literal(leaf),
        )

    def replace(self, name: str, tensor: Tensor) -> None:
        """Continues with another stored tensor of that name, where it has been read already."""
        for node in self.environment:
            if node.op == "get_attr" and node.target == name:
                self.environment[node] = self._own(tensor)


def run(graph: fx.Graph, tensors: Mapping[str, Tensor], inputs: list[Any]) -> Any:
    """What ``graph`` returns for ``inputs``, see `Execution`."""
    return Execution(graph, tensors, inputs).advance()


def named_tensors(node: fx.Node, value: Any) -> dict[str, Tensor]:
    """The tensors that a node makes by the names of `Program.values`: ``split`` alone, or ``split.0``, ``split.1``."""
    if isinstance(value, Tensor):
        return {node.name: value}
    items = enumerate(value) if isinstance(value, tuple | list) else ()
    return {f"{node.name}.{index}": item for index, item in items if isinstance(item, Tensor)}
