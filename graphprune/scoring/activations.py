"""Criteria that look at activations: statistics of every unit over the calibration batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial, reduce
from typing import NamedTuple

import torch
from torch import Tensor

from graphprune.axes.groups import Group
from graphprune.calibration.batches import Calibration, forward
from graphprune.calibration.sums import Sums
from graphprune.scoring.measures import Measure, Part, View
from graphprune.scoring.readers import weighted
from graphprune.scoring.sites import Site
from graphprune.scoring.units import per_unit, unit_maps

__all__ = ["ACTIVATIONS"]


PART = 2**18  # numbers whose moments are taken at once: they stay in the cache
Place = tuple[str, int]  # a value and one of its dimensions


class Moments(NamedTuple):
    """Of every position along one dimension, ``[size]`` each: sums of x, ``|x|``, x² and x = 0, and of how many."""

    number: Tensor
    total: Tensor
    absolute: Tensor
    square: Tensor
    zeros: Tensor

    @classmethod
    def of(cls, value: Tensor, dim: int) -> Moments:
        """Of one activation, a part at a time, so that what is made on the way stays small."""
        value = value.detach()
        rows = value.movedim(dim, 0).flatten(1) if value.dim() > 1 else value.reshape(-1, 1)
        columns = max(PART // max(len(rows), 1), 1)
        return reduce(cls._added, map(cls._of_rows, rows.split(columns, 1)))

    @classmethod
    def _of_rows(cls, rows: Tensor) -> Moments:
        wide = rows.double()
        number = torch.full((len(rows),), rows.shape[1], dtype=torch.float64, device=rows.device)
        zeros = (rows == 0).sum(1, dtype=torch.float64)
        return cls(number, wide.sum(1), wide.abs().sum(1), wide.square().sum(1), zeros)

    @classmethod
    def _added(cls, one: Moments, other: Moments) -> Moments:
        return cls(*map(torch.add, one, other))


def _collect(view: View, calibration: Calibration) -> dict[Place, Moments]:
    """The moments at every site of every group, in one pass; nothing grows with the number of batches."""
    wanted: dict[str, set[int]] = {}
    for site in view.all_sites:
        wanted.setdefault(site.value, set()).add(site.dim)
    sums: Sums[Place, Moments] = Sums()
    for name, value in forward(view.graph.program, view.tensors, calibration, wanted):
        for dim in sorted(wanted.get(name, ())) if value.is_floating_point() else ():
            sums.add((name, dim), Moments.of(value, dim))
    return sums.total()


def _seen(view: View, group: Group) -> Iterator[tuple[Site, Moments, Tensor]]:
    """Every site of the group once, with the unit of each position."""
    for site in view.sites[group.name]:
        moments = view.collected.get((site.value, site.dim))
        term = view.graph.analysis.terms[site.value][site.dim]
        for units in unit_maps(term, group) if moments is not None else ():
            if len(units) == len(moments.square):
                yield site, moments, units


def _variance(sums: Moments) -> Tensor:
    """Of each position or unit."""
    return (sums.square / sums.number - (sums.total / sums.number).square()).clamp_min(0)


def _statistic(of: Callable[[Moments], Tensor], view: View, group: Group) -> Iterator[Part]:
    """A part for each activation; ``of`` gets the means of its moments over each unit's positions, of one number."""
    met: set[Place] = set()
    for site, moments, units in _seen(view, group):
        if (site.value, site.dim) not in met:  # several layers may read the same activation
            met.add((site.value, site.dim))
            sums = Moments(*(per_unit(each, units, group) for each in moments))
            yield Part(site.role, of(Moments(*(each / sums.number for each in sums))))


def _read(power: int, of: Callable[[Moments], Tensor], view: View, group: Group) -> Iterator[Part]:
    """``sum |W|^power * of(X)``: the weights of the consumers times a statistic of what each of them multiplies."""
    for site, moments, units in _seen(view, group):
        if site.weight:
            yield Part("consumes", weighted(view, group, (site, moments, units), power, of))


ACTIVATIONS: dict[str, Measure] = {
    "activation_mean": Measure(
        partial(_statistic, lambda means: means.absolute),
        "mean absolute activation (Molchanov 2017)",
        _collect,
        aggregate="mean",
    ),
    "activation_variance": Measure(
        partial(_statistic, _variance),
        "variance of the activation (Polyak 2015)",
        _collect,
        aggregate="mean",
    ),
    "apoz": Measure(
        partial(_statistic, lambda means: 1 - means.zeros),
        "one minus the average percentage of zeros (Hu 2016)",
        _collect,
        aggregate="mean",
    ),
    "activation_norm": Measure(
        partial(_statistic, lambda means: means.square.sqrt()),
        "root mean square of the activation; behind a norm, of the norm's output (Muralidharan 2024)",
        _collect,
    ),
    # Sun et al., "A Simple and Effective Pruning Approach for Large Language Models" (2023), summed over the weights
    # of a unit; the norm is over examples and positions
    "wanda": Measure(
        partial(_read, 1, lambda moments: moments.square.sqrt()),
        "absolute weights times activation norms (Sun 2023)",
        _collect,
    ),
    # An et al., "Fluctuation-based Adaptive Structured Pruning for Large Language Models" (2023)
    "fluctuation": Measure(
        partial(_read, 2, _variance),
        "variance of the activation times squared weights (An 2023)",
        _collect,
        normalise="standard",
    ),
}
