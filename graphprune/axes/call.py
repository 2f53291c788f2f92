"""What a rule is given: one operator call with an axis for every dimension, and the equations to add to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphprune.axes.algebra import Axis, Equations
from graphprune.capture.operations import Operation, Value

__all__ = ["Call", "Operand", "Reason"]


@dataclass(frozen=True)
class Reason:
    """Why nothing may be removed from an axis: ``text``, said by the operator ``operation`` of ``layer``."""

    text: str
    operation: str = ""
    layer: str = ""

    def __str__(self) -> str:
        where = self.layer or self.operation
        return f"{self.text} (at {where})" if where else self.text


@dataclass(frozen=True)
class Operand:
    """A tensor argument or result with its axes, one per dimension."""

    value: Value
    dims: tuple[Axis, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    def dim(self, index: int) -> Axis:
        """The axis of dimension ``index``, which may be negative."""
        return self.dims[index]


@dataclass
class Call:
    """One operator call, as its rule sees it.

    ``loops`` collects the axes whose sizes multiply to the multiply-accumulates, ``across`` the pairs (axis,
    other) of which the operator lines up the first over all positions of the other, ``sizes`` the axes whose
    sizes are integer arguments of the operator, by the argument's name.
    """

    operation: Operation
    arguments: dict[str, Any]
    outputs: tuple[Operand, ...]
    equations: Equations
    loops: list[tuple[Axis, ...]] = field(default_factory=list)
    across: list[tuple[Axis, Axis]] = field(default_factory=list)
    sizes: dict[str, Axis] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.arguments.get(name, default)

    @property
    def output(self) -> Operand:
        return self.outputs[0]

    def operands(self, names: Iterable[str] | None = None) -> Iterator[Operand]:
        """Tensor arguments, those inside lists too, in the operator's order."""
        for name in self.arguments if names is None else names:
            argument = self.arguments.get(name)
            if isinstance(argument, Operand):
                yield argument
            elif isinstance(argument, list | tuple):
                yield from (item for item in argument if isinstance(item, Operand))

    def dimension(self, operand: Operand, index: int) -> int:
        """``index`` counted from the front."""
        return index % len(operand.dims) if operand.dims else 0

    def dimensions(self, operand: Operand, index: int | Sequence[int] | None) -> list[int]:
        """A ``dim`` argument as a list of dimensions; none or an empty list means all of them."""
        if index is None or (isinstance(index, list | tuple) and not index):
            return list(range(len(operand.dims)))
        return [self.dimension(operand, i) for i in ([index] if isinstance(index, int) else index)]

    def unify(self, first: Axis, second: Axis) -> None:
        self.equations.unify(first, second)

    def pin(self, axes: Axis | Iterable[Axis], text: str) -> None:
        reason = Reason(text, self.operation.name, self.operation.layer)
        for axis in [axes] if isinstance(axes, Axis) else axes:
            if axis.size != 1:
                self.equations.pin(axis, reason)

    def broadcast(self, operands: Iterable[Operand], target: Sequence[Axis]) -> None:
        """Right-aligned broadcasting of ``operands`` into ``target``; dimensions of size 1 carry nothing."""
        for operand in operands:
            if not operand.dims:
                continue
            for source, result in zip(operand.dims[::-1], target[::-1], strict=False):
                if source.size == result.size:
                    self.unify(result, source)

    def lined_up(self, operand: Operand, statistics: Iterable[int]) -> None:
        """The operator mixes along ``statistics``, position by position of all other dimensions."""
        mixed = set(statistics)
        for index, axis in enumerate(operand.dims):
            if index not in mixed and axis.size != 1:
                self.across.extend((axis, operand.dims[other]) for other in mixed)
