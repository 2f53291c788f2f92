"""The cut of what is dead, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

from torch import Tensor

from graphprune.asking.record import record
from graphprune.asking.request import Request
from graphprune.axes.dependency import DependencyGraph
from graphprune.cutting.cut import Cut, cut
from graphprune.ground.clock import Clock
from graphprune.ground.errors import PlanError
from graphprune.lossless import find_lossless, make_report
from graphprune.planning import Constraints, Plan, find_limits, make_plan
from graphprune.verifying import Claim, Verdict, verify_unchanged

__all__ = ["cut_lossless"]


def cut_lossless(graph: DependencyGraph, request: Request, clock: Clock) -> Cut:
    """Removes what is dead, and proves that the outputs stay as they are.

    A plan that is replayed must come out again, since the model may have other weights than the plan's.

    Raises:
        PlanError: other units are dead than in the plan that is replayed.
        VerificationError: the slim model computes something else.
    """
    replayed = request.plan
    if replayed is not None:
        replayed.check(graph)
    constraints = request.constraints if replayed is None else _recorded(replayed, request.constraints)
    with clock("find dead units"):
        found = find_lossless(graph, find_limits(graph, constraints))
    with clock("plan"):
        plan = make_plan(graph, found.kept, record(request, constraints, graph))
        if replayed is not None and not _same_tensors(plan, replayed):
            raise PlanError(
                "other units are dead in this model than in the plan's", "shrink it anew with lossless=True"
            )
        inner = make_plan(found.graph, found.kept, plan.request)

    def equals_original(made: Cut) -> Verdict:
        claim = Claim(made.graph, made.plan, made.slim)
        return verify_unchanged(graph, claim, made.module, found.tensors, request.seed)

    made = cut(found.graph, inner, clock, equals_original, request.seed)
    return replace(made, graph=graph, plan=plan, lossless=make_report(graph, plan, found))


def _recorded(replayed: Plan, constraints: Constraints) -> Constraints:
    """The constraints that the plan was made with."""
    wished = {name: replayed.request.get(name, value) for name, value in asdict(constraints).items()}
    return Constraints(**{**wished, "protect": tuple(wished["protect"])})


def _same_tensors(one: Plan, other: Plan) -> bool:
    """Whether both plans keep the same indices; dimensions that a plan does not name are kept whole."""
    first, second = (
        {name: _lists(dims) for name, dims in plan.kept.items() if dims} for plan in (one, other)
    )
    return first == second


def _lists(dims: Mapping[int, Tensor]) -> dict[int, list[int]]:
    return {dim: kept.tolist() for dim, kept in dims.items()}
