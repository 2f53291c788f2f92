"""Which unit of a group each position of a dimension belongs to."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from graphprune.axes.groups import Group
from graphprune.axes.positions import NOTHING, by_unit, index_of, occurrences
from graphprune.axes.terms import Term

__all__ = ["per_unit", "rows_of", "sum_along", "unit_maps"]


def unit_maps(term: Term, group: Group) -> list[Tensor]:
    """For each time the group stands in ``term``: the unit of every position, ``[size of term]``, -1 for none.

    Units of a fibred group are numbered row by row, as in its flattened scores. Empty where its fibre stands in
    another dimension.
    """
    maps = occurrences(term, group.atom, {})
    if group.fibre is None:
        return maps
    row = index_of(term, group.fibre, {})
    maps = [torch.where((units >= 0) & (row >= 0), row * group.size + units, NOTHING) for units in maps]
    return [units for units in maps if bool((units >= 0).any())]


def per_unit(values: Tensor, units: Tensor, group: Group, largest: bool = False) -> Tensor:
    """Sums ``values`` ``[positions]`` (or takes their maximum) for each unit: the shape of the group's scores."""
    result = torch.zeros(prod(group.shape), dtype=torch.float64)
    inside = units >= 0
    reduce = "amax" if largest else "sum"
    result = result.scatter_reduce(0, units[inside], values.double().cpu()[inside], reduce)
    return result.reshape(group.shape)


def rows_of(tensor: Tensor, dim: int, units: Tensor, group: Group) -> Tensor:
    """Everything of ``tensor`` that belongs to each unit: ``[fibre size or 1, size, numbers of one unit]``, float64."""
    rows = tensor.detach().movedim(dim, 0)[by_unit(units).to(tensor.device)].double().cpu()
    return rows.reshape(-1, group.size, rows.numel() // prod(group.shape))


def sum_along(values: Tensor, dim: int) -> Tensor:
    """``values`` summed over all dimensions but ``dim``: ``[size of dim]``, float64."""
    others = [other for other in range(values.dim()) if other != dim]
    return (values.sum(others, dtype=torch.float64) if others else values.double()).cpu()
