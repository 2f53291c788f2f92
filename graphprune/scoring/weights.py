"""Criteria that look at the weights alone: how large a unit's are, and how unlike those of the other units."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import inf

import torch
from torch import Tensor

from graphprune.axes.groups import Group
from graphprune.scoring.measures import Measure, Part, View, parameters_of
from graphprune.scoring.units import per_unit, rows_of

__all__ = ["MAGNITUDE", "REDUNDANCY"]


def _weight_norm(power: float, view: View, group: Group) -> Iterator[Part]:
    """The sum of ``|w|^power`` over everything of a member that is removed with a unit; for ``inf`` the maximum.

    The magnitude criterion of Li et al., "Pruning Filters for Efficient ConvNets" (2017), summed over
    coupled members as in Fang et al., "DepGraph" (2023).
    """
    largest = power == inf
    for member, units in parameters_of(view, group):
        norms = view.norms(member.tensor, member.dim, power)
        yield Part(member.role, per_unit(norms if largest else norms**power, units, group, largest))


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
    yield Part("produces", torch.rand(group.shape, generator=generator, dtype=torch.float64))


MAGNITUDE: dict[str, Measure] = {
    "l1": Measure(partial(_weight_norm, 1), "sum of the absolute weights (Li 2017)"),
    "l2": Measure(partial(_weight_norm, 2), "Euclidean norm of the weights (Li 2017, Fang 2023)", power=0.5),
    "linf": Measure(
        partial(_weight_norm, inf), "largest absolute weight of the producers", aggregate="producers"
    ),
    "lamp": Measure(
        partial(_weight_norm, 2), "squared weights over all not smaller ones (Lee 2021)", normalise="lamp"
    ),
    "bn_scale": Measure(_norm_scale, "scale of the batch norms (Liu 2017)"),
    "random": Measure(_random_scores, "uniform random numbers", normalise="none"),
}


def _total_distance(rows: Tensor) -> Tensor:
    """The sum of a unit's Euclidean distances to all others, ``[rows, size]`` of ``[rows, size, numbers]``.

    The unit nearest to the geometric median is the most replaceable: He et al., "Filter Pruning via Geometric
    Median" (2019).
    """
    # the exact mode: expanding the square loses the digits of near duplicates
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").sum(-1)


def _cosine_novelty(rows: Tensor) -> Tensor:
    """One minus the largest absolute cosine with any unit of larger norm, ``[rows, size]``.

    Cosine similarity marks redundant filters in Ayinde et al., "Redundant feature pruning for accelerated inference
    in deep neural networks" (2019). Of two alike only the smaller (or later) one is marked, so
    that one of them stays. A unit without weights scores 0.
    """
    norms = torch.linalg.vector_norm(rows, dim=-1)
    unit = rows / norms.clamp_min(torch.finfo(rows.dtype).tiny).unsqueeze(-1)
    alike = (unit @ unit.mT).abs().clamp_max(1)
    order = torch.arange(rows.shape[1])
    mine, other = norms.unsqueeze(-1), norms.unsqueeze(-2)
    larger = (other > mine) | ((other == mine) & (order < order.unsqueeze(-1)))
    novelty = 1 - torch.where(larger, alike, 0.0).amax(-1)
    return torch.where(norms > 0, novelty, 0.0)


def _compared(compare: Callable[[Tensor], Tensor], view: View, group: Group) -> Iterator[Part]:
    """Weights of at least two dimensions: a scale or a bias is one number, and every two numbers are alike."""
    for member, units in parameters_of(view, group):
        weight = view.tensors[member.tensor]
        if weight.dim() > 1 and member.role != "carries":
            scores = compare(rows_of(weight, member.dim, units, group))
            yield Part(member.role, scores.reshape(group.shape))


# the sources compare filters alone, hence the producers
REDUNDANCY: dict[str, Measure] = {
    "fpgm": Measure(
        partial(_compared, _total_distance), "distance to all other units (He 2019)", aggregate="producers"
    ),
    "cosine": Measure(
        partial(_compared, _cosine_novelty),
        "unlikeness to any larger unit (Ayinde 2019)",
        aggregate="producers",
    ),
}
