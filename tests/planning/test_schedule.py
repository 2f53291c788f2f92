"""Widths on the way: each round moves on, and the last one arrives."""

from __future__ import annotations

from typing import Any

import pytest

import graphprune as gp
from graphprune.planning.schedule import check_schedule, width_after


def widths(size: int, wanted: int, rounds: int, schedule: Any) -> list[int]:
    found = [size]
    for number in range(1, rounds + 1):
        found.append(width_after(found[-1], wanted, number, rounds, schedule))
    return found


def test_linear_and_geometric() -> None:
    assert widths(100, 20, 4, "linear") == [100, 80, 60, 40, 20]
    assert widths(160, 10, 4, "geometric") == [160, 80, 40, 20, 10]
    assert widths(100, 0 + 36, 2, lambda passed: passed**0.5)[1] == 100 - int(64 * 0.5**0.5)


@pytest.mark.parametrize("schedule", ["linear", "geometric", lambda passed: passed**3])
def test_widths_fall_and_arrive(schedule: Any) -> None:
    for size in (1, 2, 7, 64):
        for wanted in range(1, size + 1):
            found = widths(size, wanted, 5, schedule)
            assert found == sorted(found, reverse=True)
            assert found[-1] == wanted


def test_a_group_that_shall_grow_stays() -> None:
    assert width_after(5, 9, 1, 3, "linear") == width_after(5, 9, 3, 3, "linear") == 5


@pytest.mark.parametrize(
    ("rounds", "schedule", "message"),
    [
        (0, "linear", "rounds=0 is not a positive whole number"),
        (2, "steep", "unknown schedule 'steep'"),
        (2, lambda passed: 1 - passed, "the schedule gives 0.5, 0 for 2 rounds"),
        (2, lambda passed: passed / 2, "the schedule gives 0.25, 0.5 for 2 rounds"),
    ],
)
def test_refusals(rounds: int, schedule: Any, message: str) -> None:
    with pytest.raises(gp.InputError) as caught:
        check_schedule(rounds, schedule)
    assert message in str(caught.value)
    assert caught.value.remedy
