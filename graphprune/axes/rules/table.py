"""The type of a rule, rules that are values, and the merging of rule tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from graphprune.axes.call import Call

__all__ = ["Along", "Dims", "Rule", "Stays", "Table", "by_argument", "each", "last", "merge", "stays"]

Rule: TypeAlias = Callable[[Call], None]
Table: TypeAlias = dict[str, Rule]
# the dimensions of a call's first tensor that its operator works along
Dims: TypeAlias = Callable[[Call], Collection[int]]


def by_argument(*names: str, default: int | None = None) -> Dims:
    """The dimensions that the first of the arguments ``names`` says that the operator has; else ``default``."""

    def dims(call: Call) -> list[int]:
        given = next((call[name] for name in names if name in call.arguments), default)
        return call.dimensions(next(call.operands()), given)

    return dims


def last(count: int) -> Dims:
    """The last ``count`` dimensions."""
    return lambda call: call.dimensions(next(call.operands()), range(-count, 0))


@dataclass(frozen=True)
class Along:
    """The rule of an operator that works along some dimensions of its first tensor; all others pass through.

    Every other tensor has the dimensions that it works along too, as softmax's result has, or lacks them, as that of
    a sum does.

    Args:
        dims: which dimensions.
        reason: why nothing may be removed from them, "{}" in it is the operator's name; empty if that is allowed.
        mixed: the operator mixes them for each position of the others, see `Call.lined_up`.
    """

    dims: Dims
    reason: str = ""
    mixed: bool = False

    def __call__(self, call: Call) -> None:
        source, *others = (*call.operands(), *call.outputs)
        along = self.dims(call)
        call.pass_others(along, source, *others)
        if self.reason:
            text = self.reason.format(call.operation.family.removeprefix("aten."))
            same = [other for other in (source, *others) if len(other.dims) == len(source.dims)]
            call.pin((operand.dims[dim] for dim in along for operand in same), text)
        if self.mixed:
            call.lined_up(source, along)


@dataclass(frozen=True)
class Stays:
    """Nothing may be removed from any of the operator's tensors, for this reason."""

    reason: str

    def __call__(self, call: Call) -> None:
        call.pin_all(self.reason)


def stays(reason: str) -> Rule:
    """The rule of an operator whose tensors stay as they are; see `Stays`."""
    return Stays(reason)


def merge(tables: Iterable[Mapping[str, Rule]]) -> Table:
    """One table of several. Raises ValueError where an operator is given two rules."""
    merged: Table = {}
    for table in tables:
        for name, rule in table.items():
            if name in merged:
                raise ValueError(f"two rules for {name}")
            merged[name] = rule
    return merged


def each(names: str, rule: Rule) -> Table:
    """The same rule for several operators of ATen, whose ``names`` are separated by spaces."""
    return {f"aten.{name}": rule for name in names.split()}
