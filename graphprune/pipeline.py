"""Composes the stages: the only place that knows all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from graphprune.axes.dependency import DependencyGraph, build_graph
from graphprune.capture import capture
from graphprune.capture.raising import raise_program
from graphprune.clock import Clock, Progress
from graphprune.errors import InputError, PlanError, VerificationError
from graphprune.lossless import find_lossless, make_report
from graphprune.planning import Budget, Constraints, Plan, check_ranking, choose, find_limits, make_plan
from graphprune.result import Result
from graphprune.rewriting import rewrite
from graphprune.scoring import Criterion, Importance, Loss, PeerImportance, find_importance
from graphprune.verifying import Verdict, check_random, guilty_groups, verify, verify_unchanged

__all__ = ["shrink", "trace"]


def trace(
    model: nn.Module, example_inputs: Any, strict: bool = False, outputs: Sequence[str] = ()
) -> DependencyGraph:
    """Captures ``model`` and solves its axes.

    Args:
        example_inputs: a tensor, a tuple of arguments, a dict of keywords, or ``(args, kwargs)``.
        strict: raise where an operator has no rule, instead of pinning its axes.
        outputs: those outputs that the slim model shall return, such as "logits", "0" or "hidden_states.1", or
            patterns; all if none is named. What an output shows outside cannot change its width, so by-products
            that nobody reads cost reach.

    Raises:
        InputError: the model does not run on these inputs, or has no such output.
        CaptureError: the model cannot be captured; the message names the line.
        RuleError: in strict mode, an operator has no rule.
    """
    return build_graph(capture(model, example_inputs, outputs), strict)


def shrink(
    model: nn.Module | DependencyGraph,
    example_inputs: Any = None,
    *,
    macs: float | None = None,
    params: float | None = None,
    ratio: float | None = None,
    importance: str | Importance = "l2",
    calibration: Any = None,
    loss: Loss | None = None,
    align: int = 1,
    min_keep: int = 1,
    protect: Sequence[str] = (),
    ranking: str = "global",
    max_ratio: float = 1.0,
    ratios: Mapping[str, float] | None = None,
    outputs: Sequence[str] = (),
    seed: int = 0,
    plan: Plan | None = None,
    lossless: bool = False,
    progress: Progress = lambda stage: None,
) -> Result:
    """Removes the least important coupled units of ``model`` and proves the result.

    Args:
        model: the model, or its graph from `trace`. It is left as it was.
        example_inputs: a tensor, a tuple of arguments, a dict of keywords, or ``(args, kwargs)``.
        macs: share of the multiply-accumulates to keep; units go in the order of ``ranking``.
        params: share of the parameters to keep, likewise.
        ratio: share of the units to remove from every group.
        importance: which units matter: a name such as "l2" or "taylor", "name:aggregate:normalise", a `Criterion`, or
            an object of ``torch_pruning.importance``, or any `graphprune.scoring.Importance`.
        calibration: batches for criteria that look at data: a tensor, a list of batches, a DataLoader; a batch is what
            ``example_inputs`` may be, or a pair of that and labels. Walked once.
        loss: ``loss(outputs)`` or ``loss(outputs, batch)`` → a number, for criteria that take gradients; without one,
            the outputs times random signs, see `graphprune.scoring.calibration.signs_loss`.
        align: widths are multiples of this.
        min_keep: units that every group keeps at least.
        protect: patterns of layer names that must not change.
        ranking: "global" (scores of all groups together), "uniform" (the same share of every group), "isomorphic"
            (among groups of the same structure) or "per_cost" (score over cost saved).
        max_ratio: the share of its units that any group may lose.
        ratios: patterns of layer names → the share of the units they produce to remove, whatever the budget.
        outputs: those outputs that the slim model shall return; all if none is named, see `trace`.
        seed: of random importance and of the checks' random tensors.
        plan: replay this plan instead of a budget.
        lossless: remove what is dead, and nothing else: units that are zero wherever they are read, that nobody
            reads, that are constant (a bias takes the constant) or that repeat others. The slim model computes what
            the model computes, which is checked; ``result.lossless`` says what went and what stayed, and why.

    Raises:
        InputError: an argument is wrong, or the model does not run on the inputs.
        CaptureError: the model cannot be captured.
        BudgetError: the budget cannot be reached; the message gives the smallest share.
        PlanError: ``plan`` does not fit the model.
        VerificationError: the slim model is not what was asked for; the message names node and group.
    """
    clock = Clock(progress)
    budget = _one_budget(macs, params, ratio, plan, lossless)
    constraints = Constraints(align, min_keep, tuple(protect), max_ratio, dict(ratios or {}))
    check_ranking(ranking)
    criterion = find_importance(importance, calibration, loss) if plan is None else None
    graph = _graph(model, example_inputs, outputs or (plan.outputs if plan else ()), clock)
    if lossless or (plan is not None and plan.request.get("lossless")):
        return _shrink_lossless(graph, constraints, plan, seed, clock)
    if plan is None:
        assert budget is not None
        assert criterion is not None
        with clock("score"):
            scores = criterion(graph, graph.program.tensors, seed)
        with clock("plan"):
            request = {
                "budget": {budget.kind: budget.value},
                **_described(criterion, scores),
                **{
                    key: list(value) if isinstance(value, tuple) else value
                    for key, value in asdict(constraints).items()
                },
                "ranking": ranking,
                **_outputs(graph),
                "seed": seed,
            }
            kept = choose(graph, scores, budget, find_limits(graph, constraints), ranking)
            plan = make_plan(graph, kept, request)
    else:
        plan.check(graph)
    with clock("rewrite"):
        slim = rewrite(graph, plan)
        module = raise_program(slim)
    with clock("verify"):
        verdict = verify(graph, plan, slim, module, seed)
        if not verdict.passed:
            raise _refusal(graph, plan, verdict, seed)
    sizes = {name: kept.shape[-1] for name, kept in plan.groups.items()}
    return Result(module, plan, verdict, graph, graph.cost(), graph.cost(sizes), clock.seconds)


def _shrink_lossless(
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
            **_outputs(graph),
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
        verdict = verify_unchanged(graph, found.graph, inner, slim, module, tensors, seed)
        if not verdict.passed:
            raise _refusal(found.graph, inner, verdict, seed)
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


def _outputs(graph: DependencyGraph) -> dict[str, Any]:
    """Which outputs the slim model returns, for the record; nothing where it returns all."""
    return {"outputs": list(graph.program.wanted)} if graph.program.wanted else {}


def _graph(
    model: nn.Module | DependencyGraph, example_inputs: Any, outputs: Sequence[str], clock: Clock
) -> DependencyGraph:
    if isinstance(model, DependencyGraph):
        if tuple(outputs) not in ((), model.program.wanted):
            raise InputError("outputs are given for a model that is traced already", "give them to trace")
        return model
    if isinstance(outputs, str):
        raise InputError(f"outputs={outputs!r} is a text", f"give a list of names: outputs=[{outputs!r}]")
    with clock("capture"):
        program = capture(model, example_inputs, outputs)
    with clock("analyse"):
        return build_graph(program)


def _described(criterion: Importance, scores: Mapping[str, Any]) -> dict[str, Any]:
    """How units were judged, for the record."""
    left = [name for name, score in scores.items() if score is None]
    unjudged = {"unjudged": left} if left else {}
    if not isinstance(criterion, Criterion | PeerImportance):
        return {"importance": type(criterion).__name__, **unjudged}
    data = {}
    if criterion.calibration is not None:
        loss = getattr(criterion.loss, "__name__", type(criterion.loss).__name__) if criterion.loss else None
        data = {"calibration": type(criterion.calibration).__name__, "loss": loss}
    return {"importance": str(criterion), **data, **unjudged}


def _one_budget(
    macs: float | None, params: float | None, ratio: float | None, plan: Plan | None, lossless: bool
) -> Budget | None:
    given = {"macs": macs, "params": params, "ratio": ratio}
    chosen = [(kind, value) for kind, value in given.items() if value is not None]
    count = len(chosen) + (plan is not None) + lossless
    if count != 1:
        raise InputError(
            f"{count} budgets are given", "give exactly one of macs, params, ratio, lossless and plan"
        )
    return Budget(*chosen[0]) if chosen else None


def _refusal(graph: DependencyGraph, plan: Plan, verdict: Verdict, seed: int) -> VerificationError:
    """What failed, where first, and by which group."""
    failed = [check for check in verdict.checks if not check.passed]

    def fails(names: Sequence[str]) -> bool:
        part = make_plan(graph, {name: plan.groups[name] for name in names})
        return not check_random(graph, part, rewrite(graph, part), seed).passed

    names = [name for name, kept in plan.groups.items() if kept.shape[-1] < graph.by_name[name].size]
    guilty = guilty_groups(names, fails) if fails(names) else ()
    blame = f"; groups {', '.join(guilty[:5])}" if guilty else ""
    return VerificationError(
        f"the slim model is not the masked original: {'; '.join(map(str, failed))}{blame}",
        "nothing was written; protect these layers, and report the model: a rule is wrong",
    )
