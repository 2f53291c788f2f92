"""Finds which fields of a configuration govern which widths, and proves it on a small twin.

Shapes alone mislead: half the key-value heads look like heads of half the width, and the number of heads of BERT
changes no shape at all. So a move is a set of fields that, changed in proportion with a family of groups, gives the
planned shape of every tensor for several widths, and with which the class computes what the slim program computes, on
lively random weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from graphprune.axes.dependency import DependencyGraph
from graphprune.pretrained.blueprint import Blueprint, Place
from graphprune.pretrained.families import Family, sizes_with
from graphprune.pretrained.move import Move
from graphprune.pretrained.shaping import DRAWS, Shaping, kept_at, named
from graphprune.pretrained.twin_trial import DIFFER, TwinTrial

__all__ = ["Moves", "find_moves"]

MOST = 3  # fields of a move
CANDIDATES = 12
COARSEST = 16  # units that a kernel may want at a time


@dataclass(frozen=True)
class Moves:
    """What was found.

    Args:
        moves: that the class can express, all of them at once too.
        held: families → why no field expresses their width.
    """

    moves: tuple[Move, ...]
    held: Mapping[Family, str] = field(default_factory=dict)


def find_moves(blueprint: Blueprint, graph: DependencyGraph, seed: int = 0) -> Moves:
    """The moves of a twin, whose graph was captured from it, and why all other groups are held."""
    search = _Search(Shaping(blueprint, graph), TwinTrial(blueprint, graph, seed))
    for family in search.shaping.families:
        if family not in search.settled:
            search.settle(family)
    return search.together()


class _Search:
    def __init__(self, shaping: Shaping, trial: TwinTrial) -> None:
        self.shaping = shaping
        self.trial = trial
        self.found: list[Move] = []
        self.held: dict[Family, str] = {}

    @property
    def settled(self) -> set[Family]:
        """Families that have a move."""
        return {family for move in self.found for family in move.families}

    def settle(self, family: Family) -> None:
        """Finds the least set of fields that governs this family, and others with it."""
        reasons = [(0, f"no number of the configuration is {family.size} there")]
        for fields in self._choices(family):
            made = self.shaping.move([family], fields)
            if isinstance(made, Move):
                proved = self._proved(made)
                if isinstance(proved, Move):
                    self.found.append(proved)
                    return
                reasons.append((2, f"with {named(fields)} the class computes otherwise: {proved}"))
            elif made:
                reasons.append((1, f"with {named(fields)} {made}"))
        self.held[family] = max(reasons, key=lambda reason: reason[0])[1]

    def _proved(self, move: Move) -> Move | str:
        """The move with the multiple with which its kernels run, or what the class computes otherwise."""
        while problem := self._problem(move):
            coarser = replace(move, step=2 * move.step, grain=2 * move.step)
            if problem.startswith(DIFFER) or coarser.step > min(COARSEST, move.size // 2):
                return problem
            move = coarser
        return move

    def _problem(self, move: Move) -> str:
        every = dict.fromkeys((move.size - move.step, kept_at(move, DRAWS[1])))
        return next(filter(None, (self.trial.differs(move.sizes(kept), [move]) for kept in every)), "")

    def together(self) -> Moves:
        """The moves with which the class is right where all of them are made at once; later ones give way."""
        kept: list[Move] = []
        for move in self.found:
            tried = [*kept, move]
            problem = self.trial.differs(_drawn(tried), tried)
            if problem:
                self.held |= {f: f"together with the others, {problem}" for f in move.families}
            else:
                kept = tried
        moved = {family for move in kept for family in move.families}
        return Moves(tuple(kept), {f: why for f, why in self.held.items() if f not in moved})

    def _choices(self, family: Family) -> Iterator[tuple[Place, ...]]:
        """Sets of fields that may stand for the width, the smallest first."""
        sizes = sizes_with(self.shaping.graph, family)
        known = self.shaping.numbers
        fitting = [place for place, n in known.items() if n in sizes and n % family.size == 0]
        for count in range(1, MOST + 1):
            yield from combinations(fitting[:CANDIDATES], count)


def _drawn(moves: Sequence[Move]) -> dict[str, int]:
    drawn = [move.sizes(kept_at(move, DRAWS[place % len(DRAWS)])) for place, move in enumerate(moves)]
    return {name: size for sizes in drawn for name, size in sizes.items()}
