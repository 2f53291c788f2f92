"""Positions of units in a dimension."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from math import prod

import torch
from torch import Tensor

from graphprune.axes.terms import Atom, Sum, Term, atoms, size_of

__all__ = ["per_position", "places", "units_at"]


def places(term: Term, atom: Atom, lengths: Mapping[Atom, int]) -> Tensor:
    """Where each unit of ``atom`` stands along a dimension: positions ``[size of atom, occurrences]``.

    ``lengths`` are the actual sizes of atoms that depend on the batch.
    """
    if isinstance(term, Atom):
        own = torch.arange(atom.size).unsqueeze(1)
        return own if term is atom else own[:, :0]
    sizes = [size_of(part, lengths) for part in term.parts]
    found = []
    for index, part in enumerate(term.parts):
        inner = places(part, atom, lengths)
        if isinstance(term, Sum):
            found.append(inner + sum(sizes[:index]))
            continue
        step = prod(sizes[index + 1 :])
        outer = torch.arange(prod(sizes[:index])) * (sizes[index] * step)
        grid = outer[:, None, None] + inner[:, None, :, None] * step + torch.arange(step)
        found.append(grid.flatten(1))
    return torch.cat(found, 1)


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
