"""In which order units of different groups go, from their scores: what a budget of cost cuts along."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import gcd
from typing import Any

import torch
from torch import Tensor

from graphprune.axes.cost import CostFunction
from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.groups import Group
from graphprune.ground.errors import InputError

__all__ = ["EVEN", "RANKINGS", "check_ranking", "rank", "structure"]

Ranked = dict[str, Tensor]
Groups = Mapping[str, tuple[Group, ...]]


def _uniform(graph: DependencyGraph, groups: Groups, ranked: Ranked, cost: CostFunction) -> Ranked:
    """Each unit by its place in its own group, so that all groups lose the same share."""
    return {
        name: torch.arange(1, len(scores) + 1, dtype=torch.float64) / len(scores)
        for name, scores in ranked.items()
    }


def _isomorphic(graph: DependencyGraph, groups: Groups, ranked: Ranked, cost: CostFunction) -> Ranked:
    """Each unit by its place among all units of groups of the same structure; all structures lose the same share.

    Fang et al., "Isomorphic Pruning for Vision Models" (2024).
    """
    classes: dict[object, list[str]] = {}
    for name in ranked:
        kinds = tuple(sorted(structure(graph, group) for group in groups[name]))
        classes.setdefault(kinds, []).append(name)
    places: Ranked = {}
    for names in classes.values():
        pool = torch.cat([ranked[name] for name in names]).sort().values
        for name in names:
            places[name] = torch.searchsorted(pool, ranked[name], right=True).double() / len(pool)
    return {name: places[name] for name in ranked}


def structure(graph: DependencyGraph, group: Group) -> tuple[Any, ...]:
    """What must be equal for two groups to be isomorphic: their members' layers, dimensions and roles, not sizes."""
    types = graph.program.module_types
    members = sorted(
        (types.get(member.layer, ""), member.tensor.rpartition(".")[2], member.dim, member.role)
        for member in group.members
    )
    return (group.fibre is not None, *members)


def _per_cost(graph: DependencyGraph, groups: Groups, ranked: Ranked, cost: CostFunction) -> Ranked:
    """Saliency over what one unit of the group costs in the whole model; a group that costs nothing goes last.

    Liu et al., "Group Fisher Pruning" (2021), divide by the memory that a channel saves; here it is the cost that has
    the budget.

    Raises:
        InputError: scores are negative, so that a large cost would protect.
    """
    result = {}
    for name, scores in ranked.items():
        if bool((scores < 0).any()):
            raise InputError(
                f"ranking 'per_cost' divides scores, and some of group {name} are negative",
                "use another normalise than standard",
            )
        blocks = gcd(*(group.size for group in groups[name]))  # of each group, one at a time goes
        block = {group.atom: group.size - group.size // blocks for group in groups[name]}
        price = -cost.change({}, block) * blocks / groups[name][0].size
        result[name] = scores / price if price > 0 else torch.full_like(scores, float("inf"))
    return result


# name → keys of every group's units, ascending; units with the smallest keys go first
RANKINGS: dict[str, Callable[[DependencyGraph, Groups, Ranked, CostFunction], Ranked]] = {
    "global": lambda graph, groups, ranked, cost: ranked,
    "uniform": _uniform,
    "isomorphic": _isomorphic,
    "per_cost": _per_cost,
}


# those that promise equal shares
EVEN = ("uniform", "isomorphic")


def check_ranking(ranking: str) -> None:
    """Raises InputError unless it is one of `RANKINGS`."""
    if ranking not in RANKINGS:
        raise InputError(f"unknown ranking {ranking!r}", f"use one of {', '.join(RANKINGS)}")


def rank(
    graph: DependencyGraph, groups: Groups, scores: Mapping[str, Tensor], cost: CostFunction, ranking: str
) -> Ranked:
    """Keys of the units of every group, ``[size]``, ascending, comparable between groups.

    A fibred group loses one unit of every row at once, so its sorted rows are averaged. Groups of a tie lose the same
    share, the smallest first, so their sorted scores are added: where one has three times the units of the first,
    three of them to one.

    Args:
        groups: those that lose the same share, by the name of the first.
        scores: of the units of every group.
    """
    ranked = {}
    for name, tied in groups.items():
        first, *others = [_ordered(scores[group.name]) for group in tied]
        ranked[name] = torch.stack([first, *(_spread(other, len(first)) for other in others)]).sum(0)
    return RANKINGS[ranking](graph, groups, ranked, cost)


def _ordered(scores: Tensor) -> Tensor:
    ordered = scores.double().cpu().sort(dim=-1).values
    return ordered.mean(0) if ordered.dim() == 2 else ordered


def _spread(ordered: Tensor, units: int) -> Tensor:
    """Scores of ``units`` of another size: of what goes while one of these does."""
    if len(ordered) == units:
        return ordered
    return ordered.repeat_interleave(units).reshape(units, len(ordered)).sum(1) / units
