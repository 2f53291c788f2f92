"""``shrink`` and ``plan``: the story of a compilation, in order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from graphprune.asking.request import Request
from graphprune.axes.dependency import DependencyGraph
from graphprune.cutting.cut import Cut, cut, equals_masked
from graphprune.cutting.fitting import Fit
from graphprune.cutting.grafted import fitted, with_proof
from graphprune.cutting.lossless import cut_lossless
from graphprune.cutting.repaired import Repairing, repairing
from graphprune.face.opening import check_options, fitting_plan, holding_tables, tables_named
from graphprune.face.trace import traced
from graphprune.face.verb import takes
from graphprune.ground.clock import Clock
from graphprune.ground.errors import InputError
from graphprune.results.proposal import Proposal
from graphprune.results.result import Result
from graphprune.searching.auto import prepare_best
from graphprune.searching.latency import not_slower, predicted_note
from graphprune.searching.meet import meet_well
from graphprune.searching.prepared import Known, Prepared
from graphprune.searching.rounds import planned
from graphprune.searching.settled import Settled, settle

__all__ = ["Analysed", "analysed", "carried_out", "check_plannable", "plan", "proposed", "shrink"]


@takes(Request)
def shrink(model: nn.Module | DependencyGraph, example_inputs: Any, request: Request) -> Result:
    """Removes the least important coupled units of ``model`` and proves the result.

    The model is left as it was: its mode, gradients, hooks and weights.

    Args:
        model: the model, its graph from `trace`, or the path of an ONNX file.
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
    return carried_out(analysed(model, example_inputs, request, clock), clock)


@takes(Request)
def plan(model: nn.Module | DependencyGraph, example_inputs: Any, request: Request) -> Proposal:
    """What `shrink` would do with the same arguments, without cutting anything.

    The proposal has the plan, its costs, and what each of them could be at the least. A latency is predicted here and
    not yet measured.

    Args:
        model: the model, its graph from `trace`, or the path of an ONNX file.
        example_inputs: as for `shrink`; of a file as for `trace`.

    Raises:
        InputError, CaptureError, BudgetError, ExportError: as for `shrink`.
    """
    check_plannable(request)
    clock = Clock(request.progress)
    return proposed(analysed(model, example_inputs, request, clock), clock)


def check_plannable(request: Request) -> None:
    """Raises InputError where nothing is left to plan."""
    if request.instead:
        raise InputError(f"plan makes a plan, and {request.instead[0]} stands for one", "give a budget")


@dataclass(frozen=True)
class Analysed:
    """A model whose axes are solved, and what is asked of it with nothing left open.

    Args:
        fit: what its own code needs, where the same class is to come back.
        known: what was found of it for other budgets.
    """

    graph: DependencyGraph
    settled: Settled
    fit: Fit | None
    known: Known = field(default_factory=Known)

    @property
    def request(self) -> Request:
        """What is asked."""
        return self.settled.request

    @property
    def repairer(self) -> Repairing | None:
        """What is to be repaired."""
        return repairing(self.request)

    def with_budget(self, kind: str, value: float | str | None) -> Analysed:
        """The same with another budget; what is found for one holds for the other."""
        changed: dict[str, Any] = {kind: value}
        plain = self.settled.plain and replace(self.settled.plain, **changed)
        settled = replace(self.settled, request=replace(self.request, **changed), plain=plain)
        return replace(self, settled=settled)


def analysed(
    model: nn.Module | DependencyGraph, example_inputs: Any, request: Request, clock: Clock
) -> Analysed:
    """What no budget changes, but for scores.

    Raises:
        InputError, CaptureError: as for `shrink`.
    """
    # capture the model and solve its axes: what is coupled with what
    graph = traced(model, example_inputs, request.wanted_outputs, request.wanted_dynamic, clock)
    check_options(graph, request)
    request = holding_tables(graph, request)

    # find what its own code needs, where the same class is to come back
    graph, request, fit = fitted(graph, request, clock)

    # find or make what the request leaves open: data, a repair, how the result is judged
    return Analysed(graph, settle(graph, request, clock), fit)


def carried_out(of: Analysed, clock: Clock) -> Result:
    """The slim model that meets the budgets, proved.

    Raises:
        GraphpruneError: as for `shrink`.
    """
    graph, request, dtype = of.graph, of.request, of.request.wanted_export_dtype
    if request.instead:
        instead = cut_lossless(graph, request, clock) if request.is_lossless else None
        made = with_proof(instead or _replayed(graph, request, of.repairer, clock), of.fit, request.seed)
        return Result.of(made, clock.seconds, export_dtype=dtype)

    # score the units, and find the limits and costs of every group
    with tables_named(graph, request):
        prepared = _prepared(of, clock)
        # plan, rewrite, raise to layers, verify, repair
        made = with_proof(meet_well(of.settled, prepared, of.repairer, clock), of.fit, request.seed)
    timing = prepared.profile or request
    return Result.of(
        made,
        clock.seconds,
        scores=prepared.scores,
        profile=prepared.profile,
        threads=timing.threads,
        batch=timing.batch,
        export_dtype=timing.export_dtype,
        notes=(*of.settled.notes, *predicted_note(made.plan)),
    )


def proposed(of: Analysed, clock: Clock) -> Proposal:
    """The plan that meets the budgets, and what it costs; nothing is cut.

    Raises:
        GraphpruneError: as for `plan`.
    """
    graph = of.graph
    with tables_named(graph, of.request):
        prepared = _prepared(of, clock)
        with clock("plan"):
            made = planned(prepared)
    widths = {name: (graph.by_name[name].size, size) for name, size in made.sizes.items()}
    before, after = prepared.cost({}), prepared.cost(made.sizes)
    return Proposal(made, before, after, prepared.smallest, widths, graph.program.dimensions)


def _prepared(of: Analysed, clock: Clock) -> Prepared:
    """What planning needs, with the best of several choices, and with widths that are not slower, if asked for."""
    prepared = prepare_best(of.graph, of.request, of.repairer, clock, of.known)
    return not_slower(prepared, clock) if of.request.not_slower else prepared


def _replayed(graph: DependencyGraph, request: Request, repairer: Repairing | None, clock: Clock) -> Cut:
    """The cut by the plan that is given."""
    assert request.plan is not None
    plan = fitting_plan(graph, request.plan)
    made = cut(graph, plan, clock, equals_masked(request.seed), request.seed)
    return repairer(made, clock) if repairer else made
