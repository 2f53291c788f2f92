"""Which unit of a group each position of a dimension belongs to."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from graphprune.axes.groups import Group
from graphprune.axes.terms import Atom, Sum, Term

__all__ = ["per_unit", "rows_of", "sum_along", "unit_maps"]

NOTHING = -1  # a position that belongs to no unit


def unit_maps(term: Term, group: Group) -> list[Tensor]:
    """For each time the group stands in ``term``: the unit of every position, ``[size of term]``, -1 for none.

    Units of a fibred group are numbered row by row, as in its flattened scores. Empty where its fibre stands in
    another dimension.
    """
    maps = []
    for unit, row in _occurrences(term, group.atom, group.fibre):
        if group.fibre is None:
            maps.append(unit)
        elif bool((row >= 0).any()):
            maps.append(torch.where(unit >= 0, row * group.size + unit, NOTHING))
    return maps


def _occurrences(term: Term, atom: Atom, fibre: Atom | None) -> list[Tensor]:
    """For each time the atom stands in ``term``, two numbers of every position: ``[2, size of term]``.

    The first is the unit, the second the position of the fibre if the fibre stands in ``term`` too; else `NOTHING`.
    """
    if isinstance(term, Atom):
        own = torch.arange(atom.size)
        return [torch.stack([own, torch.full_like(own, NOTHING)])] if term is atom else []
    found, start = [], 0
    sizes = [part.size for part in term.parts]
    for place, part in enumerate(term.parts):
        fibres = [index for index, other in enumerate(term.parts[:place]) if other is fibre]
        for inner in _occurrences(part, atom, fibre):
            if isinstance(term, Sum):  # a segment of a concatenation
                whole = torch.full((2, term.size), NOTHING)
                whole[:, start : start + part.size] = inner
            else:
                whole = _repeated(inner, sizes, place)
                if fibres and not bool((inner[1] >= 0).any()):
                    whole[1] = _repeated(torch.arange(sizes[fibres[0]]), sizes, fibres[0])
            found.append(whole)
        start += part.size
    return found


def _repeated(values: Tensor, sizes: list[int], place: int) -> Tensor:
    """``[n, size]`` of one factor of a product of ``sizes``, repeated over the others: ``[n, size of the product]``."""
    shape = [1] * len(sizes)
    shape[place] = sizes[place]
    return values.reshape(-1, *shape).expand(-1, *sizes).flatten(1)


def per_unit(values: Tensor, units: Tensor, group: Group, largest: bool = False) -> Tensor:
    """Sums ``values`` ``[positions]`` (or takes their maximum) for each unit: the shape of the group's scores."""
    result = torch.zeros(prod(group.shape), dtype=torch.float64)
    inside = units >= 0
    reduce = "amax" if largest else "sum"
    result = result.scatter_reduce(0, units[inside], values.double().cpu()[inside], reduce)
    return result.reshape(group.shape)


def rows_of(tensor: Tensor, dim: int, units: Tensor, group: Group) -> Tensor:
    """Everything of ``tensor`` that belongs to each unit: ``[fibre size or 1, size, numbers of one unit]``, float64."""
    order = units.argsort(stable=True)[int((units < 0).sum()) :]
    rows = tensor.detach().movedim(dim, 0)[order.to(tensor.device)].double().cpu()
    return rows.reshape(-1, group.size, rows.numel() // prod(group.shape))


def sum_along(values: Tensor, dim: int) -> Tensor:
    """``values`` summed over all dimensions but ``dim``: ``[size of dim]``, float64."""
    others = [other for other in range(values.dim()) if other != dim]
    return (values.sum(others, dtype=torch.float64) if others else values.double()).cpu()
