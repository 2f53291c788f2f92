"""Pruning in rounds: scores are taken anew from what is left, and one plan relative to the original comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.program import Program, Stored
from graphprune.capture.raising import raise_program
from graphprune.cutting.blame import refusal
from graphprune.cutting.repaired import Repairing
from graphprune.ground.clock import Clock
from graphprune.ground.errors import InputError
from graphprune.planning import Limit, Plan, make_plan, spread
from graphprune.planning.schedule import Schedule, width_after
from graphprune.results.result import Result
from graphprune.rewriting import rewrite, slim_graph
from graphprune.verifying import Check, Verdict, check_random, verify

__all__ = ["Between", "Rounds", "Scores", "plan_in_rounds", "prune_in_rounds"]

Scores = Mapping[str, Tensor | None]
Between = Callable[[Result], Any]


@dataclass(frozen=True)
class Rounds:
    """How to go.

    Args:
        count: how many rounds.
        schedule: see `graphprune.planning.schedule`.
        score: graph → scores of its groups.
        choose: scores of the *original's* groups → kept units under the whole budget.
        limits: of the original's groups; every round keeps to their steps.
        record: how the plan was asked for.
        between: called after every round but the last, see `graphprune.shrink`.
        seed: of the checks.
        mend: brings what a round leaves nearer to the original, before it is trained and judged anew.
    """

    count: int
    schedule: str | Schedule
    score: Callable[[DependencyGraph], Scores]
    choose: Callable[[Scores], Mapping[str, Tensor]]
    limits: Mapping[str, Limit]
    record: Mapping[str, Any]
    between: Between | None
    seed: int
    mend: Repairing | None = None


@dataclass(frozen=True)
class _State:
    """What is left: its graph, its layers, the plan so far (none before the first round), what was checked, and the
    tensors that were repaired."""

    graph: DependencyGraph
    module: nn.Module | None = None
    plan: Plan | None = None
    checks: tuple[Check, ...] = ()
    repaired: tuple[str, ...] = ()


def prune_in_rounds(graph: DependencyGraph, rounds: Rounds, clock: Clock) -> Result:
    """The result of the last round, with repair and training between them and one plan relative to ``graph``.

    In every round the whole budget is planned under fresh scores, and groups go a part of the way there. Every round
    is proved against the weights that it started from, and the whole plan against the original on random parameters.

    Raises:
        InputError: ``between`` gives something that is not the round's slim model; sizes depend on data.
        VerificationError: a check of a round fails.
    """
    state = _start(graph)
    for number in range(1, rounds.count):
        state = _Round(graph, state, rounds, number, clock).next()
    return _Round(graph, state, rounds, rounds.count, clock).last()


def _start(graph: DependencyGraph) -> _State:
    if len(graph.program.batch_primes) > graph.program.dynamic_batch:
        raise InputError("sizes inside this model depend on data", "shrink it in one round")
    return _State(graph)


def plan_in_rounds(graph: DependencyGraph, rounds: Rounds) -> Plan:
    """The plan of all rounds, without training; the weights stay the original's, so it can be carried out on that."""
    silent, state = Clock(lambda stage: None), _start(graph)
    for number in range(1, rounds.count):
        state = _Round(graph, state, rounds, number, silent).next()
    return _Round(graph, state, rounds, rounds.count, silent).plan()


