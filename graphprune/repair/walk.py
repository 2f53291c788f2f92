"""Walks over the calibration batches, and on each runs the original and the slim program side by side.

Between two blocks of steps every batch waits, as the values that are still to be read, while there is room for them;
the others start anew from their inputs.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter
from typing import Any

from torch import Tensor, fx
from torch.utils import _pytree as pytree

from graphprune.axes.dependency import DependencyGraph
from graphprune.calibration.batches import Calibration
from graphprune.capture.execution import Execution
from graphprune.capture.operators import arguments, mutates
from graphprune.capture.program import Program
from graphprune.planning.plan import Plan, make_masks
from graphprune.planning.region import Regions, narrowed

__all__ = ["Pair", "Walk"]


@dataclass
class Walk:
    """Runs of both programs on every batch.

    Args:
        graph: of the original.
        slim: the slim program; ``tensors`` are what a repair has changed, before its own.
        calibration: the batches, which can be walked again and again.
        room: bytes that waiting batches may take.
    """

    graph: DependencyGraph
    plan: Plan
    slim: Program
    tensors: ChainMap[str, Tensor]
    calibration: Calibration
    room: int
    waiting: dict[int, Pair] = field(default_factory=dict, init=False)
    count: int = field(default=0, init=False)

    def to(self, name: str) -> Iterator[tuple[int, Pair]]:
        """The number of every batch, and a run on it that stands before the node ``name`` and is free to go on."""
        used = 0
        for number, pair in self._runs():
            pair.advance(name)
            self.waiting.pop(number, None)
            if self.forks and used + (size := pair.bytes()) <= self.room:
                used += size
                self.waiting[number] = pair
                pair = pair.fork()
            yield number, pair

    def whole(self) -> Iterator[tuple[int, Pair]]:
        """A new run on every batch, before its first node."""
        program, kept = self.graph.program, make_masks(self.graph, self.plan.groups).kept
        for number, (_, inputs) in enumerate(self.calibration.walk(program)):
            original = Execution(program.graph, program.tensors, inputs)
            slim = Execution(self.slim.graph, self.tensors, inputs)
            yield number, Pair(self, Regions(self.graph, kept, inputs), original, slim)

    def _runs(self) -> Iterator[tuple[int, Pair]]:
        if self.count and len(self.waiting) == self.count:
            yield from list(self.waiting.items())
            return
        self.count = 0
        for number, pair in self.whole():
            self.count = number + 1
            yield number, self.waiting.get(number, pair)

    def replace(self, name: str, tensor: Tensor) -> None:
        """Another tensor of the slim model from here on."""
        self.tensors[name] = tensor
        for pair in self.waiting.values():
            pair.slim.replace(name, tensor)

    def cut(self, name: str) -> Tensor:
        """The kept part of the original's tensor of that name."""
        return narrowed(self.graph.program.tensors[name].detach(), self.plan.kept.get(name, {}))

    @cached_property
    def nodes(self) -> dict[str, fx.Node]:
        """Of the original, by name."""
        return {node.name: node for node in self.graph.program.graph.nodes}

    @cached_property
    def order(self) -> dict[str, int]:
        """Places of the original's nodes."""
        return {name: place for place, name in enumerate(self.nodes)}

    @cached_property
    def slim_nodes(self) -> dict[str, fx.Node]:
        """Of the slim program, which has more of them."""
        return {node.name: node for node in self.slim.graph.nodes}

    @cached_property
    def forks(self) -> bool:
        """Whether runs can be halted and gone on with several times: nothing is written in place."""
        return not any(mutates(node) for node in self.graph.program.graph.nodes)


@dataclass
class Pair:
    """A run of both programs on one batch.

    Values of the original are given as the kept part, so that both have the same shape. ``seconds`` are those of the
    original.
    """

    walk: Walk
    regions: Regions
    original: Execution
    slim: Execution
    outputs: tuple[Any, Any] = (None, None)
    seconds: float = 0.0

    def fork(self) -> Pair:
        """Another run from here on."""
        return Pair(self.walk, self.regions, self.original.fork(), self.slim.fork())

    def advance(self, until: str | None) -> None:
        """Runs both up to, and without, the node of that name; to the end without one, when there are ``outputs``."""
        self._run(*((None, None) if until is None else self._nodes(until)))

    def _run(self, original: fx.Node | None, slim: fx.Node | None) -> None:
        start = perf_counter()
        first = self.original.advance(original)
        self.seconds += perf_counter() - start
        self.outputs = first, self.slim.advance(slim)

    def through(self, name: str) -> tuple[Tensor, Tensor]:
        """Runs both through that node, and returns the kept part of the original's value, and the slim one's."""
        original, slim = self._nodes(name)
        self._run(original.next, slim.next)
        return self._values(original, slim)

    def argument(self, call: str, name: str) -> tuple[Tensor, Tensor]:
        """Runs both up to that call; the kept part of one of its tensor arguments in the original, and the slim one."""
        self.advance(call)
        original, slim = (arguments(node)[name] for node in self._nodes(call))
        return self._values(original, slim)

    def _values(self, original: fx.Node, slim: fx.Node) -> tuple[Tensor, Tensor]:
        value = self.original.environment[original]
        return self.regions.of(original.name).take(value), self.slim.environment[slim]

    def given(self, call: str) -> dict[str, Any]:
        """The arguments of the slim program's call: tensors that are still there, and numbers."""
        node = self.walk.slim_nodes[call]
        held = self.slim.environment
        return {n: held.get(v) if isinstance(v, fx.Node) else v for n, v in arguments(node).items()}

    def _nodes(self, name: str) -> tuple[fx.Node, fx.Node]:
        return self.walk.nodes[name], self.walk.slim_nodes[name]

    def bytes(self) -> int:
        """What the values of both that are still to be read take, without the model's own tensors."""
        held: dict[int, int] = {}
        for run in (self.original, self.slim):
            for node, value in run.environment.items():
                for leaf in pytree.tree_leaves(value) if node.op != "get_attr" else ():
                    if isinstance(leaf, Tensor):
                        storage = leaf.untyped_storage()
                        held[storage.data_ptr()] = storage.nbytes()
        return sum(held.values())
