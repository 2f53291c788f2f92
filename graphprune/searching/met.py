"""Whether the budgets are met: a check of the verdict for each of them."""

from __future__ import annotations

from collections.abc import Iterator

from graphprune.planning import Budget, Plan
from graphprune.searching.prepared import Prepared
from graphprune.verifying import Check

__all__ = ["budgets_met"]

# of what was asked for; a latency is measured, and differs from one measurement to the next
TOLERANCE = 0.01
TIMING = 0.05
NEAR = 0.05  # a budget that is met so closely is the one that decides


def budgets_met(prepared: Prepared, plan: Plan) -> Iterator[Check]:
    """One check for every budget: what the plan costs over what was asked for.

    More than 1 % above is a failure. Less than 1 % below carries its reason: widths are whole numbers of units.
    """
    if prepared.request.budgets[0].kind == "ratio":
        yield _ratio_met(prepared, prepared.request.budgets[0], plan.sizes)
        return
    shares = {budget.kind: _share(prepared, budget, plan) for budget in prepared.request.budgets}
    for kind, share in shares.items():
        tolerance = TIMING if kind == "latency" else TOLERANCE
        reason = _reason(prepared, plan, shares, kind) if share < 1 - tolerance else ""
        if kind == "latency" and prepared.request.device is not None:
            reason = "; ".join(dict.fromkeys(filter(None, [plan.request["measured"]["note"], reason])))
        yield Check(f"{kind} budget is met", share <= 1 + tolerance, share, 1 + tolerance, reason)


def _share(prepared: Prepared, budget: Budget, plan: Plan) -> float:
    """What the plan costs, over what was asked for."""
    if budget.kind == "latency":
        measured = plan.request["measured"]
        return float((measured["slim_ms"] if budget.absolute else measured["ratio"]) / budget.value)
    return prepared.cost(plan.sizes)[budget.kind] / (prepared.target(budget).limit or 1)


def _reason(prepared: Prepared, plan: Plan, shares: dict[str, float], kind: str) -> str:
    """Why a cost is well below its budget."""
    if kind == "latency" and prepared.request.device is None:
        return str(plan.request["measured"]["note"])
    tight = max(shares, key=lambda other: shares[other])
    if tight != kind and shares[tight] > 1 - NEAR:
        return f"below it, since the {tight} budget asks for less"
    limits, sizes = prepared.limits, plan.sizes
    if all(size == limits[name].size for name, size in sizes.items() if limits[name].fixed is None):
        return "below it, since the ratios of layers remove more"
    if not _can_grow(prepared, sizes, shares):
        return "below it, since any group that were a step wider would go above"
    if prepared.request.rounds > 1:
        return "below it, since what earlier rounds removed does not come back"
    return f"below it, since ranking {prepared.request.ranking!r} takes equal shares of all groups"


def _can_grow(prepared: Prepared, sizes: dict[str, int], shares: dict[str, float]) -> bool:
    """Whether some group could be a step wider with all budgets still met."""
    cost = prepared.cost(sizes)
    for name, size in sizes.items():
        larger = prepared.limits[name].finest().above(size)
        first = prepared.limits[name].tie or name
        grown = {
            other: larger * limit.size // prepared.limits[name].size
            for other, limit in prepared.limits.items()
            if (limit.tie or other) == first
        }
        wider = prepared.cost({**sizes, **grown})
        if larger > size and all(wider[kind] * share <= cost[kind] for kind, share in shares.items()):
            return True
    return False


def _ratio_met(prepared: Prepared, budget: Budget, sizes: dict[str, int]) -> Check:
    """No group loses more than the ratio and a step; the detail counts those that lose less."""
    lost = {name: 1 - size / prepared.limits[name].size for name, size in sizes.items()}
    steps = {name: limit.cuttable().step / limit.size for name, limit in prepared.limits.items()}
    free = [name for name in lost if prepared.limits[name].fixed is None]
    excess = max((lost[name] - budget.value - steps[name] for name in free), default=0.0)
    less = sum(lost[name] < budget.value - steps[name] for name in free)
    detail = f"{less} groups lose less: align, min_keep, max_ratio or protect hold them" if less else ""
    return Check("ratio is met", excess <= 1e-9, max(excess, 0.0), 1e-9, detail)
