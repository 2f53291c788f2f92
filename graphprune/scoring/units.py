"""Which unit of a group each position of a dimension belongs to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from graphprune.axes.groups import Group
from graphprune.axes.terms import Atom, Sum, Term

__all__ = ["per_unit", "rows_of", "shape_of", "sum_along", "unit_maps", "units_of"]

NOTHING = -1  # a position that belongs to no unit


@dataclass(frozen=True)
class _Occurrence:
    """``unit`` and ``row`` (the position of the fibre, once it is known) of every position; -1 outside."""

    unit: Tensor
    row: Tensor | None


def shape_of(group: Group) -> tuple[int, ...]:
    """The shape of a group's scores: ``[size]``, or ``[fibre size, size]``."""
    return (group.size,) if group.fibre is None else (group.fibre.size, group.size)


def units_of(group: Group) -> int:
    """How many scores that is."""
    return group.size if group.fibre is None else group.size * group.fibre.size


def unit_maps(term: Term, group: Group) -> list[Tensor]:
    """For each time the group stands in ``term``: the unit of every position, ``[size of term]``, -1 for none.

    Units of a fibred group are numbered row by row, as in its flattened scores. Empty where its fibre stands in
    another dimension.
    """
    maps = []
    for found in _occurrences(term, group.atom, group.fibre):
        if group.fibre is None:
            maps.append(found.unit)
        elif found.row is not None:
            maps.append(torch.where(found.unit >= 0, found.row * group.size + found.unit, NOTHING))
    return maps


def _occurrences(term: Term, atom: Atom, fibre: Atom | None) -> list[_Occurrence]:
    if isinstance(term, Atom):
        return [_Occurrence(torch.arange(atom.size), None)] if term is atom else []
    found, start = [], 0
    for place, part in enumerate(term.parts):
        for inner in _occurrences(part, atom, fibre):
            if isinstance(term, Sum):
                found.append(_placed(inner, start, term.size))
            else:
                found.append(
                    _repeated(
                        inner, [other.size for other in term.parts], place, _at(term.parts, place, fibre)
                    )
                )
        start += part.size
    return found


def _at(parts: tuple[Term, ...], place: int, fibre: Atom | None) -> int | None:
    """Where the fibre stands outside ``place``."""
    return next((index for index, part in enumerate(parts[:place]) if part is fibre), None)


def _placed(inner: _Occurrence, start: int, size: int) -> _Occurrence:
    """A segment of a concatenation."""

    def place(values: Tensor) -> Tensor:
        whole = torch.full((size,), NOTHING)
        whole[start : start + len(values)] = values
        return whole

    return _Occurrence(place(inner.unit), None if inner.row is None else place(inner.row))


def _repeated(inner: _Occurrence, sizes: list[int], place: int, fibre: int | None) -> _Occurrence:
    """A factor of a product, repeated over the others."""

    def repeat(values: Tensor, along: int) -> Tensor:
        shape = [1] * len(sizes)
        shape[along] = sizes[along]
        return values.reshape(shape).expand(sizes).flatten()

    row = None if inner.row is None else repeat(inner.row, place)
    if row is None and fibre is not None:
        row = repeat(torch.arange(sizes[fibre]), fibre)
    return _Occurrence(repeat(inner.unit, place), row)


def per_unit(values: Tensor, units: Tensor, group: Group, largest: bool = False) -> Tensor:
    """Sums ``values`` ``[positions]`` (or takes their maximum) for each unit: the shape of the group's scores."""
    result = torch.zeros(units_of(group), dtype=torch.float64)
    inside = units >= 0
    reduce = "amax" if largest else "sum"
    result = result.scatter_reduce(0, units[inside], values.double().cpu()[inside], reduce)
    return result.reshape(shape_of(group))


def rows_of(tensor: Tensor, dim: int, units: Tensor, group: Group) -> Tensor:
    """Everything of ``tensor`` that belongs to each unit: ``[fibre size or 1, size, numbers of one unit]``, float64."""
    order = units.argsort(stable=True)[int((units < 0).sum()) :]
    rows = tensor.detach().movedim(dim, 0)[order.to(tensor.device)].double().cpu()
    return rows.reshape(-1, group.size, rows.numel() // units_of(group))


def sum_along(values: Tensor, dim: int) -> Tensor:
    """``values`` summed over all dimensions but ``dim``: ``[size of dim]``, float64."""
    others = [other for other in range(values.dim()) if other != dim]
    return (values.sum(others, dtype=torch.float64) if others else values.double()).cpu()
