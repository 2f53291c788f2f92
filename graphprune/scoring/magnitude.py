"""Criteria that look at the weights alone, unit by unit."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from graphprune.axes.groups import Group
from graphprune.scoring.aggregation import Part
from graphprune.scoring.measures import Measure, View, parameters_of
from graphprune.scoring.units import per_unit, shape_of

__all__ = ["MAGNITUDE"]


def _weight_norm(power: float) -> Callable[[View, Group], Iterator[Part]]:
    """The sum of ``|w|^power`` over everything of a member that is removed with a unit; for ``inf`` the maximum.

    The magnitude criterion of Li et al., "Pruning Filters for Efficient ConvNets" (2017), summed over
    coupled members as in Fang et al., "DepGraph" (2023).
    """
    largest = power == float("inf")

    def score(view: View, group: Group) -> Iterator[Part]:
        for member, units in parameters_of(view, group):
            norms = view.norms(member.tensor, member.dim, power)
            yield Part(member.role, per_unit(norms if largest else norms**power, units, group, largest))

    return score


def _norm_scale(view: View, group: Group) -> Iterator[Part]:
    """``|gamma|`` of the batch norms that carry the unit; a group without one cannot be judged.

    Liu et al., "Learning Efficient Convolutional Networks through Network Slimming" (2017).
    """
    for member, units in parameters_of(view, group):
        if member.tensor in view.batch_norm_scales:
            yield Part(member.role, per_unit(view.tensors[member.tensor].detach().abs(), units, group))


def _random_scores(view: View, group: Group) -> Iterator[Part]:
    """Uniform between 0 and 1, the same for the same seed and model: the baseline that a criterion must beat."""
    place = view.graph.groups.index(group)
    generator = torch.Generator().manual_seed(view.seed * 1_000_003 + place)
    yield Part("produces", torch.rand(shape_of(group), generator=generator, dtype=torch.float64))


MAGNITUDE: dict[str, Measure] = {
    "l1": Measure(_weight_norm(1), "sum of the absolute weights (Li 2017)"),
    "l2": Measure(_weight_norm(2), "Euclidean norm of the weights (Li 2017, Fang 2023)", power=0.5),
    "linf": Measure(
        _weight_norm(float("inf")), "largest absolute weight of the producers", aggregate="producers"
    ),
    "lamp": Measure(
        _weight_norm(2), "squared weights over all not smaller ones (Lee 2021)", normalise="lamp"
    ),
    "bn_scale": Measure(_norm_scale, "scale of the batch norms (Liu 2017)"),
    "random": Measure(_random_scores, "uniform random numbers", normalise="none"),
}
