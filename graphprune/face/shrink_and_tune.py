"""Prune a little, fine-tune, evaluate, and again: every round a directory, the last good one the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import fx, nn

from graphprune.asking.tuning import Tuning
from graphprune.axes.dependency import DependencyGraph
from graphprune.calibration import Evaluate, Loss
from graphprune.face.shrink import shrink
from graphprune.face.tune import tune
from graphprune.ground.clock import Progress
from graphprune.ground.digest import digest
from graphprune.ground.documents import parse_json, read_text
from graphprune.ground.drafts import sweep
from graphprune.ground.errors import BudgetError, GraphpruneError, InputError
from graphprune.ground.options import check_number
from graphprune.ground.processes import is_first
from graphprune.planning import Plan
from graphprune.planning.schedule import ROUNDS
from graphprune.results.loading import load
from graphprune.results.result import Result
from graphprune.tuning import Watch

__all__ = ["Loop", "Round", "shrink_and_tune"]

Extra = Callable[[Result], Mapping[str, Any]]

ORIGINAL = "original_digest"


@dataclass(frozen=True)
class Round:
    """One round: shares of the original's multiply-accumulates and parameters, the figure before and after tuning,
    and whether that is good enough."""

    number: int
    macs: float
    params: float
    before: float | None
    metric: float | None
    good: bool


@dataclass(frozen=True)
class Loop:
    """What came of it.

    Attributes:
        result: of the last good round.
        rounds: all that were made.
        reason: why there are no more.
    """

    result: Result
    rounds: tuple[Round, ...]
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"rounds": [asdict(item) for item in self.rounds], "reason": self.reason}


class _Stop(Exception):
    """A round is not good enough."""


def shrink_and_tune(
    model: nn.Module | DependencyGraph,
    example_inputs: Any,
    loader: Any,
    settings: Tuning | None = None,
    *,
    rounds: int = 3,
    evaluate: Evaluate | None = None,
    min_metric: float | None = None,
    directory: str | Path | None = None,
    task_loss: Loss | None = None,
    watch: Watch | None = None,
    extra: Extra = lambda result: {},
    progress: Progress = lambda stage: None,
    **options: Any,
) -> Loop:
    """Goes to a budget in rounds: each prunes a part of what is to go, fine-tunes and evaluates.

    Args:
        model: as for `shrink`.
        example_inputs: as for `shrink`.
        loader: as for `tune`, in every round; so are ``settings`` and ``watch``.
        evaluate: as for `tune`, in every round; where there are ``trials``, it judges these too.
        rounds: how many; the budget is met after the last.
        min_metric: the smallest figure of ``evaluate`` that is good enough (the largest one, where lower is better).
            A round that misses it ends the loop, and the one before it is the result.
        directory: where every round is saved, as ``round_1``, ``round_2`` …. What is there already is taken up: rounds
            that are complete are not trained again, one that was stopped goes on from its checkpoint.
        task_loss: ``loss`` of `tune`.
        extra: what the report of a round shall hold besides.
        options: of `shrink`, such as ``macs=0.5``, ``importance`` or ``schedule``.

    Raises:
        BudgetError: the first round is not good enough.
        InputError: an argument is wrong, or ``directory`` holds rounds of another run.
        GraphpruneError: see `shrink` and `tune`. Rounds that are complete stay in ``directory``.
    """
    if min_metric is not None and evaluate is None:
        raise InputError("min_metric is given, and no evaluation", "give evaluate, a function of the model")
    settings, place = settings or Tuning(), None if directory is None else Path(directory)
    if options.get("trials") and evaluate is not None:
        if settings.lower_is_better:
            raise InputError(
                "trials look for the highest figure, and lower_is_better is set",
                "let evaluate give the negative figure, or leave trials out",
            )
        options["evaluate"] = evaluate
    training = partial(tune, loader=loader, settings=settings, loss=task_loss, evaluate=evaluate, watch=watch)
    made = _Rounds(training, settings, min_metric, place, extra, progress)
    check_number("rounds", rounds, ROUNDS)
    between = made.after if rounds > 1 else None
    try:
        made.after(
            shrink(model, example_inputs, progress=progress, rounds=rounds, between=between, **options)
        )
        reason = "the budget is met"
    except _Stop as stop:
        reason = str(stop)
    assert made.good is not None
    return Loop(made.good, tuple(made.rounds), reason)


@dataclass
class _Rounds:
    """What is done after every round, and what came of those that were made.

    Args:
        training: a result → the same, fine-tuned.
        floor: the smallest figure that is good enough, or the largest where lower is better.
        complete: names of the rounds whose directories hold results of an earlier run.
        good: the result of the last good round.
    """

    training: Callable[..., Result]
    settings: Tuning
    floor: float | None
    directory: Path | None
    extra: Extra
    progress: Progress
    good: Result | None = None
    rounds: list[Round] = field(default_factory=list)
    complete: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        # asked before anything is written, so that all processes see the same
        if self.directory is not None:
            sweep(self.directory)
            found = self.directory.glob("round_*/report.json")
            self.complete = frozenset(path.parent.name for path in found)

    def after(self, result: Result) -> fx.GraphModule:
        """Tunes what a round has cut; the next one starts from this.

        Raises:
            _Stop: the figure is below the floor, and an earlier round was good.
            BudgetError: it is, and none was.
        """
        number = len(self.rounds) + 1
        tuned = self._tuned(result, number)
        metric = (tuned.tuning or {}).get("metric", {})
        best = metric.get("best")
        good = self._is_good(best)
        share = (
            tuned.after.macs / max(tuned.before.macs, 1),
            tuned.after.params / max(tuned.before.params, 1),
        )
        self.rounds.append(Round(number, *share, metric.get("before"), best, good))
        if not good:
            self._stop(number, best)
        self.good = tuned
        return tuned.model

    def _is_good(self, metric: float | None) -> bool:
        if self.floor is None or metric is None:
            return True
        return metric <= self.floor if self.settings.lower_is_better else metric >= self.floor

    def _stop(self, number: int, metric: float | None) -> None:
        why = f"round {number} comes to {metric:.4g}, the floor is {self.floor:.4g}"
        if self.good is None:
            raise BudgetError(
                f"{why}, and it is the first",
                "take more rounds, a larger budget, a lower floor, or tune longer",
            )
        raise _Stop(f"{why}: round {number - 1} is kept")

    def _tuned(self, result: Result, number: int) -> Result:
        name = f"round_{number}"
        if self.directory is None:
            return self.training(result)
        place = self.directory / name
        checkpoint = self.directory / f"{name}.checkpoint.safetensors"
        if name in self.complete:
            tuned = _taken_up(result, place, self.settings)
            if is_first():
                checkpoint.unlink(missing_ok=True)  # killed when the round was complete
            return tuned
        self.progress(f"fine-tune round {number}")
        tuned = self.training(result, checkpoint=checkpoint)
        if is_first():
            record = {**self.extra(tuned), ORIGINAL: digest(result.graph.program.tensors)}
            tuned.save(place, latency=False, progress=self.progress, extra=record)
            checkpoint.unlink(missing_ok=True)
        return tuned


def _taken_up(result: Result, place: Path, settings: Tuning) -> Result:
    """The round as it was saved.

    Raises:
        InputError: it was made of another model, or otherwise.
    """
    try:
        plan = Plan.from_json(read_text(place / "plan.json"))
        report: Mapping[str, Any] = parse_json(read_text(place / "report.json"))
        was, original = Tuning.from_dict(report["tuning"]["settings"]), report[ORIGINAL]
        model = load(place)
    except (KeyError, TypeError, GraphpruneError) as error:
        raise InputError(f"{place} is no complete round: {error}", "delete it to make it again") from error
    if original != digest(result.graph.program.tensors):
        raise _foreign(place, "of another model")
    if was.comparable != settings.comparable:
        raise _foreign(place, "that was tuned with other settings")
    if {name: kept.tolist() for name, kept in plan.groups.items()} != {
        name: kept.tolist() for name, kept in result.plan.groups.items()
    }:
        raise _foreign(place, "that kept other units")
    return replace(result, model=model.eval(), tuning=report["tuning"])


def _foreign(place: Path, what: str) -> InputError:
    return InputError(f"{place} is a round {what}", "give the options of that run, or delete its rounds")
