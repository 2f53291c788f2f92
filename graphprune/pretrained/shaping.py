"""Which widths follow fields of a configuration, by the shapes of all tensors at several values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from graphprune.axes.dependency import DependencyGraph
from graphprune.pretrained.blueprint import Blueprint, Place, Refused, Shape, Shapes, numbers, shown
from graphprune.pretrained.families import Family, families_of, shapes_at
from graphprune.pretrained.move import Move, fields_at

__all__ = ["DRAWS", "Shaping", "kept_at", "named"]

DRAWS = (0.8, 0.55, 0.7)  # shares of the units that are kept, one after the other


class Shaping:
    """A class and its graph: what its tensors look like where fields change."""

    def __init__(self, blueprint: Blueprint, graph: DependencyGraph) -> None:
        self.blueprint = blueprint
        self.graph = graph
        self.numbers = numbers(blueprint.values)
        self.families = families_of(graph)
        self.shapes = blueprint.shapes()

    def move(self, families: Sequence[Family], fields: Sequence[Place], grain: int = 1) -> Move | str:
        """The move with which all shapes are as planned, with the least multiple that the class takes.

        Families that change too are part of it. Where there is none, the text says what is not as planned; it is empty
        where these fields change no shape at all.

        Args:
            grain: the multiple is one of this, too.
        """
        refused = ""
        for step in self._steps(families[0].size, grain):
            made = self._tried(Move(tuple(families), tuple(fields), step, grain))
            if not isinstance(made, Refused):
                return made
            refused = f"the class refuses it: {made}"
        return refused

    def fields(self, moves: Sequence[Move], sizes: Mapping[str, int]) -> Blueprint:
        """The blueprint where groups have these ``sizes``.

        Raises:
            Refused: a field would be no whole number.
        """
        return self.blueprint.with_numbers(fields_at(self.numbers, moves, sizes))

    def _steps(self, size: int, grain: int) -> list[int]:
        """Numbers of the configuration that divide the width, what they leave of it, and small powers of two."""
        every = {1, 2, 4, 8, 16} | self._known | {size // n for n in self._known if size % n == 0}
        return sorted(n for n in every if size % n == 0 and n % grain == 0 and n <= max(size // 2, 1))

    @cached_property
    def _known(self) -> set[int]:
        return set(self.numbers.values())

    def _tried(self, move: Move) -> Move | str | Refused:
        for kept in dict.fromkeys((move.size - move.step, *(kept_at(move, draw) for draw in DRAWS))):
            try:
                shapes = self.fields([move], move.sizes(kept)).shapes()
            except Refused as error:
                return error
            if shapes == self.shapes:
                return ""
            made = self._explaining(move, shapes, kept)
            if isinstance(made, str):
                return made
            move = made
        return move

    def _explaining(self, move: Move, shapes: Shapes, kept: int) -> Move | str:
        """The move with as many more families as it takes for ``shapes`` to be as planned."""
        if set(shapes) != set(self.shapes):
            return "the model has other tensors"
        while wrong := self._wrong(move, shapes, kept):
            name, planned = next(iter(wrong.items()))
            more = (f for f in self.families if f not in move.families and kept * f.size % move.size == 0)
            joined = (replace(move, families=(*move.families, family)) for family in more)
            better = next((m for m in joined if self._mends(m, name, planned, shapes[name], kept)), None)
            if better is None:
                return f"{name} becomes {shapes[name]} where {planned} is planned"
            move = better
        return move

    def _mends(self, move: Move, tensor: str, before: Shape, wanted: Shape, kept: int) -> bool:
        """Whether the last family of the move brings a dimension of the tensor to what is wanted."""
        planned = self._planned(move.sizes(kept))[tensor]
        return any(new == size != old for old, new, size in zip(before, planned, wanted, strict=True))

    def _wrong(self, move: Move, shapes: Shapes, kept: int) -> Shapes:
        """The planned shapes of the tensors that have others."""
        planned = self._planned(move.sizes(kept))
        return {name: planned[name] for name, shape in shapes.items() if shape != planned[name]}

    def _planned(self, sizes: Mapping[str, int]) -> Shapes:
        return {**self.shapes, **shapes_at(self.graph, sizes)}


def kept_at(move: Move, share: float) -> int:
    """Units that are kept in a trial: a multiple of the step, fewer than all."""
    step = move.step
    return min(max(round(move.size * share / step) * step, step), max(move.size - step, step))


def named(fields: Sequence[Place]) -> str:
    """Fields in a sentence."""
    return " and ".join(map(shown, fields))
