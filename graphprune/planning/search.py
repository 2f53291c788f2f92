"""The widths that meet budgets: a threshold along a ranking, then single steps back up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import torch
from torch import Tensor

from graphprune.axes.groups import Group
from graphprune.axes.terms import Atom
from graphprune.planning.budgets import Target
from graphprune.planning.constraints import Limit

__all__ = ["Search"]

Sizes = dict[str, int]
Limits = Mapping[str, Limit]


@dataclass(frozen=True)
class Search:
    """Finds the largest widths along a ranking that meet all budgets. It only asks that costs be monotone.

    Args:
        groups: those that keep the same share, by the name of the first.
        ranked: likewise, keys of their units, ascending; see `graphprune.planning.ranking`.
        limits: likewise, the widths they may take.
        targets: at least one.
        even: the ranking promises equal shares, so that no group gets more than one step back.
    """

    groups: Mapping[str, tuple[Group, ...]]
    ranked: Mapping[str, Tensor]
    limits: Limits
    targets: Sequence[Target]
    even: bool

    def solve(self) -> Sizes:
        """The sizes of the groups, by the name of the first.

        Widths that are only a wish give way by halves where a budget cannot be reached or met closely with them: first
        for the last steps, in as few groups as need be, then for all groups.

        Raises:
            BudgetError: even the smallest permitted widths cost more; the message gives the smallest share.
        """
        ladder = _ladder(self.limits)
        reachable = [limits for limits in ladder if self._fits(_least(limits))]
        if not reachable:
            least = self._costs(_least(ladder[-1]))
            raise next(target.refuse(cost) for target, cost in least if cost > target.limit)
        best: Sizes = {}
        for place in range(len(reachable)):
            found = self._closest(reachable[place:])
            best = min(best or found, found, key=self._slack)
            if self._met(best):
                break
        # equal shares are promised before a near budget
        return best if self.even or self._met(best) else self._with_coarse_steps(best, reachable[-1])

    def _with_coarse_steps(self, best: Sizes, limits: Limits) -> Sizes:
        """Nearer to the budget, where steps are so large that none fits into what is left.

        A group stays a step wider, or gets a step narrower, and the others make up for it, as long as that helps. Those
        whose steps cost the most are tried first.
        """
        before: Sizes = {}
        while best != before and not self._met(best):
            before = best
            for name in sorted(best, key=lambda name: self._step_cost(name, best, limits), reverse=True):
                for held in limits[name].held_off(best[name]):
                    others = {**limits, name: held}
                    found = self._closest([others]) if self._fits(_least(others)) else best
                    if self._slack(found) < self._slack(best):
                        best, limits = found, others
                    if self._met(best):
                        return best
        return best

    def _step_cost(self, name: str, sizes: Sizes, limits: Limits) -> float:
        wider = self._by_atom({name: limits[name].above(sizes[name])})
        return self.targets[0].cost.change(self._by_atom(sizes), wider)

    def _closest(self, ladder: Sequence[Limits]) -> Sizes:
        """Along the ranking with the first limits; finer ones only for what is then left of a budget."""
        sizes = self._fill(self._along_ranking(ladder[0]), ladder[0], 0)
        for limits in ladder[1:]:
            sizes = self._fill(sizes, limits, 1)
        return sizes

    def _by_atom(self, sizes: Mapping[str, int]) -> dict[Atom, int]:
        return {
            group.atom: group.size * size // self.groups[name][0].size
            for name, size in sizes.items()
            for group in self.groups[name]
        }

    def _costs(self, sizes: Mapping[str, int]) -> list[tuple[Target, float]]:
        by_atom = self._by_atom(sizes)
        return [(target, target.cost.value(by_atom)) for target in self.targets]

    def _fits(self, sizes: Mapping[str, int]) -> bool:
        return all(cost <= target.limit for target, cost in self._costs(sizes))

    def _met(self, sizes: Mapping[str, int]) -> bool:
        """Whether some cost is near its budget."""
        return any(cost >= (1 - target.near) * target.limit for target, cost in self._costs(sizes))

    def _slack(self, sizes: Mapping[str, int]) -> float:
        """How far below its budget the cost nearest to its own is."""
        costs = self._costs(sizes)
        return min(1 - cost / target.limit if target.limit else 0.0 for target, cost in costs)

    def _at(self, threshold: float, limits: Limits) -> Sizes:
        """Units whose key exceeds ``threshold``, within the limits."""
        sizes = {}
        for name, limit in limits.items():
            removed = int(torch.searchsorted(self.ranked[name], threshold, right=True))
            sizes[name] = limit.near(limit.size - removed)
        return sizes

    def _along_ranking(self, limits: Limits) -> Sizes:
        """At the first threshold that fits."""
        if not self.ranked:
            return {}
        thresholds = torch.unique(torch.cat(list(self.ranked.values())))
        low, high = 0, len(thresholds)
        while low < high:
            middle = (low + high) // 2
            if self._fits(self._at(float(thresholds[middle]), limits)):
                high = middle
            else:
                low = middle + 1
        sizes = self._at(float(thresholds[low]), limits) if low < len(thresholds) else _least(limits)
        return sizes if self._fits(sizes) else _least(limits)

    def _fill(self, sizes: Sizes, limits: Limits, enough: int) -> Sizes:
        """Gives back steps, the best units first, while they fit; with ``enough`` 1, until some cost is near."""
        sizes, by_atom = dict(sizes), self._by_atom(sizes)
        left = [target.limit - cost for target, cost in self._costs(sizes)]
        floors = [enough * target.near * target.limit for target in self.targets]
        candidates = [(-self._next_score(name, size), name) for name, size in sizes.items()]
        heapify(candidates)
        while candidates and all(rest > floor for rest, floor in zip(left, floors, strict=True)):
            _, name = heappop(candidates)
            larger = limits[name].above(sizes[name])
            wider = self._by_atom({name: larger})
            prices = [target.cost.change(by_atom, wider) for target in self.targets]
            if larger == sizes[name] or any(price > rest for price, rest in zip(prices, left, strict=True)):
                continue
            sizes[name] = larger
            by_atom |= wider
            left = [rest - price for rest, price in zip(left, prices, strict=True)]
            if not self.even:  # or cheap groups would soak up what is left, and stay whole
                heappush(candidates, (-self._next_score(name, larger), name))
        return sizes

    def _next_score(self, name: str, size: int) -> float:
        ranked = self.ranked[name]
        return float(ranked[len(ranked) - size - 1]) if size < len(ranked) else float("-inf")


def _ladder(limits: Limits) -> list[Limits]:
    """The limits, then finer and finer ones as far as they are wishes."""
    ladders = {name: list(limit.ladder()) for name, limit in limits.items()}
    rungs = max(map(len, ladders.values()), default=1)
    return [{name: some[min(rung, len(some) - 1)] for name, some in ladders.items()} for rung in range(rungs)]


def _least(limits: Limits) -> Sizes:
    return {name: limit.least for name, limit in limits.items()}
