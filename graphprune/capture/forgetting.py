"""Finds numbers that the model computed from sizes where that cannot be seen, as `math.sqrt` or a list's index does.

The numbers that a model's calls are given are compared between two sizes at which it ran. One that differs must have
been remembered while the model was traced. Else it is a constant of the graph, and the size that it came from is fixed.
"""

from __future__ import annotations

from collections.abc import Iterator

from graphprune.capture.remembered import plain
from graphprune.capture.trial import Place, Ran
from graphprune.capture.varying import Varying, together
from graphprune.capture.watching import Watch

__all__ = ["forgotten_sizes", "tried_runs"]


def tried_runs(varying: Varying) -> tuple[Ran, Ran]:
    """The model's runs at the sizes that were tried."""
    large, small = (varying.trial.run(together(varying.tried, which)) for which in ("large", "small"))
    return large, small


def forgotten_sizes(varying: Varying, watch: Watch) -> dict[Place, str]:
    """The places whose sizes became constants, and why."""
    large, small = tried_runs(varying)
    reasons: dict[Place, str] = {}
    for call in _forgotten_calls(large, small, watch):
        line = varying.trial.line_of(together(varying.tried, "large"), call)
        why = f"the model computes with it where sizes cannot be followed ({line})"
        for vary in varying.tried:
            one, other = (varying.trial.run(vary.at(size)).numbers for size in (vary.large, vary.small))
            if len(one) <= call or len(other) <= call or one[call] != other[call]:
                reasons |= {place: why for place in vary.places if place not in reasons}
    return reasons


def _forgotten_calls(large: Ran, small: Ran, watch: Watch) -> Iterator[int]:
    """Calls that were given a number which differs, and was plain when the model was traced."""
    traced = [function for function, _ in watch.calls]
    if list(large.calls) != traced:  # torch.export may go another way
        return
    for call, (one, other) in enumerate(zip(large.numbers, small.numbers, strict=False)):
        if one == other:
            continue
        numbers = watch.calls[call][1]
        if (
            len(one) != len(other)
            or len(one) != len(numbers)
            or any(
                plain(number) is number
                for number, first, second in zip(numbers, one, other, strict=True)
                if first != second
            )
        ):
            yield call
