"""How badly a unit's contribution to its consumers can be rebuilt from the units that are kept."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from graphprune.axes.groups import Group
from graphprune.errors import InputError
from graphprune.scoring.aggregation import Part
from graphprune.scoring.calibration import forward, over_processes
from graphprune.scoring.measures import Measure, View
from graphprune.scoring.sites import Site
from graphprune.scoring.units import rows_of, shape_of, unit_maps, units_of

__all__ = ["RECONSTRUCTION", "elimination_errors"]

LIMIT = 8192  # units of one group: their matrix of second moments takes 0.5 GB
RIDGE = 1e-6  # of the mean second moment: tells what is an exact copy from rounding


def elimination_errors(moments: Tensor, weights: Tensor) -> Tensor:
    """The squared error at which each unit goes when the cheapest is removed one after the other.

    After each removal the consumers are refitted to the units that are left, so the error of the k-th removal, added
    up, is that of the best linear reconstruction: Hassibi and Stork, "Optimal Brain Surgeon" (1993, equation 5), with
    whole rows as in Frantar et al., "Optimal Brain Compression" (2022, section 4).

    Args:
        moments: mean products of activations, ``[units, units]``.
        weights: what the consumers multiply each unit with, ``[units, outputs]``.

    Returns:
        ``[units]``, errors summed up to and with the unit's own removal.
    """
    size = len(moments)
    ridge = RIDGE * float(moments.diagonal().mean()) or 1.0
    inverse = torch.linalg.inv(moments + ridge * torch.eye(size, dtype=moments.dtype))
    weights, units = weights.clone(), torch.arange(size)
    errors, total = torch.zeros(size, dtype=moments.dtype), 0.0
    left = torch.ones(size, dtype=torch.bool)
    for _ in range(size):
        if 2 * int(left.sum()) < len(left):  # what is gone costs time
            inverse, weights, units = inverse[left][:, left], weights[left], units[left]
            left = left[left]
        prices = weights.square().sum(1) / inverse.diagonal().clamp_min(torch.finfo(inverse.dtype).tiny)
        unit = int(torch.where(left, prices, float("inf")).argmin())
        total += float(prices[unit])
        errors[units[unit]], left[unit] = total, False
        column = inverse[:, unit] / inverse[unit, unit]
        weights.addr_(column, weights[unit].clone(), alpha=-1)
        inverse.addr_(column, inverse[unit].clone(), alpha=-1)
        inverse[unit, unit] = 1.0  # gone; its row and column are zero but for rounding
    return errors


def _collect(view: View) -> dict[tuple[str, int, str], Tensor]:
    """Mean products of a group's units at every site that is consumed: ``[fibre size or 1, size, size]``."""
    assert view.calibration is not None
    sums: dict[tuple[str, int, str], Tensor] = {}
    counts: dict[tuple[str, int, str], int] = {}
    wanted: dict[str, list[tuple[int, Group]]] = {}
    for group in view.graph.groups:
        if units_of(group) > LIMIT:
            raise InputError(
                f"group {group.name} has {units_of(group)} units, too many for reconstruction",
                f"use another importance: this one takes groups of up to {LIMIT}",
            )
        for value, dim in dict.fromkeys(
            (site.value, site.dim) for site in view.sites[group.name] if site.weight
        ):
            wanted.setdefault(value, []).append((dim, group))

    def observe(name: str, value: Tensor) -> None:
        for dim, group in wanted.get(name, ()):
            for units in unit_maps(view.graph.analysis.terms[name][dim], group):
                if len(units) == value.shape[dim]:
                    rows = rows_of(value, dim, units, group)
                    key = (name, dim, group.name)
                    sums[key] = sums.get(key, torch.zeros(())) + rows @ rows.mT
                    counts[key] = counts.get(key, 0) + rows.shape[-1]

    forward(view.graph.program, view.tensors, view.calibration, observe)
    numbers = over_processes({key: torch.tensor(count, dtype=torch.float64) for key, count in counts.items()})
    return {key: total / numbers[key] for key, total in over_processes(sums).items()}


def reconstruction(view: View, group: Group) -> Iterator[Part]:
    """`elimination_errors` at each layer that consumes the group; kernel positions count as outputs of their own."""
    for site in view.sites[group.name]:
        moments = view.collected.get((site.value, site.dim, group.name))
        if site.weight and moments is not None:
            yield Part("consumes", _errors(view, group, site, moments))


def _errors(view: View, group: Group, site: Site, moments: Tensor) -> Tensor:
    term = view.graph.tensor_terms[site.weight][site.weight_dim]
    weight = view.tensors[site.weight]
    rows = torch.cat([rows_of(weight, site.weight_dim, units, group) for units in unit_maps(term, group)], -1)
    found = [elimination_errors(matrix, row) for matrix, row in zip(moments, rows, strict=True)]
    return torch.stack(found).reshape(shape_of(group))


RECONSTRUCTION: dict[str, Measure] = {
    "reconstruction": Measure(
        reconstruction, "error of the consumers, refitted to the kept units (Hassibi 1993)", _collect
    ),
}
