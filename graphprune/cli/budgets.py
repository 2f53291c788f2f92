"""Whether a plan that is read again keeps to what it says that it was made for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphprune.axes.dependency import DependencyGraph
from graphprune.cli.checks import Checks, Files
from graphprune.ground.errors import InputError
from graphprune.planning import COSTS, Budget, Plan

__all__ = ["check_budgets"]

ABOVE = 1.01  # as the shrink allows


def check_budgets(files: Files, graph: DependencyGraph, directory: Path, checks: Checks) -> None:
    """One check for each budget that the plan records: it may have been edited, or be of another model.

    A latency is not measured again: it was on another machine, or at another load.
    """
    plan = files.plan
    assert plan is not None
    recorded = plan.request.get("budget", {})
    for kind, asked in recorded.items() if isinstance(recorded, Mapping) else ():
        name = f"{kind} budget of the plan is met"
        with checks.attempt(name):
            budget = Budget.parse(str(kind), asked)
            if kind == "ratio":
                _ratio(name, budget, plan, graph, checks)
                continue
            if kind == "latency":
                checks.skip(name, "it was measured, or predicted for another device, when the plan was made")
                continue
            cost = _costs(kind, plan, graph, files, directory)
            if cost is None:
                checks.skip(name, "the report does not say what the original takes, or the file is missing")
                continue
            slim, whole = cost
            share = slim / ((budget.value if budget.absolute else budget.value * whole) or 1)
            checks.add(name, share <= ABOVE, f"{share:.1%} of what was asked for", share)


def _costs(
    kind: str, plan: Plan, graph: DependencyGraph, files: Files, directory: Path
) -> tuple[float, float] | None:
    """What the slim model takes, and the original."""
    if not COSTS[kind].profiled:
        function = getattr(graph, kind)
        sizes = {graph.by_name[name].atom: size for name, size in plan.sizes.items()}
        return function.value(sizes), function.value({})
    whole, file = files.reported("before").get("onnx_bytes"), directory / "model.onnx"
    if not file.is_file() or not isinstance(whole, int | float):
        return None
    return float(sum(part.stat().st_size for part in directory.glob("model.onnx*"))), float(whole)


def _ratio(name: str, budget: Budget, plan: Plan, graph: DependencyGraph, checks: Checks) -> None:
    """No group has lost more than the ratio and a step; those with a ratio of their own are left aside."""
    step = _step(plan.request)
    own = plan.request.get("ratios") or {}
    if own:
        checks.skip(name, "some layers have a ratio of their own")
        return
    over = {
        group: 1 - size / graph.by_name[group].size - budget.value - step / graph.by_name[group].size
        for group, size in plan.sizes.items()
    }
    wrong = [group for group, excess in over.items() if excess > 1e-9]
    checks.add(name, not wrong, ", ".join(wrong[:3]) or f"{len(over)} groups")


def _step(request: Mapping[str, Any]) -> int:
    """The widest step of widths that was allowed."""
    multiples = request.get("multiples")
    steps = list(multiples.values()) if isinstance(multiples, Mapping) else [request.get("align", 1)]
    try:
        return max(map(int, steps), default=1)
    except (TypeError, ValueError) as error:
        raise InputError(f"the plan's multiples cannot be read: {error}") from error
