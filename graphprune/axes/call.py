"""What a rule is given: one operator call with an axis for every dimension, and the equations to add to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphprune.axes.algebra import Axis, Equations
from graphprune.capture.operations import Operation, Size, Value

__all__ = ["Call", "Misfit", "Operand", "Reason"]

ADDED = 2  # to a size that stands for others, as where a class token is joined to a batch of tokens


class Misfit(ValueError):
    """A rule asks for what the sizes of a call do not allow: the cause, and what the rule's author can do."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause)
        self.remedy = remedy


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

    def without(self, dims: Collection[int]) -> tuple[Axis, ...]:
        """The axes of all other dimensions."""
        return tuple(axis for index, axis in enumerate(self.dims) if index not in dims)


@dataclass
class Call:
    """One operator call, as its rule sees it.

    Attributes:
        arguments: by the names of the operator's schema, with defaults; tensors are `Operand`.
        loops: products of axes whose sizes multiply to multiply-accumulates. A rule appends to it.
        across: pairs (kept, mixed) of axes: the operator mixes the positions of ``mixed``, so every one of them
            must keep the same units of ``kept``. ``x @ w`` with x[n, i] and w[i, o] sums over i; the units of i
            that are left must be the same in every row n, so the pair is (i, n). A rule appends to it.
        sizes: argument → the axis whose size that integer argument is, such as ``groups``. A rule adds to it.
        points: stored vector → the axis whose positions are its numbers, see `Value.positions`; one for all calls.
        batch: numbers that stand for a size not known before the model runs, and its name: ``{1009: "batch"}``.
    """

    operation: Operation
    arguments: dict[str, Any]
    outputs: tuple[Operand, ...]
    equations: Equations
    loops: list[tuple[Axis, ...]] = field(default_factory=list)
    across: list[tuple[Axis, Axis]] = field(default_factory=list)
    sizes: dict[str, Axis] = field(default_factory=dict)
    batch: Mapping[int, str] = field(default_factory=dict)
    points: dict[str, Axis] = field(default_factory=dict)

    # -- what is given ------------------------------------------------------------------------------------
    def __getitem__(self, name: str) -> Any:
        if name not in self.arguments:
            known = ", ".join(self.arguments)
            raise Misfit(f"the operator has no argument {name!r}, but {known}", "correct the argument's name")
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.arguments.get(name, default)

    @property
    def output(self) -> Operand:
        """The first result."""
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
        if index is None or (isinstance(index, list | tuple | range) and not index):
            return list(range(len(operand.dims)))
        return [self.dimension(operand, i) for i in ([index] if isinstance(index, int) else index)]

    def varies(self, *names: str) -> bool:
        """Whether one of these arguments, or a number in them, is computed from sizes of the inputs."""
        given = (self.arguments.get(name) for name in names)
        numbers = (item for each in given for item in (each if isinstance(each, list | tuple) else [each]))
        return any(isinstance(number, Size) for number in numbers)

    def parts_examples(self, axis: Axis, *places: int) -> bool:
        """Whether a cut at one of these places of ``axis``, which the batch is a factor of, falls between examples.

        Such a cut has no places at other batch sizes.
        """
        return any(
            axis.size and axis.size % prime == 0 and place % prime for prime in self.batch for place in places
        )

    # -- what a rule says ---------------------------------------------------------------------------------
    def unify(self, first: Axis, second: Axis) -> None:
        """The two axes are one: what is removed from the one is removed from the other.

        Raises:
            Misfit: their sizes differ.
        """
        if first.size != second.size:
            sizes = (f"{self.place(axis)} of size {self.shown(axis.size)}" for axis in (first, second))
            raise Misfit(
                f"{' and '.join(sizes)} are said to be one axis",
                "unify dimensions of equal sizes only; an axis in parts is equations.product or equations.sum",
            )
        self.equations.unify(first, second)

    def unify_all(self, axes: Sequence[Axis], others: Sequence[Axis], but: Collection[int] = ()) -> None:
        """Unifies each of ``axes`` with the one at its place in ``others``, except at the places ``but``.

        Raises:
            Misfit: one list is longer, or two sizes differ.
        """
        if len(axes) != len(others):
            lists = (", ".join(map(self.place, some)) or "none" for some in (axes, others))
            raise Misfit(
                f"{len(axes)} dimensions cannot be paired with {len(others)}: {' | '.join(lists)}",
                "pair dimensions that are equally many; leave out those that only one tensor has",
            )
        for place, (axis, other) in enumerate(zip(axes, others, strict=True)):
            if place not in but:
                self.unify(axis, other)

    def pass_others(self, along: Collection[int], source: Operand, *others: Operand) -> None:
        """All dimensions of ``source`` but ``along`` pass to each of ``others``, which have those too or lack them.

        Raises:
            Misfit: another has other dimensions, or two sizes differ.
        """
        for other in others:
            kept = other.without(along) if len(other.dims) == len(source.dims) else other.dims
            self.unify_all(kept, source.without(along))

    def pin(self, axes: Axis | Iterable[Axis], text: str) -> None:
        """Nothing may be removed from ``axes``, for the reason ``text``."""
        reason = Reason(text, self.operation.name, self.operation.layer)
        for axis in [axes] if isinstance(axes, Axis) else axes:
            if axis.size != 1:
                self.equations.pin(axis, reason)

    def pin_all(self, text: str) -> None:
        """Nothing may be removed from any tensor of the call."""
        for operand in (*self.operands(), *self.outputs):
            self.pin(operand.dims, text)

    def broadcast(self, operands: Iterable[Operand], target: Sequence[Axis]) -> None:
        """Right-aligned broadcasting of ``operands`` into ``target``; dimensions of size 1 carry nothing."""
        for operand in operands:
            for source, result in zip(operand.dims[::-1], target[::-1], strict=False):
                if source.size == result.size:
                    self.unify(result, source)

    def lined_up(self, operand: Operand, mixed: Collection[int]) -> None:
        """The operator mixes the dimensions ``mixed`` of ``operand``, as a softmax does, for each position of the rest.

        Every other dimension must then keep the same units at all positions that are mixed.
        """
        mixed = sorted(set(mixed))
        for index, axis in enumerate(operand.dims):
            if index not in mixed and axis.size != 1:
                self.across.extend((axis, operand.dims[other]) for other in mixed)

    # -- messages -----------------------------------------------------------------------------------------
    @property
    def tensors(self) -> dict[str, Operand]:
        """Every tensor by its name in a message: "x", "parts.0" of a list, "return", "return.1" of several."""
        found: dict[str, Operand] = {}
        given = {**self.arguments, "return": self.outputs[0] if len(self.outputs) == 1 else self.outputs}
        for name, argument in given.items():
            if isinstance(argument, Operand):
                found[name] = argument
            elif isinstance(argument, list | tuple):
                items = ((f"{name}.{place}", item) for place, item in enumerate(argument))
                found |= {place: item for place, item in items if isinstance(item, Operand)}
        return found

    def place(self, axis: Axis) -> str:
        """Where ``axis`` stands: "x[1]"; "an axis" if the rule made it."""
        places = (
            f"{name}[{d}]"
            for name, item in self.tensors.items()
            for d, o in enumerate(item.dims)
            if o is axis
        )
        return next(places, "an axis")

    def shown(self, size: int) -> str:
        """``size`` in a message, with the name of what it stands for: "batch", "2·batch", "batch+1".

        More is not added, and nothing taken away: 1024 would be taken for a batch of 1009 and 15.
        """
        for prime, name in self.batch.items():
            times, more = divmod(size, prime)
            if times and (not more or (more <= ADDED and times <= ADDED)):
                said = name if times == 1 else f"{times}·{name}"
                return f"{said}+{more}" if more else said
        return str(size)

    def shapes(self) -> str:
        """All tensors with their shapes: "x (batch, 5), weight (7, 5), return (batch, 7)"."""
        return ", ".join(
            f"{name} ({', '.join(self.shown(size) for size in operand.shape)})"
            for name, operand in self.tensors.items()
        )
