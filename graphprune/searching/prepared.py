"""What a request comes to before anything is cut: a plan, its costs, and what could be reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from graphprune.asking.request import AUTO, Request
from graphprune.axes.cost import CostFunction
from graphprune.axes.dependency import DependencyGraph
from graphprune.cutting.harm import harm_of
from graphprune.ground.clock import Clock
from graphprune.ground.errors import InputError
from graphprune.planning import (
    Budget,
    Constraints,
    Limit,
    Plan,
    Target,
    choose,
    find_limits,
    known_costs,
    make_plan,
)
from graphprune.profiling import Profile, liked_multiples, profile
from graphprune.scoring import Criterion, Importance, PeerImportance
from graphprune.searching.rounds import Rounds, Scores, plan_in_rounds
from graphprune.searching.trials import balanced

__all__ = ["Prepared", "Proposal", "prepare", "propose", "recorded_outputs"]

# costs that need the original's ONNX file
PROFILED = ("onnx_bytes", "latency")


@dataclass(frozen=True)
class Proposal:
    """A plan that has not been carried out.

    Attributes:
        plan: what would be kept.
        before: costs of the original: "macs", "params", "memory" (bytes) and, where a budget asks for them,
            "onnx_bytes" and "latency" (milliseconds).
        after: what the plan would leave of them, latency as far as it can be predicted.
        smallest: the least that the request's constraints allow.
        widths: group → units before and after.
    """

    plan: Plan
    before: Mapping[str, float]
    after: Mapping[str, float]
    smallest: Mapping[str, float]
    widths: Mapping[str, tuple[int, int]]

    def __repr__(self) -> str:
        costs = (f"{kind}={self.before[kind]:,.5g} → {self.after[kind]:,.5g}" for kind in self.after)
        return f"Proposal({', '.join(costs)}, {self.plan})"

    def to_dict(self) -> dict[str, Any]:
        """For `json.dumps`."""
        return {
            "request": self.plan.request,
            "before": dict(self.before),
            "after": dict(self.after),
            "smallest": dict(self.smallest),
            "groups": {name: {"size": size, "kept": kept} for name, (size, kept) in self.widths.items()},
        }


@dataclass(frozen=True)
class Prepared:
    """All that planning for a request needs, so that a second plan costs next to nothing."""

    graph: DependencyGraph
    request: Request
    scores: Mapping[str, Tensor | None]
    limits: Mapping[str, Limit]
    costs: Mapping[str, CostFunction]
    profile: Profile | None
    record: Mapping[str, Any]

    @cached_property
    def smallest(self) -> dict[str, float]:
        """The least of every cost that the constraints allow."""
        return self.cost({name: _finest(limit).least for name, limit in self.limits.items()})

    def cost(self, sizes: Mapping[str, int]) -> dict[str, float]:
        """Every cost at these sizes of groups."""
        by_atom = {self.graph.by_name[name].atom: size for name, size in sizes.items()}
        return {kind: function.value(by_atom) for kind, function in self.costs.items()}

    def plan(self, scales: Mapping[str, float] | None = None) -> Plan:
        """The plan that meets the budgets.

        Args:
            scales: by kind of budget, what to aim at over what was asked for.

        Raises:
            BudgetError: a budget cannot be reached; the message gives the smallest share.
        """
        rounds = self.rounds(scales)
        if self.request.rounds > 1:
            return plan_in_rounds(self.graph, rounds)
        return make_plan(self.graph, rounds.choose(self.scores), self.record)

    def _wanted(self, scales: Mapping[str, float]) -> Budget | Sequence[Target]:
        budgets = self.request.budgets
        if budgets[0].kind == "ratio":
            return budgets[0]
        return [Target(budget, self.costs[budget.kind], scales.get(budget.kind, 1.0)) for budget in budgets]

    def rounds(self, scales: Mapping[str, float] | None = None) -> Rounds:
        """How to go towards the budgets, in as many rounds as the request says; ``scales`` as for `plan`."""
        request, wanted = self.request, self._wanted(scales or {})

        def chosen(scores: Scores) -> Mapping[str, Tensor]:
            return choose(self.graph, scores, wanted, self.limits, request.ranking)

        def balance(scores: Scores) -> Mapping[str, Tensor]:
            return balanced(scores, chosen, self._harm, request.trials)

        def score(graph: DependencyGraph) -> Scores:
            whole = graph is self.graph
            return self.scores if whole else request.criterion(graph, graph.program.tensors, request.seed)

        choice = balance if request.trials else chosen
        return Rounds(
            request.rounds,
            request.schedule,
            score,
            choice,
            self.limits,
            self.record,
            request.between,
            request.seed,
        )

    @cached_property
    def _harm(self) -> Callable[[Mapping[str, Tensor]], float]:
        return harm_of(self.graph, self.request.calibration, self.request.evaluate)


def prepare(
    graph: DependencyGraph, request: Request, clock: Clock, measured: Profile | None = None
) -> Prepared:
    """Scores units, and measures what must be measured.

    Args:
        measured: an earlier profile of this graph.

    Raises:
        InputError: see `graphprune.shrink`.
        ExportError: the runtime's liked widths are unknown and it cannot be timed, or the original cannot be exported.
    """
    if measured is not None:
        _check_profile(measured, graph, request)
    align = request.align
    if align == AUTO:
        with clock("learn the runtime's widths"):
            multiples = liked_multiples()
        coarser = {kind: multiple * request.coarser for kind, multiple in multiples.items()}
        constraints = replace(request.constraints, align=coarser)
    else:
        constraints = request.constraints
    limits = find_limits(graph, constraints)
    with clock("score"):
        scores = request.criterion(graph, graph.program.tensors, request.seed)
    costs: dict[str, CostFunction] = known_costs(graph)
    if _profiled(request) and measured is None:
        with clock("profile the original"):
            measured = profile(graph, request.threads, request.batch, clock.progress)
    if measured is not None:
        costs |= {
            kind: getattr(measured, kind) for kind in PROFILED if kind in {b.kind for b in request.budgets}
        }
    record = _record(request, constraints, scores) | recorded_outputs(graph)
    return Prepared(graph, request, scores, limits, costs, measured, record)


def _check_profile(measured: Profile, graph: DependencyGraph, request: Request) -> None:
    if measured.graph is not graph:
        raise InputError("the profile is another model's", "give the one that was made of this graph")
    timing = (request.threads, request.batch)
    if timing not in ((1, 1), (measured.threads, measured.batch)):
        raise InputError(
            f"threads={timing[0]}, batch={timing[1]} are not those of the profile",
            "profile the model with them",
        )


def _profiled(request: Request) -> bool:
    """Whether the original must be exported."""
    return any(budget.kind in PROFILED for budget in request.budgets)


def propose(prepared: Prepared, plan: Plan) -> Proposal:
    """What a plan costs, and what could be reached."""
    kept = {name: indices.shape[-1] for name, indices in plan.groups.items()}
    widths = {name: (prepared.graph.by_name[name].size, size) for name, size in kept.items()}
    return Proposal(plan, prepared.cost({}), prepared.cost(kept), prepared.smallest, widths)


def _finest(limit: Limit) -> Limit:
    while (finer := limit.finer()) != limit:
        limit = finer
    return limit


def _record(
    request: Request, constraints: Constraints, scores: Mapping[str, Tensor | None]
) -> dict[str, Any]:
    """The request as it stands in a plan."""
    settings = {
        key: list(value) if isinstance(value, tuple) else value for key, value in asdict(constraints).items()
    }
    if request.align == AUTO:
        settings |= {"align": AUTO, "multiples": dict(settings["align"])}
    timed = any(budget.kind == "latency" for budget in request.budgets)
    several: dict[str, Any] = {"trials": request.trials} if request.trials else {}
    if request.rounds > 1:
        named = getattr(request.schedule, "__name__", "a function")
        schedule = request.schedule if isinstance(request.schedule, str) else named
        several |= {"rounds": request.rounds, "schedule": schedule}
    if request.tried:
        several["tried"] = dict(request.tried)
    return {
        "budget": {budget.kind: budget.request for budget in request.budgets},
        **_described(request.criterion, scores),
        **settings,
        "ranking": request.ranking,
        "seed": request.seed,
        **several,
        **({"threads": request.threads, "batch": request.batch} if timed else {}),
    }


def recorded_outputs(graph: DependencyGraph) -> dict[str, Any]:
    """Which outputs the slim model returns, for the record; nothing where it returns all."""
    return {"outputs": list(graph.program.wanted)} if graph.program.wanted else {}


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
