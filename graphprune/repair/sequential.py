"""Repairs a slim program without training: layer after layer, towards what the original computes."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import ceil
from time import perf_counter

import torch

from graphprune.axes.dependency import DependencyGraph
from graphprune.calibration.batches import Calibration
from graphprune.capture.lazy import Lazy
from graphprune.capture.program import Program
from graphprune.ground.clock import within
from graphprune.ground.processes import rank_and_count
from graphprune.planning.plan import Plan
from graphprune.repair.batch_norm import Reestimate
from graphprune.repair.linear import LINEAR
from graphprune.repair.refit import ROWS, ROWS_PER_REGRESSOR, Refit
from graphprune.repair.report import RepairReport, StepReport
from graphprune.repair.steps import BATCH_NORM, Step, find_steps
from graphprune.repair.survey import Survey, distance, survey
from graphprune.repair.walk import Walk

__all__ = ["RESTARTS", "Repair", "make_blocks", "repair"]

RESTARTS = 5.0  # forward passes, of both programs together


@dataclass(frozen=True)
class Repair:
    """What a repair does.

    Args:
        weights: refit the weights of layers that read what was cut, by least squares.
        biases: shift biases by the mean of what is missing.
        batch_norms: estimate the statistics of batch norms anew.
        residual: where a layer's result is added to another value, aim at the original's sum.
        memory: bytes in which calibration batches may wait between layers.
    """

    weights: bool = True
    biases: bool = True
    batch_norms: bool = True
    residual: bool = True
    memory: int = 2**30


@torch.no_grad()
def repair(
    graph: DependencyGraph,
    plan: Plan,
    slim: Program,
    calibration: Calibration,
    options: Repair,
    seed: int = 0,
) -> tuple[Program, RepairReport]:
    """``slim`` with repaired tensors, or as it is where they bring the outputs no nearer; and what was done.

    Sums are added up over all processes of `torch.distributed`, each with batches of its own; all come to the same.

    Args:
        slim: what ``plan`` makes of the program of ``graph``.
        calibration: batches, which are walked up to twenty times.
        seed: of the positions that are looked at where there are more than needed.

    Raises:
        InputError: there are no batches, one does not fit the model or makes it fail, or an output is not finite.
    """
    start = perf_counter()
    own = Lazy(slim.tensors, lambda name: slim.tensors[name].detach())
    walk = Walk(graph, plan, slim, ChainMap({}, own), calibration, options.memory)  # type: ignore[arg-type]
    layers = options.weights or options.biases
    steps, left = find_steps(graph.program, options.batch_norms, layers, options.residual and walk.forks)
    # shares of the time, as measured on resnet18
    with within(0, 0.08):
        found = survey(walk, steps)
    wanted = [step for step in steps if step.weight in found.changed and _is_worthwhile(step, walk)]
    with within(0.08, 0.95):
        reports, solving = _run(walk, wanted, found, options, seed)
    with within(0.95, 1):
        after = distance(walk)
    good = after <= found.distance
    changed = tuple(name for name in slim.stored if name in walk.tensors.maps[0])
    seconds = {"repair": perf_counter() - start, "solve": solving, "pass": found.seconds}
    report = RepairReport(
        reports, left, found.distance, after, good, changed if good else (), found.batches, seconds
    )
    stored = {name: slim.stored[name].with_tensor(walk.tensors[name]) for name in report.tensors}
    return replace(slim, stored={**slim.stored, **stored}), report


def _run(
    walk: Walk, steps: Sequence[Step], found: Survey, options: Repair, seed: int
) -> tuple[tuple[StepReport, ...], float]:
    """Every step, block by block; and the seconds of solving."""
    reports: list[StepReport] = []
    solving = 0.0
    blocks = make_blocks(steps, found.sizes, _shares(walk), options.memory)
    done = list(accumulate((sum(_work(step, walk, found) for step in block) for block in blocks), initial=0))
    for block, begin, end in zip(blocks, done, done[1:], strict=False):
        with within(begin / (done[-1] or 1), end / (done[-1] or 1)):
            tasks = [_task(step, walk, found, options, seed) for step in block]
            _gather(walk, tasks)
            start = perf_counter()
            for task in tasks:
                report, changed = task.solve()
                reports.append(report)
                for name, tensor in changed.items():
                    walk.replace(name, tensor)
            solving += perf_counter() - start
    return tuple(reports), solving


def _work(step: Step, walk: Walk, found: Survey) -> int:
    """Multiply-accumulates of a step, about: of two runs through its layer, and of its regression."""
    values = found.values[step.weight]
    if step.family == BATCH_NORM:
        return values
    weight = walk.slim.stored[step.weight].tensor
    outputs = weight.shape[0 if LINEAR[step.family].outputs_first else 1]
    fan_in = weight.numel() // outputs
    rows = min(max(ROWS, ROWS_PER_REGRESSOR * fan_in), values // outputs)
    solved = min(rows, fan_in)
    return 2 * values * fan_in + (rows * fan_in * solved + solved**3) * _reads_cut(step, walk)


def _is_worthwhile(step: Step, walk: Walk) -> bool:
    """Not so for weights that have lost nothing: they can hardly make up for what others have lost."""
    return step.family == BATCH_NORM or bool(step.bias) or _reads_cut(step, walk)


def _reads_cut(step: Step, walk: Walk) -> bool:
    """Whether the step's layer has lost some of the inputs of its weight."""
    dim = 1 if LINEAR[step.family].outputs_first else 0
    slim, whole = (each.stored[step.weight].tensor.shape for each in (walk.slim, walk.graph.program))
    return slim[dim] < whole[dim]


