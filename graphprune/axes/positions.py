"""Where the units of an atom stand along a dimension."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from math import prod

import torch
from torch import Tensor
from torch.nn.functional import pad

from graphprune.axes.terms import Atom, Permuted, Sum, Term, atoms, size_of

__all__ = ["NOTHING", "by_unit", "index_of", "occurrences", "places", "units_at"]

NOTHING = -1  # stands where a position belongs to no unit


def occurrences(term: Term, atom: Atom, lengths: Mapping[Atom, int]) -> list[Tensor]:
    """For each time ``atom`` stands in ``term``: the unit of every position, ``[size of term]``, -1 for none.

    In (a:2 b:3) + c:2, b stands once, at 0 1 2 0 1 2 -1 -1. ``lengths`` are the actual sizes of atoms that depend on
    the batch.
    """
    if isinstance(term, Atom):
        return [torch.arange(atom.size)] if term is atom else []
    if isinstance(term, Permuted):
        order = torch.tensor(term.order)
        return [units[order] for units in occurrences(term.parts[0], atom, lengths)]
    sizes = [size_of(part, lengths) for part in term.parts]
    found = []
    for index, part in enumerate(term.parts):
        before, after = sizes[:index], sizes[index + 1 :]
        for units in occurrences(part, atom, lengths):
            if isinstance(term, Sum):
                found.append(pad(units, (sum(before), sum(after)), value=NOTHING))
            else:
                found.append(units.repeat_interleave(prod(after)).repeat(prod(before)))
    return found


def index_of(term: Term, atom: Atom, lengths: Mapping[Atom, int]) -> Tensor:
    """The unit of ``atom`` at every position of ``term``, wherever it stands; see `occurrences`."""
    nowhere = torch.full((size_of(term, lengths),), NOTHING)
    return torch.stack([nowhere, *occurrences(term, atom, lengths)]).amax(0)


def by_unit(units: Tensor) -> Tensor:
    """The positions that belong to a unit, those of the first unit first; ``units`` as `occurrences` gives them."""
    return units.argsort(stable=True)[int((units < 0).sum()) :]


def places(term: Term, atom: Atom, lengths: Mapping[Atom, int]) -> Tensor:
    """The positions along ``term`` of each unit: ``[size of atom, positions of one unit]``; see `occurrences`."""
    found = [by_unit(units).reshape(atom.size, -1) for units in occurrences(term, atom, lengths)]
    return torch.cat([torch.empty(atom.size, 0, dtype=torch.long), *found], 1)


def units_at(
    term: Term, positions: Tensor, lengths: Mapping[Atom, int], wanted: Container[Atom]
) -> Iterator[tuple[Atom, Tensor]]:
    """The units ``[size of atom]`` of ``wanted`` atoms that stand at any of the ``positions``, boolean, of ``term``."""
    for atom in dict.fromkeys(atoms(term)):
        if atom in wanted:
            yield atom, positions[places(term, atom, lengths)].any(1)
