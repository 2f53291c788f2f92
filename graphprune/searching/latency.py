"""Plans that are timed.

A budget of latency is planned by prediction, measured, and corrected until the measured time is what was asked for.
``not_slower`` takes wider multiples where the slim model takes longer than its original: some kernels are fast at
multiples of their vector length only, so that a smaller model can be the slower one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from math import log

import torch

from graphprune import exporting
from graphprune.cutting.cut import cut
from graphprune.exporting import Latency
from graphprune.ground.clock import Clock
from graphprune.ground.errors import BudgetError
from graphprune.ground.files import scratch
from graphprune.planning import Budget, Plan
from graphprune.profiling.device import Device
from graphprune.searching.prepared import Prepared
from graphprune.searching.rounds import planned
from graphprune.searching.search import Trial, search

__all__ = ["not_slower", "predicted_note", "run_time", "timed_plan"]

TOLERANCE = 0.05  # of the measured time, relative to what was asked for
AIM = 0.03  # near enough to stop, so that the next measurement, which will differ, is still within the tolerance
TRIALS = 6
KIND = "latency"
WIDER = (1, 2, 4)  # times the multiples that the runtime likes
NOISE = 0.02  # two measurements of the same file differ by this much


@dataclass(frozen=True)
class _Aim:
    """A plan that takes ``scale`` times what was asked for, by prediction."""

    scale: float
    plan: Plan


@dataclass(frozen=True)
class _Timed:
    """What was measured, and what that is over what was asked for."""

    latency: Latency
    times: float

    @property
    def miss(self) -> float:
        """How far off it is: 0 where it is what was asked for, the same for half and for twice of it."""
        return abs(log(self.times))


_Trial = Trial[_Aim, _Timed]


def timed_plan(prepared: Prepared, clock: Clock) -> Plan:
    """The plan whose ONNX file takes the time that is asked for, and meets all other budgets.

    The record says what was measured, and why it is less than asked for where nothing nearer was found. For another
    device it says what is predicted.

    Raises:
        BudgetError: every plan is slower; the message gives the fastest that was measured.
    """
    budget = next(budget for budget in prepared.request.budgets if budget.kind == KIND)
    if prepared.request.device is not None:
        with clock("plan"):
            return _predicted_plan(prepared, planned(prepared), prepared.request.device)
    floor = _floor(prepared, budget)

    def propose(trials: list[_Trial]) -> Iterator[_Aim]:
        while not trials or trials[-1].outcome.miss > AIM:
            scale = max(_next(trials), floor)
            with clock("plan"):
                plan = planned(prepared, {KIND: scale})
            if any(_same(plan, trial.candidate.plan) for trial in trials):
                return
            yield _Aim(scale, plan)

    def measure(aim: _Aim) -> _Timed:
        found = run_time(prepared, aim.plan, clock)
        return _Timed(found, (found.slim_ms if budget.absolute else found.ratio) / budget.value)

    trials = search(propose, measure, most=TRIALS)
    return _judged(budget, trials, floor)


def _predicted_plan(prepared: Prepared, plan: Plan, device: Device) -> Plan:
    """The plan for another device, where nothing can be measured; the record says so."""
    before, after = (prepared.cost(sizes)[KIND] for sizes in ({}, plan.sizes))
    record = {
        "device": str(device),
        "original_ms": before,
        "slim_ms": after,
        "ratio": after / before,
        "note": f"predicted from the times of {device}; the file was not timed there",
    }
    return replace(plan, request={**plan.request, "measured": record})


def predicted_note(plan: Plan) -> tuple[str, ...]:
    """A note on a latency that was planned for another device."""
    found = plan.request.get("measured", {})
    if "device" not in found:
        return ()
    times = f"{found['original_ms']:.3g} → {found['slim_ms']:.3g} ms"
    return (f"latency {times} is {found['note']}; times of the file in this report are of this machine",)


def _judged(budget: Budget, trials: list[_Trial], floor: float) -> Plan:
    """The plan of the nearest trial.

    Raises:
        BudgetError: it is slower than was asked for.
    """
    best = min(trials, key=lambda trial: trial.outcome.miss)
    latency, times = best.outcome.latency, best.outcome.times
    found = (
        f"{latency.ratio:.3f} of the original's time ({latency.slim_ms:.3g} of {latency.original_ms:.3g} ms)"
    )
    if times > 1 + TOLERANCE:
        is_smallest = best.candidate.scale <= floor
        which = "the smallest model with these constraints" if is_smallest else "the nearest that was found"
        unit = f"{latency.slim_ms * 1.02:.3g}ms" if budget.absolute else f"{latency.ratio * 1.02:.2g}"
        raise BudgetError(
            f"latency={budget.request} cannot be reached: {which} takes {found}, measured",
            f"ask for latency={unit} or more, or loosen align, min_keep or protect",
        )
    record = {"trials": len(trials), **asdict(latency)}
    if times < 1 - TOLERANCE:
        record["note"] = f"another budget, or the widths there are, leave {found}, measured"
    plan = best.candidate.plan
    return replace(plan, request={**plan.request, "measured": record})


def _floor(prepared: Prepared, budget: Budget) -> float:
    """The least scale that some plan can meet by prediction; what it really takes, only a measurement can tell."""
    return prepared.smallest[KIND] / prepared.target(budget).limit * (1 + 1e-6)


def _next(trials: list[_Trial]) -> float:
    """What to aim at: first as far off as the measurement was, then along the line through two of them.

    The two lie on either side of what was asked for where they can. 0 asks for the smallest model.
    """
    points = [(trial.candidate.scale, trial.outcome) for trial in trials]
    if len(points) < 2:
        return points[0][0] / points[0][1].times if points else 1.0
    (scale, near), *others = sorted(points, key=lambda point: point[1].miss)
    other, far = next((one for one in others if (one[1].times > 1) != (near.times > 1)), others[0])
    slope = (far.times - near.times) / (other - scale)
    return max(scale + (1 - near.times) / slope, 0.0) if slope > 0 else scale / near.times


def _same(one: Plan, other: Plan) -> bool:
    return all(torch.equal(kept, other.groups[name]) for name, kept in one.groups.items())


def run_time(prepared: Prepared, plan: Plan, clock: Clock) -> Latency:
    """How long the slim model of a plan takes in onnxruntime, beside the original."""
    assert prepared.profile is not None
    with scratch() as folder:
        path = folder / "slim.onnx"
        with clock("export a candidate"):
            slim = cut(prepared.graph, plan).slim
            dtype = exporting.named_dtype(prepared.profile.export_dtype)
            exporting.export_onnx(exporting.in_dtype(slim, dtype), path)
        with clock("time a candidate"):
            return prepared.profile.measure(path)


def not_slower(prepared: Prepared, clock: Clock) -> Prepared:
    """What was prepared, with the smallest multiples whose slim model is not slower; else with those of the fastest.

    Raises:
        BudgetError: a budget cannot be met.
    """

    def propose(trials: list[Trial[Prepared, float]]) -> Iterator[Prepared]:
        for times in WIDER:
            if not trials or trials[-1].outcome > 1 + NOISE:
                yield prepared if times == 1 else prepared.wider(times)

    def measure(candidate: Prepared) -> float:
        with clock("plan"):
            plan = planned(candidate)
        return run_time(candidate, plan, clock).ratio

    return min(search(propose, measure), key=lambda trial: trial.outcome).candidate
