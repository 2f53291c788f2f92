"""Planning in rounds: scores are taken anew from what is left, and one plan relative to the original comes out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from graphprune.axes.dependency import DependencyGraph
from graphprune.capture.inputs import registered_tensors
from graphprune.capture.program import Program, Stored
from graphprune.cutting.cut import Cut, Proof, cut, equals_masked
from graphprune.cutting.repaired import Repairing
from graphprune.ground.clock import Clock
from graphprune.ground.errors import InputError
from graphprune.planning import Plan, make_plan, spread
from graphprune.planning.schedule import width_after
from graphprune.results.result import Result
from graphprune.rewriting import slim_graph
from graphprune.searching.met import budgets_met
from graphprune.searching.prepared import Prepared, Scales
from graphprune.searching.search import Trial, search
from graphprune.verifying import Check, Verdict, check_random

__all__ = ["cut_in_rounds", "planned"]


@dataclass(frozen=True)
class _State:
    """What a round starts from.

    Args:
        graph: of what is left.
        cut: what the rounds so far have made of the original; None before the first.
        checks: those that the rounds so far have passed.
        repaired: names of the tensors that they have repaired.
    """

    graph: DependencyGraph
    cut: Cut | None = None
    checks: tuple[Check, ...] = ()
    repaired: tuple[str, ...] = ()


def planned(prepared: Prepared, scales: Scales | None = None) -> Plan:
    """The plan that meets the budgets, in as many rounds as were asked for, without training or repair between them.

    Args:
        scales: by kind of budget, what to aim at over what was asked for.

    Raises:
        BudgetError: a budget cannot be reached; the message gives the smallest share.
        InputError: there are several rounds, and sizes inside the model depend on data.
    """
    if prepared.request.rounds == 1:
        return make_plan(prepared.graph, prepared.choose(prepared.scores, scales), prepared.found)
    rounds = _Rounds(prepared, Clock(), scales or {})
    last = rounds.last_state(lambda step: rounds.carried_out(step, None))
    return rounds.step(last, prepared.request.rounds).joined


def cut_in_rounds(prepared: Prepared, repairer: Repairing | None, clock: Clock) -> Cut:
    """The cut of the last round, with repair and training between them, and one plan relative to the original.

    In every round the whole budget is planned under fresh scores, and groups go a part of the way there. Every round
    is proved against the weights that it started from, and the whole plan against the original on random parameters.

    Raises:
        InputError: ``between`` gives something that is not the round's slim model; sizes depend on data.
        VerificationError: a check of a round fails.
    """
    rounds = _Rounds(prepared, clock, {}, repairer)
    last = rounds.last_state(rounds.trained)
    return rounds.made(rounds.step(last, prepared.request.rounds))


@dataclass(frozen=True)
class _Step:
    """What one round is to do: from ``state`` by ``plan``; ``joined`` is the plan of all rounds up to it."""

    number: int
    state: _State
    plan: Plan
    joined: Plan


@dataclass(frozen=True)
class _Rounds:
    """The strategy, and how one step of it is carried out."""

    prepared: Prepared
    clock: Clock
    scales: Scales = field(default_factory=dict)
    repairer: Repairing | None = None

    def last_state(self, carry_out: Any) -> _State:
        """What the last round starts from: all rounds before it are proposed and carried out."""
        program = self.prepared.graph.program
        if len(program.batch_primes) > program.dynamic_batch:
            raise InputError("sizes inside this model depend on data", "shrink it in one round")
        start = _State(self.prepared.graph)

        def propose(trials: list[Trial[_Step, _State]]) -> Iterator[_Step]:
            for number in range(1, self.prepared.request.rounds):
                yield self.step(trials[-1].outcome if trials else start, number)

        done = search(propose, carry_out)
        return done[-1].outcome if done else start

    def step(self, state: _State, number: int) -> _Step:
        """What a round keeps of what is left."""
        prepared, before = self.prepared, state.cut.plan if state.cut else None
        with self.clock("score"):
            scores = prepared.scores if before is None else self._scores(state)
        with self.clock("plan"):
            of_all = scores if before is None else spread(prepared.graph, before.groups, scores)
            left = {group.name: group.size for group in state.graph.groups}
            masks = prepared.choose(of_all, self.scales, left)
            kept = {}
            for name, score in scores.items():
                wanted = int((masks[name] if masks[name].dim() == 1 else masks[name][0]).sum())
                if score is not None and wanted < left[name]:
                    size = self._width(name, left[name], wanted, number)
                    kept[name] = torch.argsort(score.cpu(), dim=-1, descending=True, stable=True)[..., :size]
            plan = make_plan(state.graph, kept, prepared.found)
        return _Step(number, state, plan, before.then(plan, prepared.graph) if before else plan)

    def _scores(self, state: _State) -> Mapping[str, Tensor | None]:
        """Of what is left; criteria that look at layers find those of the slim model."""
        assert state.cut is not None
        request, program = self.prepared.request, replace(state.graph.program, model=state.cut.module)
        return request.criterion(replace(state.graph, program=program), program.tensors, request.seed)

    def _width(self, name: str, now: int, wanted: int, number: int) -> int:
        """On the way to ``wanted``, at a width that is permitted at the end too, lest the group is caught between."""
        request = self.prepared.request
        if number == request.rounds:
            return min(wanted, now)
        width = width_after(now, wanted, number, request.rounds, request.schedule)
        permitted = replace(self.prepared.limits[name], fixed=None).near(width)
        return min(max(permitted, wanted), now)

    def carried_out(self, step: _Step, proof: Proof | None) -> _State:
        """What the next round starts from."""
        made = cut(step.state.graph, step.plan, self.clock, proof, self.prepared.request.seed)
        whole = replace(made, graph=self.prepared.graph, plan=step.joined)
        return _State(slim_graph(step.state.graph, step.plan, made.slim), whole)

    def made(self, step: _Step) -> Cut:
        """The cut of a round, proved with those before it, then repaired."""
        state, seed = step.state, self.prepared.request.seed
        made = cut(state.graph, step.plan, self.clock, lambda made: self._proof(made, step), seed)
        verdict = Verdict((*state.checks, *made.verdict.checks))
        made = replace(made, graph=self.prepared.graph, plan=step.joined, verdict=verdict)
        if self.repairer is None:
            return made
        made = self.repairer(made, self.clock)
        assert made.repair is not None
        # tensors of earlier rounds still differ from the plain cut
        tensors = tuple(dict.fromkeys((*state.repaired, *made.repair.tensors)))
        return replace(made, repair=replace(made.repair, tensors=tensors))

    def _proof(self, made: Cut, step: _Step) -> Verdict:
        """The round against its own start, and the structure of all rounds so far against the original."""
        request, verdict = self.prepared.request, equals_masked(self.prepared.request.seed)(made)
        if step.state.cut is not None:
            whole = check_random(self.prepared.graph, step.joined, made.slim, request.seed)
            verdict = verdict.with_checks(replace(whole, name=f"all rounds together, {whole.name}"))
        if step.number == request.rounds:
            verdict = verdict.with_checks(*budgets_met(self.prepared, step.joined))
        return verdict

    def trained(self, step: _Step) -> _State:
        """What the next round starts from, after repair and training."""
        made, between = self.made(step), self.prepared.request.between
        returned = None
        result = Result.of(made, self.clock.seconds)
        if between is not None:
            with self.clock("between rounds"):
                returned = between(result)
        found = made.verdict.checks[len(step.state.checks) :]
        named = (replace(check, name=f"round {step.number}: {check.name}") for check in found)
        slim = replace(made.slim, stored=_stored(made.slim, result.model, returned))
        return _State(
            slim_graph(step.state.graph, step.plan, slim),
            replace(made, slim=slim),
            (*step.state.checks, *named),
            made.repair.tensors if made.repair else (),
        )


def _stored(slim: Program, module: nn.Module, returned: Any) -> dict[str, Stored]:
    """The round's tensors as ``between`` has left them: in the module that it was given, or in what it returns."""
    model = returned.model if isinstance(returned, Result) else returned
    model = model if isinstance(model, nn.Module) else module
    tensors = registered_tensors(model)
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
