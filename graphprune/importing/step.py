"""One node as a module, which holds the constants that it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.ground.errors import GraphpruneError, first_line
from graphprune.importing.control import CONTROL, note_unseen
from graphprune.importing.node import DataError, ForeignError, Node, Operator
from graphprune.importing.operators.counting import COUNTING
from graphprune.importing.operators.foreign import computed
from graphprune.importing.operators.table import OPERATORS
from graphprune.importing.values import Held, Numbers, as_numbers, as_tensor

__all__ = ["Step"]


class Step(nn.Module):
    """Runs one node.

    Args:
        held: place of an input → the constant of the file that stands there.
        tensors: the same places → the constants' tensors; parameters if training would change them.
        bodies: graphs of the node's own, by attribute.
    """

    def __init__(
        self, node: Node, held: Mapping[int, Held], tensors: Mapping[int, Tensor], bodies: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.node = node
        self.held = dict(held)
        self.refused: DataError | None = None  # why it could not run
        self.spell: Callable[[], str] = str  # the node as a text, for onnxruntime
        for place, item in held.items():
            tensor = tensors[place]
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(item.attribute, tensor)
            else:
                self.register_buffer(item.attribute, tensor)
        for name, body in bodies.items():
            self.add_module(name, body)
        self._bodies = tuple(bodies)

    def forward(self, given: Sequence[Any], scope: Mapping[str, Any]) -> tuple[Any, ...]:
        """The node's outputs, of its inputs; constants, and inputs that are left out, are None in ``given``.

        Args:
            scope: all values by name, which graphs of the node's own may read.
        """
        args = self.arguments(given)
        try:
            result = self._result(args, scope)
        except GraphpruneError as error:
            self.refused = self.refused or (error if isinstance(error, DataError) else None)
            raise
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError, KeyError) as error:
            shapes = ", ".join(str(tuple(arg.shape)) for arg in args if isinstance(arg, Tensor))
            why = f"it does not run on tensors of the shapes {shapes}: {first_line(error, 200)}"
            raise self.node.refusal(why, "check the shapes of the inputs") from error
        return result if isinstance(result, tuple) else (result,)

    def arguments(self, given: Sequence[Any]) -> list[Any]:
        """The node's inputs, its constants among them."""
        return [self._constant(place) if place in self.held else item for place, item in enumerate(given)]

    def _constant(self, place: int) -> Any:
        item = self.held[place]
        stored = getattr(self, item.attribute)
        return stored if item.numbers is None else replace(item.numbers, stored=stored)

    def _result(self, args: list[Any], scope: Mapping[str, Any]) -> Any:
        node = self.node
        if node.operator in CONTROL:
            if node.operator == "If":
                note_unseen(node, args[0], scope)
            bodies = {name: getattr(self, name).bound(scope) for name in self._bodies}
            return CONTROL[node.operator](node, bodies, *args)
        if node.operator == "Constant":
            raise node.refusal("it holds a value that is no tensor of numbers")
        if node.operator in ("Shape", "Size"):
            return _sizes(node, args[0])
        if node.operator in COUNTING and all(arg is None or isinstance(arg, Numbers) for arg in args):
            counted = COUNTING[node.operator](node, *args)
            if counted is not None:
                return _marked(counted, any(arg is not None and arg.sized for arg in args))
        if node.operator not in OPERATORS:
            return self._computed(args)
        operator = OPERATORS[node.operator]
        try:
            return operator.compute(
                node, *(self._argument(operator, arg, place) for place, arg in enumerate(args))
            )
        except ForeignError:
            return self._computed(args)

    def _computed(self, args: list[Any]) -> Any:
        """What onnxruntime computes."""
        found = iter(computed(self.spell(), [as_tensor(arg) for arg in args if arg is not None]))
        return tuple(next(found) if name else None for name in self.node.outputs)

    def _argument(self, operator: Operator, arg: Any, place: int) -> Any:
        """What the operator takes at that place."""
        counts = place in operator.counts
        if isinstance(arg, Numbers) and (counts or (place in operator.single and arg.array.ndim == 0)):
            return arg.array.tolist()
        if counts and isinstance(arg, Tensor):
            raise self.node.refusal(f"its input {place} is computed from data", kind=DataError)
        return as_tensor(arg)


def _marked(result: Any, sized: bool) -> Any:
    """What was counted, with the mark of sizes."""
    if isinstance(result, tuple):
        return tuple(_marked(item, sized) for item in result)
    return replace(result, sized=sized) if isinstance(result, Numbers) else result


def _sizes(node: Node, x: Any) -> Numbers:
    fixed = isinstance(x, Numbers)  # which are as many whatever the inputs are
    sizes = list(x.array.shape) if fixed else list(x.shape)
    if node.operator == "Shape":
        return _marked(as_numbers(sizes[slice(node["start"], node["end"])], torch.int64), not fixed)
    count: Any = 1
    for size in sizes:
        count = count * size
    return _marked(as_numbers(count, torch.int64), not fixed)