@dataclass(frozen=True)
class _Round:
    """One round: ``graph`` is the original's, ``state`` what it starts from."""

    graph: DependencyGraph
    state: _State
    rounds: Rounds
    number: int
    clock: Clock

    def next(self) -> _State:
        """What the next round starts from."""
        step = self._step()
        slim, module = self._rewritten(self.state.graph, step)
        plan, checks, repaired = self._joined(step), self.state.checks, self.state.repaired
        if self.rounds.between is not None or self.rounds.mend is not None:
            result = self._result(plan, step, slim, module)
            returned = self._trained(result)
            slim = replace(slim, stored=_stored(slim, result.model, returned))
            module = raise_program(slim)
            found = result.verdict.checks[len(checks) :]
            checks += tuple(replace(check, name=f"round {self.number}: {check.name}") for check in found)
            repaired = result.repair.tensors if result.repair else ()
        return _State(slim_graph(self.state.graph, step, slim), module, plan, checks, repaired)

    def _trained(self, result: Result) -> Any:
        """What ``between`` makes of it."""
        if self.rounds.between is None:
            return None
        with self.clock("between rounds"):
            return self.rounds.between(result)

    def plan(self) -> Plan:
        """The plan of all rounds up to this one."""
        return self._joined(self._step())

    def last(self) -> Result:
        """The result of the last round."""
        step = self._step()
        plan = self._joined(step)
        slim, module = self._rewritten(self.state.graph, step)
        return self._result(plan, step, slim, module)

    def _step(self) -> Plan:
        """What this round keeps of what is left."""
        state, rounds = self.state, self.rounds
        with self.clock("score"):
            scores = rounds.score(state.graph if state.module is None else _with_layers(state))
        with self.clock("plan"):
            of_all = scores if state.plan is None else spread(self.graph, state.plan.groups, scores)
            wanted = {name: int(_row(kept).sum()) for name, kept in rounds.choose(of_all).items()}
            kept = {}
            for group in state.graph.groups:
                score = scores[group.name]
                if score is not None and wanted[group.name] < group.size:
                    size = self._width(group.name, group.size, wanted[group.name])
                    order = torch.argsort(score.cpu(), dim=-1, descending=True, stable=True)
                    kept[group.name] = order[..., :size]
            return make_plan(state.graph, kept, rounds.record)

    def _width(self, name: str, now: int, wanted: int) -> int:
        """On the way to ``wanted``, at a width that is permitted at the end too, lest the group is caught between."""
        width = width_after(now, wanted, self.number, self.rounds.count, self.rounds.schedule)
        permitted = replace(self.rounds.limits[name], fixed=None).near(width)
        return min(max(permitted, wanted), now)

    def _rewritten(self, graph: DependencyGraph, plan: Plan) -> tuple[Program, fx.GraphModule]:
        with self.clock("rewrite"):
            slim = rewrite(graph, plan)
            return slim, raise_program(slim)

    def _joined(self, step: Plan) -> Plan:
        return step if self.state.plan is None else self.state.plan.then(step, self.graph)

    def _checked(self, plan: Plan, step: Plan, slim: Program, module: fx.GraphModule) -> tuple[Check, ...]:
        """The round against its own start, and the structure of all rounds so far against the original."""
        with self.clock("verify"):
            found = verify(self.state.graph, step, slim, module, self.rounds.seed).checks
            if self.state.plan is None:
                return found
            whole = check_random(self.graph, plan, slim, self.rounds.seed)
            return (*found, replace(whole, name=f"all rounds together, {whole.name}"))

    def _result(self, plan: Plan, step: Plan, slim: Program, module: fx.GraphModule) -> Result:
        """What the round comes to, proved, then repaired."""
        verdict = Verdict((*self.state.checks, *self._checked(plan, step, slim, module)))
        if not verdict.passed:
            raise refusal(self.graph, plan, verdict, self.rounds.seed)
        after = self.graph.cost({name: kept.shape[-1] for name, kept in plan.groups.items()})
        result = Result(module, plan, verdict, self.graph, self.graph.cost(), after, dict(self.clock.seconds))
        return result if self.rounds.mend is None else self._mended(result, slim, self.rounds.mend)

    def _mended(self, result: Result, slim: Program, mend: Repairing) -> Result:
        """Repaired towards the original; tensors of earlier rounds differ from its cut still."""
        result = mend(result, slim, self.clock)
        assert result.repair is not None
        tensors = tuple(dict.fromkeys((*self.state.repaired, *result.repair.tensors)))
        return replace(result, repair=replace(result.repair, tensors=tensors))


def _with_layers(state: _State) -> DependencyGraph:
    """Criteria that look at layers find those of the slim model."""
    return replace(state.graph, program=replace(state.graph.program, model=state.module))


def _row(mask: Tensor) -> Tensor:
    return mask if mask.dim() == 1 else mask[0]


def _stored(slim: Program, module: nn.Module, returned: Any) -> dict[str, Stored]:
    """The round's tensors as ``between`` has left them: in the module that it was given, or in what it returns."""
    model = returned.model if isinstance(returned, Result) else returned
    model = model if isinstance(model, nn.Module) else module
    tensors: dict[str, Tensor] = {**dict(model.named_parameters(remove_duplicate=False))}
    tensors |= dict(model.named_buffers(remove_duplicate=False))
    stored = {}
    for name, item in slim.stored.items():
        given = tensors.get(name, item.tensor)
        if given.shape != item.tensor.shape or given.dtype != item.tensor.dtype:
            raise InputError(
                f"between returned a model whose {name} is {given.dtype} {tuple(given.shape)}, the round's is "
                f"{item.tensor.dtype} {tuple(item.tensor.shape)}",
                "train the model of the result that it is given, and return that, the result or nothing",
            )
        stored[name] = replace(item, tensor=given)
    return stored
