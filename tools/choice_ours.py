"""graphprune's side of `bench_choice`: criteria, normalisations and rankings, in one round or several.

The model is captured once. A criterion's data are walked once for all of its rankings and budgets, and plans are
carried out without the checks that `shrink` runs, which do not change the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import Any

from bench_task import Task
from torch import Tensor, nn
from torch_pruning.pruner.importance import FPGMImportance, LAMPImportance
from torch_pruning.pruner.importance import GroupHessianImportance as Hessian
from torch_pruning.pruner.importance import GroupMagnitudeImportance as Magnitude
from torch_pruning.pruner.importance import GroupTaylorImportance as Taylor

import graphprune as gp
from graphprune.axes.dependency import DependencyGraph
from graphprune.cutting.cut import cut
from graphprune.probing import Sensitivity
from graphprune.scoring import CRITERIA, Criterion, Importance, PeerImportance
from graphprune.scoring.criteria import LOSSES
from graphprune.scoring.measures import NORMALISERS

__all__ = ["Choice", "Ours", "choices"]

Scores = Mapping[str, Tensor | None]
# criterion, normalisation and ranking of those that are tried in rounds too
IN_ROUNDS = (
    ("fisher", "none", "per_cost"),
    ("fisher", "none", "isomorphic"),
    ("taylor", "none", "global"),
    ("taylor", "none", "per_cost"),
    ("taylor_abs", "none", "per_cost"),
    ("obd", "none", "global"),
    ("reconstruction", "max", "per_cost"),
)
# those whose balance between groups is tuned by measurement
IN_TRIALS = (
    ("taylor_abs", "none", "per_cost"),
    ("fisher", "none", "per_cost"),
    ("taylor", "none", "global"),
    ("obd", "none", "global"),
    ("wanda", "max", "global"),
    ("l1", "mean", "global"),
    ("linf", "none", "global"),
    ("reconstruction", "max", "per_cost"),
)
PROBED = ("fisher", "l2", "taylor", "wanda")  # orders within groups, for measured sensitivities
AGGREGATED = ("l1", "l2", "fpgm")  # put together from a group's members in other ways too
PEERS = {
    "torch-pruning magnitude": Magnitude,
    "torch-pruning taylor": Taylor,
    "torch-pruning hessian": Hessian,
    "torch-pruning lamp": LAMPImportance,
    "torch-pruning fpgm": FPGMImportance,
}


@dataclass(frozen=True)
class Choice:
    """One way to choose; ``criterion`` is "measured NAME" for a sensitivity, or one of `PEERS` on our groups.

    With ``held``, the units of the task's held layers stay, as those of torch-pruning's ignored layers do.
    """

    criterion: str
    normalise: str
    ranking: str
    rounds: int = 1
    trials: int = 0
    held: bool = False
    aggregate: str = ""

    def __str__(self) -> str:
        norm = f":{self.aggregate}:{self.normalise}" if self.normalise else ""
        rounds = f", {self.rounds} rounds" if self.rounds > 1 else ""
        trials = ", trials" if self.trials else ""
        return f"{self.criterion}{norm}" + " held" * self.held + rounds + trials

    @property
    def peers(self) -> bool:
        """Whether the criterion is torch-pruning's."""
        return self.criterion in PEERS


def choices(task: Task) -> Iterator[Choice]:
    """All of them."""
    for choice in _all(task.heavy):
        yield choice
        if task.held and not choice.peers:
            yield replace(choice, held=True)


def _all(heavy: bool) -> Iterator[Choice]:
    yield from _tuned(heavy)
    for criterion in CRITERIA:
        for normalise, ranking in product(_names(criterion, heavy), ("global", "isomorphic", "per_cost")):
            yield Choice(criterion, normalise, ranking)
        yield Choice(criterion, _names(criterion, heavy)[-1], "uniform")
    for criterion, aggregate in product(() if heavy else AGGREGATED, ("mean", "first")):
        for normalise, ranking in product(_names(criterion, heavy), ("global", "isomorphic", "per_cost")):
            yield Choice(criterion, normalise, ranking, aggregate=aggregate)
        yield Choice(criterion, "none", "uniform", aggregate=aggregate)
    for criterion, ranking in product(() if heavy else PEERS, ("uniform", "global", "isomorphic")):
        yield Choice(criterion, "", ranking)


