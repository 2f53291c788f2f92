"""``shrink`` and ``plan``: the story of a compilation, in order."""

from __future__ import annotations

from typing import Any

from torch import nn

from graphprune.asking.request import Request
from graphprune.axes.dependency import DependencyGraph
from graphprune.cutting.cut import cut, equals_masked
from graphprune.cutting.lossless import cut_lossless
from graphprune.cutting.repaired import repairing
from graphprune.face.trace import traced
from graphprune.face.verb import takes
from graphprune.ground.clock import Clock
from graphprune.ground.errors import InputError
from graphprune.planning import Plan
from graphprune.results.result import Proposal, Result
from graphprune.searching.auto import prepare_best
from graphprune.searching.meet import meet
from graphprune.searching.not_slower import not_slower
from graphprune.searching.prepared import Prepared
from graphprune.searching.rounds import planned

__all__ = ["plan", "shrink"]


@takes(Request)
def shrink(model: nn.Module | DependencyGraph, example_inputs: Any, request: Request) -> Result:
    """Removes the least important coupled units of ``model`` and proves the result.

    The model is left as it was: its mode, gradients, hooks and weights.

    Args:
        model: the model, or its graph from `trace`.
        example_inputs: a tensor, a tuple of arguments, a dict of keywords, or ``(args, kwargs)``.

    Raises:
        InputError: an option is wrong, or the model does not run on the inputs, or on the calibration data.
        CaptureError: the model cannot be captured.
        BudgetError: a budget cannot be reached; the message gives the smallest share.
        ExportError: a budget needs the ONNX file, and the model cannot be exported; or widths are to be learned
            and onnxruntime cannot be timed: give ``align=1`` then.
        PlanError: ``plan`` does not fit the model.
        VerificationError: the slim model is not what was asked for; the message names node and group.
    """
    clock = Clock(request.progress)
    repairer = repairing(request)
    graph = traced(model, example_inputs, request.wanted_outputs, clock)

    if request.is_lossless:
        return Result.of(cut_lossless(graph, request, clock), clock.seconds)

    if request.plan is not None:
        request.plan.check(graph)
        replayed = cut(graph, request.plan, clock, equals_masked(request.seed), request.seed)
        return Result.of(repairer(replayed, clock) if repairer else replayed, clock.seconds)

    prepared = prepare_best(graph, request, repairer, clock)
    if request.not_slower:
        prepared = not_slower(prepared, clock)
    made = meet(prepared, repairer, clock)
    return Result.of(made, clock.seconds, scores=prepared.scores, **_timing(prepared))


@takes(Request)
def plan(model: nn.Module | DependencyGraph, example_inputs: Any, request: Request) -> Proposal:
    """What `shrink` would do with the same arguments, without cutting anything.

    The proposal has the plan, its costs, and what each of them could be at the least. A latency is predicted here and
    not yet measured.

    Args:
        model: the model, or its graph from `trace`.
        example_inputs: as for `shrink`.

    Raises:
        InputError, CaptureError, BudgetError, ExportError: as for `shrink`.
    """
    if request.instead:
        raise InputError(f"plan makes a plan, and {request.instead[0]} stands for one", "give a budget")
    clock = Clock(request.progress)
    graph = traced(model, example_inputs, request.outputs, clock)
    prepared = prepare_best(graph, request, repairing(request), clock)
    if request.not_slower:
        prepared = not_slower(prepared, clock)
    with clock("plan"):
        return _proposal(prepared, planned(prepared))


def _timing(prepared: Prepared) -> dict[str, Any]:
    """With what the slim model is timed when it is saved."""
    source = prepared.profile or prepared.request
    return {"profile": prepared.profile, "threads": source.threads, "batch": source.batch}


def _proposal(prepared: Prepared, made: Plan) -> Proposal:
    kept = {name: indices.shape[-1] for name, indices in made.groups.items()}
    widths = {name: (prepared.graph.by_name[name].size, size) for name, size in kept.items()}
    return Proposal(made, prepared.cost({}), prepared.cost(kept), prepared.smallest, widths)
