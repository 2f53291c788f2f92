"""Finds numbers that the model computed from sizes where that cannot be seen, as `math.sqrt` or a list's index does.

The numbers that a model's calls are given are compared between two sizes at which it ran. One that differs must have
been remembered while the model was traced. Else it is a constant of the graph, and the size that it came from is fixed.
"""

from __future__ import annotations

from collections.abc import Iterator

from graphprune.capture.remembered import plain
from graphprune.capture.trial import Constant, Place, Ran
from graphprune.capture.varying import Varying, together
from graphprune.capture.watching import Watch

__all__ = ["forgotten_sizes", "plain_numbers", "tried_runs"]


def tried_runs(varying: Varying) -> tuple[Ran, Ran]:
    """The model's runs at the sizes that were tried."""
    large, small = (varying.trial.run(together(varying.tried, which)) for which in ("large", "small"))
    return large, small


def forgotten_sizes(varying: Varying, watch: Watch) -> dict[Place, str]:
    """The places whose sizes became constants, and why."""
    reasons: dict[Place, str] = {}
    for call in _forgotten_calls(*tried_runs(varying), watch):
        line = varying.trial.line_of(together(varying.tried, "large"), call)
        why = f"the model computes with it where sizes cannot be followed ({line})"
        for vary in varying.tried:
            runs = [varying.trial.run(vary.at(size)) for size in (vary.large, vary.small, vary.traced)]
            if any(len(ran.numbers) <= call or ran.numbers[call] != runs[0].numbers[call] for ran in runs):
                reasons |= {place: why for place in vary.places if place not in reasons}
    return reasons


def _forgotten_calls(large: Ran, small: Ran, watch: Watch) -> Iterator[int]:
    """Calls with a number that differs between the sizes tried and those of the trace, and was plain there."""
    if list(large.calls) != [function for function, _ in watch.calls]:  # torch.export may go another way
        return
    for call, (one, other) in enumerate(zip(large.numbers, small.numbers, strict=False)):
        numbers = watch.calls[call][1]
        if not len(one) == len(other) == len(numbers) or any(
            plain(number) is number and not first == second == number
            for number, first, second in zip(numbers, one, other, strict=True)
        ):
            yield call


def plain_numbers(watch: Watch) -> list[tuple[Constant, float]]:
    """The numbers of calls that are constants where the model was traced."""
    return [
        ((call, place), number)
        for call, (_, numbers) in enumerate(watch.calls)
        for place, number in enumerate(numbers)
        if plain(number) is number
    ]
