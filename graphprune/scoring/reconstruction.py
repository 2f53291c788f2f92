"""How badly a unit's contribution to its consumers can be rebuilt from the units that are kept, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from graphprune.axes.groups import Group
from graphprune.calibration.batches import Calibration, forward, gradients
from graphprune.calibration.sums import Sums
from graphprune.ground.errors import InputError
from graphprune.scoring.elimination import RIDGE, elimination_errors, gram
from graphprune.scoring.measures import Measure, Part, View
from graphprune.scoring.sites import Site
from graphprune.scoring.units import rows_of, sum_along, unit_maps

__all__ = ["RECONSTRUCTION", "REFIT", "marginal"]

LIMIT = 8192  # units of one group: their matrix of second moments takes 0.5 GB


class _Products(NamedTuple):
    """Of a group's units at a site: means ``[fibre size or 1, size]``, means of products ``[..., size, size]``, and how
    many positions that is over."""

    mean: Tensor
    products: Tensor
    number: Tensor


Place = tuple[str, int, str]  # a value, one of its dimensions, and the name of the group that stands there


def _collect_products(view: View, calibration: Calibration) -> dict[Place, _Products]:
    """Of every group, at every site that is consumed."""
    wanted: dict[str, dict[Place, Group]] = {}
    for group in view.graph.groups:
        if prod(group.shape) > LIMIT:
            raise InputError(
                f"group {group.name} has {prod(group.shape)} units, too many for reconstruction",
                f"use another importance: this one takes groups of up to {LIMIT}",
            )
        for site in view.sites[group.name]:
            if site.weight:
                wanted.setdefault(site.value, {})[site.value, site.dim, group.name] = group
    sums: Sums[Place, _Products] = Sums()
    for name, value in forward(view.graph.program, view.tensors, calibration, wanted):
        for place, group in wanted.get(name, {}).items():
            for units in unit_maps(view.graph.analysis.terms[name][place[1]], group):
                if len(units) == value.shape[place[1]]:
                    rows = rows_of(value, place[1], units, group)
                    number = torch.tensor(rows.shape[-1])
                    sums.add(place, _Products(rows.sum(-1), gram(rows), number))
    return {
        place: _Products(found.mean / found.number, found.products / found.number, found.number)
        for place, found in sums.total().items()
    }


def _reconstruction(view: View, group: Group) -> Iterator[Part]:
    """`elimination_errors` at each layer that consumes the group; kernel positions count as outputs of their own."""
    for site, seen, rows in _consumers(view, group, view.collected):
        found = [elimination_errors(matrix, row) for matrix, row in zip(seen.products, rows, strict=True)]
        yield Part(site.role, torch.stack(found).reshape(group.shape))


def _consumers(
    view: View, group: Group, products: Mapping[Place, _Products], scales: Mapping[str, Tensor] | None = None
) -> Iterator[tuple[Site, _Products, Tensor]]:
    """Layers that consume the group: what `_collect_products` found, and their weights.

    Those are ``[fibre size or 1, size, numbers]``, by unit. ``scales`` are multiplied to a consumer's outputs.
    """
    for site in view.sites[group.name]:
        collected = products.get((site.value, site.dim, group.name))
        if site.weight and collected is not None:
            term, weight = view.graph.tensor_terms[site.weight][site.weight_dim], view.tensors[site.weight]
            if scales is not None:
                weight = _scaled(weight, 1 - site.weight_dim, scales.get(site.operation))
            rows = [rows_of(weight, site.weight_dim, units, group) for units in unit_maps(term, group)]
            yield site, collected, torch.cat(rows, -1)


def _scaled(weight: Tensor, dim: int, scale: Tensor | None) -> Tensor:
    """Each output of a weight of two dimensions or more times its scale, if there is one for each."""
    if scale is None or dim < 0 or weight.dim() < 2 or weight.shape[dim] != len(scale):
        return weight
    return weight.detach().double() * scale.reshape(
        [-1 if place == dim else 1 for place in range(weight.dim())]
    )


RECONSTRUCTION: dict[str, Measure] = {
    "reconstruction": Measure(
        _reconstruction,
        "error of the consumers, refitted to the kept units (Hassibi 1993)",
        _collect_products,
    ),
}


def _refit(least: float, view: View, group: Group) -> Iterator[Part]:
    """How much each removal adds to the loss of a batch when the consumers are refitted to the units that are left.

    The error at a consumer is that of `elimination_errors`, on variances, since biases take up the means. It becomes
    a loss with the loss's second derivative, which is approximated by two factors: E[x x'] of the consumer's inputs,
    and E[g_o^2], the mean squared gradient of its output channel o (Martens and Grosse, "Optimizing Neural Networks
    with Kronecker-factored Approximate Curvature" (2015, section 3); the second factor is taken to be diagonal). So
    the error of channel o is multiplied by E[g_o^2], and the scores of different groups can be compared.

    The ridge is in units of the mean variance. It grows with the number of units per position seen: few positions can
    be rebuilt from almost any few units, but that says nothing about other positions. ``least`` is its lower bound.
    At 1 the covariance is halfway between the one seen and that of independent units of equal variance (Ledoit and
    Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004); then a unit that is idle on
    these data still counts by its weights.
    """
    products, scales = view.collected
    for site, seen, rows in _consumers(view, group, products, scales):
        variances = seen.products - seen.mean.unsqueeze(-1) * seen.mean.unsqueeze(-2)
        ridge = max(RIDGE + group.size / float(seen.number), least)
        found = [elimination_errors(matrix, row, ridge) for matrix, row in zip(variances, rows, strict=True)]
        yield Part(site.role, torch.stack([marginal(errors) for errors in found]).reshape(group.shape))


def marginal(errors: Tensor) -> Tensor:
    """What each removal adds to the error ``[units]``, from errors summed up to and with it.

    Never less than what an earlier removal added, so that units keep their order.
    """
    ordered, order = errors.sort()
    added = ordered.diff(prepend=ordered.new_zeros(1)).clamp_min(0).cummax(0).values
    return torch.empty_like(errors).scatter(0, order, added)


def _collect_scaled(view: View, calibration: Calibration) -> tuple[dict[Place, _Products], dict[str, Tensor]]:
    """What reconstruction collects, and for each consuming call a scale of each of its output channels.

    The scale is the root of the channel's squared gradients. These are summed over the examples and positions of a
    batch, and averaged over the batches.
    """
    weights = {site.operation: site.weight for site in view.all_sites if site.weight}
    calls = {
        operation.outputs[0].name: operation.name
        for operation in view.graph.program.operations
        if operation.name in weights and operation.outputs
    }
    squares: Sums[str, Tensor] = Sums()
    for found in gradients(view.graph.program, view.tensors, calibration, calls):
        squares.count += 1
        for value, (_, gradient) in found.values.items():
            call = calls[value]
            channels = gradient.dim() - view.tensors[weights[call]].dim() + 1
            if 0 <= channels < gradient.dim():
                squares.add(call, sum_along(gradient.double().square(), channels))
    scales = {call: mean.sqrt() for call, mean in squares.means().items()}
    return _collect_products(view, calibration), scales


ABOUT = "loss that is left when the consumers are refitted, for repairs (Martens 2015, Frantar 2022)"
REFIT: dict[str, Measure] = {
    "refit": Measure(partial(_refit, 0.0), ABOUT, _collect_scaled, normalise="none"),
    "refit_shrunk": Measure(
        partial(_refit, 1.0),
        "as refit, for data that show little of what the model will see (Ledoit 2004)",
        _collect_scaled,
        normalise="none",
    ),
}
