"""The constants of a cut file that say sizes: each node that reads one has a copy until all numbers are known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphprune.importing.interpreter import Graph, OnnxModule
from graphprune.importing.nested import nodes_of
from graphprune.importing.step import Step
from graphprune.importing.values import Numbers
from graphprune.slicing.site import Literal, Place
from graphprune.slicing.tensors import add_constant, with_tensors

__all__ = ["Counted"]


class Counted:
    """What nodes read of small constants.

    Args:
        module: of the cut file; its nodes get copies of their own.

    Attributes:
        steps: the modules of its nodes, by the nodes' first outputs.
    """

    def __init__(self, module: OnnxModule) -> None:
        self.steps: dict[str, Step] = {}
        self._first: dict[Place, Tensor] = {}
        for graph in (item for item in module.modules() if isinstance(item, Graph)):
            for turn in graph.turns:
                self._own(f"{graph.prefix}{turn.outputs[0]}", turn.step)

    def _own(self, name: str, step: Step) -> None:
        self.steps[name] = step
        for place, held in step.held.items():
            if held.numbers is not None:
                tensor = getattr(step, held.attribute).detach()
                self._first[name, place] = tensor
                delattr(step, held.attribute)
                step.register_buffer(held.attribute, tensor.clone())
                step.held[place] = replace(held, numbers=_marked(held.numbers, (name, place)))

    def set(self, old: Literal, number: int, computed: Iterable[Any]) -> None:
        """Another number in the place of one.

        Args:
            computed: the values so far; those made of it follow.
        """
        name, place = old.holder
        step = self.steps[name]
        held = step.held[place]
        getattr(step, held.attribute).view(-1)[old.index] = number
        for item in (held.numbers, *computed):
            for at, known in enumerate(item.array.flat) if isinstance(item, Numbers) else ():
                if isinstance(known, Literal) and (known.holder, known.index) == (old.holder, old.index):
                    item.array.flat[at] = known.became(number)

    def written(self, model: Any) -> Any:
        """A copy of the file with these numbers. A constant that two nodes need differently becomes two."""
        readers: dict[str, list[Place]] = {}
        for name, place in self._first:
            readers.setdefault(self.steps[name].held[place].source, []).append((name, place))
        changed: dict[str, Tensor] = {}
        others: dict[Place, tuple[str, Tensor]] = {}
        for source, held in readers.items():
            moved = [at for at in held if not torch.equal(self._now(at), self._first[at])]
            if moved and all(torch.equal(self._now(moved[0]), self._now(at)) for at in held):
                changed[source] = self._now(moved[0])
            else:
                others |= {at: (source, self._now(at)) for at in moved}
        made = with_tensors(model, changed)
        nodes, added = nodes_of(made.graph), dict[tuple[str, str], str]()
        for (name, place), (source, tensor) in others.items():
            key = source, str(tensor.tolist())
            if key not in added:
                added[key] = add_constant(made, f"{source}/{len(added)}", tensor)
            nodes[name].input[place] = added[key]
        return made

    def _now(self, at: Place) -> Tensor:
        name, place = at
        found: Tensor = getattr(self.steps[name], self.steps[name].held[place].attribute)
        return found


def _marked(numbers: Numbers, holder: Place) -> Numbers:
    """The numbers of a constant, each with its place; truth values and floats as they are."""
    flat = [
        Literal(item, holder, index, item) if type(item) is int else item
        for index, item in enumerate(numbers.array.flat)
    ]
    array = np.empty(len(flat), dtype=object)
    array[:] = flat
    return replace(numbers, array=array.reshape(numbers.array.shape))
