"""All that planning for a request needs: scores, limits and costs, so that a second plan costs next to nothing."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

from torch import Tensor

from graphprune.asking.options import AUTO
from graphprune.asking.record import described, record
from graphprune.asking.request import Request
from graphprune.axes.cost import CostFunction
from graphprune.axes.dependency import DependencyGraph
from graphprune.axes.kinds import KINDS
from graphprune.cutting.harm import harm_of
from graphprune.ground.clock import Clock
from graphprune.ground.errors import InputError
from graphprune.planning import Budget, Constraints, Limit, Target, choose, find_limits, known_costs
from graphprune.profiling import Profile, liked_multiples, profile
from graphprune.profiling.device import MULTIPLE, device_latency
from graphprune.searching.trials import balanced
from graphprune.verifying import Check, captured_checks

__all__ = ["Known", "Prepared", "Scales", "Scores", "prepare"]

Scores = Mapping[str, Tensor | None]
Scales = Mapping[str, float]
Found = TypeVar("Found")


@dataclass
class Known:
    """What was found out of a model, and holds for every request that differs in its budgets alone.

    Args:
        profile: of the original's ONNX file, where one was needed.
    """

    profile: Profile | None = None
    _found: dict[Hashable, Any] = field(default_factory=dict)

    def once(self, name: Hashable, find: Callable[[], Found]) -> Found:
        """What ``find`` gave when it was first asked for by this name."""
        if name not in self._found:
            self._found[name] = find()
        found: Found = self._found[name]
        return found


@dataclass(frozen=True)
class Prepared:
    """What was found out before the first plan.

    Args:
        scores: of the units of every group; None where a group cannot be judged.
        limits: the widths that every group may take.
        costs: by kind, as functions of the groups' sizes.
        found: what the record of a plan says beside the request: multiples, groups that were not judged.
        known: what other requests for this graph need too.
    """

    graph: DependencyGraph
    request: Request
    scores: Scores
    limits: Mapping[str, Limit]
    costs: Mapping[str, CostFunction]
    found: Mapping[str, Any]
    known: Known = field(default_factory=Known, repr=False)

    @property
    def profile(self) -> Profile | None:
        """Of the original's ONNX file, where a cost needs it."""
        return self.known.profile

    def captured(self) -> Sequence[Check]:
        """The checks of the captured program, which no budget changes."""
        program, seed = self.graph.program, self.request.seed
        return self.known.once("captured", lambda: tuple(captured_checks(program, seed)))

    @cached_property
    def smallest(self) -> dict[str, float]:
        """The least of every cost that the constraints allow."""
        return self.cost({name: limit.finest().least for name, limit in self.limits.items()})

    def cost(self, sizes: Mapping[str, int]) -> dict[str, float]:
        """Every cost at these sizes of groups."""
        by_atom = {self.graph.by_name[name].atom: size for name, size in sizes.items()}
        return {kind: function.value(by_atom) for kind, function in self.costs.items()}

    def target(self, budget: Budget, scale: float = 1.0) -> Target:
        """A budget of this model; ``scale`` as in `Target`."""
        return Target(budget, self.costs[budget.kind], scale)

    def choose(
        self, scores: Scores, scales: Scales | None = None, left: Mapping[str, int] | None = None
    ) -> Mapping[str, Tensor]:
        """Kept units of every group, as masks, that meet all budgets.

        Args:
            scales: by kind of budget, what to aim at over what was asked for.
            left: how many units earlier rounds have left of each group; no group can be wider.

        Raises:
            BudgetError: a budget cannot be reached; the message gives the smallest share.
        """
        budgets, limits = self.request.budgets, self.limits
        if budgets[0].kind == "ratio":
            wanted: Any = budgets[0]
        else:
            aims = scales or {}
            wanted = [self.target(b, aims.get(b.kind, 1.0)) for b in budgets]
            limits = {name: limit.within((left or {}).get(name)) for name, limit in limits.items()}

        def chosen(scores: Scores) -> Mapping[str, Tensor]:
            return choose(self.graph, scores, wanted, limits, self.request.ranking)

        trials = self.request.trials
        return balanced(scores, chosen, self._harm, trials) if trials else chosen(scores)

    @cached_property
    def _harm(self) -> Callable[[Mapping[str, Tensor]], float]:
        return harm_of(self.graph, self.request.calibration, self.request.evaluate)

    def wider(self, times: int) -> Prepared:
        """The same with multiples so many times those that the runtime likes."""
        constraints = _aligned(self.request.constraints, times)
        asked = record(self.request, constraints, self.graph)
        return replace(self, limits=find_limits(self.graph, constraints), found={**self.found, **asked})


def prepare(
    graph: DependencyGraph, request: Request, clock: Clock, known: Known | None = None, part: str = ""
) -> Prepared:
    """Scores units, and measures what must be measured.

    Args:
        known: what was found for such a request with other budgets.
        part: of the calibration data, a name for those of the request; no other data have this name.

    Raises:
        InputError: see `graphprune.shrink`.
        ExportError: the runtime's liked widths are unknown and it cannot be timed, or the original cannot be exported.
    """
    known = known or Known()
    known.profile = known.profile or request.profile
    if known.profile is not None:
        _check_profile(known.profile, graph, request)
    constraints, device = request.constraints, request.device
    if request.align == AUTO and device is not None:
        constraints = replace(constraints, align=dict.fromkeys(KINDS, MULTIPLE))
    elif request.align == AUTO:
        with clock("learn the runtime's widths"):
            constraints = _aligned(constraints, 1)
    limits = find_limits(graph, constraints)
    with clock("score"):
        criterion = request.criterion
        name = str(criterion) if isinstance(request.importance, str) else "given"
        scores = known.once(
            ("scores", name, part), lambda: criterion(graph, graph.program.tensors, request.seed)
        )
    elsewhere = {"latency"} if device is not None else set()
    profiled = [b.kind for b in request.budgets if b.profiled and b.kind not in elsewhere]
    if (profiled or request.not_slower) and known.profile is None:
        with clock("profile the original"):
            known.profile = profile(
                graph, request.threads, request.batch, clock.progress, request.wanted_export_dtype
            )
    costs = known_costs(graph) | {kind: getattr(known.profile, kind) for kind in profiled}
    if device is not None:
        costs["latency"] = device_latency(graph, device)
    found = {**record(request, constraints, graph), **described(criterion, scores)}
    return Prepared(graph, request, scores, limits, costs, found, known)


def _aligned(constraints: Constraints, times: int) -> Constraints:
    """With so many times the multiples that the runtime likes."""
    return replace(constraints, align={kind: n * times for kind, n in liked_multiples().items()})


def _check_profile(measured: Profile, graph: DependencyGraph, request: Request) -> None:
    if measured.graph is not graph:
        raise InputError("the profile is another model's", "give the one that was made of this graph")
    timing = (request.threads, request.batch)
    if timing not in ((1, 1), (measured.threads, measured.batch)):
        raise InputError(
            f"threads={timing[0]}, batch={timing[1]} are not those of the profile",
            "profile the model with them",
        )
    if request.export_dtype not in (None, measured.export_dtype):
        raise InputError(
            f"export_dtype={request.export_dtype!r} is not that of the profile", "profile the model with it"
        )
