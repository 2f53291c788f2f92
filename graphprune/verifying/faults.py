"""What one node makes, beside what it should make: how far apart they are, and whether the node itself is to blame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from itertools import count, islice
from typing import Any

import torch
from torch import Tensor, fx

from graphprune.capture.execution import Call, call_operator, default_dtype
from graphprune.capture.operators import mutates
from graphprune.capture.sizes import reads_size
from graphprune.verifying.differences import beyond_rounding, deviation, relative_error, relative_move
from graphprune.verifying.reference import Reference
from graphprune.verifying.rounding import ROUNDS, largest, shaken

__all__ = ["Errors", "Fault", "LastCall", "counts_cut"]


class Fault(Enum):
    """Whence a difference comes: a wrong node, rounding of its inputs, or inputs that differ by more than that."""

    NODE = auto()
    ROUNDING = auto()
    INPUTS = auto()


class Errors:
    """How far values are from the expected ones; beyond the ``limit``, how much farther than rounding takes them.

    Attributes:
        sensitive: node → how far rounding alone moved it, for those that differ by more than the limit.
    """

    def __init__(self, reference: Reference, limit: float) -> None:
        self._reference = reference
        self._limit = limit
        self.sensitive: dict[str, float] = {}

    def __call__(self, name: str, expected: Any, given: Any, moved: Sequence[Any] = ()) -> float:
        """Of the kept part of what a node makes; ``moved`` are its values in shaken runs."""
        if isinstance(expected, tuple | list):
            found = [
                self(f"{name}.{place}", item, given[place], [trial[place] for trial in moved])
                for place, item in enumerate(expected)
            ]
            return max(found, default=0.0) if len(expected) == len(given) else float("inf")
        if not isinstance(expected, Tensor):
            return 0.0 if expected == given else float("inf")  # numbers, computed from sizes
        take = self._reference.region(name).take
        expected = take(expected)
        error = relative_error(expected, given)
        if error <= self._limit or not moved:
            return error
        apart = largest(deviation(expected, take(trial)) for trial in moved)
        self.sensitive[name] = relative_move(expected, apart)
        return beyond_rounding(expected, given, apart)

    def of_node(
        self,
        name: str,
        expected: Any,
        given: Any,
        ours: LastCall,
        theirs: LastCall,
        dtype: torch.dtype | None,
    ) -> tuple[Fault, float]:
        """Whence it comes that the node ``name`` makes something else, and how much of it rounding does not explain.

        The node is tried on the very inputs that the original's has. What those make when they are moved by rounding
        says what it may differ by.

        Args:
            ours: the slim program's call of the node, and ``theirs`` that of the masked original.
        """
        if not (ours.is_of(name) and theirs.is_of(name)):
            return Fault.NODE, torch.inf  # it was only read, not computed
        moved: list[Any] = []
        if mutates(ours.node):
            return Fault.INPUTS, torch.inf  # they are no longer what they were
        same = {node.name for node in theirs.node.all_input_nodes if not counts_cut(self._reference, node)}
        part = {
            source: self.taken(source, value) for source, value in theirs.values().items() if source in same
        }
        try:
            with default_dtype(dtype):
                again = ours.repeated(part)
                trials = map(theirs.shaken, count())
                for rounds in ROUNDS:
                    moved += islice(trials, rounds - len(moved))
                    if self(name, expected, again, moved) <= self._limit:
                        left = self(name, expected, given, moved)
                        return Fault.ROUNDING if left <= self._limit else Fault.INPUTS, left
        except (RuntimeError, IndexError, TypeError, ValueError):
            pass  # it does not even fit them
        return Fault.NODE, torch.inf

    def taken(self, name: str, value: Any) -> Any:
        """The kept part of what a node makes."""
        if isinstance(value, tuple | list):
            return type(value)(self.taken(f"{name}.{place}", item) for place, item in enumerate(value))
        return self._reference.region(name).take(value) if isinstance(value, Tensor) else value


class LastCall:
    """The last call of an operator in a run, which can be made again."""

    node: fx.Node

    def __init__(self) -> None:
        self.call: Call | None = None
        self.args: tuple[Any, ...] = ()
        self.kwargs: dict[str, Any] = {}

    def of(self, call: Call = call_operator) -> Call:
        """``call``, whose arguments are remembered."""

        def remembered(node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            self.call, self.node, self.args, self.kwargs = call, node, args, kwargs
            return call(node, args, kwargs)

        return remembered

    def is_of(self, name: str) -> bool:
        """Whether it was the node of that name."""
        return self.call is not None and self.node.name == name

    def values(self) -> dict[str, Any]:
        """What the nodes hold that the call reads, by name."""
        found: dict[str, Any] = {}

        def seen(node: fx.Node, value: Any) -> Any:
            found[node.name] = value

        self._each(seen)
        return found

    def repeated(self, values: dict[str, Any]) -> Any:
        """The call on other ``values`` of those nodes, where they are given."""
        args, kwargs = self._each(lambda node, value: values.get(node.name, value))
        return call_operator(self.node, args, kwargs)

    def shaken(self, seed: int) -> Any:
        """The call on inputs that are moved by rounding."""
        assert self.call is not None
        generator = torch.Generator().manual_seed(seed)
        args, kwargs = self._each(lambda node, value: shaken(value, generator))
        return self.call(self.node, args, kwargs)

    def _each(self, change: Callable[[fx.Node, Any], Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments and keywords with the values of nodes changed."""

        def walk(argument: Any, value: Any) -> Any:
            if isinstance(argument, fx.Node):
                return change(argument, value)
            if isinstance(argument, tuple):
                return tuple(map(walk, argument, value))
            if isinstance(argument, list):
                return list(map(walk, argument, value))
            if isinstance(argument, dict):
                return {name: walk(item, value[name]) for name, item in argument.items()}
            return value

        return walk(tuple(self.node.args), self.args), walk(dict(self.node.kwargs), self.kwargs)


def counts_cut(reference: Reference, node: fx.Node) -> bool:
    """Whether the node counts what was removed, as a size or as positions; what is computed from it is compared."""
    if node.name in reference.graph.analysis.points:
        return True
    return reads_size(node) and not all(
        reference.region(source.name).whole for source in node.all_input_nodes
    )