def _names(criterion: str, heavy: bool) -> tuple[str, ...]:
    """Normalisations; of a heavy model one, without any where scores already speak of the output."""
    if criterion in ("lamp", "random"):
        return ("lamp",) if criterion == "lamp" else ("none",)
    if heavy:
        return ("none",) if criterion in (*LOSSES, "reconstruction") else ("max",)
    return ("none", "mean", "max")


def _tuned(heavy: bool) -> Iterator[Choice]:
    """Those that look at the slim model on the way."""
    for choice in IN_ROUNDS[:2] if heavy else IN_ROUNDS:
        yield Choice(*choice, rounds=8)
    for choice in IN_TRIALS[:2] if heavy else IN_TRIALS:
        yield Choice(*choice, trials=60)
    for choice in () if heavy else IN_TRIALS[:3]:
        yield Choice(*choice, rounds=6, trials=30)
    for criterion in PROBED[:1] if heavy else PROBED:
        yield Choice(f"measured {criterion}", "", "per_cost")


@dataclass
class Ours:
    """Plans for one model; what was scored once is remembered."""

    task: Task
    known: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def graph(self) -> DependencyGraph:
        """Captured and solved."""
        return gp.trace(self.task.model, self.task.example)

    @staticmethod
    def _given(batches: list[tuple[Any, Any]]) -> list[Any]:
        """Batches as graphprune takes them."""
        return [batch if batch[1] is not None else batch[0] for batch in batches]

    def at(self, choice: Choice, share: float) -> nn.Module:
        """The slim model with at most this share of the multiply-accumulates."""
        if choice.rounds == 1:
            importance: Importance = lambda graph, tensors, seed: dict(self.scores(choice))  # noqa: E731
        else:
            importance = self._importance(choice.criterion, choice.normalise, self._given(self.task.sample()))
        plan = gp.plan(
            self.graph,
            macs=share,
            importance=importance,
            ranking=choice.ranking,
            ratios=dict.fromkeys(self.task.held, 0.0) if choice.held else {},
            align=1,
            rounds=choice.rounds,
            trials=choice.trials,
            evaluate=self._evaluate if choice.trials else None,
        ).plan
        return cut(self.graph, plan).module

    def scores(self, choice: Choice) -> Scores:
        """Of the whole model: the criterion's own, normalised as the choice says."""
        name = f"{choice.criterion}:{choice.aggregate}".rstrip(":")
        if name not in self.known:
            importance = self._importance(name, "none")
            self.known[name] = importance(self.graph, self.graph.program.tensors, 0)
        normalise = NORMALISERS[choice.normalise or "none"]
        found: Scores = self.known[name]
        return {name: None if score is None else normalise(score) for name, score in found.items()}

    def _importance(self, criterion: str, normalise: str, data: list[Any] | None = None) -> Importance:
        data = data or self._given(self.task.batches)
        loss = self.task.loss
        if criterion in PEERS:
            gradients = criterion.endswith(("taylor", "hessian"))
            return PeerImportance(PEERS[criterion](), *((data, loss) if gradients else ()))
        if criterion.startswith("measured "):
            return self._measured(self._importance(criterion.removeprefix("measured "), "none"))
        criterion, _, aggregate = criterion.partition(":")
        return Criterion(
            criterion,
            aggregate,
            normalise,
            calibration=data if CRITERIA[criterion].collect is not None else None,
            loss=loss if criterion in LOSSES else None,
        )

    def _measured(self, importance: Importance) -> Sensitivity:
        ratios = (0.05, 0.15, 0.3, 0.5, 0.7, 0.9)
        return gp.sensitivity(self.graph, importance=importance, evaluate=self._evaluate, ratios=ratios)

    def _evaluate(self, model: nn.Module) -> float:
        """On some of the calibration data, by what counts of the outputs."""
        return -self.task.harm(self.task.run(model, self._sample), self._expected)

    @cached_property
    def _sample(self) -> list[Any]:
        return [inputs for inputs, _ in self.task.sample()]

    @cached_property
    def _expected(self) -> Tensor:
        return self.task.run(self.task.model, self._sample)
