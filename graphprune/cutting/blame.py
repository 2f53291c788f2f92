"""Why a slim model is refused: which check failed, where first, and which group is to blame."""

from __future__ import annotations

from collections.abc import Sequence

from graphprune.axes.dependency import DependencyGraph
from graphprune.ground.errors import VerificationError
from graphprune.planning import Plan, make_plan
from graphprune.rewriting import rewrite
from graphprune.verifying import Verdict, check_random, guilty_groups

__all__ = ["verification_error"]


def verification_error(graph: DependencyGraph, plan: Plan, verdict: Verdict, seed: int) -> VerificationError:
    """What failed, where first, and by which group."""
    failed = [check for check in verdict.checks if not check.passed]

    def fails(names: Sequence[str]) -> bool:
        part = make_plan(graph, {name: plan.groups[name] for name in names})
        return not check_random(graph, part, rewrite(graph, part), seed).passed

    names = [name for name, kept in plan.groups.items() if kept.shape[-1] < graph.by_name[name].size]
    guilty = guilty_groups(names, fails) if fails(names) else ()
    blame = f"; groups {', '.join(guilty[:5])}" if guilty else ""
    return VerificationError(
        f"the slim model is not what was asked for: {'; '.join(map(str, failed))}{blame}",
        "nothing was written; protect these layers, and report the model: a rule is wrong",
    )
