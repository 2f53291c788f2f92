"""Shrinks by what is dead, and nothing else."""

from __future__ import annotations

from dataclasses import asdict

import torch

from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.raising import raise_program
from graphprune.cutting.blame import refusal
from graphprune.ground.clock import Clock
from graphprune.ground.errors import PlanError
from graphprune.lossless import find_lossless, make_report
from graphprune.planning import Constraints, Plan, find_limits, make_plan
from graphprune.results.result import Result
from graphprune.rewriting import rewrite
from graphprune.searching.prepared import recorded_outputs
from graphprune.verifying import Claim, verify_unchanged

__all__ = ["shrink_lossless"]


def shrink_lossless(
    graph: DependencyGraph, constraints: Constraints, replayed: Plan | None, seed: int, clock: Clock
) -> Result:
    """Removes what is dead; a plan that is replayed must come out again."""
    if replayed is not None:
        wished = {name: replayed.request.get(name, value) for name, value in asdict(constraints).items()}
        constraints = Constraints(**{**wished, "protect": tuple(wished["protect"])})
        replayed.check(graph)
    with clock("find dead units"):
        found = find_lossless(graph, find_limits(graph, constraints))
    with clock("plan"):
        request = {
            "lossless": True,
            **asdict(constraints),
            "protect": list(constraints.protect),
            **recorded_outputs(graph),
            "seed": seed,
        }
        plan = make_plan(graph, found.kept, request)
        if replayed is not None and not _same_groups(plan, replayed):
            raise PlanError(
                "other units are dead in this model than in the plan's", "shrink it anew with lossless=True"
            )
        inner = make_plan(found.graph, found.kept)
    with clock("rewrite"):
        slim = rewrite(found.graph, inner)
        module = raise_program(slim)
    with clock("verify"):
        tensors = found.edits.tensors
        verdict = verify_unchanged(graph, Claim(found.graph, inner, slim), module, tensors, seed)
        if not verdict.passed:
            raise refusal(found.graph, inner, verdict, seed)
    after = found.graph.cost({name: kept.shape[-1] for name, kept in plan.groups.items()})
    report = make_report(graph, plan, found)
    return Result(module, plan, verdict, graph, graph.cost(), after, clock.seconds, report)


def _same_groups(one: Plan, other: Plan) -> bool:
    """Groups that a plan does not name are kept whole."""
    names = set(one.kept) | set(other.kept)
    same = all(set(one.kept.get(name, {})) == set(other.kept.get(name, {})) for name in names)
    return same and all(
        torch.equal(kept, other.kept[name][dim])
        for name, dims in one.kept.items()
        for dim, kept in dims.items()
    )
