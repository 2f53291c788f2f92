"""How long two ONNX files take beside each other, measured until their ratio is known.

The number of runs is not fixed. The interval in which the ratio lies is looked at after more and more pairs, and when
it is narrow enough, no more are made. It holds for all looks together: each may err with a part of what is left of 5 %.

What disturbs a run multiplies its time, and disturbs both files alike. So the logarithm of a pair's ratio lies as often
above the true one as below it, and as far: for whatever distribution of disturbances the signed ranks of the pairs say
where it is (Hodges and Lehmann, "Estimates of location based on rank tests", 1963). That takes two thirds of the pairs
that their median would need.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy

from graphprune.capture.inputs import Inputs
from graphprune.exporting.runtime import Model, runner, session
from graphprune.ground.clock import part

__all__ = ["CONFIDENCE", "Latency", "alternated", "fastest", "latency", "ratio_interval", "tick", "timer"]

CONFIDENCE = 0.95
PRECISION = 0.01  # relative to the ratio, in either direction
SECONDS = 5.0
_FIRST = 6  # pairs at the first look: of fewer no interval is as sure as that look must be
_MOST = 200  # values of which every two are looked at
_GROWTH = 1.5  # times as many at the next one
_SPENT = 0.65  # of the chance of an error that is left, at each look
_WARM = 0.05  # seconds of runs that are not counted; one run of each at least
_TICK = 1e-5  # seconds by which a clock may move, since runs take that and more

Run = Callable[[], Any]


@dataclass(frozen=True)
class Latency:
    """Time of one run, measured in alternation: of the processor for one thread, as `fastest`, else of the wall.

    Attributes:
        original_ms: median of the original file, in milliseconds.
        slim_ms: median of the slim file, in milliseconds.
        ratio: slim time / original time, the middle of all pairs, see `ratio_interval`; below 1 the slim one is faster.
        runs: number of pairs.
        interval: where the ratio lies with a confidence of `CONFIDENCE`, if pairs do not depend on each other.
    """

    original_ms: float
    slim_ms: float
    ratio: float
    runs: int
    interval: tuple[float, float]


def latency(
    original: Model, slim: Model, inputs: Inputs, seconds: float = SECONDS, threads: int = 1
) -> Latency:
    """Time two models in one process and in strict alternation, so that both see the same machine.

    Args:
        original: file of the original model, or the model in memory.
        slim: likewise, with the same inputs.
        inputs: arguments and keywords of the models.
        seconds: see `alternated`.
        threads: threads of onnxruntime.

    Raises:
        ExportError: onnxruntime cannot load or run a file.
    """
    first, second = (runner(session(model, threads), *inputs) for model in (original, slim))
    return alternated(first, second, seconds, threads)


def alternated(
    original: Run, slim: Run, seconds: float = SECONDS, threads: int = 1, warm: bool = False
) -> Latency:
    """Calls both in turn until the ratio of their times is known to one percent.

    Args:
        seconds: after so many it ends all the same, but not before a few pairs.
        threads: in which they work; of one, the processor's time is taken.
        warm: whether both have run already.
    """
    warm_until = time.perf_counter() + min(_WARM, seconds)
    while not warm:
        original(), slim()
        if time.perf_counter() >= warm_until:
            break
    times: list[tuple[float, float]] = []
    clock, start = timer(threads), time.perf_counter()
    error, look = 1 - CONFIDENCE, _FIRST
    while True:
        pair = _timed(original, clock), _timed(slim, clock)
        if all(pair):  # a virtual machine's clock stands still once in a while
            times.append(pair)
        late = time.perf_counter() >= start + seconds and len(times) >= _FIRST
        part(min((time.perf_counter() - start) / max(seconds, 1e-9), 1.0))
        if len(times) < look and not late:
            continue
        found, interval = ratio_interval(times, _SPENT * error)
        if late or max(found - interval[0], interval[1] - found) <= PRECISION * found:
            before, after = (1000 * median(column) for column in zip(*times, strict=True))
            return Latency(before, after, found, len(times), interval)
        error, look = error * (1 - _SPENT), int(look * _GROWTH)


def ratio_interval(pairs: Sequence[tuple[float, float]], error: float) -> tuple[float, tuple[float, float]]:
    """The second time of each pair over the first, and between what it lies but for this chance of an error.

    It is the median of the geometric means of every two ratios, each with itself too; the interval leaves out as many
    of them at either end as Wilcoxon's test of signed ranks allows. All of few pairs may err more. Of many, those that
    follow one another count as one, with their mean, which lies as evenly around the ratio: every two of thousands
    would take longer than the runs.
    """
    logs = numpy.log([after / before for before, after in pairs])
    size = -(-len(logs) // _MOST)
    logs = logs[: len(logs) // size * size].reshape(-1, size).mean(1)
    one, other = numpy.triu_indices(len(logs))
    means = numpy.sort((logs[one] + logs[other]) / 2)
    left_out = _left_out(len(logs), error)
    found, low, high = (
        float(numpy.exp(value)) for value in (numpy.median(means), means[left_out], means[-1 - left_out])
    )
    return found, (low, high)


def _left_out(count: int, error: float) -> int:
    """How many means of two values may lie beyond their distribution's centre at one end, but for half of the chance.

    As many as their signed ranks add up to, of which each has either sign with the same chance.
    """
    chances = numpy.ones(1)  # of every sum of those ranks that are positive
    for rank in range(1, count + 1):
        without = numpy.concatenate((chances, numpy.zeros(rank)))
        chances = (without + numpy.concatenate((numpy.zeros(rank), chances))) / 2
    return max(int(numpy.searchsorted(numpy.cumsum(chances), error / 2, side="right")) - 1, 0)


def fastest(runs: Sequence[Run], rounds: int) -> list[float]:
    """Seconds of the fastest of ``rounds`` calls of each; all are called in turn, so that all see the same machine.

    They work in one thread, this one. It is timed by its own clock of the processor, which other processes do not move;
    where that ticks coarsely, by the wall's.
    """
    clock = timer(1)
    best = [_timed(run, clock) for run in runs]
    for _ in range(rounds):
        best = [min(before, _timed(run, clock)) for before, run in zip(best, runs, strict=True)]
    return best


def timer(threads: int) -> Callable[[], float]:
    """A clock in seconds: of this thread's processor, where that ticks finely enough; of the wall for several threads.

    A session of one thread runs in the thread that calls it.
    """
    return time.thread_time if threads == 1 and tick() < _TICK else time.perf_counter


def tick() -> float:
    """By how many seconds the clock of this thread moves at once; at least as long as it takes to look at it."""
    start = time.thread_time()
    while (now := time.thread_time()) == start:
        pass
    return now - start


def _timed(run: Run, clock: Callable[[], float]) -> float:
    start = clock()
    run()
    return clock() - start
