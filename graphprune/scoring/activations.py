"""Criteria that look at activations: statistics of every unit over the calibration batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from graphprune.axes.groups import Group
from graphprune.axes.terms import atoms
from graphprune.calibration.batches import forward
from graphprune.calibration.sums import Records
from graphprune.scoring.aggregation import Part
from graphprune.scoring.measures import Measure, View
from graphprune.scoring.sites import Site
from graphprune.scoring.units import per_unit, sum_along, unit_maps

__all__ = ["ACTIVATIONS"]


Place = tuple[str, int]  # a value and one of its dimensions


@dataclass(frozen=True)
class Moments:
    """Of every position along one dimension, ``[size]`` each: sums of x, ``|x|``, x², and of x = 0 over ``count``."""

    count: Tensor
    total: Tensor
    absolute: Tensor
    square: Tensor
    zeros: Tensor

    @classmethod
    def of(cls, value: Tensor, dim: int) -> Moments:
        """Of one activation."""
        rows = value.detach().movedim(dim, 0).flatten(1) if value.dim() > 1 else value.detach().reshape(-1, 1)
        rows = rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows
        sums = (rows, rows.abs(), rows.double().square(), rows == 0)
        return cls(torch.tensor(rows.shape[1]), *(each.sum(1, dtype=torch.float64) for each in sums))


def _collect(view: View) -> dict[Place, Moments]:
    """The moments at every site of every group, in one pass; nothing grows with the number of batches."""
    assert view.calibration is not None
    wanted: dict[str, set[int]] = {}
    for site in view.all_sites:
        wanted.setdefault(site.value, set()).add(site.dim)
    records: Records[Place] = Records()
    for name, value in forward(view.graph.program, view.tensors, view.calibration):
        for dim in sorted(wanted.get(name, ())) if value.is_floating_point() else ():
            records.add((name, dim), **vars(Moments.of(value, dim)))
    return {place: Moments(**parts) for place, parts in records.total().items()}


def _seen(view: View, group: Group) -> Iterator[tuple[Site, Moments, Tensor]]:
    """Every site of the group once, with the unit of each position."""
    for site in view.sites[group.name]:
        moments = view.collected.get((site.value, site.dim))
        term = view.graph.analysis.terms[site.value][site.dim]
        for units in unit_maps(term, group) if moments is not None else ():
            if len(units) == len(moments.square):
                yield site, moments, units


def _statistic(
    of: Callable[[Callable[[Tensor], Tensor], Moments], Tensor],
) -> Callable[[View, Group], Iterator[Part]]:
    """A part for each activation; ``of`` gets the mean over a unit's positions, and the moments."""

    def score(view: View, group: Group) -> Iterator[Part]:
        met: set[Place] = set()
        for site, moments, units in _seen(view, group):
            if (site.value, site.dim) in met:  # several layers read the same activation
                continue
            met.add((site.value, site.dim))
            sizes = per_unit(torch.ones(len(units)), units, group) * moments.count

            def mean(sums: Tensor, units: Tensor = units, sizes: Tensor = sizes) -> Tensor:
                return per_unit(sums, units, group) / sizes

            yield Part(site.role, of(mean, moments))

    return score


def _wanda(view: View, group: Group) -> Iterator[Part]:
    """``sum |W| * |X|``: every weight of the consumers times the norm of the activation that it multiplies.

    Sun et al., "A Simple and Effective Pruning Approach for Large Language Models" (2023), summed over the
    weights of a unit; ``|X|`` is the Euclidean norm over examples and positions.
    """
    for site, moments, units in _seen(view, group):
        if site.weight:
            yield Part("consumes", _products(view, group, site, moments, units))


def _products(view: View, group: Group, site: Site, moments: Moments, units: Tensor) -> Tensor:
    weight = view.tensors[site.weight].detach()
    columns = sum_along(weight.abs(), site.weight_dim)
    term = view.graph.tensor_terms[site.weight][site.weight_dim]
    if list(atoms(term)) == list(atoms(view.graph.analysis.terms[site.value][site.dim])):
        return per_unit(columns * moments.square.sqrt(), units, group)
    # grouped: the weight's positions are not the activation's, so units meet as wholes
    held = sum(per_unit(columns, own, group) for own in unit_maps(term, group))
    return held * per_unit(moments.square, units, group).sqrt()


ACTIVATIONS: dict[str, Measure] = {
    "activation_mean": Measure(
        _statistic(lambda mean, moments: mean(moments.absolute)),
        "mean absolute activation (Molchanov 2017)",
        _collect,
        aggregate="mean",
    ),
    "activation_variance": Measure(
        _statistic(lambda mean, moments: (mean(moments.square) - mean(moments.total).square()).clamp_min(0)),
        "variance of the activation (Polyak 2015)",
        _collect,
        aggregate="mean",
    ),
    "apoz": Measure(
        _statistic(lambda mean, moments: 1 - mean(moments.zeros)),
        "one minus the average percentage of zeros (Hu 2016)",
        _collect,
        aggregate="mean",
    ),
    "wanda": Measure(_wanda, "absolute weights times activation norms (Sun 2023)", _collect),
}
