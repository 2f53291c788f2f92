"""Composes the stages: the only place that knows all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import nn

from graphprune.asking.request import AUTO, Options, Request, make_request
from graphprune.axes.dependency import DependencyGraph, build_graph
from graphprune.calibration import Evaluate, Loss
from graphprune.capture import capture
from graphprune.capture.raising import raise_program
from graphprune.cutting.blame import refusal
from graphprune.cutting.lossless import shrink_lossless
from graphprune.cutting.repaired import Repairing, find_repair, reusable
from graphprune.ground.clock import Clock, Progress
from graphprune.ground.errors import InputError
from graphprune.planning import Plan
from graphprune.planning.schedule import Schedule
from graphprune.profiling import Profile
from graphprune.repair import Repair
from graphprune.results.result import Result
from graphprune.rewriting import rewrite
from graphprune.scoring import Importance
from graphprune.searching.auto import settled
from graphprune.searching.latency import measured_plan
from graphprune.searching.prepared import Prepared, Proposal, prepare, propose
from graphprune.searching.rounds import Between, prune_in_rounds
from graphprune.verifying import verify

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
    if "calibration" in options:
        options["calibration"] = reusable(options["calibration"])
    request = make_request(options)
    graph = _graph(model, example_inputs, options.get("outputs", ()), clock)
    request, profile = settled(graph, request, None, profile, clock)
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
    rounds: int = 1,
    schedule: str | Schedule = "linear",
    between: Between | None = None,
    trials: int = 0,
    evaluate: Evaluate | None = None,
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
            an object of ``torch_pruning.importance``, or any `graphprune.scoring.Importance`. "auto" tries several,
            each with a ranking, and takes the one whose slim model (repaired, if it is to be) is nearest to the
            original: each is made of every other batch of ``calibration`` and judged on the rest, and
            ``result.plan.request["tried"]`` has all distances.
        calibration: batches for criteria that look at data, for ``repair`` and for ``trials``: a tensor, a list of
            batches, a DataLoader; a batch is what ``example_inputs`` may be, or a pair of that and labels.
        loss: ``loss(outputs)`` or ``loss(outputs, batch)`` → a number, for criteria that take gradients; without one,
            the outputs times random signs, see `graphprune.calibration.losses.signs_loss`.
        align: widths are multiples of this; "auto" takes the multiples that onnxruntime likes on this machine, which
            are learned once (some seconds), and gives way where a budget could not be met within 1 % otherwise.
        min_keep: units that every group keeps at least.
        protect: patterns of layer names that must not change.
        ranking: "global" (scores of all groups together), "uniform" (the same share of every group), "isomorphic"
            (among groups of the same structure) or "per_cost" (score over cost saved).
        max_ratio: the share of its units that any group may lose.
        ratios: patterns of layer names → the share of the units they produce to remove, whatever the budget; or names
            of groups, as `Sensitivity.ratios` gives them.
        outputs: those outputs that the slim model shall return; all if none is named, see `trace`.
        threads: of onnxruntime, for ``latency``.
        batch: examples in one run, likewise.
        rounds: plan in so many rounds, with scores taken anew from what is left, towards the same budget. The plan is
            one, relative to the original.
        schedule: "linear" (as many units in every round), "geometric" (the same share of what is left), or a function
            from the share of the rounds to the share of what goes that has gone.
        between: called with the `Result` after every round but the last, to train its model (in place, or returning a
            model or result of the same shapes); the next round starts from these weights. Every round is then checked
            against its own start, and the whole plan against the original on random parameters.
        trials: tune how much each group loses by so many measurements (in every round) of the slim model's outputs on
            ``calibration``, without which the example inputs serve; the importance says which units of a group go.
        evaluate: ``evaluate(model)`` → a number, higher is better, to measure by instead of the outputs' relative L2
            distance.
        seed: of random importance and of the checks' random tensors.
        plan: replay this plan instead of a budget.
        profile: what `profile` measured of this graph, so that it is not measured again.
        lossless: remove what is dead, and nothing else: units that are zero wherever they are read, that nobody
            reads, that are constant (a bias takes the constant) or that repeat others. The slim model computes what
            the model computes, which is checked; ``result.lossless`` says what went and what stayed, and why.
        repair: once the cut is proved, bring the slim model nearer to the original on the calibration data, without
            training: least squares on the weights of the layers that read what was cut, their biases, statistics of
            batch norms. ``result.repair`` reports it layer by layer. Steps can be left out, see `Repair`. With
            ``rounds`` what each of them leaves is repaired, before scores are taken anew; with a latency budget, which
            is met by trying plans out, the last alone.

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
        "rounds": rounds,
        "schedule": schedule,
        "between": between,
        "trials": trials,
        "evaluate": evaluate,
        "seed": seed,
    }
    other = ["plan"] * (plan is not None) + ["lossless"] * lossless
    request = make_request(options, other, shared=mend is not None)
    graph = _graph(model, example_inputs, outputs or (plan.outputs if plan else ()), clock)
    if dead:
        return shrink_lossless(graph, request.constraints, plan, seed, clock)
    if plan is None:
        return _shrink_planned(graph, request, profile, mend, clock)
    plan.check(graph)
    return _carried_out(graph, plan, seed, mend, clock)


def _shrink_planned(
    graph: DependencyGraph, request: Request, profile: Profile | None, mend: Repairing | None, clock: Clock
) -> Result:
    """By budgets; a result with the runtime's liked widths can be asked for coarser ones."""
    request, profile = settled(graph, request, mend, profile, clock)
    prepared = prepare(graph, request, clock, profile)

    def coarser() -> Result:
        wider = replace(request, coarser=request.coarser * 2)
        return _shrink_planned(graph, wider, prepared.profile, mend, Clock(clock.progress))

    return replace(
        _made(prepared, mend, clock),
        scores=prepared.scores,
        profile=prepared.profile,
        threads=prepared.profile.threads if prepared.profile else request.threads,
        batch=prepared.profile.batch if prepared.profile else request.batch,
        coarser=coarser if request.align == AUTO and request.between is None else None,
    )


def _made(prepared: Prepared, mend: Repairing | None, clock: Clock) -> Result:
    """Weights that change between rounds are pruned round by round; else there is one plan, and one cut."""
    graph, request = prepared.graph, prepared.request
    timed = any(budget.kind == "latency" for budget in request.budgets)
    if request.between is not None or (mend is not None and request.rounds > 1 and not timed):
        return prune_in_rounds(graph, replace(prepared.rounds(), mend=mend), clock)
    if timed:
        return _carried_out(graph, measured_plan(prepared, clock), request.seed, mend, clock)
    with clock("plan"):
        plan = prepared.plan()
    return _carried_out(graph, plan, request.seed, mend, clock)


def _carried_out(
    graph: DependencyGraph, plan: Plan, seed: int, mend: Repairing | None, clock: Clock
) -> Result:
    with clock("rewrite"):
        slim = rewrite(graph, plan)
        module = raise_program(slim)
    with clock("verify"):
        verdict = verify(graph, plan, slim, module, seed)
        if not verdict.passed:
            raise refusal(graph, plan, verdict, seed)
    sizes = {name: kept.shape[-1] for name, kept in plan.groups.items()}
    result = Result(module, plan, verdict, graph, graph.cost(), graph.cost(sizes), clock.seconds)
    return result if mend is None else mend(result, slim, clock)


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
