"""Criteria that look at gradients of a loss on the calibration batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor

from graphprune.axes.groups import Group
from graphprune.calibration.batches import gradients
from graphprune.ground.processes import Key, over_processes
from graphprune.scoring.aggregation import Part
from graphprune.scoring.measures import Measure, View, parameters_of, summed
from graphprune.scoring.sites import Site, tapped
from graphprune.scoring.units import per_unit, shape_of, unit_maps

__all__ = ["GRADIENTS", "averages", "collect_fisher", "collect_products", "collect_taylor"]

_Positions = dict[tuple[str, int], Tensor]
_Scores = dict[str, list[Part]]


def _members(view: View) -> dict[str, set[int]]:
    """Dimensions of parameters that groups stand on."""
    dims: dict[str, set[int]] = {}
    for group in view.graph.groups:
        for member, _ in parameters_of(view, group):
            dims.setdefault(member.tensor, set()).add(member.dim)
    return dims


def averages(sums: Mapping[Key, Tensor], count: int) -> dict[Key, Tensor]:
    """Over the batches or examples of all processes."""
    total = over_processes({"count": torch.tensor(float(count), dtype=torch.float64)})["count"]
    return {key: value / total for key, value in over_processes(sums).items()}


def _along(values: Tensor, dim: int) -> Tensor:
    """Sums over all other dimensions, float64."""
    others = [other for other in range(values.dim()) if other != dim]
    return (values.sum(others, dtype=torch.float64) if others else values.double()).cpu()


def collect_products(combine: Callable[[Tensor, Tensor], Tensor]) -> Callable[[View], _Positions]:
    """Means over batches of ``combine(weight, gradient)``, summed along every member's dimension."""

    def collect(view: View) -> _Positions:
        assert view.calibration is not None
        dims, count = _members(view), 0
        sums: _Positions = {}
        for batch in gradients(view.graph.program, view.tensors, view.calibration):
            count += 1
            for name, (weight, grad) in batch.parameters.items():
                product = combine(weight, grad)
                for dim in dims.get(name, ()):
                    sums[name, dim] = sums.get((name, dim), torch.zeros(())) + _along(product, dim)
        return averages(sums, count)

    return collect


def collect_taylor(view: View) -> _Scores:
    """Means over batches of ``(sum of gradient times weight)^2``, over everything of a member that a unit removes."""
    assert view.calibration is not None
    dims, count = _members(view), 0
    totals: dict[str, dict[tuple[str, int, int], Part]] = {group.name: {} for group in view.graph.groups}
    for batch in gradients(view.graph.program, view.tensors, view.calibration):
        count += 1
        sums = {
            (name, dim): _along(weight * grad, dim)
            for name, (weight, grad) in batch.parameters.items()
            for dim in dims.get(name, ())
        }
        for group in view.graph.groups:
            known = totals[group.name]
            for place, (member, units) in enumerate(parameters_of(view, group)):
                if (member.tensor, member.dim) in sums:
                    squares = per_unit(sums[member.tensor, member.dim], units, group).square()
                    key = (member.tensor, member.dim, place)
                    before = known[key].scores if key in known else 0
                    known[key] = Part(member.role, before + squares)
    means = averages(
        {(name, key): part.scores for name, p in totals.items() for key, part in p.items()}, count
    )
    return {
        name: [Part(part.role, means[name, key]) for key, part in parts.items()]
        for name, parts in totals.items()
    }


def collect_fisher(view: View) -> _Scores:
    """Means over examples of ``(sum of gradient times activation)^2``, over all activations of a unit together."""
    assert view.calibration is not None
    sites = list(dict.fromkeys(site for found in view.sites.values() for site in found))
    graph, taps = tapped(view.graph.program.graph, sites)
    totals: dict[str, Tensor] = {}
    examples = 0
    for batch in gradients(view.graph.program, view.tensors, view.calibration, taps.values(), graph):
        rows = 0
        for group in view.graph.groups:
            masks = list(_mask_gradients(view, group, taps, batch.values))
            if masks:
                total = torch.stack(masks).sum(0)  # [examples, ...]: coupled layers share one mask
                rows = len(total)
                totals[group.name] = totals.get(group.name, torch.zeros(())) + total.square().sum(0)
        examples += rows
    return {name: [Part("consumes", mean)] for name, mean in averages(totals, max(examples, 1)).items()}


def _mask_gradients(
    view: View, group: Group, taps: Mapping[Site, str], values: Mapping[str, tuple[Tensor, Tensor]]
) -> Iterable[Tensor]:
    """``[examples, *shape of scores]`` for each activation of the group."""
    places = dict.fromkeys((taps[site], site.value, site.dim) for site in view.sites[group.name])
    for tap, value, dim in places:
        if tap in values:
            activation, grad = values[tap]
            products = _by_example(view, value, dim, activation * grad)
            for units in unit_maps(view.graph.analysis.terms[value][dim], group):
                if products.shape[1] == len(units):
                    yield torch.stack([per_unit(row, units, group) for row in products])


def _by_example(view: View, value: str, dim: int, product: Tensor) -> Tensor:
    """``[examples, positions]``; one example where the batch cannot be told apart in this value."""
    sizes = view.graph.program.values[value].shape
    primes = view.graph.program.batch_primes
    batch = next(
        (
            place
            for place, size in enumerate(sizes)
            if place != dim and any(size % prime == 0 for prime in primes)
        ),
        None,
    )
    rows = product.movedim(dim, -1)
    if batch is None:
        return rows.flatten(0, -2).sum(0, keepdim=True, dtype=torch.float64).cpu()
    prime = next(prime for prime in primes if sizes[batch] % prime == 0)
    rows = rows.movedim(batch if batch < dim else batch - 1, 0)
    examples = rows.shape[0] // (sizes[batch] // prime)  # windows of an image stand beside it, innermost
    return rows.reshape(examples, -1, rows.shape[-1]).sum(1, dtype=torch.float64).cpu()


def _positions(view: View, group: Group) -> Iterator[Part]:
    return summed(view, group, view.collected, lambda member: True)


def _collected(view: View, group: Group) -> list[Part]:
    parts: list[Part] = view.collected.get(group.name, [])
    assert all(part.scores.shape == shape_of(group) for part in parts)
    return parts


GRADIENTS: dict[str, Measure] = {
    # Molchanov et al., "Importance Estimation for Neural Network Pruning" (2019), for whole filters
    "taylor": Measure(
        _collected, "squared sum of gradient times weight (Molchanov 2019)", collect_taylor, power=0.5
    ),
    # the same, by single weights: as torch-pruning and LLM-Pruner (Ma 2023)
    "taylor_abs": Measure(
        _positions,
        "sum of |gradient times weight| (Ma 2023)",
        collect_products(lambda weight, grad: (weight * grad).abs()),
    ),
    # LeCun et al., "Optimal Brain Damage" (1990); the diagonal of the Hessian is taken to be that of the
    # empirical Fisher matrix, the mean squared gradient, so batches should be single examples
    "obd": Measure(
        _positions,
        "half weight² times mean gradient² (LeCun 1990, empirical Fisher)",
        collect_products(lambda weight, grad: (weight * grad).square() / 2),
    ),
    # Liu et al., "Group Fisher Pruning" (2021)
    "fisher": Measure(_collected, "squared gradient of a mask on the group (Liu 2021)", collect_fisher),
}
