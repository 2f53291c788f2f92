"""How wide a group is after each of several rounds."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from graphprune.ground.errors import InputError
from graphprune.ground.options import Range, check_number

__all__ = ["ROUNDS", "Schedule", "check_schedule", "width_after"]

# share of the rounds that have passed → share of what is to go that has gone; 1 at 1
Schedule = Callable[[float], float]
_SCHEDULES = ("linear", "geometric")
ROUNDS: Range = (1, 10_000)


def check_schedule(rounds: int, schedule: str | Schedule) -> None:
    """Raises InputError unless there are rounds, and the schedule rises to 1."""
    check_number("rounds", rounds, ROUNDS)
    if isinstance(schedule, str):
        if schedule not in _SCHEDULES:
            raise InputError(
                f"unknown schedule {schedule!r}",
                f"use {', '.join(_SCHEDULES)}, or a function from the share of the rounds to the share removed",
            )
        return
    shares = [float(schedule(number / rounds)) for number in range(1, rounds + 1)]
    rising = all(0 <= one <= other for one, other in zip([0.0, *shares], shares, strict=False))
    if not rising or abs(shares[-1] - 1) > 1e-6:
        raise InputError(
            f"the schedule gives {', '.join(f'{share:g}' for share in shares)} for {rounds} rounds",
            "let it rise from 0 or more to 1 at 1",
        )


def width_after(width: int, wanted: int, number: int, rounds: int, schedule: str | Schedule) -> int:
    """Units that a group of now ``width`` has after round ``number``, on the way to ``wanted`` at the last one.

    "linear" removes equally many units in each round: 64, 48, 32 on the way from 64 to 32 in two rounds. "geometric"
    removes the same share of what is there: 64, 46, 32. ``wanted`` may differ from round to round, since scores change;
    only the way that is left counts.
    """
    if number == rounds or wanted >= width:
        return min(wanted, width)
    if schedule == "geometric":
        return max(ceil(width * (wanted / width) ** (1 / (rounds - number + 1))), wanted)
    done: Schedule = float if isinstance(schedule, str) else schedule  # "linear": as the rounds pass
    before, after = (min(done(n / rounds), 1.0) if n else 0.0 for n in (number - 1, number))
    part = (after - before) / (1 - before) if before < 1 else 1.0
    return width - int((width - wanted) * part)
