"""A move: groups of one width, and the fields of a configuration that say it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from graphprune.pretrained.blueprint import Place, Refused, shown
from graphprune.pretrained.families import Family

__all__ = ["Move", "fields_at"]


@dataclass(frozen=True)
class Move:
    """Families of groups that keep one share, the fields that say it, and the multiple that the first must take.

    Most have one width. Where a class makes its heads as wide as the model, a head goes with each 64 of its widths.
    """

    families: tuple[Family, ...]
    fields: tuple[Place, ...]
    step: int = 1
    # the multiple that a kernel wants in single precision, such as 16 bytes; a part of the step
    grain: int = 1

    @property
    def size(self) -> int:
        """Units of each group of the first family."""
        return self.families[0].size

    def sizes(self, kept: int) -> dict[str, int]:
        """The sizes of all groups where ``kept`` of the first family's units are left."""
        return {name: kept * f.size // self.size for f in self.families for name in f.names}

    @property
    def names(self) -> tuple[str, ...]:
        """All groups that are tied."""
        return tuple(name for family in self.families for name in family.names)


def fields_at(
    numbers: Mapping[Place, int], moves: Iterable[Move], sizes: Mapping[str, int]
) -> dict[Place, int]:
    """The fields of a configuration where groups have these ``sizes``.

    Each is what it was, in proportion to every width that it follows: heads are key-value groups times queries per
    group, so that two of 3 groups with 2 of 4 queries make 4 of 12 heads.

    Raises:
        Refused: a field would be no whole number.
    """
    shares: dict[Place, Fraction] = {}
    for move in moves:
        kept = sizes.get(move.names[0], move.size)
        for place in move.fields if kept != move.size else ():
            shares[place] = shares.get(place, Fraction(1)) * Fraction(kept, move.size)
    changed = {place: numbers[place] * share for place, share in shares.items()}
    for place, number in changed.items():
        if number.denominator > 1:
            raise Refused(f"{shown(place)} would be {number}, which is no whole number")
    return {place: int(number) for place, number in changed.items()}
