"""How many units every group keeps: a uniform ratio, or an exact budget by ranking all units together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor, log10

import torch
from torch import Tensor

from graphprune.axes.cost import Polynomial
from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.groups import Group
from graphprune.axes.terms import Atom
from graphprune.errors import BudgetError, InputError
from graphprune.planning.constraints import Limit
from graphprune.planning.ranking import EVEN, check_ranking, rank

__all__ = ["Budget", "choose"]


@dataclass(frozen=True)
class Budget:
    """What is asked for: ``kind`` "macs" or "params" with the share to *keep*, or "ratio", the share to *remove*.

    Raises:
        InputError: ``value`` is not between 0 and 1.
    """

    kind: str
    value: float

    def __post_init__(self) -> None:
        if self.kind not in ("macs", "params", "ratio"):
            raise InputError(f"unknown budget {self.kind!r}", "use macs, params or ratio")
        allowed = 0 <= self.value < 1 if self.kind == "ratio" else 0 < self.value <= 1
        if not allowed:
            meaning = "the share of units to remove" if self.kind == "ratio" else "the share to keep"
            raise InputError(f"{self.kind}={self.value} is out of range", f"give {meaning}, between 0 and 1")


def choose(
    graph: DependencyGraph,
    scores: Mapping[str, Tensor | None],
    budget: Budget,
    limits: Mapping[str, Limit],
    ranking: str = "global",
) -> dict[str, Tensor]:
    """Kept units of every group: boolean ``[size]``, or ``[fibre size, size]`` with equal counts per row.

    A budget of cost cuts along ``ranking``: "global" compares scores between groups as they are, "uniform" takes the
    same share of every group, "isomorphic" ranks among groups of the same structure, "per_cost" by score over cost
    saved. A group without scores (None) stays whole.

    Raises:
        BudgetError: even the smallest permitted widths cost more; the message gives the smallest share.
        InputError: scores are missing, misshapen or not finite, or there are none for any group; the ranking is
            unknown, or a ratio is asked for, which ranks nothing.
    """
    check_ranking(ranking)
    if budget.kind == "ratio" and ranking != "global":
        raise InputError(
            f"ranking={ranking!r} has no effect on a ratio", "ask for macs or params, or leave it out"
        )
    known = _checked_scores(graph, scores)
    limits = {name: limit if name in known else limit.whole() for name, limit in limits.items()}
    known |= {name: torch.ones(_shape(graph.by_name[name])) for name in limits if name not in known}
    sizes = _sizes(graph, known, budget, limits, ranking)
    return {name: _best(known[name], size) for name, size in sizes.items()}


def _sizes(
    graph: DependencyGraph,
    scores: Mapping[str, Tensor],
    budget: Budget,
    limits: Mapping[str, Limit],
    ranking: str,
) -> dict[str, int]:
    if budget.kind == "ratio":
        return {name: limit.near(limit.size * (1 - budget.value)) for name, limit in limits.items()}
    cost = graph.macs if budget.kind == "macs" else graph.params
    ranked = rank(graph, {name: scores[name] for name in limits}, cost, ranking)
    return _Search(graph, ranked, limits, cost, even=ranking in EVEN).solve(budget)


def _shape(group: Group) -> tuple[int, ...]:
    return (group.size,) if group.fibre is None else (group.fibre.size, group.size)


def _checked_scores(graph: DependencyGraph, scores: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    """Scores of the groups that can be judged."""
    known: dict[str, Tensor] = {}
    for group in graph.groups:
        shape, score = _shape(group), scores.get(group.name)
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


class _Search:
    """Finds the threshold on the ranking's keys at which the cost meets the budget."""

    def __init__(
        self,
        graph: DependencyGraph,
        ranked: Mapping[str, Tensor],
        limits: Mapping[str, Limit],
        cost: Polynomial,
        even: bool,
    ) -> None:
        self.limits = limits
        self.cost = cost
        self.atoms = {group.name: group.atom for group in graph.groups}
        self.ranked = ranked
        self.even = even

    def sizes_at(self, threshold: float) -> dict[str, int]:
        """Units whose key exceeds ``threshold``, within the limits."""
        sizes = {}
        for name, limit in self.limits.items():
            removed = int(torch.searchsorted(self.ranked[name], threshold, right=True))
            sizes[name] = limit.near(limit.size - removed)
        return sizes

    def value(self, sizes: Mapping[str, int]) -> int:
        return self.cost.value(self.by_atom(sizes))

    def by_atom(self, sizes: Mapping[str, int]) -> dict[Atom, int]:
        return {self.atoms[name]: size for name, size in sizes.items()}

    def solve(self, budget: Budget) -> dict[str, int]:
        """The largest widths along the ranking that cost no more than the budget."""
        full = self.cost.value({})
        target = full * budget.value
        least = {name: limit.least for name, limit in self.limits.items()}
        smallest = self.value(least)
        if smallest > target:
            raise BudgetError(
                f"{budget.kind}={budget.value:g} cannot be reached: with these constraints the smallest model "
                f"keeps {smallest / full:.4f}",
                f"ask for {budget.kind}={_round_up(smallest / full)} or more, or loosen align, min_keep or protect",
            )
        if not self.ranked:
            return {}
        thresholds = torch.unique(torch.cat(list(self.ranked.values())))
        low, high = 0, len(thresholds)  # the first threshold at which the cost fits
        while low < high:
            middle = (low + high) // 2
            if self.value(self.sizes_at(float(thresholds[middle]))) <= target:
                high = middle
            else:
                low = middle + 1
        sizes = self.sizes_at(float(thresholds[low])) if low < len(thresholds) else least
        if self.value(sizes) > target:
            sizes = least
        return self._fill(sizes, target)

    def _fill(self, sizes: dict[str, int], target: float) -> dict[str, int]:
        """Gives back steps, the best units first, while they fit into what is left of the budget."""
        by_atom = self.by_atom(sizes)
        left = target - self.cost.value(by_atom)
        candidates = set(sizes)
        while candidates:
            name = max(sorted(candidates), key=lambda name: self._next_score(name, sizes[name]))
            limit, atom = self.limits[name], self.atoms[name]
            larger = limit.above(sizes[name])
            price = self.cost.change(by_atom, atom, larger)
            if larger == sizes[name] or price > left:
                candidates.discard(name)
                continue
            sizes[name] = by_atom[atom] = larger
            left -= price
            if self.even:  # or cheap groups would soak up what is left, and stay whole
                candidates.discard(name)
        return sizes

    def _next_score(self, name: str, size: int) -> float:
        ranked = self.ranked[name]
        return float(ranked[len(ranked) - size - 1]) if size < len(ranked) else float("-inf")


def _round_up(share: float) -> str:
    """Two significant digits, not below ``share``."""
    step = 10.0 ** (floor(log10(share)) - 1) if share > 0 else 0.01
    return f"{min(ceil(share / step) * step, 1.0):.2g}"
