"""Finds numbers that the model computed from sizes where that cannot be seen, as `math.sqrt` or a list's index does.

The numbers that a model's calls are given are compared between two sizes at which it ran. One that differs must have
been remembered while the model was traced. Else it is a constant of the graph, and the size that it came from is fixed.

A size may also have been tried only where the model goes the way of the trace: at multiples, on one side, or nearby.
Then the graph must refuse the sizes at which the model goes another way: a noted decision falls otherwise there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from graphprune.capture.remembered import plain
from graphprune.capture.trial import Constant, Place, Ran
from graphprune.capture.varying import Vary, Varying, together
from graphprune.capture.watching import Watch

__all__ = ["forgotten_sizes", "plain_numbers", "tried_runs", "unguarded_sizes"]


class _Outcome(Protocol):
    @property
    def problem(self) -> str: ...


class _Runner(Protocol):
    def at(self, sizes: Mapping[Place, int]) -> _Outcome: ...


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


def unguarded_sizes(varying: Varying, watch: Watch, runner: _Runner) -> dict[Place, str]:
    """The places of sizes with which the model goes another way where the graph runs as it is, and why."""
    if not varying.sizes or not varying.trial.usable:
        return {}
    example = together(varying.sizes, "traced")
    reasons: dict[Place, str] = {}
    way = varying.trial.run(example)
    constants = [(at, number) for at, number in plain_numbers(watch) if way.number(at) == number]
    if list(way.calls) != [function for function, _ in watch.calls]:
        constants = []  # torch.export went another way
    # sizes far away may both go one way, and the trace between them another
    near = varying.level > 0 or _parting(way, tried_runs(varying)[0], []) >= 0
    for vary in varying.sizes:
        for size in _others(vary) if near or vary.multiple > 1 or vary.ends else ():
            at = {**example, **vary.at(size)}
            call = _parting(way, varying.trial.run(at), constants)
            if call >= 0 and not runner.at(at).problem:
                line = varying.trial.line_of(at, call)
                why = f"the model goes another way at {size}, which cannot be followed ({line})"
                reasons |= dict.fromkeys(vary.places, why)
                break
    return reasons


def _others(vary: Vary) -> list[int]:
    """Sizes around the example's, near and far, beyond those where the model was found to go one way."""
    steps = vary.size // vary.multiple
    around = (steps + 1, steps - 1, 2 * steps, steps // 2, 3 * steps, 4 * steps + 1)
    found = [*(step * vary.multiple for step in around), vary.large, vary.small]
    return [size for size in dict.fromkeys(found) if size > 0 and size != vary.traced]


def _parting(way: Ran, other: Ran, constants: list[tuple[Constant, float]]) -> int:
    """The first call in which ``other`` is not the way of the trace; -1 if it is, or the model itself fails."""
    if other.problem:
        return -1
    pairs = enumerate(zip(way.calls, other.calls, strict=False))
    differs = [n for n, (one, another) in pairs if one != another][:1]
    if not differs and len(way.calls) != len(other.calls):
        differs = [min(len(way.calls), len(other.calls))]
    limit = differs[0] if differs else len(way.calls)
    numbers = [at[0] for at, number in constants if at[0] < limit and other.number(at) != number]
    return min([*numbers, *differs], default=-1)
