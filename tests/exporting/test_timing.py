"""Timing alternates, and ends when the ratio is known."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from itertools import cycle, product
from math import e
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from graphprune.capture import capture
from graphprune.exporting import CONFIDENCE, Latency, alternated, export_onnx, latency, timing
from graphprune.exporting.timing import PRECISION, ratio_interval


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The wall's clock, which only the runs move."""
    now = [0.0]
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    return now


def taking(seconds: Iterable[float], *clocks: list[float]) -> Callable[[], None]:
    """Runs that take these ``seconds``, again and again, by these clocks."""
    each = cycle(seconds)

    def run() -> None:
        spent = next(each)
        for clock in clocks:
            clock[0] += spent

    return run


def test_it_alternates_strictly(wall: list[float]) -> None:
    log: list[str] = []

    def named(name: str, run: Callable[[], None]) -> Callable[[], None]:
        return lambda: (log.append(name), run())[1]

    original, slim = named("original", taking([0.2], wall)), named("slim", taking([0.1], wall))
    found = alternated(original, slim, threads=2)
    assert log == ["original", "slim"] * (len(log) // 2)
    assert len(log) // 2 > found.runs, "warm-up runs do not count"
    assert (round(found.original_ms, 6), round(found.slim_ms, 6), round(found.ratio, 6)) == (200, 100, 0.5)


def test_what_has_run_before_is_not_warmed_again(wall: list[float]) -> None:
    found = alternated(taking([0.2], wall), taking([0.1], wall), threads=2, warm=True)
    assert round(wall[0], 6) == round(found.runs * 0.3, 6)


def test_it_ends_as_soon_as_the_ratio_is_known(wall: list[float]) -> None:
    """A run that never differs is known at the first look, one that varies little later, one that varies much never."""

    def found(spread: float, seconds: float = 100.0) -> Latency:
        draw = random.Random(0)
        noise = [0.1 * (1 + abs(draw.gauss(0, spread))) for _ in range(5000)]
        return alternated(taking([0.1], wall), taking(noise, wall), seconds, threads=2)

    same, little, much = found(0), found(0.03), found(0.9)
    assert same.runs == 6
    assert same.interval == pytest.approx((same.ratio, same.ratio))
    assert 6 < little.runs < 200
    assert 300 < much.runs < 500, "the seconds have passed"
    for known in (same, little):
        low, high = known.interval
        assert low <= known.ratio <= high
        assert max(high - known.ratio, known.ratio - low) <= PRECISION * known.ratio
    assert much.interval[1] - much.interval[0] > 2 * PRECISION * much.ratio
    assert found(0.9, 0).runs == 6, "fewer tell nothing"


@pytest.mark.parametrize("error", [0.05, 0.0325, 0.01])
@pytest.mark.parametrize("count", [8, 10, 12])
def test_the_interval_holds_the_ratio_as_often_as_it_says(count: int, error: float) -> None:
    """Exactly: with the same disturbances, each may as well have come to the other file, and all such cases count."""
    draw = random.Random(count)
    apart = [draw.expovariate(1) for _ in range(count)]
    missed = 0
    for signs in product((-1, 1), repeat=count):
        pairs = [(1.0, 2 * e ** (sign * size)) for sign, size in zip(signs, apart, strict=True)]
        _, (low, high) = ratio_interval(pairs, error)
        missed += not low <= 2 <= high
    assert missed / 2**count <= error
    assert missed or error < 4 / 2**count, "no wider than need be"


def test_few_disturbances_move_the_ratio_little() -> None:
    pairs = [(1.0, 0.5)] * 12 + [(1.0, 5.0), (7.0, 0.5), (1.0, 9.0)]
    assert ratio_interval(pairs, 0.05)[0] == pytest.approx(0.5)


def test_thousands_of_pairs_are_looked_at_as_quickly_as_hundreds(monkeypatch: pytest.MonkeyPatch) -> None:
    draw, sizes = random.Random(0), []
    own = timing._left_out
    monkeypatch.setattr(timing, "_left_out", lambda count, error: sizes.append(count) or own(count, error))
    widths = []
    for count in (150, 600, 5003):
        found, (low, high) = ratio_interval(
            [(1.0, 0.5 * e ** draw.gauss(0, 0.1)) for _ in range(count)], 0.05
        )
        assert low < 0.5 < high
        assert low < found < high
        widths.append(high - low)
    assert max(sizes) <= 200
    assert widths[0] > 1.5 * widths[1] > 3 * widths[2]


def test_all_looks_together_err_as_rarely_as_is_said(wall: list[float]) -> None:
    """The true ratio is one; outliers are frequent, and only longer runs have them."""
    draw = random.Random(0)
    noise = [0.1 * (1 + draw.expovariate(30)) for _ in range(200_000)]
    original, slim = taking(noise, wall), taking(noise[1::3], wall)
    trials = [alternated(original, slim, 5, threads=2).interval for _ in range(400)]
    missed = sum(not low <= 1 <= high for low, high in trials)
    assert missed <= 400 * (1 - CONFIDENCE)


@pytest.mark.parametrize(("threads", "tick", "expected"), [(1, 1e-6, 0.5), (1, 0.01, 2.0), (2, 1e-6, 2.0)])
def test_one_thread_is_timed_by_its_own_clock(
    threads: int, tick: float, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process takes the processor whenever the slim model runs; a clock that ticks coarsely is left alone."""
    own, wall = [0.0], [0.0]
    clocks = SimpleNamespace(thread_time=lambda: own[0], perf_counter=lambda: wall[0])
    monkeypatch.setattr(timing, "time", clocks)
    monkeypatch.setattr(timing, "tick", lambda: tick)

    def slim() -> None:
        own[0] += 0.1
        wall[0] += 0.4

    assert round(alternated(taking([0.2], own, wall), slim, threads=threads).ratio, 6) == expected


def test_a_clock_that_stands_still_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some readings of the processor's clock show the time of the one before, as virtual machines do at times."""
    own, wall, readings, shown = [0.0], [0.0], [0], [0.0]

    def thread_time() -> float:
        readings[0] += 1
        if readings[0] % 6:
            shown[0] = own[0]
        return shown[0]

    clocks = SimpleNamespace(thread_time=thread_time, perf_counter=lambda: wall[0])
    monkeypatch.setattr(timing, "time", clocks)
    monkeypatch.setattr(timing, "tick", lambda: 1e-6)
    found = alternated(taking([0.2], own, wall), taking([0.1], own, wall))
    assert found.runs >= 6
    assert round(found.ratio, 6) == 0.5


def test_waiting_is_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread that sleeps has done nothing, if the clock of threads is asked."""
    monkeypatch.setattr(timing, "tick", lambda: 1e-6)
    (spent,) = timing.fastest([lambda: time.sleep(0.05)], 1)
    assert spent < 0.025


def test_latency_of_real_files(tmp_path: Path) -> None:
    file = export_onnx(capture(nn.Linear(8, 8).eval(), torch.randn(2, 8)), tmp_path / "model.onnx")
    found = latency(file.path, file.path, ((torch.randn(2, 8),), {}), seconds=0.2)
    assert found.runs >= 6
    assert found.original_ms > 0
    # The same file twice: far from a factor of two even on a busy machine, since outliers hardly count.
    assert 0.5 < found.ratio < 2
