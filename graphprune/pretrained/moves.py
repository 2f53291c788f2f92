"""Finds which fields of a configuration govern which widths, and proves it on a small twin.

Shapes alone mislead: half the key-value heads look like heads of half the width, and the number of heads of BERT changes
no shape at all. So a move is a set of fields that, changed in proportion with a family of groups, gives the planned
shape of every tensor for several widths, and with which the class computes what the slim program computes, on lively
random weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from graphprune.axes.dependency import DependencyGraph
from graphprune.pretrained.blueprint import Blueprint, Place, Refused, Shape, Shapes, numbers, shown
from graphprune.pretrained.families import Family, families_of, shapes_at, sizes_with
from graphprune.pretrained.move import Move, fields_at
from graphprune.pretrained.twin_trial import TwinTrial

__all__ = ["Moves", "find_moves"]

DRAWS = (0.8, 0.55, 0.7)  # shares of the units that are kept, one after the other
MOST = 3  # fields of a move
CANDIDATES = 12


@dataclass(frozen=True)
class Moves:
    """What was found.

    Args:
        moves: that the class can express, all of them at once too.
        held: kind of groups → why no field expresses their width.
    """

    moves: tuple[Move, ...]
    held: Mapping[str, str] = field(default_factory=dict)


def find_moves(blueprint: Blueprint, graph: DependencyGraph, seed: int = 0) -> Moves:
    """The moves of a twin, whose graph was captured from it, and why all other groups are held."""
    search = _Search(blueprint, graph, TwinTrial(blueprint, graph, seed))
    for family in search.families:
        if family.kind not in search.settled:
            search.settle(family)
    return search.together()


class _Search:
    def __init__(self, blueprint: Blueprint, graph: DependencyGraph, trial: TwinTrial) -> None:
        self.blueprint = blueprint
        self.graph = graph
        self.trial = trial
        self.numbers = numbers(blueprint.values)
        self.families = families_of(graph)
        self.shapes = blueprint.shapes()
        self.found: list[Move] = []
        self.held: dict[str, str] = {}

    @property
    def settled(self) -> set[str]:
        """Kinds that have a move, or a reason why not."""
        return {family.kind for move in self.found for family in move.families} | set(self.held)

    def settle(self, family: Family) -> None:
        """Finds the least set of fields that governs this family, and others with it."""
        reasons: list[tuple[int, str]] = [(0, f"no number of the configuration is {family.size} there")]
        for fields in self._choices(family):
            made = self._shaped(family, fields)
            if isinstance(made, Move):
                differs = self.trial.differs(made.sizes(_kept(made, DRAWS[1])), [made])
                if not differs:
                    self.found.append(made)
                    return
                reasons.append((2, f"with {_named(fields)} the class computes otherwise: {differs}"))
            elif made:
                reasons.append((1, f"with {_named(fields)} {made}"))
        self.held[family.kind] = max(reasons, key=lambda reason: reason[0])[1]

    def together(self) -> Moves:
        """The moves with which the class is right where all of them are made at once; later ones give way."""
        kept: list[Move] = []
        for move in self.found:
            tried = [*kept, move]
            drawn = [m.sizes(_kept(m, DRAWS[place % 3])) for place, m in enumerate(tried)]
            differs = self.trial.differs({name: size for sizes in drawn for name, size in sizes.items()}, tried)
            if not differs:
                kept = tried
            else:
                self.held |= {f.kind: f"together with the others, {differs}" for f in move.families}
        moved = {family.kind for move in kept for family in move.families}
        return Moves(tuple(kept), {kind: why for kind, why in self.held.items() if kind not in moved})

    def _choices(self, family: Family) -> Iterator[tuple[Place, ...]]:
        """Sets of fields that may stand for the width, the smallest first."""
        sizes = sizes_with(self.graph, family)
        fitting = [place for place, n in self.numbers.items() if n in sizes and n % family.size == 0]
        for count in range(1, MOST + 1):
            yield from combinations(fitting[:CANDIDATES], count)

    # -- shapes -------------------------------------------------------------------------------------------
    def _shaped(self, family: Family, fields: Sequence[Place]) -> Move | str:
        """The move with which all shapes are as planned, or what is not, empty where these fields do nothing."""
        problem = ""
        for step in self._steps(family.size):
            move = Move((family,), tuple(fields), step)
            problem = self._problem(move)
            if isinstance(problem, Move):
                return problem
            if not problem.startswith(_REFUSED):
                return problem
        return problem

    def _steps(self, size: int) -> list[int]:
        """Multiples that a class may ask for: numbers of its configuration, their parts of the width, small powers of two."""
        known = {n for n in self.numbers.values() if size % n == 0}
        every = {1, 2, 4, 8} | known | {size // n for n in known}
        return sorted(n for n in every if size % n == 0 and n <= max(size // 2, 1))

    def _problem(self, move: Move) -> Move | str:
        for kept in dict.fromkeys((move.size - move.step, *(_kept(move, draw) for draw in DRAWS))):
            try:
                shapes = self.blueprint.with_numbers(self._fields(move, kept)).shapes()
            except Refused as error:
                return f"{_REFUSED} {error}"
            if shapes == self.shapes:
                return ""
            made = self._explaining(move, shapes, kept)
            if isinstance(made, str):
                return made
            move = made
        return move

    def _fields(self, move: Move, kept: int) -> Mapping[Place, int]:
        return fields_at(self.numbers, [move], move.sizes(kept))

    def _explaining(self, move: Move, shapes: Shapes, kept: int) -> Move | str:
        """The move with as many more families as it takes for ``shapes`` to be as planned."""
        if set(shapes) != set(self.shapes):
            return "the model has other tensors"
        while wrong := self._wrong(move, shapes, kept):
            name, planned = next(iter(wrong.items()))
            more = (f for f in self.families if f not in move.families and kept * f.size % move.size == 0)
            joined = (Move((*move.families, family), move.fields, move.step) for family in more)
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


_REFUSED = "the class refuses it:"


def _kept(move: Move, share: float) -> int:
    """Units that are kept in a trial: a multiple of the step, fewer than all."""
    least = move.step
    return min(max(round(move.size * share / least) * least, least), max(move.size - least, least))


def _named(fields: Sequence[Place]) -> str:
    return " and ".join(map(shown, fields))
