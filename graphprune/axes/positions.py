"""Where the units of an atom stand along a dimension."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor
from torch.nn.functional import pad

from graphprune.axes.terms import Atom, Sum, Term, size_of

__all__ = ["NOTHING", "by_unit", "occurrences", "places"]

NOTHING = -1  # stands where a position belongs to no unit


def occurrences(term: Term, atom: Atom, lengths: Mapping[Atom, int]) -> list[Tensor]:
    """For each time ``atom`` stands in ``term``: the unit of every position, ``[size of term]``, -1 for none.

    In (a:2 b:3) + c:2, b stands once, at 0 1 2 0 1 2 -1 -1. ``lengths`` are the actual sizes of atoms that depend on
    the batch.
    """
    if isinstance(term, Atom):
        return [torch.arange(atom.size)] if term is atom else []
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


def by_unit(units: Tensor) -> Tensor:
    """The positions that belong to a unit, those of the first unit first; ``units`` as `occurrences` gives them."""
    return units.argsort(stable=True)[int((units < 0).sum()) :]


def places(term: Term, atom: Atom, lengths: Mapping[Atom, int]) -> Tensor:
    """The positions along ``term`` of each unit: ``[size of atom, positions of one unit]``; see `occurrences`."""
    found = [by_unit(units).reshape(atom.size, -1) for units in occurrences(term, atom, lengths)]
    return torch.cat([torch.empty(atom.size, 0, dtype=torch.long), *found], 1)
