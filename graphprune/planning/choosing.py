"""How many units every group keeps, and which: a uniform ratio, or budgets along a ranking of all units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from graphprune.axes.cost import CostFunction
from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.groups import Group
from graphprune.ground.errors import InputError
from graphprune.planning.budgets import COSTS, Budget, Target
from graphprune.planning.constraints import Limit
from graphprune.planning.ranking import EVEN, check_ranking, rank
from graphprune.planning.search import Search

__all__ = ["choose", "known_costs"]


def known_costs(graph: DependencyGraph) -> dict[str, CostFunction]:
    """Costs that follow from the graph alone."""
    return {kind: getattr(graph, kind) for kind, row in COSTS.items() if not row.profiled}


def choose(
    graph: DependencyGraph,
    scores: Mapping[str, Tensor | None],
    budget: Budget | Sequence[Target],
    limits: Mapping[str, Limit],
    ranking: str = "global",
) -> dict[str, Tensor]:
    """Kept units of every group: boolean ``[size]``, or ``[fibre size, size]`` with equal counts per row.

    Budgets of cost cut along ``ranking``: "global" compares scores between groups as they are, "uniform" takes the
    same share of every group, "isomorphic" ranks among groups of the same structure, "per_cost" by score over cost
    saved. A group without scores (None) stays whole.

    Args:
        budget: a ratio or a budget of one of the `known_costs`, or any number of targets, all of which will be met;
            "per_cost" counts the cost of the first.

    Raises:
        BudgetError: even the smallest permitted widths cost more; the message gives the smallest share.
        InputError: scores are missing, misshapen or not finite, or there are none for any group; the ranking is
            unknown, or a ratio is asked for, which ranks nothing.
    """
    check_ranking(ranking)
    if isinstance(budget, Budget) and budget.kind == "ratio" and ranking != "global":
        raise InputError(
            f"ranking={ranking!r} has no effect on a ratio", "ask for macs or params, or leave it out"
        )
    known = _checked_scores(graph, scores)
    unjudged = {limits[name].tie or name for name in limits if name not in known}
    limits = {
        name: limit.whole() if (limit.tie or name) in unjudged else limit for name, limit in limits.items()
    }
    known |= {name: torch.ones(graph.by_name[name].shape) for name in limits if name not in known}
    if isinstance(budget, Budget) and budget.kind == "ratio":
        left = 1 - budget.value
        sizes = {name: limit.cuttable().near(limit.size * left) for name, limit in limits.items()}
    else:
        targets = [Target(budget, known_costs(graph)[budget.kind])] if isinstance(budget, Budget) else budget
        ties = _ties(graph, limits)
        ranked = rank(graph, ties, known, targets[0].cost, ranking)
        first = {name: limits[name] for name in ties}
        found = Search(ties, ranked, first, targets, even=ranking in EVEN).solve()
        sizes = {
            name: found[limit.tie or name] * limit.size // limits[limit.tie or name].size
            for name, limit in limits.items()
        }
    return {name: _best(known[name], size) for name, size in sizes.items()}


def _ties(graph: DependencyGraph, limits: Mapping[str, Limit]) -> dict[str, tuple[Group, ...]]:
    """The groups that keep the same share, by the name of the first; most stand alone."""
    ties: dict[str, tuple[Group, ...]] = {}
    for name, limit in limits.items():
        first = limit.tie or name
        ties[first] = (*ties.get(first, ()), graph.by_name[name])
    return ties


def _checked_scores(graph: DependencyGraph, scores: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    """Scores of the groups that can be judged."""
    known: dict[str, Tensor] = {}
    for group in graph.groups:
        shape, score = group.shape, scores.get(group.name)
        if group.name not in scores or (score is not None and tuple(score.shape) != shape):
            given = "nothing" if score is None else f"shape {tuple(score.shape)}"
            raise InputError(f"the importance gives {given} for group {group.name}", f"it must give {shape}")
        if score is not None:
            known[group.name] = score
            if not torch.isfinite(score).all():
                raise InputError(
                    f"the importance of group {group.name} is not finite",
                    "check the weights and the calibration data for NaN",
                )
    if graph.groups and not known:
        raise InputError("the importance can judge none of the model's groups", "use another importance")
    return known


def _best(scores: Tensor, size: int) -> Tensor:
    """The ``size`` best units of every row; ties go to the first."""
    order = torch.argsort(scores, dim=-1, descending=True, stable=True)[..., :size]
    return torch.zeros(scores.shape, dtype=torch.bool).scatter(-1, order, True)
