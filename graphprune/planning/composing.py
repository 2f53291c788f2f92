"""Two plans one after the other as one, and scores of what is left as scores of the original."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.groups import Group

__all__ = ["composed", "spread"]

Kept = Mapping[str, Tensor]


def composed(graph: DependencyGraph, first: Kept, second: Kept) -> dict[str, Tensor]:
    """Kept units of every group after two plans, of which the second was made for what the first one leaves.

    Where the first keeps units [0, 2, 5] and the second [0, 2] of these three, units [0, 5] are left.

    A fibred group has a row of kept units for every place, such as a head. A row whose place the first plan removes
    was never seen by the second: it keeps its first units, as many as the other rows.
    """
    return {name: _one(graph, name, first, second) for name in {**first, **second}}


def _one(graph: DependencyGraph, name: str, first: Kept, second: Kept) -> Tensor:
    group = graph.by_name[name]
    if name not in second:
        return first[name]
    later = second[name]
    if group.fibre is None:
        return first[name][later] if name in first else later
    before = first.get(name, torch.arange(group.size).expand(group.fibre.size, -1))
    whole = torch.arange(later.shape[-1]).repeat(group.fibre.size, 1)
    whole[_places(graph, group, first)] = later
    return before.gather(1, whole)


def _places(graph: DependencyGraph, group: Group, kept: Kept) -> Tensor:
    """The rows of a fibred group that are still there."""
    assert group.fibre is not None
    fibre = graph.by_atom.get(group.fibre)
    return kept.get(fibre.name if fibre else "", torch.arange(group.fibre.size))


def spread(
    graph: DependencyGraph, kept: Kept, scores: Mapping[str, Tensor | None]
) -> dict[str, Tensor | None]:
    """Scores of all units of ``graph`` from those of the units that are left; removed units come last.

    A removed row of a fibred group is scored like the mean of the others, so that it does not change their order.

    Args:
        kept: group → units that are left.
        scores: group → scores of these, in their order; None where units were not scored.
    """
    known = [score for score in scores.values() if score is not None]
    lowest = min((float(score.min()) for score in known), default=0.0)
    floor = lowest - 1 if lowest < 0 else 0.0
    return {
        name: None if score is None else _spread(graph, graph.by_name[name], kept, score, floor)
        for name, score in scores.items()
    }


def _spread(graph: DependencyGraph, group: Group, kept: Kept, score: Tensor, floor: float) -> Tensor:
    if group.name not in kept:
        return score
    places = kept[group.name]
    if group.fibre is not None:
        rows = score.sort(-1).values.mean(0).expand(group.fibre.size, -1).clone()
        rows[_places(graph, group, kept)] = score
        score = rows
    shape = (*places.shape[:-1], group.size)
    return torch.full(shape, floor, dtype=score.dtype).scatter(-1, places, score)
