"""Criteria that look at activations: statistics of every unit over the calibration batches.

One pass, float64 sums per channel position; nothing grows with the number of batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from graphprune.axes.groups import Group
from graphprune.axes.terms import atoms
from graphprune.calibration.batches import forward
from graphprune.ground.processes import over_processes
from graphprune.scoring.aggregation import Part
from graphprune.scoring.measures import Measure, View
from graphprune.scoring.sites import Site
from graphprune.scoring.units import per_unit, unit_maps

__all__ = ["ACTIVATIONS", "Moments", "collect_moments", "wanda"]


@dataclass
class Moments:
    """Of every position along one dimension, ``[size]`` each: counts, and sums of x, ``|x|``, x², and of x = 0."""

    count: int = 0
    total: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    absolute: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    square: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    zeros: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))

    def add(self, value: Tensor, dim: int) -> None:
        """Adds one activation."""
        rows = value.detach().movedim(dim, 0).flatten(1) if value.dim() > 1 else value.detach().reshape(-1, 1)
        rows = rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows
        self.count += rows.shape[1]
        self.total = self.total + rows.sum(1, dtype=torch.float64).cpu()
        self.absolute = self.absolute + rows.abs().sum(1, dtype=torch.float64).cpu()
        self.square = self.square + rows.double().square().sum(1).cpu()
        self.zeros = self.zeros + (rows == 0).sum(1).double().cpu()


_Collected = dict[tuple[str, int], Moments]


def collect_moments(view: View) -> _Collected:
    """The moments at every site of every group, by value name and dimension."""
    assert view.calibration is not None
    wanted: dict[str, set[int]] = {}
    for sites in view.sites.values():
        for site in sites:
            wanted.setdefault(site.value, set()).add(site.dim)
    found: _Collected = {}

    def observe(name: str, value: Tensor) -> None:
        for dim in sorted(wanted.get(name, ())):
            if value.is_floating_point():
                found.setdefault((name, dim), Moments()).add(value, dim)

    forward(view.graph.program, view.tensors, view.calibration, observe)
    named = ((place, vars(moments)) for place, moments in found.items())
    sums = over_processes(
        {
            (place, name): torch.as_tensor(value).double()
            for place, held in named
            for name, value in held.items()
        }
    )
    for (place, name), value in sums.items():
        setattr(found[place], name, value if name != "count" else int(value))
    return found


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
        met: set[tuple[str, int]] = set()
        for site, moments, units in _seen(view, group):
            if (site.value, site.dim) in met:  # several layers read the same activation
                continue
            met.add((site.value, site.dim))
            sizes = per_unit(torch.ones(len(units)), units, group) * moments.count

            def mean(sums: Tensor, units: Tensor = units, sizes: Tensor = sizes) -> Tensor:
                return per_unit(sums, units, group) / sizes

            yield Part(site.role, of(mean, moments))

    return score


def wanda(view: View, group: Group) -> Iterator[Part]:
    """``sum |W| * |X|``: every weight of the consumers times the norm of the activation that it multiplies.

    Sun et al., "A Simple and Effective Pruning Approach for Large Language Models" (2023), summed over the
    weights of a unit; ``|X|`` is the Euclidean norm over examples and positions.
    """
    for site, moments, units in _seen(view, group):
        if site.weight:
            yield Part("consumes", _wanda(view, group, site, moments, units))


def _wanda(view: View, group: Group, site: Site, moments: Moments, units: Tensor) -> Tensor:
    weight = view.tensors[site.weight].detach()
    others = [dim for dim in range(weight.dim()) if dim != site.weight_dim]
    columns = weight.abs().sum(others, dtype=torch.float64).cpu() if others else weight.abs().double().cpu()
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
        collect_moments,
        aggregate="mean",
    ),
    "activation_variance": Measure(
        _statistic(lambda mean, moments: (mean(moments.square) - mean(moments.total).square()).clamp_min(0)),
        "variance of the activation (Polyak 2015)",
        collect_moments,
        aggregate="mean",
    ),
    "apoz": Measure(
        _statistic(lambda mean, moments: 1 - mean(moments.zeros)),
        "one minus the average percentage of zeros (Hu 2016)",
        collect_moments,
        aggregate="mean",
    ),
    "wanda": Measure(wanda, "absolute weights times activation norms (Sun 2023)", collect_moments),
}
