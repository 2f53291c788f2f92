"""Budgets of latency: planned by prediction, measured, and corrected until the measured time is what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import log
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from graphprune import exporting
from graphprune.capture.raising import raise_program
from graphprune.exporting import Latency
from graphprune.ground.clock import Clock
from graphprune.ground.errors import BudgetError
from graphprune.planning import Budget, Plan
from graphprune.rewriting import rewrite
from graphprune.searching.prepared import Prepared

__all__ = ["measured_plan"]

TOLERANCE = 0.05  # of the measured time, relative to what was asked for
AIM = 0.03  # near enough to stop, so that the next measurement, which will differ, is still within the tolerance
TRIALS = 6
KIND = "latency"


@dataclass(frozen=True)
class _Trial:
    """A plan, made to take ``scale`` times what was asked for by prediction, and how long it takes."""

    scale: float
    plan: Plan
    timed: Latency
    times: float  # measured, over what was asked for

    @property
    def miss(self) -> float:
        return abs(log(self.times))


def measured_plan(prepared: Prepared, clock: Clock) -> Plan:
    """The plan whose ONNX file takes the time that is asked for, and meets all other budgets.

    The record says what was measured, and why it is less than asked for where nothing nearer was found.

    Raises:
        BudgetError: every plan is slower; the message gives the fastest that was measured.
    """
    budget = next(budget for budget in prepared.request.budgets if budget.kind == KIND)
    trials: list[_Trial] = []
    floor = _floor(prepared, budget)
    while len(trials) < TRIALS:
        scale = max(_next(trials), floor)
        with clock("plan"):
            plan = prepared.plan({KIND: scale})
        if any(_same(plan, trial.plan) for trial in trials):
            break
        timed = _timed(prepared, plan, clock)
        asked = timed.slim_ms if budget.absolute else timed.ratio
        trials.append(_Trial(scale, plan, timed, asked / budget.value))
        if trials[-1].miss <= AIM:
            break
    return _judged(budget, trials, floor)


def _judged(budget: Budget, trials: Sequence[_Trial], floor: float) -> Plan:
    best = min(trials, key=lambda trial: trial.miss)
    timed = best.timed
    found = f"{timed.ratio:.3f} of the original's time ({timed.slim_ms:.3g} of {timed.original_ms:.3g} ms)"
    if best.times > 1 + TOLERANCE:
        which = (
            "the smallest model with these constraints"
            if best.scale <= floor
            else "the nearest that was found"
        )
        unit = f"{timed.slim_ms * 1.02:.3g}ms" if budget.absolute else f"{timed.ratio * 1.02:.2g}"
        raise BudgetError(
            f"latency={budget.request} cannot be reached: {which} takes {found}, measured",
            f"ask for latency={unit} or more, or loosen align, min_keep or protect",
        )
    record = {"trials": len(trials), **asdict(timed)}
    if best.times < 1 - TOLERANCE:
        record["note"] = f"another budget, or the widths there are, leave {found}, measured"
    return replace(best.plan, request={**best.plan.request, "measured": record})


def _floor(prepared: Prepared, budget: Budget) -> float:
    """The least scale that some plan can meet by prediction; what it really takes, only a measurement can tell."""
    cost = prepared.costs[KIND]
    asked = budget.value if budget.absolute else budget.value * cost.value({})
    return prepared.smallest[KIND] / asked * (1 + 1e-6)


def _next(trials: Sequence[_Trial]) -> float:
    """What to aim at: first as far off as the measurement was, then along the line through two of them.

    The two lie on either side of what was asked for where they can. 0 asks for the smallest model.
    """
    if len(trials) < 2:
        return trials[0].scale / trials[0].times if trials else 1.0
    near, *others = sorted(trials, key=lambda trial: trial.miss)
    far = next((trial for trial in others if (trial.times > 1) != (near.times > 1)), others[0])
    slope = (far.times - near.times) / (far.scale - near.scale)
    return max(near.scale + (1 - near.times) / slope, 0.0) if slope > 0 else near.scale / near.times


def _same(one: Plan, other: Plan) -> bool:
    return all(torch.equal(kept, other.groups[name]) for name, kept in one.groups.items())


def _timed(prepared: Prepared, plan: Plan, clock: Clock) -> Latency:
    assert prepared.profile is not None
    program = prepared.graph.program
    with TemporaryDirectory(prefix="graphprune-") as folder:
        path = Path(folder, "slim.onnx")
        with clock("export a candidate"):
            model = raise_program(rewrite(prepared.graph, plan))
            exporting.export_onnx(model, *program.example, path, program.dynamic_batch)
        with clock("time a candidate"):
            return prepared.profile.measure(path)
