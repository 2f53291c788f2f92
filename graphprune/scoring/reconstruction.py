"""How badly a unit's contribution to its consumers can be rebuilt from the units that are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from graphprune.axes.groups import Group
from graphprune.calibration.batches import forward
from graphprune.ground.errors import InputError
from graphprune.ground.processes import over_processes
from graphprune.scoring.aggregation import Part
from graphprune.scoring.elimination import elimination_errors, gram
from graphprune.scoring.measures import Measure, View
from graphprune.scoring.sites import Site
from graphprune.scoring.units import rows_of, shape_of, unit_maps, units_of

__all__ = [
    "RECONSTRUCTION",
    "Products",
    "collect_products",
    "consumers",
]

LIMIT = 8192  # units of one group: their matrix of second moments takes 0.5 GB


@dataclass(frozen=True)
class Products:
    """Of a group's units at a site: means ``[fibre size or 1, size]``, means of products ``[..., size, size]``, and how
    many positions that is over."""

    mean: Tensor
    products: Tensor
    count: int


_Sites = dict[tuple[str, int, str], Products]


def collect_products(view: View) -> _Sites:
    """Of every group, by value, dimension and name, at every site that is consumed."""
    assert view.calibration is not None
    sums: dict[tuple[str, int, str], list[Tensor]] = {}
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
                    found = [rows.sum(-1), gram(rows)]
                    known = sums.get(key)
                    sums[key] = (
                        found
                        if known is None
                        else [one + other for one, other in zip(known, found, strict=True)]
                    )
                    counts[key] = counts.get(key, 0) + rows.shape[-1]

    forward(view.graph.program, view.tensors, view.calibration, observe)
    numbers = over_processes({key: torch.tensor(count, dtype=torch.float64) for key, count in counts.items()})
    means, products = (over_processes({key: found[place] for key, found in sums.items()}) for place in (0, 1))
    return {
        key: Products(means[key] / number, products[key] / number, int(number))
        for key, number in numbers.items()
    }


def reconstruction(view: View, group: Group) -> Iterator[Part]:
    """`elimination_errors` at each layer that consumes the group; kernel positions count as outputs of their own."""
    for site, seen, rows in consumers(view, group, view.collected):
        found = [elimination_errors(matrix, row) for matrix, row in zip(seen.products, rows, strict=True)]
        yield Part(site.role, torch.stack(found).reshape(shape_of(group)))


def consumers(
    view: View, group: Group, products: _Sites, scales: Mapping[str, Tensor] | None = None
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
        reconstruction, "error of the consumers, refitted to the kept units (Hassibi 1993)", collect_products
    ),
}
