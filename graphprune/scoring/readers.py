"""The weights of the layers that read a group, times what was seen of its units there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor

from graphprune.axes.groups import Group
from graphprune.axes.terms import atoms
from graphprune.scoring.measures import View
from graphprune.scoring.sites import Site
from graphprune.scoring.units import per_unit, sum_along, unit_maps

__all__ = ["weighted"]

Sums = TypeVar("Sums", bound=tuple[Tensor, ...])


def weighted(
    view: View, group: Group, seen: tuple[Site, Sums, Tensor], power: float, of: Callable[[Sums], Tensor]
) -> Tensor:
    """For each unit the sum of ``|W|^power`` of a consumer, times a statistic of the activation there.

    Args:
        seen: the site, sums over examples of each of its positions (a named tuple of ``[size]``), and the unit of each.
        of: sums → the statistic.
    """
    site, sums, units = seen
    columns = sum_along(view.tensors[site.weight].detach().abs() ** power, site.weight_dim)
    term = view.graph.tensor_terms[site.weight][site.weight_dim]
    if list(atoms(term)) == list(atoms(view.graph.analysis.terms[site.value][site.dim])):
        return per_unit(columns * of(sums), units, group)
    # grouped: the weight's positions are not the activation's, so units meet as wholes
    held = sum(per_unit(columns, own, group) for own in unit_maps(term, group))
    return held * of(type(sums)(*(per_unit(each, units, group) for each in sums)))
