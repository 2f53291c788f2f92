"""Criteria that look at gradients of a loss on the calibration batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial

import torch
from torch import Tensor

from graphprune.axes.groups import Group
from graphprune.calibration.batches import Calibration, gradients
from graphprune.calibration.sums import Sums
from graphprune.scoring.measures import Measure, Part, View, parameters_of
from graphprune.scoring.sites import Site, tapped
from graphprune.scoring.units import per_unit, sum_along, unit_maps

__all__ = ["GRADIENTS"]


def _collect(
    combine: Callable[[Tensor, Tensor], Tensor], power: int, view: View, calibration: Calibration
) -> Mapping[str, Sequence[Part]]:
    """For each member of each group the mean over batches of ``(sum of combine(weight, gradient)) ^ power``.

    The sum is over everything that a unit removes of the member.
    """
    members = [
        (group, place, *found)
        for group in view.graph.groups
        for place, found in enumerate(parameters_of(view, group))
    ]
    sums: Sums[tuple[str, int], Tensor] = Sums()
    for batch in gradients(view.graph.program, view.tensors, calibration):
        sums.count += 1
        pairs = batch.parameters
        along = cache(lambda name, dim, pairs=pairs: sum_along(combine(*pairs[name]), dim))
        for group, place, member, units in members:
            if member.tensor in pairs:
                numbers = per_unit(along(member.tensor, member.dim), units, group)
                sums.add((group.name, place), numbers**power)
    parts: dict[str, list[Part]] = {}
    means = sums.means()
    for group, place, member, _ in members:
        if (group.name, place) in means:
            parts.setdefault(group.name, []).append(Part(member.role, means[group.name, place]))
    return parts


def _collect_fisher(view: View, calibration: Calibration) -> Mapping[str, Sequence[Part]]:
    """Means over examples of ``(sum of gradient times activation)^2``, over all activations of a unit together."""
    graph, taps = tapped(view.graph.program.graph, view.all_sites)
    sums: Sums[str, Tensor] = Sums()
    for batch in gradients(view.graph.program, view.tensors, calibration, taps.values(), graph):
        rows = 0
        for group in view.graph.groups:
            masks = list(_mask_gradients(view, group, taps, batch.values))
            if masks:
                rows = max(map(len, masks))
                total = torch.stack([_shares(mask, rows) for mask in masks]).sum(
                    0
                )  # coupled layers share one
                sums.add(group.name, total.square().sum(0))
        sums.count += rows
    return {name: [Part("consumes", mean)] for name, mean in sums.means().items()}


def _shares(mask: Tensor, examples: int) -> Tensor:
    """``[examples, …]``; what is of no single example, as the gradient of a weight, is divided among them alike."""
    return mask if len(mask) == examples else mask.sum(0).expand(examples, *mask.shape[1:]) / examples


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
    rows = product.movedim(dim, -1)
    found = (
        (place, prime)
        for place, size in enumerate(sizes)
        for prime in view.graph.program.batch_primes
        if place != dim and size % prime == 0
    )
    batch, prime = next(found, (None, 1))
    if batch is None:
        return rows.flatten(0, -2).sum(0, keepdim=True, dtype=torch.float64).cpu()
    rows = rows.movedim(batch if batch < dim else batch - 1, 0)
    examples = rows.shape[0] // (sizes[batch] // prime)  # windows of an image stand beside it, innermost
    return rows.reshape(examples, -1, rows.shape[-1]).sum(1, dtype=torch.float64).cpu()


def _collected(view: View, group: Group) -> Sequence[Part]:
    parts: Sequence[Part] = view.collected.get(group.name, ())
    assert all(part.scores.shape == group.shape for part in parts)
    return parts


GRADIENTS: dict[str, Measure] = {
    # Molchanov et al., "Importance Estimation for Neural Network Pruning" (2019), for whole filters
    "taylor": Measure(
        _collected,
        "squared sum of gradient times weight (Molchanov 2019)",
        partial(_collect, torch.mul, 2),
        power=0.5,
    ),
    # the same, by single weights: as torch-pruning and LLM-Pruner (Ma 2023)
    "taylor_abs": Measure(
        _collected,
        "sum of |gradient times weight| (Ma 2023)",
        partial(_collect, lambda weight, grad: (weight * grad).abs(), 1),
    ),
    # LeCun et al., "Optimal Brain Damage" (1990); the diagonal of the Hessian is taken to be that of the
    # empirical Fisher matrix, the mean squared gradient, so batches should be single examples
    "obd": Measure(
        _collected,
        "half weight² times mean gradient² (LeCun 1990, empirical Fisher)",
        partial(_collect, lambda weight, grad: (weight * grad).square() / 2, 1),
    ),
    # Liu et al., "Group Fisher Pruning" (2021)
    "fisher": Measure(_collected, "squared gradient of a mask on the group (Liu 2021)", _collect_fisher),
}
