"""Positions of units in a dimension."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

from torch import Tensor

from graphprune.axes.positions import places
from graphprune.axes.terms import Atom, Term, atoms

__all__ = ["per_position", "units_at"]


def units_at(
    term: Term, positions: Tensor, lengths: Mapping[Atom, int], wanted: Container[Atom]
) -> Iterator[tuple[Atom, Tensor]]:
    """The units ``[size of atom]`` of ``wanted`` atoms that stand at any of the ``positions``, boolean, of ``term``."""
    for atom in dict.fromkeys(atoms(term)):
        if atom in wanted:
            yield atom, positions[places(term, atom, lengths)].any(1)


def per_position(mask: Tensor, dim: int) -> Tensor:
    """For each position along ``dim`` whether anything there is true: ``[size of dim]``."""
    return mask.transpose(0, dim).flatten(1).any(1) if mask.dim() > 1 else mask