def _task(step: Step, walk: Walk, found: Survey, options: Repair, seed: int) -> Refit | Reestimate:
    values = found.values[step.weight]
    if step.family == BATCH_NORM:
        return Reestimate(step, walk, values)
    weights = options.weights and _reads_cut(step, walk)
    return Refit(step, walk, values, found.batches, seed, weights, options.biases)


def _gather(walk: Walk, tasks: Sequence[Refit | Reestimate]) -> None:
    """Runs both programs over what the tasks want to see."""
    order = walk.order
    events = sorted(
        (
            (order[node], moment, call, task)
            for task in tasks
            for call in task.step.calls
            for moment, node in enumerate(task.moments(call))
        ),
        key=lambda event: event[:3],
    )
    rank, processes = rank_and_count()
    for number, pair in walk.to(events[0][2]):
        for _, moment, call, task in events:
            # as if processes took turns with the batches of one
            task.look(moment, call, pair, number * processes + rank)


def _shares(walk: Walk) -> dict[str, float]:
    """Node → the share of the multiply-accumulates that comes before it."""
    macs = {monomial.name: monomial.value({}) for monomial in walk.graph.macs.monomials}
    total = sum(macs.values()) or 1
    before = accumulate((macs.get(name, 0) for name in walk.order), initial=0)
    return {name: done / total for name, done in zip(walk.order, before, strict=False)}


def make_blocks(
    steps: Sequence[Step], sizes: Mapping[str, int], shares: Mapping[str, float], room: int
) -> list[list[Step]]:
    """Steps in blocks.

    Where all batches can wait, each step is a block of its own and each node runs about twice; where they cannot,
    steps are put together so that starting anew costs at most `RESTARTS` passes.

    Args:
        sizes: first call of a step → bytes of all batches that wait there.
        shares: first call of a step → the share of a forward pass that comes before it.
        room: bytes there are for waiting batches.
    """
    prices, missing = [], 1.0
    for step in steps:
        prices.append(missing * 2 * shares[step.calls[0]])
        missing = max(0.0, 1 - room / max(sizes[step.calls[0]], 1))
        missing = 0.0 if missing < 1e-9 else missing
    together = max(1, ceil(sum(prices) / RESTARTS))
    blocks: list[list[Step]] = []
    for step, price in zip(steps, prices, strict=True):
        if blocks and price and len(blocks[-1]) < together:
            blocks[-1].append(step)
        else:
            blocks.append([step])
    return blocks
