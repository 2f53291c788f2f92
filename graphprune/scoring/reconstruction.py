"""How badly a unit's contribution to its consumers can be rebuilt from the units that are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from graphprune.axes.groups import Group
from graphprune.calibration.batches import forward
from graphprune.calibration.sums import Records
from graphprune.ground.errors import InputError
from graphprune.scoring.aggregation import Part
from graphprune.scoring.elimination import elimination_errors, gram
from graphprune.scoring.measures import Measure, View
from graphprune.scoring.sites import Site
from graphprune.scoring.units import rows_of, shape_of, unit_maps, units_of

__all__ = ["RECONSTRUCTION", "Place", "Products", "collect_products", "consumers"]

LIMIT = 8192  # units of one group: their matrix of second moments takes 0.5 GB


@dataclass(frozen=True)
class Products:
    """Of a group's units at a site: means ``[fibre size or 1, size]``, means of products ``[..., size, size]``, and how
    many positions that is over."""

    mean: Tensor
    products: Tensor
    count: int


Place = tuple[str, int, str]  # a value, one of its dimensions, and the name of the group that stands there


def collect_products(view: View) -> dict[Place, Products]:
    """Of every group, at every site that is consumed."""
    assert view.calibration is not None
    wanted: dict[str, dict[Place, Group]] = {}
    for group in view.graph.groups:
        if units_of(group) > LIMIT:
            raise InputError(
                f"group {group.name} has {units_of(group)} units, too many for reconstruction",
                f"use another importance: this one takes groups of up to {LIMIT}",
            )
        for site in view.sites[group.name]:
            if site.weight:
                wanted.setdefault(site.value, {})[site.value, site.dim, group.name] = group
    records: Records[Place] = Records()
    for name, value in forward(view.graph.program, view.tensors, view.calibration):
        for place, group in wanted.get(name, {}).items():
            for units in unit_maps(view.graph.analysis.terms[name][place[1]], group):
                if len(units) == value.shape[place[1]]:
                    rows = rows_of(value, place[1], units, group)
                    count = torch.tensor(rows.shape[-1])
                    records.add(place, count=count, mean=rows.sum(-1), products=gram(rows))
    return {
        place: Products(sums["mean"] / sums["count"], sums["products"] / sums["count"], int(sums["count"]))
        for place, sums in records.total().items()
    }


def _reconstruction(view: View, group: Group) -> Iterator[Part]:
    """`elimination_errors` at each layer that consumes the group; kernel positions count as outputs of their own."""
    for site, seen, rows in consumers(view, group, view.collected):
        found = [elimination_errors(matrix, row) for matrix, row in zip(seen.products, rows, strict=True)]
        yield Part(site.role, torch.stack(found).reshape(shape_of(group)))


def consumers(
    view: View, group: Group, products: Mapping[Place, Products], scales: Mapping[str, Tensor] | None = None
) -> Iterator[tuple[Site, Products, Tensor]]:
    """Layers that consume the group: what `collect_products` found, and their weights.

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
        _reconstruction, "error of the consumers, refitted to the kept units (Hassibi 1993)", collect_products
    ),
}
