"""Composes the stages: the only place that knows all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from graphprune.axes.dependency import DependencyGraph, build_graph
from graphprune.capture import capture
from graphprune.capture.raising import raise_program
from graphprune.clock import Clock, Progress
from graphprune.errors import InputError, PlanError, VerificationError
from graphprune.lossless import find_lossless, make_report
from graphprune.measured import measured_plan
from graphprune.planning import Constraints, Plan, find_limits, make_plan
from graphprune.profiling import Profile
from graphprune.proposal import Proposal, prepare, propose, recorded_outputs
from graphprune.repair import Repair
from graphprune.repairing import Repairing, find_repair, reusable
from graphprune.request import AUTO, Options, Request, make_request
from graphprune.result import Result
from graphprune.rewriting import rewrite
from graphprune.scoring import Importance, Loss
from graphprune.verifying import Verdict, check_random, guilty_groups, verify, verify_unchanged

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["plan", "shrink", "trace"]


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


def plan(
    model: nn.Module | DependencyGraph,
    example_inputs: Any = None,
    *,
    profile: Profile | None = None,
    progress: Progress = lambda stage: None,
    **options: Unpack[Options],
) -> Proposal:
    """What `shrink` would do with the same arguments, without cutting anything: the plan, its costs, and what each
    of them could be at the least.

    A latency is predicted here and not yet measured.

    Raises:
        InputError, CaptureError, BudgetError, ExportError: as for `shrink`.
    """
    clock = Clock(progress)
    request = make_request(options)
    graph = _graph(model, example_inputs, options.get("outputs", ()), clock)
    prepared = prepare(graph, request, clock, profile)
    with clock("plan"):
        return propose(prepared, prepared.plan())


def shrink(
    model: nn.Module | DependencyGraph,
    example_inputs: Any = None,
    *,
    macs: float | str | None = None,
    params: float | str | None = None,
    onnx_bytes: float | str | None = None,
    memory: float | str | None = None,
    latency: float | str | None = None,
    ratio: float | None = None,
    importance: str | Importance = "l2",
    calibration: Any = None,
    loss: Loss | None = None,
    align: int | str = "auto",
    min_keep: int = 1,
    protect: Sequence[str] = (),
    ranking: str = "global",
    max_ratio: float = 1.0,
    ratios: Mapping[str, float] | None = None,
    outputs: Sequence[str] = (),
    threads: int = 1,
    batch: int = 1,
    seed: int = 0,
    plan: Plan | None = None,
    profile: Profile | None = None,
    lossless: bool = False,
    repair: bool | Repair = False,
    progress: Progress = lambda stage: None,
) -> Result:
    """Removes the least important coupled units of ``model`` and proves the result.

    Args:
        model: the model, or its graph from `trace`. It is left as it was.
        example_inputs: a tensor, a tuple of arguments, a dict of keywords, or ``(args, kwargs)``.
        macs: share of the multiply-accumulates to keep, or an amount such as "300M"; units go in the order of
            ``ranking``. Several budgets of costs may be given, and all are met.
        params: of the parameters, likewise.
        onnx_bytes: of the bytes of the ONNX file: a share, a number, or "12MB".
        memory: of the peak activation memory of one example: a share, or "4MB"; see `DependencyGraph.memory`.
        latency: of the time of one run in onnxruntime: a share, or "4ms". It is predicted, measured and corrected.
        ratio: share of the units to remove from every group.
        importance: which units matter: a name such as "l2" or "taylor", "name:aggregate:normalise", a `Criterion`, or
            an object of ``torch_pruning.importance``, or any `graphprune.scoring.Importance`.
        calibration: batches for criteria that look at data, and for ``repair``: a tensor, a list of batches, a
            DataLoader; a batch is what ``example_inputs`` may be, or a pair of that and labels.
        loss: ``loss(outputs)`` or ``loss(outputs, batch)`` → a number, for criteria that take gradients; without one,
            the outputs times random signs, see `graphprune.scoring.calibration.signs_loss`.
        align: widths are multiples of this; "auto" takes the multiples that onnxruntime likes on this machine, which
            are learned once (some seconds), and gives way where a budget could not be met within 1 % otherwise.
        min_keep: units that every group keeps at least.
        protect: patterns of layer names that must not change.
        ranking: "global" (scores of all groups together), "uniform" (the same share of every group), "isomorphic"
            (among groups of the same structure) or "per_cost" (score over cost saved).
        max_ratio: the share of its units that any group may lose.
        ratios: patterns of layer names → the share of the units they produce to remove, whatever the budget.
        outputs: those outputs that the slim model shall return; all if none is named, see `trace`.
        threads: of onnxruntime, for ``latency``.
        batch: examples in one run, likewise.
        seed: of random importance and of the checks' random tensors.
        plan: replay this plan instead of a budget.
        profile: what `profile` measured of this graph, so that it is not measured again.
        lossless: remove what is dead, and nothing else: units that are zero wherever they are read, that nobody
            reads, that are constant (a bias takes the constant) or that repeat others. The slim model computes what
            the model computes, which is checked; ``result.lossless`` says what went and what stayed, and why.
        repair: once the cut is proved, bring the slim model nearer to the original on the calibration data, without
            training: least squares on the weights of the layers that read what was cut, their biases, statistics of
            batch norms. ``result.repair`` reports it layer by layer. Steps can be left out, see `Repair`.

    Raises:
        InputError: an argument is wrong, or the model does not run on the inputs, or on the calibration data.
        CaptureError: the model cannot be captured.
        BudgetError: a budget cannot be reached; the message gives the smallest share.
        ExportError: a budget needs the ONNX file, and the model cannot be exported; or widths are to be learned
            and onnxruntime cannot be timed: give ``align=1`` then.
        PlanError: ``plan`` does not fit the model.
        VerificationError: the slim model is not what was asked for; the message names node and group.
    """
    clock = Clock(progress)
    calibration = reusable(calibration)
    dead = lossless or bool(plan is not None and plan.request.get("lossless"))
    mend = find_repair(repair, calibration, dead, seed)
    options: Options = {
        "macs": macs,
        "params": params,
        "onnx_bytes": onnx_bytes,
        "memory": memory,
        "latency": latency,
        "ratio": ratio,
        "importance": importance,
        "calibration": calibration,
        "loss": loss,
        "align": align,
        "min_keep": min_keep,
        "protect": protect,
        "ranking": ranking,
        "max_ratio": max_ratio,
        "ratios": ratios,
        "threads": threads,
        "batch": batch,
        "seed": seed,
    }
    other = ["plan"] * (plan is not None) + ["lossless"] * lossless
    request = make_request(options, other, shared=mend is not None)
    graph = _graph(model, example_inputs, outputs or (plan.outputs if plan else ()), clock)
    if dead:
        return _shrink_lossless(graph, request.constraints, plan, seed, clock)
    if plan is None:
        return _shrink_planned(graph, request, profile, mend, clock)
    plan.check(graph)
    return _carried_out(graph, plan, seed, mend, clock)


def _shrink_planned(
    graph: DependencyGraph, request: Request, profile: Profile | None, mend: Repairing | None, clock: Clock
) -> Result:
    """By budgets; a result with the runtime's liked widths can be asked for coarser ones."""
    prepared = prepare(graph, request, clock, profile)
    if any(budget.kind == "latency" for budget in request.budgets):
        plan = measured_plan(prepared, clock)
    else:
        with clock("plan"):
            plan = prepared.plan()

    def coarser() -> Result:
        wider = replace(request, coarser=request.coarser * 2)
        return _shrink_planned(graph, wider, prepared.profile, mend, Clock(clock.progress))

    return replace(
        _carried_out(graph, plan, request.seed, mend, clock),
        scores=prepared.scores,
        profile=prepared.profile,
        threads=prepared.profile.threads if prepared.profile else request.threads,
        batch=prepared.profile.batch if prepared.profile else request.batch,
        coarser=coarser if request.align == AUTO else None,
    )


def _carried_out(
    graph: DependencyGraph, plan: Plan, seed: int, mend: Repairing | None, clock: Clock
) -> Result:
    with clock("rewrite"):
        slim = rewrite(graph, plan)
        module = raise_program(slim)
    with clock("verify"):
        verdict = verify(graph, plan, slim, module, seed)
        if not verdict.passed:
            raise _refusal(graph, plan, verdict, seed)
    sizes = {name: kept.shape[-1] for name, kept in plan.groups.items()}
    result = Result(module, plan, verdict, graph, graph.cost(), graph.cost(sizes), clock.seconds)
    return result if mend is None else mend(result, slim, clock)


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
