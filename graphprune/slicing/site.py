"""A node of a file about to run cut, and what it asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from graphprune.axes.terms import Term
from graphprune.importing.step import Step
from graphprune.planning.masks import Masks

__all__ = ["Changes", "Literal", "Place", "Site"]


Place = tuple[str, int]  # a node, by its first output, and which of its inputs


class Literal(int):
    """A whole number of the file that remembers where it stands, and what it was there.

    Attributes:
        holder: the node that reads the constant.
        index: in the constant, laid flat.
    """

    holder: Place
    index: int
    original: int

    def __new__(cls, value: int, holder: Place, index: int, original: int) -> Literal:
        made = int.__new__(cls, value)
        made.holder, made.index, made.original = holder, index, original
        return made

    def became(self, value: int) -> Literal:
        """The same place with another number."""
        return Literal(value, self.holder, self.index, self.original)


@dataclass
class Changes:
    """What a node asks for.

    Attributes:
        numbers: other ones in the place of some of the file.
        computed: which of its inputs, and which place there → a number instead of one that the file computes.
        attributes: of the node; None for one that goes.
        inputs: which of its inputs → the numbers of a new constant there.
    """

    numbers: list[tuple[Literal, int]] = field(default_factory=list)
    computed: dict[tuple[int, int], int] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    inputs: dict[int, list[int]] = field(default_factory=dict)


class Axis(Protocol):
    """Gives the axis of a dimension."""

    def __call__(self, dim: int, place: int = 0) -> Term | None:
        """Of the node's input ``place``."""


@dataclass(frozen=True)
class Site:
    """A node of the cut file, about to run.

    Args:
        args: its inputs, cut.
        before: the same inputs' numbers before anything was cut; None of what is no list of numbers.
        sizes: for each output the dimensions that are cut, with their old and new sizes.
        term: the axis of a dimension of its first input, or of another; None where it is not known.
        made: the same of its first output.
        rank: the number of dimensions of its first output.
    """

    step: Step
    args: Sequence[Any]
    before: Sequence[Sequence[int] | None]
    sizes: Sequence[Mapping[int, tuple[int, int]]]
    term: Axis
    made: Callable[[int], Term | None]
    masks: Masks
    rank: int

    def number(self, place: int, index: int, given: Any, wanted: int, changes: Changes) -> None:
        """Asks for another number in a constant, or in the place of one that is computed.

        Raises:
            RefusalError: it is another number already, which another node needs.
        """
        if int(given) == wanted:
            return
        if isinstance(given, Literal) and int(given) != given.original:
            raise self.step.node.refusal(
                f"its input {place} computes {given} for another node, and {wanted} is needed"
            )
        if isinstance(given, Literal):
            changes.numbers.append((given, wanted))
        else:
            changes.computed[place, index] = wanted
